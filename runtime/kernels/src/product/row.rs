//! One row of quantised weights, cut into groups of eight blocks.

use half::f16;

use super::{kind::Kind, prepared::Prepared};
use crate::{
    Scales, Weights,
    simd::{LANES, Simd, UNIT},
};

/// A row of weights.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    data: &'a [u8],
    scales: Scales<'a>,
    zero_points: Option<&'a [u8]>,
    group_bytes: usize,
    bits: usize,
}

impl<'a> Row<'a> {
    /// Row `index` of `weights`, whose lengths agree.
    #[inline(always)]
    pub(super) fn new(weights: &Weights<'a>, index: usize) -> Self {
        let (bytes, blocks) = (weights.row_bytes(), weights.blocks());
        let zero_bytes = weights.zero_point_bytes();
        let scales = match weights.scales {
            Scales::F32(scales) => Scales::F32(&scales[index * blocks..][..blocks]),
            Scales::F16(scales) => Scales::F16(&scales[index * blocks..][..blocks]),
        };
        Self {
            data: &weights.data[index * bytes..][..bytes],
            scales,
            zero_points: weights.zero_points.map(|zero| &zero[index * zero_bytes..][..zero_bytes]),
            group_bytes: LANES * weights.blob(),
            bits: usize::from(weights.bits),
        }
    }

    /// The units of all groups that have eight blocks, and more.
    #[inline(always)]
    pub(super) fn units(self) -> &'a [[u8; UNIT]] {
        self.data.as_chunks().0
    }

    /// Copies what is left behind the whole groups into `units`, which are zero.
    #[inline(always)]
    pub(super) fn rest(self, units: &mut [[u8; UNIT]]) {
        let whole = self.data.len() / self.group_bytes * self.group_bytes;
        let rest = &self.data[whole..];
        units.as_flattened_mut()[..rest.len()].copy_from_slice(rest);
    }

    /// What the sum over each block is to be multiplied with, for `ROWS` rows of activations from `m`
    /// on: the scale of the weights times that of the activations. From `sums` is taken what the zero
    /// points make out.
    #[inline(always)]
    pub(super) fn factors<S: Simd, K: Kind, const ROWS: usize>(
        self,
        simd: S,
        activations: &Prepared<K>,
        m: usize,
        factors: &mut [[[f32; LANES]; 4]],
        sums: &mut [S::F; ROWS],
    ) {
        let of = Factors { activations, m, factors, sums };
        match self.scales {
            Scales::F32(scales) => self.of_scales(simd, scales, of),
            Scales::F16(scales) => self.of_scales(simd, scales, of),
        }
    }

    #[inline(always)]
    fn of_scales<S: Simd, K: Kind, N: Number, const ROWS: usize>(
        self,
        simd: S,
        scales: &[N],
        of: Factors<'_, S, K, ROWS>,
    ) {
        let Some(zero_points) = self.zero_points else {
            return of.fill(simd, scales, Middle(1 << (self.bits - 1)));
        };
        match self.bits {
            4 => of.fill(simd, scales, Nibbles(zero_points)),
            _ => of.fill(simd, scales, Bytes(zero_points)),
        }
    }
}

/// Factors to be filled in.
struct Factors<'a, S: Simd, K: Kind, const ROWS: usize> {
    activations: &'a Prepared<K>,
    m: usize,
    factors: &'a mut [[[f32; LANES]; 4]],
    sums: &'a mut [S::F; ROWS],
}

impl<S: Simd, K: Kind, const ROWS: usize> Factors<'_, S, K, ROWS> {
    #[inline(always)]
    fn fill<N: Number, Z: ZeroPoints>(self, simd: S, scales: &[N], zero_points: Z) {
        let groups = self.factors.len();
        let (mut of_rows, mut activations) =
            ([&[[0.0; LANES]][..0]; ROWS], [&[[0.0; LANES]][..0]; ROWS]);
        for row in 0..ROWS {
            let first = (self.m + row) * groups;
            of_rows[row] = &self.activations.scales[first..][..groups];
            activations[row] = &self.activations.sums[first..][..groups];
        }
        let bias = simd.splat(-K::BIAS);
        for index in 0..groups {
            let eight = match scales[index * LANES..].first_chunk() {
                Some(eight) => N::load(simd, eight),
                None => N::load(simd, &filled_up(&scales[index * LANES..])),
            };
            let zero = simd.add(zero_points.of_group(simd, index), bias);
            for row in 0..ROWS {
                let factor = simd.mul(eight, simd.load(&of_rows[row][index]));
                let zeros = simd.mul(zero, simd.load(&activations[row][index]));
                self.sums[row] = simd.fnma(zeros, factor, self.sums[row]);
                simd.store(factor, &mut self.factors[index][row]);
            }
        }
    }
}

/// An element type of scales.
trait Number: Copy + Default {
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

/// The zero points of a row.
trait ZeroPoints: Copy {
    /// Those of the eight blocks of a group; of blocks that do not exist, any.
    fn of_group<S: Simd>(self, simd: S, group: usize) -> S::F;
}

/// The same for all blocks.
#[derive(Clone, Copy)]
struct Middle(u16);
#[derive(Clone, Copy)]
struct Nibbles<'a>(&'a [u8]);
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl ZeroPoints for Middle {
    #[inline(always)]
    fn of_group<S: Simd>(self, simd: S, _: usize) -> S::F {
        simd.splat(f32::from(self.0))
    }
}

impl ZeroPoints for Nibbles<'_> {
    #[inline(always)]
    fn of_group<S: Simd>(self, simd: S, group: usize) -> S::F {
        let bytes = &self.0[group * LANES / 2..];
        let word = bytes.first_chunk().copied().unwrap_or_else(|| filled_up(bytes));
        simd.nibbles_of_word(u32::from_le_bytes(word))
    }
}

impl ZeroPoints for Bytes<'_> {
    #[inline(always)]
    fn of_group<S: Simd>(self, simd: S, group: usize) -> S::F {
        let bytes = &self.0[group * LANES..];
        let word = bytes.first_chunk().copied().unwrap_or_else(|| filled_up(bytes));
        simd.bytes_of_word(u64::from_le_bytes(word))
    }
}

/// The numbers with zeros behind.
#[inline(always)]
fn filled_up<T: Copy + Default, const COUNT: usize>(numbers: &[T]) -> [T; COUNT] {
    let mut all = [T::default(); COUNT];
    for (place, number) in all.iter_mut().zip(numbers) {
        *place = *number;
    }
    all
}
