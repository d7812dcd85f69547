//! Rows of quantised weights, of which the kernels know at compile time how scales and zero points are
//! stored, so that nothing is asked in their inner loops.

use half::f16;

use crate::{
    Weights,
    simd::{LANES, Simd},
};

/// All rows of a matrix.
pub(super) struct Rows<'a, N, Z> {
    data: &'a [u8],
    row_bytes: usize,
    scales: &'a [N],
    blocks: usize,
    zeros: Z,
    zero_bytes: usize,
}

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, N, Z> {
    pub(super) data: &'a [u8],
    /// One for each block.
    pub(super) scales: &'a [N],
    pub(super) zeros: Z,
}

impl<'a, N: Number, Z: ZeroPoints> Rows<'a, N, Z> {
    /// The rows of `weights`, with its own scales and zero points; lengths agree.
    #[inline(always)]
    pub(super) fn new(weights: &Weights<'a>, scales: &'a [N], zeros: Z) -> Self {
        Self {
            data: weights.data,
            row_bytes: weights.row_bytes(),
            scales,
            blocks: weights.blocks(),
            zeros,
            zero_bytes: weights.zero_point_bytes(),
        }
    }

    /// One of them.
    #[inline(always)]
    pub(super) fn row(&self, index: usize) -> Row<'a, N, Z> {
        Row {
            data: &self.data[index * self.row_bytes..][..self.row_bytes],
            scales: &self.scales[index * self.blocks..][..self.blocks],
            zeros: self.zeros.of_row(index, self.zero_bytes),
        }
    }
}

impl<N: Number, Z: ZeroPoints> Row<'_, N, Z> {
    /// Scales and zero points of a group of eight blocks; zero where there are fewer.
    #[inline(always)]
    pub(super) fn of_group<S: Simd>(&self, simd: S, group: usize) -> (S::F, S::F) {
        match self.scales.as_chunks().0.get(group) {
            Some(eight) => (N::load(simd, eight), self.zeros.of_group(simd, group)),
            None => self.of_parts(simd, group, 1),
        }
    }

    /// Scales and zero points of a group of eight blocks, or of parts of blocks; zero where there are
    /// fewer.
    #[inline(always)]
    pub(super) fn of_parts<S: Simd>(&self, simd: S, group: usize, parts: usize) -> (S::F, S::F) {
        let (mut scales, mut zeros) = ([N::default(); LANES], [0.0; LANES]);
        for lane in 0..LANES {
            let block = (group * LANES + lane) / parts;
            if let Some(scale) = self.scales.get(block) {
                (scales[lane], zeros[lane]) = (*scale, self.zeros.of_block(block));
            }
        }
        (N::load(simd, &scales), simd.load(&zeros))
    }
}

/// An element type of scales.
pub(super) trait Number: Copy + Default {
    fn load<S: Simd>(simd: S, eight: &[Self; LANES]) -> S::F;
}

impl Number for f32 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, eight: &[Self; LANES]) -> S::F {
        simd.load(eight)
    }
}

impl Number for f16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, eight: &[Self; LANES]) -> S::F {
        simd.load_half(eight)
    }
}

/// Zero points, of all rows or of one.
pub(super) trait ZeroPoints: Copy {
    /// Those of a row that takes so many bytes.
    fn of_row(self, index: usize, bytes: usize) -> Self;

    /// Those of the first groups of a row.
    fn first(self, groups: usize) -> Self;

    /// Those of the eight blocks of a group.
    fn of_group<S: Simd>(self, simd: S, index: usize) -> S::F;

    /// That of a block.
    fn of_block(self, block: usize) -> f32;
}

/// The same for all blocks.
#[derive(Clone, Copy)]
pub(super) struct Same(pub(super) f32);

impl ZeroPoints for Same {
    #[inline(always)]
    fn of_row(self, _: usize, _: usize) -> Self {
        self
    }

    #[inline(always)]
    fn first(self, _: usize) -> Self {
        self
    }

    #[inline(always)]
    fn of_group<S: Simd>(self, simd: S, _: usize) -> S::F {
        simd.splat(self.0)
    }

    #[inline(always)]
    fn of_block(self, _: usize) -> f32 {
        self.0
    }
}

/// In 4 bits each.
#[derive(Clone, Copy)]
pub(super) struct Nibbles<'a>(pub(super) &'a [u8]);

impl ZeroPoints for Nibbles<'_> {
    #[inline(always)]
    fn of_row(self, index: usize, bytes: usize) -> Self {
        Self(&self.0[index * bytes..][..bytes])
    }

    #[inline(always)]
    fn first(self, groups: usize) -> Self {
        Self(&self.0[..groups * LANES / 2])
    }

    #[inline(always)]
    fn of_group<S: Simd>(self, simd: S, index: usize) -> S::F {
        simd.nibbles_of_word(&self.0.as_chunks().0[index])
    }

    #[inline(always)]
    fn of_block(self, block: usize) -> f32 {
        f32::from(self.0[block / 2] >> (4 * (block % 2)) & 15)
    }
}

/// In bytes.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl ZeroPoints for Bytes<'_> {
    #[inline(always)]
    fn of_row(self, index: usize, bytes: usize) -> Self {
        Self(&self.0[index * bytes..][..bytes])
    }

    #[inline(always)]
    fn first(self, groups: usize) -> Self {
        Self(&self.0[..groups * LANES])
    }

    #[inline(always)]
    fn of_group<S: Simd>(self, simd: S, index: usize) -> S::F {
        simd.bytes_of_word(&self.0.as_chunks().0[index])
    }

    #[inline(always)]
    fn of_block(self, block: usize) -> f32 {
        f32::from(self.0[block])
    }
}
