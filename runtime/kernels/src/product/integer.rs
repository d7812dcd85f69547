//! Products with many rows of activations rounded to 8 bits, weights of 4 bits: prefill in integers.
//! Eight rows of weights are laid side by side, four columns of each, so that one instruction adds
//! four products for each of them; scales come in once for each block.

use std::ops::Range;

use super::row::{Nibbles, Number, Rows, Same, ZeroPoints};
use crate::{
    Scales, Threads, Weights,
    gelu::gelu_lanes,
    output::Output,
    rounded::Rounded,
    simd::{Kernel, LANES, Simd, UNIT},
};

/// Columns in a unit.
const COLUMNS: usize = 2 * UNIT;
/// Rows of activations that share what is read of the weights.
pub(super) const ROWS: usize = 4;
/// The level that means zero where no other is given.
const MIDDLE: f32 = 8.0;
/// Bytes of ordered weights that stay in the second cache.
const BYTES: usize = 128 << 10;

/// Rounded activations in the order of [`Strip`].
pub(super) struct Ordered {
    /// `[rows, columns / 4]`: four columns of each step.
    steps: Vec<[u8; 4]>,
    /// Scales `[rows, blocks]`.
    scales: Vec<f32>,
    /// Sums of the levels of a block, `[rows, blocks]`.
    sums: Vec<f32>,
    /// Filled up to a multiple of [`ROWS`] with zeros.
    rows: usize,
    columns: usize,
    blocks: usize,
}

impl Ordered {
    /// Rounds and orders `[rows, columns]`.
    #[inline(always)]
    pub(super) fn new(input: &[f32], columns: usize, block: usize) -> Self {
        let rounded = Rounded::new(input, columns, block);
        let blocks = columns.div_ceil(block);
        let filled_up = (blocks * block).next_multiple_of(COLUMNS);
        let rows = (input.len() / columns).next_multiple_of(ROWS);
        let mut steps = vec![[0; 4]; rows * filled_up / 4];
        let mut sums = vec![0.0; rows * blocks];
        let mut scales = rounded.scales;
        scales.resize(rows * blocks, 0.0);
        let levels = rounded.levels.chunks_exact(blocks * block);
        for ((steps, sums), levels) in
            steps.chunks_exact_mut(filled_up / 4).zip(sums.chunks_exact_mut(blocks)).zip(levels)
        {
            for (sum, levels) in sums.iter_mut().zip(levels.chunks_exact(block)) {
                *sum = levels.iter().map(|&level| i32::from(level)).sum::<i32>() as f32;
            }
            // A byte of weights holds an even and an odd column, a step four of one kind.
            let pairs = steps.as_chunks_mut::<2>().0.iter_mut().zip(levels.as_chunks::<8>().0);
            for ([even, odd], levels) in pairs {
                for at in 0..4 {
                    even[at] = levels[2 * at] as u8;
                    odd[at] = levels[2 * at + 1] as u8;
                }
            }
        }
        Self { steps, scales, sums, rows, columns: filled_up, blocks }
    }

    /// These and more; only the last may have been filled up.
    pub(super) fn followed_by(mut self, mut more: Self) -> Self {
        self.steps.append(&mut more.steps);
        self.scales.append(&mut more.scales);
        self.sums.append(&mut more.sums);
        self.rows += more.rows;
        self
    }
}

/// A product, or with `gate` a gated one of the same form.
pub(super) struct Integer<'a> {
    pub(super) weights: &'a Weights<'a>,
    pub(super) gate: Option<&'a Weights<'a>>,
    pub(super) ordered: &'a Ordered,
    /// Rows of the output.
    pub(super) rows: usize,
    pub(super) output: Output<'a>,
}

impl Integer<'_> {
    /// Does it all.
    pub(super) fn run<S: Simd>(&self, simd: S, threads: &Threads) {
        let bytes = LANES * self.ordered.columns * (1 + usize::from(self.gate.is_some()));
        let strips = (BYTES / bytes).clamp(1, 8);
        threads.split(self.weights.rows, LANES, &|range| {
            for first in range.clone().step_by(strips * LANES) {
                let rows = first..range.end.min(first + strips * LANES);
                simd.enter(Part { product: self, rows });
            }
        });
    }
}

/// Eight rows of weights side by side.
struct Strip {
    /// `[columns / 4]` steps: four levels of each row.
    steps: Vec<[u8; UNIT]>,
    /// `[blocks]` at least, a lane for each row.
    scales: OfBlocks,
    zero_points: OfBlocks,
}

