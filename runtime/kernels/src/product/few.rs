//! Products with few rows of activations: decode. The weights are read once, in the order in which
//! they lie, and everything else stays in the caches, so that memory is what sets the pace.

use std::ops::Range;

use super::{kind::Kind, prepared::Prepared, row::Row};
use crate::{
    Threads, Weights,
    gelu::gelu_lanes,
    output::Output,
    simd::{Kernel, LANES, Simd, UNIT},
};

/// Rows of activations up to which this is the faster way.
pub(super) const ROWS_MAX: usize = 8;
/// The same where the activations are rounded and the weights have 4 bits.
pub(super) const ROUNDED_ROWS_MAX: usize = 32;

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
        let units = self.product.prepared.chunks_per_group;
        match (units, K::BITS) {
            (2, 4) => self.all::<S, 2, 1>(simd),
            (4, _) => self.all::<S, 4, 1>(simd),
            (8, _) => self.all::<S, 8, 1>(simd),
            (16, _) => self.all::<S, 8, 2>(simd),
            (32, _) => self.all::<S, 8, 4>(simd),
            _ => self.all::<S, 8, 8>(simd),
        }
    }
}

impl<K: Kind> Part<'_, K> {
    #[inline(always)]
    fn all<S: Simd, const PARTS: usize, const EACH: usize>(self, simd: S) {
        let Self { product, range } = self;
        for first in range.clone().step_by(LANES) {
            let rows = first..range.end.min(first + LANES);
            let mut m = 0;
            while m < product.rows {
                m += match product.rows - m {
                    1..4 => product.eight::<S, PARTS, EACH, 1>(simd, rows.clone(), m),
                    _ => product.eight::<S, PARTS, EACH, 4>(simd, rows.clone(), m),
                };
            }
        }
    }
}

impl<K: Kind> Few<'_, K> {
    /// Up to eight outputs of `ROWS` rows of activations from `m` on; returns how many rows.
    #[inline(always)]
    fn eight<S: Simd, const PARTS: usize, const EACH: usize, const ROWS: usize>(
        &self,
        simd: S,
        rows: Range<usize>,
        m: usize,
    ) -> usize {
        let outputs = rows.len();
        let first = rows.start;
        let mut sums = [[0.0; LANES]; ROWS];
        let mut gates = sums;
        for weights in self.gate.into_iter().chain([self.weights]) {
            gates = sums;
            let first = rows.start;
            for lane in 0..outputs.min(LANES) {
                let row = Row::new(weights, first + lane);
                let dots = dots::<S, K, PARTS, EACH, ROWS>(simd, row, self.prepared, m);
                for row in 0..ROWS {
                    sums[row][lane] = dots[row];
                }
            }
        }
        if self.gate.is_some() {
            for (sums, gates) in sums.iter_mut().zip(&gates) {
                let gates = gelu_lanes(simd, simd.load(gates));
                simd.store(simd.mul(gates, simd.load(sums)), sums);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            self.output.set((m + row) * self.weights.rows + first, &sums[..outputs]);
        }
        ROWS
    }
}

/// The products of a row of weights with `ROWS` rows of activations.
#[inline(always)]
fn dots<S: Simd, K: Kind, const PARTS: usize, const EACH: usize, const ROWS: usize>(
    simd: S,
    row: Row<'_>,
    prepared: &Prepared<K>,
    m: usize,
) -> [f32; ROWS] {
    let mut rest = [[[0; UNIT]; EACH]; PARTS];
    row.rest(rest.as_flattened_mut());
    let whole: &[[[[u8; UNIT]; EACH]; PARTS]] = in_parts(row.units());
    let groups = prepared.groups;
    let mut chunks: [&[[[K::Chunk; EACH]; PARTS]]; ROWS] = [&[]; ROWS];
    let (mut scales, mut activations) =
        ([&prepared.scales[..0]; ROWS], [&prepared.sums[..0]; ROWS]);
    for row in 0..ROWS {
        let first = (m + row) * groups;
        let units = first * PARTS * EACH..(first + groups) * PARTS * EACH;
        chunks[row] = &in_parts(&prepared.chunks[units])[..groups];
        scales[row] = &prepared.scales[first..][..groups];
        activations[row] = &prepared.sums[first..][..groups];
    }
    let mut sums = [simd.splat(0.0); ROWS];
    for index in 0..groups {
        let units = whole.get(index).unwrap_or(&rest);
        let mut of_rows = [&chunks[0][index]; ROWS];
        for row in 1..ROWS {
            of_rows[row] = &chunks[row][index];
        }
        let blocks = blocks::<S, K, PARTS, EACH, ROWS>(simd, units, of_rows);
        let row_scales = row.scales(simd, index);
        let zero = simd.add(row.zero_points(simd, index), simd.splat(-K::BIAS));
        for row in 0..ROWS {
            let levels = simd.fnma(zero, simd.load(&activations[row][index]), blocks[row]);
            let scales = simd.mul(row_scales, simd.load(&scales[row][index]));
            sums[row] = simd.fma(levels, scales, sums[row]);
        }
    }
    let mut numbers = [0.0; ROWS];
    for row in 0..ROWS {
        numbers[row] = simd.sum(sums[row]);
    }
    numbers
}

