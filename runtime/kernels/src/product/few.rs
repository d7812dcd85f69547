//! Products with few rows of activations: decode. The weights are read once, in the order in which
//! they lie, and everything else stays in the caches, so that memory is what sets the pace.

use std::ops::Range;

use super::{
    kind::Kind,
    prepared::Prepared,
    row::{Bytes, Middle, Nibbles, Number, Row, Rows, ZeroPoints, filled_up},
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
pub(super) const ROUNDED_ROWS_MAX: usize = 64;

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
        let given = Given::<K, PARTS, EACH, ROWS>::new(self.prepared, m);
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
fn of_scales<
    S: Simd,
    K: Kind,
    N: Number,
    const PARTS: usize,
    const EACH: usize,
    const ROWS: usize,
>(
    simd: S,
    weights: &Weights<'_>,
    scales: &[N],
    rows: Range<usize>,
    given: &Given<'_, K, PARTS, EACH, ROWS>,
) -> [S::F; ROWS] {
    match (weights.zero_points, K::BITS) {
        (None, _) => of_rows(simd, &Rows::new(weights, scales, Middle::<K>::new()), rows, given),
        (Some(zeros), 4) => of_rows(simd, &Rows::new(weights, scales, Nibbles(zeros)), rows, given),
        (Some(zeros), _) => of_rows(simd, &Rows::new(weights, scales, Bytes(zeros)), rows, given),
    }
}

/// The outputs of up to eight rows of weights, one in each lane.
#[inline(always)]
fn of_rows<
    S: Simd,
    K: Kind,
    N: Number,
    Z: ZeroPoints,
    const PARTS: usize,
    const EACH: usize,
    const ROWS: usize,
>(
    simd: S,
    weights: &Rows<'_, N, Z>,
    rows: Range<usize>,
    given: &Given<'_, K, PARTS, EACH, ROWS>,
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

/// `ROWS` rows of activations in groups.
struct Given<'a, K: Kind, const PARTS: usize, const EACH: usize, const ROWS: usize> {
    chunks: [&'a [[[K::Chunk; EACH]; PARTS]]; ROWS],
    scales: [&'a [[f32; LANES]]; ROWS],
    sums: [&'a [[f32; LANES]]; ROWS],
}

impl<'a, K: Kind, const PARTS: usize, const EACH: usize, const ROWS: usize>
    Given<'a, K, PARTS, EACH, ROWS>
{
    /// Those from `m` on.
    #[inline(always)]
    fn new(prepared: &'a Prepared<K>, m: usize) -> Self {
        let groups = prepared.groups;
        let mut new = Self { chunks: [&[]; ROWS], scales: [&[]; ROWS], sums: [&[]; ROWS] };
        for row in 0..ROWS {
            let first = (m + row) * groups;
            let units = first * PARTS * EACH..(first + groups) * PARTS * EACH;
            new.chunks[row] = &in_parts(&prepared.chunks[units])[..groups];
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
fn dots<
    S: Simd,
    K: Kind,
    N: Number,
    Z: ZeroPoints,
    const PARTS: usize,
    const EACH: usize,
    const ROWS: usize,
>(
    simd: S,
    row: Row<'_, N, Z>,
    given: &Given<'_, K, PARTS, EACH, ROWS>,
) -> [S::F; ROWS] {
    let mut sums = [simd.splat(0.0); ROWS];
    let units: &[[[[u8; UNIT]; EACH]; PARTS]] = in_parts(row.data.as_chunks().0);
    let (eights, rest) = row.scales.as_chunks();
    let groups = given.scales[0].len();
    let whole = groups.min(units.len()).min(eights.len());
    let (units, eights, zeros) = (&units[..whole], &eights[..whole], row.zeros.first(whole));
    let of_whole = given.first(whole);
    for index in 0..whole {
        let scales = N::load(simd, &eights[index]);
        let zeros = zeros.of_group(simd, index);
        group(simd, &units[index], scales, zeros, &of_whole, index, &mut sums);
    }
    if whole < groups {
        let mut units = [[[0; UNIT]; EACH]; PARTS];
        let bytes = units.as_flattened_mut().as_flattened_mut();
        let left = &row.data[whole * bytes.len()..];
        bytes[..left.len()].copy_from_slice(left);
        let scales = N::load(simd, &filled_up(rest));
        let zeros = row.zeros.rest(simd, whole);
        group(simd, &units, scales, zeros, given, whole, &mut sums);
    }
    sums
}

/// Adds what a group makes out.
#[inline(always)]
fn group<S: Simd, K: Kind, const PARTS: usize, const EACH: usize, const ROWS: usize>(
    simd: S,
    units: &[[[u8; UNIT]; EACH]; PARTS],
    scales: S::F,
    zeros: S::F,
    given: &Given<'_, K, PARTS, EACH, ROWS>,
    index: usize,
    sums: &mut [S::F; ROWS],
) {
    let mut chunks = [&given.chunks[0][index]; ROWS];
    for row in 1..ROWS {
        chunks[row] = &given.chunks[row][index];
    }
    let zeros = simd.add(zeros, simd.splat(-K::BIAS));
    let blocks = blocks::<S, K, PARTS, EACH, ROWS>(simd, units, chunks);
    for row in 0..ROWS {
        let levels = simd.fnma(zeros, simd.load(&given.sums[row][index]), blocks[row]);
        let factors = simd.mul(scales, simd.load(&given.scales[row][index]));
        sums[row] = simd.fma(levels, factors, sums[row]);
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
    let [a, b, c, d] = [first, first + 1, first + 2, first + 3];
    let mut sums = [simd.splat(0.0); ROWS];
    if EACH == 1 {
        let units = [&units[a][0], &units[b][0], &units[c][0], &units[d][0]];
        for row in 0..ROWS {
            let chunks = chunks[row];
            let chunks = [&chunks[a][0], &chunks[b][0], &chunks[c][0], &chunks[d][0]];
            sums[row] = K::dots(simd, units, chunks);
        }
        simd.prefetch(units[0], AHEAD);
        simd.prefetch(units[2], AHEAD);
        return sums;
    }
    let a = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, a);
    let b = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, b);
    let c = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, c);
    let d = part::<S, K, PARTS, EACH, ROWS>(simd, units, chunks, d);
    for row in 0..ROWS {
        sums[row] = simd.fours(a[row], b[row], c[row], d[row]);
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
