//! Products with few rows of activations: decode. The weights are read once, in the order in which
//! they lie, and everything else stays in the caches, so that memory is what sets the pace.

use std::ops::Range;

use super::{
    kind::Kind,
    prepared::Prepared,
    row::{Bytes, Nibbles, Number, Row, Rows, Same, ZeroPoints},
};
use crate::{
    Scales, Threads, Weights,
    gelu::gelu_lanes,
    output::Output,
    simd::{Kernel, LANES, Simd, UNIT},
};

/// Rows of activations up to which this is the faster way.
pub(super) const ROWS_MAX: usize = 8;
/// The same where the activations are rounded and the weights have 4 bits.
pub(super) const ROUNDED_ROWS_MAX: usize = 28;

/// How far ahead memory is asked for, in bytes.
const AHEAD: usize = 2048;

/// A product, or with `gate` a gated one.
pub(super) struct Few<'a, K: Kind> {
    pub(super) weights: &'a Weights<'a>,
    pub(super) gate: Option<&'a Weights<'a>>,
    pub(super) prepared: &'a Prepared<K>,
    pub(super) rows: usize,
    pub(super) output: Output<'a>,
}

impl<K: Kind> Few<'_, K> {
    /// Does it all.
    pub(super) fn run<S: Simd>(&self, simd: S, threads: &Threads) {
        threads.split(self.weights.rows, LANES, &|range| {
            simd.enter(Part { product: self, range });
        });
    }
}

/// A range of the rows of weights.
struct Part<'a, K: Kind> {
    product: &'a Few<'a, K>,
    range: Range<usize>,
}

impl<K: Kind> Kernel for Part<'_, K> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.product.prepared.units {
            2 => self.all::<S, 2>(simd),
            4 => self.all::<S, 4>(simd),
            _ => self.all::<S, 8>(simd),
        }
    }
}

impl<K: Kind> Part<'_, K> {
    #[inline(always)]
    fn all<S: Simd, const UNITS: usize>(self, simd: S) {
        let Self { product, range } = self;
        for first in range.clone().step_by(LANES) {
            let rows = first..range.end.min(first + LANES);
            let mut m = 0;
            while m < product.rows {
                m += match product.rows - m {
                    1..4 => product.eight::<S, UNITS, 1>(simd, rows.clone(), m),
                    _ => product.eight::<S, UNITS, 4>(simd, rows.clone(), m),
                };
            }
        }
    }
}

impl<K: Kind> Few<'_, K> {
    /// Up to eight outputs of `ROWS` rows of activations from `m` on; returns how many rows.
    #[inline(always)]
    fn eight<S: Simd, const UNITS: usize, const ROWS: usize>(
        &self,
        simd: S,
        rows: Range<usize>,
        m: usize,
    ) -> usize {
        let given = Given::<K, UNITS, ROWS>::new(self.prepared, m);
        let mut sums = [simd.splat(0.0); ROWS];
        let mut gates = sums;
        for weights in self.gate.into_iter().chain([self.weights]) {
            gates = sums;
            sums = match weights.scales {
                Scales::F32(scales) => of_scales(simd, weights, scales, rows.clone(), &given),
                Scales::F16(scales) => of_scales(simd, weights, scales, rows.clone(), &given),
            };
        }
        for row in 0..ROWS {
            if self.gate.is_some() {
                sums[row] = simd.mul(gelu_lanes(simd, gates[row]), sums[row]);
            }
            let mut numbers = [0.0; LANES];
            simd.store(sums[row], &mut numbers);
            let place = (m + row) * self.weights.rows + rows.start;
            self.output.set(place, &numbers[..rows.len().min(LANES)]);
        }
        ROWS
    }
}

#[inline(always)]
fn of_scales<S: Simd, K: Kind, N: Number, const UNITS: usize, const ROWS: usize>(
    simd: S,
    weights: &Weights<'_>,
    scales: &[N],
    rows: Range<usize>,
    given: &Given<'_, K, UNITS, ROWS>,
) -> [S::F; ROWS] {
    match (weights.zero_points, K::BITS) {
        (None, _) => {
            let middle = Same((1 << (K::BITS - 1)) as f32);
            of_rows(simd, &Rows::new(weights, scales, middle), rows, given)
        }
        (Some(zeros), 4) => of_rows(simd, &Rows::new(weights, scales, Nibbles(zeros)), rows, given),
        (Some(zeros), _) => of_rows(simd, &Rows::new(weights, scales, Bytes(zeros)), rows, given),
    }
}

/// The outputs of up to eight rows of weights, one in each lane.
#[inline(always)]
fn of_rows<S: Simd, K: Kind, N: Number, Z: ZeroPoints, const UNITS: usize, const ROWS: usize>(
    simd: S,
    weights: &Rows<'_, N, Z>,
    rows: Range<usize>,
    given: &Given<'_, K, UNITS, ROWS>,
) -> [S::F; ROWS] {
    let mut lanes = [[simd.splat(0.0); LANES]; ROWS];
    for lane in 0..rows.len().min(LANES) {
        let sums = dots(simd, weights.row(rows.start + lane), given);
        for row in 0..ROWS {
            lanes[row][lane] = sums[row];
        }
    }
    let mut outputs = [simd.splat(0.0); ROWS];
    for row in 0..ROWS {
        outputs[row] = simd.sums(lanes[row]);
    }
    outputs
}

