//! A file in memory, as the system maps it: its pages are read when they are needed, and given up
//! when memory is short.
#![expect(unsafe_code, reason = "a file in memory, and its bytes as numbers, have no safe face")]

use std::fs::File;
use std::io;
use std::path::Path;

use half::f16;
use memmap2::{Mmap, MmapOptions};

/// A file, or a stretch of one.
#[derive(Debug)]
pub(crate) struct Mapped(Mmap);

impl Mapped {
    /// Maps a whole file.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: as in `open`.
        unsafe { Mmap::map(file) }.map(Self)
    }

    /// Maps `length` bytes of a file from `offset` on; at least one.
    ///
    /// # Errors
    /// When the file cannot be read, or ends before.
    pub(crate) fn open(path: &Path, offset: u64, length: usize) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| file.metadata().is_ok_and(|file| file.len() < end)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut options = MmapOptions::new();
        // SAFETY: the bytes are only read. Our own files are replaced, never changed or shortened.
        // Whoever cuts the weights of a running model off ends the process, as he does with ONNX
        // Runtime, which maps them in the same way.
        let map = unsafe { options.offset(offset).len(length).map(&file)? };
        Ok(Self(map))
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes as floats, where they lie as floats must.
pub(crate) fn floats(bytes: &[u8]) -> Option<&[f32]> {
    // SAFETY: every pattern of bits is a float.
    match unsafe { bytes.align_to() } {
        ([], floats, []) => Some(floats),
        _ => None,
    }
}

/// Bytes as bytes with a sign.
pub(crate) fn signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: every byte is one with a sign, of the same size and alignment, so that nothing is left
    // before or behind.
    unsafe { bytes.align_to() }.1
}

/// Bytes as halves, where they lie as halves must.
pub(crate) fn halves(bytes: &[u8]) -> Option<&[f16]> {
    // SAFETY: every pattern of bits is a half, which is sixteen bits and nothing else.
    match unsafe { bytes.align_to() } {
        ([], halves, []) => Some(halves),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_stretch_is_what_the_file_holds_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let floats = [1.0_f32, 2.0, 3.0];
        let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mapped = Mapped::open(&path, 4, 8).unwrap();
        assert_eq!(mapped.bytes(), &bytes[4..]);
        assert_eq!(super::floats(mapped.bytes()), Some(&floats[1..]));
        let halves = halves(mapped.bytes()).unwrap();
        assert_eq!(halves[1], f16::from_f32(2.0));
        // Two bytes further a float does not lie as it must.
        let askew = Mapped::open(&path, 2, 8).unwrap();
        assert_eq!(super::floats(askew.bytes()), None);
    }

    #[test]
    fn a_stretch_beyond_the_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, [0; 12]).unwrap();
        for (offset, length) in [(4, 9), (13, 1), (u64::MAX, 2)] {
            assert!(Mapped::open(&path, offset, length).is_err(), "{length} from {offset} on");
        }
    }
}
