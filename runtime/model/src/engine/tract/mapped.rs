//! A stretch of a file in memory, as the system maps it: read when it is needed, given up when memory
//! is short.
#![expect(unsafe_code, reason = "a file in memory has no safe face")]

use std::fs::File;
use std::io;
use std::path::Path;

use half::f16;
use memmap2::{Mmap, MmapOptions};

/// A stretch of a file.
pub(super) struct Mapped(Mmap);

impl Mapped {
    /// Maps `length` bytes of a file from `offset` on; at least one.
    ///
    /// # Errors
    /// When the file cannot be read, or ends before.
    pub(super) fn open(path: &Path, offset: u64, length: usize) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| file.metadata().is_ok_and(|file| file.len() < end)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut options = MmapOptions::new();
        // SAFETY: the bytes are read only. Whoever cuts the file of a running model off ends the
        // process, as he does with ONNX Runtime, which maps weights in the same way.
        let map = unsafe { options.offset(offset).len(length).map(&file)? };
        Ok(Self(map))
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as floats, where they lie as floats must.
    pub(super) fn floats(&self) -> Option<&[f32]> {
        // SAFETY: every pattern of bits is a float.
        match unsafe { self.0.align_to() } {
            ([], floats, []) => Some(floats),
            _ => None,
        }
    }

    /// The bytes as halves, where they lie as halves must.
    pub(super) fn halves(&self) -> Option<&[f16]> {
        // SAFETY: every pattern of bits is a half, which is sixteen bits and nothing else.
        match unsafe { self.0.align_to() } {
            ([], halves, []) => Some(halves),
            _ => None,
        }
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
        assert_eq!(mapped.floats(), Some(&floats[1..]));
        let halves = mapped.halves().unwrap();
        assert_eq!(halves[1], f16::from_f32(2.0));
        // Two bytes further a float does not lie as it must.
        assert_eq!(Mapped::open(&path, 2, 8).unwrap().floats(), None);
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