impl Strip {
    /// Rows from `first` on. Where there are fewer than eight the last one stands in for the others.
    #[inline(always)]
    fn new<S: Simd>(simd: S, weights: &Weights<'_>, first: usize, columns: usize) -> Self {
        let last = weights.rows - 1;
        let places = std::array::from_fn(|lane| last.min(first + lane));
        let (scales, zero_points) = match weights.scales {
            Scales::F32(scales) => of_blocks(simd, weights, scales, places),
            Scales::F16(scales) => of_blocks(simd, weights, scales, places),
        };
        Self { steps: steps(weights, places, columns), scales, zero_points }
    }
}

/// The levels of eight rows, `[columns / 4]` steps.
#[inline(always)]
fn steps(weights: &Weights<'_>, places: [usize; LANES], columns: usize) -> Vec<[u8; UNIT]> {
    let bytes = weights.row_bytes();
    let words = bytes / 4;
    let mut rows = [&[[0; 4]][..0]; LANES];
    for lane in 0..LANES {
        rows[lane] = &weights.data[places[lane] * bytes..][..bytes].as_chunks().0[..words];
    }
    let mut steps = vec![[0; UNIT]; columns / 4];
    let pairs = &mut steps.as_chunks_mut::<2>().0[..words];
    for word in 0..words {
        let mut all = [0; LANES];
        for lane in 0..LANES {
            all[lane] = u32::from_le_bytes(rows[lane][word]);
        }
        let [even, odd] = &mut pairs[word];
        for lane in 0..LANES {
            even.as_chunks_mut().0[lane] = (all[lane] & 0x0f0f_0f0f).to_le_bytes();
            odd.as_chunks_mut().0[lane] = (all[lane] >> 4 & 0x0f0f_0f0f).to_le_bytes();
        }
    }
    steps
}

/// Numbers of blocks, a lane for each row.
type OfBlocks = Vec<[f32; LANES]>;

/// Scales and zero points of eight rows, `[blocks, lanes]` each; behind the last block follow some
/// whose scales are zero.
#[inline(always)]
fn of_blocks<S: Simd, N: Number>(
    simd: S,
    weights: &Weights<'_>,
    scales: &[N],
    places: [usize; LANES],
) -> (OfBlocks, OfBlocks) {
    match weights.zero_points {
        None => side_by_side(simd, weights, &Rows::new(weights, scales, Same(MIDDLE)), places),
        Some(zeros) => {
            side_by_side(simd, weights, &Rows::new(weights, scales, Nibbles(zeros)), places)
        }
    }
}

#[inline(always)]
fn side_by_side<S: Simd, N: Number, Z: ZeroPoints>(
    simd: S,
    weights: &Weights<'_>,
    rows: &Rows<'_, N, Z>,
    places: [usize; LANES],
) -> (OfBlocks, OfBlocks) {
    let blocks = weights.blocks();
    let mut of_rows = [rows.row(places[0]); LANES];
    for lane in 1..LANES {
        of_rows[lane] = rows.row(places[lane]);
    }
    let groups = blocks.div_ceil(LANES);
    let mut scales = vec![[0.0; LANES]; groups * LANES];
    let mut zero_points = vec![[MIDDLE; LANES]; groups * LANES];
    let (scales_of, _) = scales.as_chunks_mut();
    let (zeros_of, _) = zero_points.as_chunks_mut();
    for group in 0..groups {
        let mut of_lanes = [[[0.0; LANES]; LANES]; 2];
        for lane in 0..LANES {
            let (scales, zeros) = of_rows[lane].of_group(simd, group);
            simd.store(scales, &mut of_lanes[0][lane]);
            simd.store(zeros, &mut of_lanes[1][lane]);
        }
        scales_of[group] = turned(&of_lanes[0]);
        if weights.zero_points.is_some() {
            zeros_of[group] = turned(&of_lanes[1]);
        }
    }
    (scales, zero_points)
}

/// Columns as rows.
#[inline(always)]
fn turned(rows: &[[f32; LANES]; LANES]) -> [[f32; LANES]; LANES] {
    let mut turned = [[0.0; LANES]; LANES];
    for column in 0..LANES {
        for row in 0..LANES {
            turned[column][row] = rows[row][column];
        }
    }
    turned
}

/// Some strips.
struct Part<'a> {
    product: &'a Integer<'a>,
    rows: Range<usize>,
}

impl Kernel for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.product.weights.block {
            16 => self.all::<S, 4>(simd),
            _ => self.all::<S, 8>(simd),
        }
    }
}

