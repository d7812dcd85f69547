//! Rows of activations in the order in which a product with few rows reads them.

use super::kind::{Kind, elements};
use crate::{rounded::Rounded, simd::LANES};

/// Units in a group of eight blocks, at most: larger blocks are taken apart.
const UNITS_MAX: usize = 8;

/// Activations `[rows, groups]`, a group being eight blocks of the weights, or equal parts of blocks.
pub(super) struct Prepared<K: Kind> {
    /// `[rows, groups * units]`.
    pub(super) chunks: Vec<K::Chunk>,
    /// Scales of the blocks, `[rows, groups]`; 1 where the activations are exact.
    pub(super) scales: Vec<[f32; LANES]>,
    /// Sums of the activations of each block, before the scale, `[rows, groups]`.
    pub(super) sums: Vec<[f32; LANES]>,
    pub(super) groups: usize,
    /// Units in a group: 2, 4 or 8.
    pub(super) units: usize,
    /// Parts that a block is taken apart into.
    pub(super) parts: usize,
}

impl<K: Kind<Value = f32>> Prepared<K> {
    /// Exact activations `[rows, columns]`.
    #[inline(always)]
    pub(super) fn exact(input: &[f32], columns: usize, block: usize) -> Self {
        Self::new(input, columns, block, None)
    }
}

impl<K: Kind<Value = i8>> Prepared<K> {
    /// Activations `[rows, columns]`, rounded to 8 bits.
    #[inline(always)]
    pub(super) fn rounded(input: &[f32], columns: usize, block: usize) -> Self {
        let rounded = Rounded::new(input, columns, block);
        let width = columns.div_ceil(block) * block;
        Self::new(&rounded.levels, width, block, Some(&rounded.scales))
    }
}

impl<K: Kind> Prepared<K> {
    /// These rows, then others of the same kind.
    pub(super) fn followed_by(mut self, mut others: Self) -> Self {
        self.chunks.append(&mut others.chunks);
        self.scales.append(&mut others.scales);
        self.sums.append(&mut others.sums);
        self
    }

    #[inline(always)]
    fn new(values: &[K::Value], columns: usize, block: usize, scales: Option<&[f32]>) -> Self {
        let units = (LANES * block / elements::<K>()).min(UNITS_MAX);
        let part = units * elements::<K>() / LANES;
        let parts = block / part;
        let blocks = columns.div_ceil(block);
        let groups = (blocks * parts).div_ceil(LANES);
        let rows = values.len() / columns;
        let mut chunks = Vec::with_capacity(rows * groups * units);
        let mut sums = vec![[0.0; LANES]; rows * groups];
        let mut lanes = vec![[1.0; LANES]; rows * groups];
        let mut filled_up = vec![K::Value::default(); groups * LANES * part];
        for row in 0..rows {
            filled_up[..columns].copy_from_slice(&values[row * columns..][..columns]);
            for values in filled_up.chunks_exact(elements::<K>()) {
                chunks.push(K::chunk(values));
            }
            let sums = sums[row * groups..][..groups].as_flattened_mut();
            for (sum, values) in sums.iter_mut().zip(filled_up.chunks_exact(part)) {
                *sum = K::sum(values);
            }
            if let Some(scales) = scales {
                let lanes = lanes[row * groups..][..groups].as_flattened_mut();
                let scales = &scales[row * blocks..][..blocks];
                for (lanes, scale) in lanes.chunks_mut(parts).zip(scales) {
                    lanes.fill(*scale);
                }
            }
        }
        Self { chunks, scales: lanes, sums, groups, units, parts }
    }
}
