//! How one unit of weights is multiplied with activations: levels of 4 or 8 bits, activations exact
//! or rounded.

use crate::simd::{LANES, Simd, UNIT};

/// A combination of weights and activations that a unit can be multiplied in.
pub(super) trait Kind: Copy + Send + Sync {
    /// One activation as the caller has it.
    type Value: Copy + Default + Into<f32> + Send + Sync;
    /// The activations of one unit in the order in which the instructions want them.
    type Chunk: Send + Sync;
    /// Width of a level.
    const BITS: usize;
    /// What [`Kind::dot`] takes off every level.
    const BIAS: f32;

    /// The chunk of as many activations as a unit has.
    fn chunk(values: &[Self::Value]) -> Self::Chunk;

    /// The sum of a whole block of activations.
    fn sum(values: &[Self::Value]) -> f32;

    /// Eight sums, each over neighbouring products.
    fn dot<S: Simd>(simd: S, levels: &[u8; UNIT], chunk: &Self::Chunk) -> S::F;

    /// Eight sums, two over the halves of each of four units.
    #[inline(always)]
    fn dots<S: Simd>(simd: S, levels: [&[u8; UNIT]; 4], chunks: [&Self::Chunk; 4]) -> S::F {
        simd.fours(
            Self::dot(simd, levels[0], chunks[0]),
            Self::dot(simd, levels[1], chunks[1]),
            Self::dot(simd, levels[2], chunks[2]),
            Self::dot(simd, levels[3], chunks[3]),
        )
    }
}

/// Weights in one unit.
#[inline(always)]
pub(super) const fn elements<K: Kind>() -> usize {
    UNIT * 8 / K::BITS
}

#[derive(Clone, Copy)]
pub(super) struct NibblesExact;
#[derive(Clone, Copy)]
pub(super) struct NibblesRounded;
#[derive(Clone, Copy)]
pub(super) struct BytesExact;
#[derive(Clone, Copy)]
pub(super) struct BytesRounded;

impl Kind for NibblesExact {
    type Value = f32;
    type Chunk = [[f32; LANES]; 8];
    const BITS: usize = 4;
    const BIAS: f32 = 0.0;

    #[inline(always)]
    fn chunk(values: &[f32]) -> Self::Chunk {
        across(values)
    }

    #[inline(always)]
    fn sum(values: &[f32]) -> f32 {
        sum(values)
    }

    #[inline(always)]
    fn dot<S: Simd>(simd: S, levels: &[u8; UNIT], chunk: &Self::Chunk) -> S::F {
        exact(simd, simd.nibbles(levels), chunk)
    }
}

impl Kind for BytesExact {
    type Value = f32;
    type Chunk = [[f32; LANES]; 4];
    const BITS: usize = 8;
    const BIAS: f32 = 0.0;

    #[inline(always)]
    fn chunk(values: &[f32]) -> Self::Chunk {
        across(values)
    }

    #[inline(always)]
    fn sum(values: &[f32]) -> f32 {
        sum(values)
    }

    #[inline(always)]
    fn dot<S: Simd>(simd: S, levels: &[u8; UNIT], chunk: &Self::Chunk) -> S::F {
        exact(simd, simd.bytes(levels), chunk)
    }
}

impl Kind for NibblesRounded {
    type Value = i8;
    type Chunk = [i8; 64];
    const BITS: usize = 4;
    const BIAS: f32 = 0.0;

    #[inline(always)]
    fn chunk(values: &[i8]) -> [i8; 64] {
        let mut chunk = [0; 64];
        let (pairs, _) = values.as_chunks::<2>();
        let pairs: &[[i8; 2]; UNIT] = pairs.first_chunk().unwrap_or(&[[0; 2]; UNIT]);
        for (at, [even, odd]) in pairs.iter().enumerate() {
            chunk[at] = *even;
            chunk[UNIT + at] = *odd;
        }
        chunk
    }

    #[inline(always)]
    fn sum(values: &[i8]) -> f32 {
        sum_of_levels(values)
    }

    #[inline(always)]
    fn dot<S: Simd>(simd: S, levels: &[u8; UNIT], chunk: &[i8; 64]) -> S::F {
        simd.nibbles_dot(levels, chunk)
    }

    #[inline(always)]
    fn dots<S: Simd>(simd: S, levels: [&[u8; UNIT]; 4], chunks: [&[i8; 64]; 4]) -> S::F {
        simd.nibbles_dots(levels, chunks)
    }
}

impl Kind for BytesRounded {
    type Value = i8;
    type Chunk = [i8; UNIT];
    const BITS: usize = 8;
    const BIAS: f32 = 128.0;

    #[inline(always)]
    fn chunk(values: &[i8]) -> [i8; UNIT] {
        values.first_chunk().copied().unwrap_or_default()
    }

    #[inline(always)]
    fn sum(values: &[i8]) -> f32 {
        sum_of_levels(values)
    }

    #[inline(always)]
    fn dot<S: Simd>(simd: S, levels: &[u8; UNIT], chunk: &[i8; UNIT]) -> S::F {
        simd.bytes_dot(levels, chunk)
    }
}

/// Lane j of vector i is value `PARTS` j + i, as [`Simd::nibbles`] and [`Simd::bytes`] order levels.
#[inline(always)]
fn across<const PARTS: usize>(values: &[f32]) -> [[f32; LANES]; PARTS] {
    let mut chunk = [[0.0; LANES]; PARTS];
    for (index, value) in values.iter().take(PARTS * LANES).enumerate() {
        chunk[index % PARTS][index / PARTS] = *value;
    }
    chunk
}

#[inline(always)]
fn exact<S: Simd, const PARTS: usize>(
    simd: S,
    levels: [S::F; PARTS],
    chunk: &[[f32; LANES]; PARTS],
) -> S::F {
    let mut even = simd.mul(levels[0], simd.load(&chunk[0]));
    let mut odd = simd.mul(levels[1], simd.load(&chunk[1]));
    for part in 1..PARTS / 2 {
        even = simd.fma(levels[2 * part], simd.load(&chunk[2 * part]), even);
        odd = simd.fma(levels[2 * part + 1], simd.load(&chunk[2 * part + 1]), odd);
    }
    simd.add(even, odd)
}

/// In as many sums side by side as a vector has lanes.
#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for values in values.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            lanes[lane] += values[lane];
        }
    }
    lanes.iter().sum()
}

#[inline(always)]
fn sum_of_levels(values: &[i8]) -> f32 {
    values.iter().map(|&level| i32::from(level)).sum::<i32>() as f32
}