impl Part<'_> {
    #[inline(always)]
    fn all<S: Simd, const STEPS: usize>(self, simd: S) {
        let each = self.product.weights.block / (4 * STEPS);
        let Self { product, rows } = self;
        let ordered = product.ordered;
        let mut strips = Vec::new();
        for first in rows.clone().step_by(LANES) {
            let gate = product.gate.map(|gate| Strip::new(simd, gate, first, ordered.columns));
            strips.push((gate, Strip::new(simd, product.weights, first, ordered.columns)));
        }
        let turns = strips.len() * ordered.rows / ROWS;
        let (mut gate_next, mut next) = (
            product.gate.map(|gate| Next::after(gate, &rows, turns)),
            Next::after(product.weights, &rows, turns),
        );
        for m in (0..ordered.rows).step_by(ROWS) {
            for (index, (gate, strip)) in strips.iter().enumerate() {
                for next in gate_next.iter_mut().chain([&mut next]) {
                    next.ask(simd);
                }
                let mut sums = [simd.splat(0.0); ROWS];
                let mut gates = sums;
                for strip in gate.iter().chain([strip]) {
                    gates = sums;
                    sums = dots::<S, STEPS>(simd, strip, ordered, m, each);
                }
                let first = rows.start + index * LANES;
                let outputs = LANES.min(product.weights.rows - first);
                for row in 0..ROWS.min(product.rows - m) {
                    if gate.is_some() {
                        sums[row] = simd.mul(sums[row], gelu_lanes(simd, gates[row]));
                    }
                    let mut numbers = [0.0; LANES];
                    simd.store(sums[row], &mut numbers);
                    let place = (m + row) * product.weights.rows + first;
                    product.output.set(place, &numbers[..outputs]);
                }
            }
        }
    }
}

/// The weights behind those that are multiplied, which are asked for meanwhile, some in each turn.
struct Next<'a> {
    lines: &'a [[[u8; UNIT]; 2]],
    each: usize,
}

impl<'a> Next<'a> {
    /// As many rows as `rows` are, from their end on.
    fn after(weights: &Weights<'a>, rows: &Range<usize>, turns: usize) -> Self {
        let end = weights.rows.min(rows.end + rows.len());
        let bytes = rows.end * weights.row_bytes()..end * weights.row_bytes();
        let (lines, _) = weights.data[bytes].as_chunks::<UNIT>().0.as_chunks();
        Self { lines, each: lines.len().div_ceil(turns.max(1)) }
    }

    /// Asks for the next of them.
    #[inline(always)]
    fn ask<S: Simd>(&mut self, simd: S) {
        let (now, later) = self.lines.split_at(self.each.min(self.lines.len()));
        for line in now {
            simd.prefetch(&line[0], 0);
        }
        self.lines = later;
    }
}

/// The products of a strip with [`ROWS`] rows of activations; a block is `each` times `STEPS` steps.
#[inline(always)]
fn dots<S: Simd, const STEPS: usize>(
    simd: S,
    strip: &Strip,
    ordered: &Ordered,
    m: usize,
    each: usize,
) -> [S::F; ROWS] {
    let (per_row, blocks) = (ordered.columns / 4, ordered.blocks);
    let (steps, _) = strip.steps.as_chunks::<STEPS>();
    let (strip_scales, zero_points) = (&strip.scales[..blocks], &strip.zero_points[..blocks]);
    let mut rounded = [&[[[0; 4]; STEPS]][..0]; ROWS];
    let mut of_rows = [(&[0.0][..0], &[0.0][..0]); ROWS];
    for row in 0..ROWS {
        rounded[row] = ordered.steps[(m + row) * per_row..][..per_row].as_chunks().0;
        let first = (m + row) * blocks;
        of_rows[row] = (&ordered.scales[first..][..blocks], &ordered.sums[first..][..blocks]);
    }
    let mut sums = [simd.splat(0.0); ROWS];
    for index in 0..blocks {
        let mut levels = [simd.splat(0.0); ROWS];
        for at in index * each..(index + 1) * each {
            let mut of_step = [&rounded[0][at]; ROWS];
            for row in 1..ROWS {
                of_step[row] = &rounded[row][at];
            }
            let more = simd.steps(&steps[at], of_step);
            for row in 0..ROWS {
                levels[row] = simd.add(levels[row], more[row]);
            }
        }
        let (scales, zeros) = (simd.load(&strip_scales[index]), simd.load(&zero_points[index]));
        for row in 0..ROWS {
            let (of_row, sum) = (of_rows[row].0[index], of_rows[row].1[index]);
            let levels = simd.fnma(zeros, simd.splat(sum), levels[row]);
            sums[row] = simd.fma(levels, simd.mul(scales, simd.splat(of_row)), sums[row]);
        }
    }
    sums
}
