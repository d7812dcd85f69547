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
        let mut factors = vec![[[0.0; LANES]; 4]; product.prepared.groups];
        for first in range.clone().step_by(LANES) {
            let rows = first..range.end.min(first + LANES);
            let mut m = 0;
            while m < product.rows {
                let rows = rows.clone();
                m += match product.rows - m {
                    1..4 => product.eight::<S, PARTS, EACH, 1>(simd, rows, m, &mut factors),
                    _ => product.eight::<S, PARTS, EACH, 4>(simd, rows, m, &mut factors),
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
        factors: &mut [[[f32; LANES]; 4]],
    ) -> usize {
        let mut sums = [simd.splat(0.0); ROWS];
        let mut gates = sums;
        for weights in self.gate.into_iter().chain([self.weights]) {
            gates = sums;
            let mut lanes = [[simd.splat(0.0); LANES]; ROWS];
            for lane in 0..rows.len().min(LANES) {
                let row = Row::new(weights, rows.start + lane);
                let dots = self.dots::<S, PARTS, EACH, ROWS>(simd, row, m, factors);
                for row in 0..ROWS {
                    lanes[row][lane] = dots[row];
                }
            }
            for row in 0..ROWS {
                sums[row] = simd.sums(lanes[row]);
            }
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

    /// The products of a row of weights with `ROWS` rows of activations, each in eight sums.
    #[inline(always)]
    fn dots<S: Simd, const PARTS: usize, const EACH: usize, const ROWS: usize>(
        &self,
        simd: S,
        row: Row<'_>,
        m: usize,
        factors: &mut [[[f32; LANES]; 4]],
    ) -> [S::F; ROWS] {
        let prepared = self.prepared;
        let groups = prepared.groups;
        let mut sums = [simd.splat(0.0); ROWS];
        let mut chunks: [&[[[K::Chunk; EACH]; PARTS]]; ROWS] = [&[]; ROWS];
        for row in 0..ROWS {
            let first = (m + row) * groups;
            let units = first * PARTS * EACH..(first + groups) * PARTS * EACH;
            chunks[row] = in_parts(&prepared.chunks[units]);
        }
        row.factors(simd, prepared, m, factors, &mut sums);
        let units: &[[[[u8; UNIT]; EACH]; PARTS]] = in_parts(row.units());
        let whole = units.len().min(factors.len());
        let (units, factors, rest) = (&units[..whole], &factors[..whole], &factors[whole..]);
        let mut of_groups = chunks;
        for row in 0..ROWS {
            of_groups[row] = &chunks[row][..whole];
        }
        for index in 0..whole {
            let mut of_rows = [&of_groups[0][index]; ROWS];
            for row in 1..ROWS {
                of_rows[row] = &of_groups[row][index];
            }
            let blocks = blocks::<S, K, PARTS, EACH, ROWS>(simd, &units[index], of_rows);
            for row in 0..ROWS {
                sums[row] = simd.fma(blocks[row], simd.load(&factors[index][row]), sums[row]);
            }
        }
        if let [factors, ..] = rest {
            let mut units = [[[0; UNIT]; EACH]; PARTS];
            row.rest(units.as_flattened_mut());
            let mut of_rows = [&chunks[0][whole]; ROWS];
            for row in 1..ROWS {
                of_rows[row] = &chunks[row][whole];
            }
            let blocks = blocks::<S, K, PARTS, EACH, ROWS>(simd, &units, of_rows);
            for row in 0..ROWS {
                sums[row] = simd.fma(blocks[row], simd.load(&factors[row]), sums[row]);
            }
        }
        sums
    }
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
