//! One row of quantised weights, cut into groups of eight blocks.

use half::f16;

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
        if !rest.is_empty() {
            units.as_flattened_mut()[..rest.len()].copy_from_slice(rest);
        }
    }

    /// Scales of the eight blocks of a group, zero where there are fewer.
    #[inline(always)]
    pub(super) fn scales<S: Simd>(self, simd: S, group: usize) -> S::F {
        match self.scales {
            Scales::F32(scales) => match scales[group * LANES..].first_chunk() {
                Some(eight) => simd.load(eight),
                None => simd.load(&filled_up(&scales[group * LANES..])),
            },
            Scales::F16(scales) => match scales[group * LANES..].first_chunk() {
                Some(eight) => simd.load_half(eight),
                None => simd.load_half(&filled_up::<f16>(&scales[group * LANES..])),
            },
        }
    }

    /// Zero points of the eight blocks of a group.
    #[inline(always)]
    pub(super) fn zero_points<S: Simd>(self, simd: S, index: usize) -> S::F {
        let Some(zero_points) = self.zero_points else {
            return simd.splat((1 << (self.bits - 1)) as f32);
        };
        let of_group = &zero_points[index * self.bits..];
        let word: [u8; 8] = match of_group.first_chunk() {
            Some(word) => *word,
            None => filled_up(of_group),
        };
        if self.bits == 4 {
            simd.nibbles_of_word(u64::from_le_bytes(word) as u32)
        } else {
            simd.bytes_of_word(u64::from_le_bytes(word))
        }
    }
}

/// The numbers with zeros behind.
#[inline(always)]
fn filled_up<T: Copy + Default>(numbers: &[T]) -> [T; LANES] {
    let mut all = [T::default(); LANES];
    for (place, number) in all.iter_mut().zip(numbers) {
        *place = *number;
    }
    all
}
