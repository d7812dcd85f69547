//! A file of rows, mapped into memory: its pages are read when they are needed and given up when
//! memory is short.

#![expect(unsafe_code, reason = "a mapping and the view of its bytes as numbers have no safe face")]

use std::fs::File;
use std::io;
use std::ops::Range;

use half::f16;
use memmap2::Mmap;

/// A mapped file.
#[derive(Debug)]
pub(super) struct Mapping(Mmap);

impl Mapping {
    /// Maps a whole file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: the bytes are only read, as numbers for which every bit pattern is valid. The file
        // lies in a folder to which nobody else may write, and we replace such files, but never
        // change or shorten them.
        unsafe { Mmap::map(file) }.map(Self)
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The 32-bit floats between two places, counted in bytes; none where they are not aligned.
    pub(super) fn f32s(&self, place: Range<usize>) -> &[f32] {
        let bytes = self.0.get(place).unwrap_or_default();
        // SAFETY: every bit pattern is a float, and alignment and length are seen to.
        let (before, numbers, after) = unsafe { bytes.align_to::<f32>() };
        if before.is_empty() && after.is_empty() { numbers } else { &[] }
    }

    /// The 16-bit floats between two places, counted in bytes; none where they are not aligned.
    pub(super) fn f16s(&self, place: Range<usize>) -> &[f16] {
        let bytes = self.0.get(place).unwrap_or_default();
        // SAFETY: every bit pattern is a float, and alignment and length are seen to.
        let (before, numbers, after) = unsafe { bytes.align_to::<f16>() };
        if before.is_empty() && after.is_empty() { numbers } else { &[] }
    }
}
