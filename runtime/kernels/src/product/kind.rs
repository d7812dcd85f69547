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

    /// The chunk of these activations; where there are fewer than a unit has, zero is added.
    fn chunk(values: &[Self::Value]) -> Self::Chunk;

    /// Eight sums, each over neighbouring products.
    fn dot<S: Simd>(simd: S, levels: &[u8; UNIT], chunk: &Self::Chunk) -> S::F;
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
        let (even, odd) = chunk.split_at_mut(UNIT);
        for ((pair, even), odd) in values.chunks_exact(2).zip(even).zip(odd) {
            (*even, *odd) = (pair[0], pair[1]);
        }
        chunk
    }

    #[inline(always)]
    fn dot<S: Simd>(simd: S, levels: &[u8; UNIT], chunk: &[i8; 64]) -> S::F {
        simd.nibbles_dot(levels, chunk)
    }
}

impl Kind for BytesRounded {
    type Value = i8;
    type Chunk = [i8; UNIT];
    const BITS: usize = 8;
    const BIAS: f32 = 128.0;

    #[inline(always)]
    fn chunk(values: &[i8]) -> [i8; UNIT] {
        let mut chunk = [0; UNIT];
        for (place, value) in chunk.iter_mut().zip(values) {
            *place = *value;
        }
        chunk
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
