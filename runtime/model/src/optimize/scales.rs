//! Scales of weights in 16 bits, in a file of their own beside the fast graph. The published ones take
//! a fifth of the bytes of weights in 4 bits, of every token's time and of memory, and these half of
//! that; what is lost is a hundredth of what 4 bits lose.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::f16;
use sha2::{Digest, Sha256};

use super::notes::ScalesNote;
use super::source::Source;
use super::{OptimizeError, SCALES};
use crate::digest::hexadecimal;
use crate::graph::tensor::{Tensor, element};

/// Largest error of a scale in 16 bits, as a part of it.
const ERROR: f32 = 1.0 / 2048.0;

/// Scales below this part of the largest of their matrix carry next to nothing, and may err as much
/// as one of this size.
const SMALL: f32 = 1.0 / 64.0;

/// Digits of a checksum that tell contents apart.
const DIGITS: usize = 12;

/// Numbers that are turned into halves at once.
const AT_ONCE: usize = 1 << 16;

/// A file of scales that is being written.
pub(super) struct Scales<'s> {
    source: &'s Source,
    /// Where it is written.
    path: PathBuf,
    file: Option<BufWriter<File>>,
    bytes: u64,
    digest: Sha256,
    /// Scales in 16 bits by the name of the published ones; `None` where 16 bits are too few.
    known: HashMap<String, Option<Tensor>>,
    failed: Option<std::io::Error>,
}

/// A file of scales that is whole.
pub(super) struct Made {
    /// Its bytes.
    pub(super) bytes: u64,
    /// SHA-256 of them, in hexadecimal digits.
    pub(super) sha256: String,
}

impl Made {
    /// What the file is called that belongs to a decoder: its fast graph's name, and digits that tell
    /// its contents from others.
    pub(super) fn note(&self, decoder: &Path) -> ScalesNote {
        let digits = self.sha256.get(..DIGITS).unwrap_or(&self.sha256);
        let file = decoder.with_extension(format!("{SCALES}{digits}.onnx_data"));
        let file = file.file_name().map(|name| name.to_string_lossy().into_owned());
        ScalesNote { file: file.unwrap_or_default(), bytes: self.bytes }
    }
}

impl<'s> Scales<'s> {
    /// A file to be, at this path beside the graph.
    pub(super) fn new(source: &'s Source, path: &Path) -> Self {
        Self {
            source,
            path: path.to_owned(),
            file: None,
            bytes: 0,
            digest: Sha256::new(),
            known: HashMap::new(),
            failed: None,
        }
    }

    /// These scales in 16 bits, all of them or none: matrices of one operator have one type.
    pub(super) fn in_halves<const COUNT: usize>(
        &mut self,
        scales: [&Tensor; COUNT],
    ) -> Option<[Tensor; COUNT]> {
        let halves = scales.map(|scales| self.halved(scales));
        let halves: Vec<Tensor> = halves.into_iter().collect::<Option<_>>()?;
        halves.try_into().ok()
    }

    fn halved(&mut self, scales: &Tensor) -> Option<Tensor> {
        if let Some(known) = self.known.get(&scales.name) {
            return known.clone();
        }
        let halved = self.make(scales);
        self.known.insert(scales.name.clone(), halved.clone());
        halved
    }

    fn make(&mut self, scales: &Tensor) -> Option<Tensor> {
        if scales.data_type != element::F32 {
            return None;
        }
        let numbers = self.source.numbers(scales)?;
        let written = self.append(numbers.bytes());
        match written {
            Ok(offset) => {
                let location = self.path.file_name()?.to_str()?;
                let mut halves = scales.clone();
                halves.name = format!("{}.f16", scales.name);
                halves.data_type = element::F16;
                Some(halves.beside(location, offset?, numbers.bytes().len() as u64 / 2))
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                None
            }
        }
    }

    /// Whether a tensor lies in this file.
    pub(super) fn hold(&self, tensor: &Tensor) -> bool {
        let name = self.path.file_name().and_then(|name| name.to_str());
        tensor.is_external() && tensor.place().map(|(location, ..)| location) == name
    }

    /// Appends 32-bit floats as halves; where they begin, or `None` where halves are too few.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<Option<u64>> {
        let offset = self.bytes;
        if !fit_into_halves(bytes) {
            return Ok(None);
        }
        if self.file.is_none() {
            self.file = Some(BufWriter::new(File::create(&self.path)?));
        }
        let Some(file) = &mut self.file else { return Ok(None) };
        for bytes in bytes.chunks(4 * AT_ONCE) {
            let halves: Vec<u8> =
                floats(bytes).flat_map(|float| f16::from_f32(float).to_le_bytes()).collect();
            file.write_all(&halves)?;
            self.digest.update(&halves);
            self.bytes += halves.len() as u64;
        }
        Ok(Some(offset))
    }

    /// Ends the file; `None` where nothing was written.
    ///
    /// # Errors
    /// When there was no room for it.
    pub(super) fn end(mut self) -> Result<Option<Made>, OptimizeError> {
        let flushed = self.file.take().map(|mut file| {
            file.flush()?;
            file.get_ref().sync_all()
        });
        match self.failed.map_or(flushed.transpose(), Err) {
            Err(source) => Err(OptimizeError::Write { path: self.path, source }),
            Ok(None) => Ok(None),
            Ok(Some(())) => {
                let sha256 = hexadecimal(&self.digest.finalize());
                Ok(Some(Made { bytes: self.bytes, sha256 }))
            }
        }
    }
}

/// Whether halves are exact enough for all of these 32-bit floats.
fn fit_into_halves(bytes: &[u8]) -> bool {
    let largest = floats(bytes).fold(0.0, |largest: f32, float| largest.max(float.abs()));
    floats(bytes).all(|float| {
        let error = (f16::from_f32(float).to_f32() - float).abs();
        // No number, and what is too large for a half, errs by no number.
        error <= ERROR * float.abs().max(SMALL * largest)
    })
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scales: &[f32], expected: bool) {
        let bytes: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        assert_eq!(fit_into_halves(&bytes), expected, "{scales:?}");
    }

    #[test]
    fn scales_are_halved_only_where_that_is_exact_enough() {
        check(&[0.012_345, -0.5, 0.0, 60_000.0], true);
        // Exact, though tiny: 2^-24 is the least half there is.
        check(&[2.0_f32.powi(-24)], true);
        // Inexact, but nothing beside the others.
        check(&[0.01, 1.3e-8], true);
        // Inexact, and all there is.
        check(&[1.3e-8, 1.7e-8], false);
        check(&[70_000.0], false);
        check(&[f32::NAN], false);
        check(&[f32::INFINITY], false);
    }
}