/// Units of several groups, group by group, part by part.
#[inline(always)]
fn in_parts<T, const PARTS: usize, const EACH: usize>(units: &[T]) -> &[[[T; EACH]; PARTS]] {
    units.as_chunks::<EACH>().0.as_chunks::<PARTS>().0
}

/// The sums over each of the eight blocks of a group. All of them are whole numbers below 2^24 where
/// the activations are rounded, so that no order of adding makes a difference.
#[inline(always)]
fn blocks<S: Simd, K: Kind, const PARTS: usize, const EACH: usize, const ROWS: usize>(
    simd: S,
    units: &[[[u8; UNIT]; EACH]; PARTS],
    chunks: [&[[K::Chunk; EACH]; PARTS]; ROWS],
) -> [S::F; ROWS] {
    if PARTS == 2 {
        let a = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, 0);
        let b = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, 1);
        return pairs::<S, ROWS>(simd, a, b);
    }
    let first = four_parts::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, 0);
    if PARTS == 4 {
        return first;
    }
    let second = four_parts::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, 4);
    pairs::<S, ROWS>(simd, first, second)
}

#[inline(always)]
fn four_parts<S: Simd, K: Kind, const PARTS: usize, const EACH: usize, const ROWS: usize>(
    simd: S,
    units: &[[[u8; UNIT]; EACH]; PARTS],
    chunks: [&[[K::Chunk; EACH]; PARTS]; ROWS],
    first: usize,
) -> [S::F; ROWS] {
    let mut sums = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, first);
    let b = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, first + 1);
    let c = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, first + 2);
    let d = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, first + 3);
    for row in 0..ROWS {
        sums[row] = simd.fours(sums[row], b[row], c[row], d[row]);
    }
    sums
}

/// The sum over the units of a part.
#[inline(always)]
fn part<S: Simd, K: Kind, const PARTS: usize, const EACH: usize, const ROWS: usize>(
    simd: S,
    units: &[[[u8; UNIT]; EACH]; PARTS],
    chunks: [&[[K::Chunk; EACH]; PARTS]; ROWS],
    part: usize,
) -> [S::F; ROWS] {
    let units = &units[part];
    let mut sums = [simd.splat(0.0); ROWS];
    for row in 0..ROWS {
        sums[row] = K::dot(simd, &units[0], &chunks[row][part][0]);
    }
    for at in 1..EACH {
        for row in 0..ROWS {
            sums[row] = simd.add(sums[row], K::dot(simd, &units[at], &chunks[row][part][at]));
        }
    }
    // A line of the cache holds two units.
    for at in (0..EACH).step_by(2) {
        if EACH > 1 || part.is_multiple_of(2) {
            simd.prefetch(&units[at], AHEAD);
        }
    }
    sums
}

#[inline(always)]
fn pairs<S: Simd, const ROWS: usize>(simd: S, a: [S::F; ROWS], b: [S::F; ROWS]) -> [S::F; ROWS] {
    let mut sums = a;
    for row in 0..ROWS {
        sums[row] = simd.pairs(a[row], b[row]);
    }
    sums
}