/// `ROWS` rows of activations in groups of `UNITS` units.
struct Given<'a, K: Kind, const UNITS: usize, const ROWS: usize> {
    chunks: [&'a [[K::Chunk; UNITS]]; ROWS],
    scales: [&'a [[f32; LANES]]; ROWS],
    sums: [&'a [[f32; LANES]]; ROWS],
    /// Parts of a block that are counted by themselves.
    parts: usize,
}

impl<'a, K: Kind, const UNITS: usize, const ROWS: usize> Given<'a, K, UNITS, ROWS> {
    /// Those from `m` on.
    #[inline(always)]
    fn new(prepared: &'a Prepared<K>, m: usize) -> Self {
        let (groups, parts) = (prepared.groups, prepared.parts);
        let mut new = Self { chunks: [&[]; ROWS], scales: [&[]; ROWS], sums: [&[]; ROWS], parts };
        let (chunks, _) = prepared.chunks.as_chunks();
        for row in 0..ROWS {
            let first = (m + row) * groups;
            new.chunks[row] = &chunks[first..][..groups];
            new.scales[row] = &prepared.scales[first..][..groups];
            new.sums[row] = &prepared.sums[first..][..groups];
        }
        new
    }

    /// The first groups.
    #[inline(always)]
    fn first(&self, groups: usize) -> Self {
        let mut first = Self { ..*self };
        for row in 0..ROWS {
            first.chunks[row] = &self.chunks[row][..groups];
            first.scales[row] = &self.scales[row][..groups];
            first.sums[row] = &self.sums[row][..groups];
        }
        first
    }
}

/// The products of a row of weights with `ROWS` rows of activations, each in eight sums.
#[inline(always)]
fn dots<S: Simd, K: Kind, N: Number, Z: ZeroPoints, const UNITS: usize, const ROWS: usize>(
    simd: S,
    row: Row<'_, N, Z>,
    given: &Given<'_, K, UNITS, ROWS>,
) -> [S::F; ROWS] {
    let mut sums = [simd.splat(0.0); ROWS];
    let (units, rest) = row.data.as_chunks::<UNIT>();
    let (units, units_left) = units.as_chunks::<UNITS>();
    let groups = given.scales[0].len();
    let whole = groups.min(units.len());
    let (units, of_whole) = (&units[..whole], given.first(whole));
    if given.parts == 1 {
        let scales = &row.scales.as_chunks().0[..whole];
        let zeros = row.zeros.first(whole);
        for index in 0..whole {
            let scales = N::load(simd, &scales[index]);
            let zeros = zeros.of_group(simd, index);
            group(simd, &units[index], scales, zeros, &of_whole, index, &mut sums);
        }
    } else {
        for index in 0..whole {
            let (scales, zeros) = row.of_parts(simd, index, given.parts);
            group(simd, &units[index], scales, zeros, &of_whole, index, &mut sums);
        }
    }
    if whole < groups {
        let mut units = [[0; UNIT]; UNITS];
        let bytes = units.as_flattened_mut();
        let (first, last) = bytes.split_at_mut(units_left.len() * UNIT);
        first.copy_from_slice(units_left.as_flattened());
        last[..rest.len()].copy_from_slice(rest);
        let (scales, zeros) = row.of_parts(simd, whole, given.parts);
        group(simd, &units, scales, zeros, given, whole, &mut sums);
    }
    sums
}

/// Adds what a group makes out.
#[inline(always)]
fn group<S: Simd, K: Kind, const UNITS: usize, const ROWS: usize>(
    simd: S,
    units: &[[u8; UNIT]; UNITS],
    scales: S::F,
    zeros: S::F,
    given: &Given<'_, K, UNITS, ROWS>,
    index: usize,
    sums: &mut [S::F; ROWS],
) {
    let zeros = simd.add(zeros, simd.splat(-K::BIAS));
    for unit in (0..UNITS).step_by(2) {
        // A line of the cache holds two units.
        simd.prefetch(&units[unit], AHEAD);
    }
    // All rows at once, so that the weights are unpacked once for them.
    let mut of_blocks = [zeros; ROWS];
    for row in 0..ROWS {
        of_blocks[row] = blocks::<S, K, UNITS>(simd, units, &given.chunks[row][index]);
    }
    for row in 0..ROWS {
        let levels = simd.fnma(zeros, simd.load(&given.sums[row][index]), of_blocks[row]);
        let factors = simd.mul(scales, simd.load(&given.scales[row][index]));
        sums[row] = simd.fma(levels, factors, sums[row]);
    }
}

/// The sums over each of the eight blocks of a group. All of them are whole numbers below 2^24 where
/// the activations are rounded, so that no order of adding makes a difference.
#[inline(always)]
fn blocks<S: Simd, K: Kind, const UNITS: usize>(
    simd: S,
    units: &[[u8; UNIT]; UNITS],
    chunks: &[K::Chunk; UNITS],
) -> S::F {
    match UNITS {
        2 => {
            let a = K::dot(simd, &units[0], &chunks[0]);
            simd.pairs(a, K::dot(simd, &units[1], &chunks[1]))
        }
        4 => four::<S, K, UNITS>(simd, units, chunks, 0),
        _ => {
            let a = four::<S, K, UNITS>(simd, units, chunks, 0);
            simd.pairs(a, four::<S, K, UNITS>(simd, units, chunks, 4))
        }
    }
}

/// The sums over blocks in four units from `first` on.
#[inline(always)]
fn four<S: Simd, K: Kind, const UNITS: usize>(
    simd: S,
    units: &[[u8; UNIT]; UNITS],
    chunks: &[K::Chunk; UNITS],
    first: usize,
) -> S::F {
    let units = [&units[first], &units[first + 1], &units[first + 2], &units[first + 3]];
    let chunks = [&chunks[first], &chunks[first + 1], &chunks[first + 2], &chunks[first + 3]];
    K::dots(simd, units, chunks)
}
