//! Products with many rows of activations rounded to 8 bits, weights of 4 bits: prefill in integers.
//! Eight rows of weights are laid side by side, four columns of each, so that one instruction adds
//! four products for each of them; scales come in once for each block.

use std::ops::Range;

use super::plain::unit_at;
use crate::{
    Threads, Weights,
    gelu::gelu_lanes,
    output::Output,
    rounded::Rounded,
    simd::{Kernel, LANES, Simd, UNIT},
};

/// Columns in a unit.
const COLUMNS: usize = 2 * UNIT;
/// Rows of activations that share what is read of the weights.
const ROWS: usize = 4;
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

/// The column of a unit that stands at a place: even ones of eight, then odd ones.
fn column(place: usize) -> usize {
    let (eight, inside) = (place / 8, place % 8);
    eight * 8 + inside % 4 * 2 + inside / 4
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
        let order: [usize; COLUMNS] = std::array::from_fn(column);
        let levels = rounded.levels.chunks_exact(blocks * block);
        for ((steps, sums), levels) in
            steps.chunks_exact_mut(filled_up / 4).zip(sums.chunks_exact_mut(blocks)).zip(levels)
        {
            for (sum, levels) in sums.iter_mut().zip(levels.chunks_exact(block)) {
                *sum = levels.iter().map(|&level| i32::from(level)).sum::<i32>() as f32;
            }
            let units = steps.as_flattened_mut().chunks_exact_mut(COLUMNS);
            for (unit, levels) in units.zip(levels.chunks(COLUMNS)) {
                for (place, &column) in unit.iter_mut().zip(&order) {
                    *place = levels.get(column).map_or(0, |&level| level as u8);
                }
            }
        }
        Self { steps, scales, sums, rows, columns: filled_up, blocks }
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
    /// `[blocks]`, a lane for each row.
    scales: Vec<[f32; LANES]>,
    zero_points: Vec<[f32; LANES]>,
}

impl Strip {
    /// Rows from `first` on; those that do not exist are zero.
    #[inline(always)]
    fn new(weights: &Weights<'_>, first: usize, columns: usize) -> Self {
        let blocks = weights.blocks();
        let mut steps = vec![[0; UNIT]; columns / 4];
        let mut scales = vec![[0.0; LANES]; blocks];
        let mut zero_points = vec![[0.0; LANES]; blocks];
        for lane in 0..LANES.min(weights.rows - first) {
            let n = first + lane;
            let row = &weights.data[n * weights.row_bytes()..][..weights.row_bytes()];
            for (unit, steps) in steps.chunks_exact_mut(COLUMNS / 4).enumerate() {
                let levels = unit_at(row, unit * UNIT);
                for (pair, four) in steps.chunks_exact_mut(2).zip(levels.as_chunks::<4>().0) {
                    let word = u32::from_le_bytes(*four);
                    let low = (word & 0x0f0f_0f0f).to_le_bytes();
                    let high = (word >> 4 & 0x0f0f_0f0f).to_le_bytes();
                    pair[0].as_chunks_mut::<4>().0[lane] = low;
                    pair[1].as_chunks_mut::<4>().0[lane] = high;
                }
            }
            for block in 0..blocks {
                scales[block][lane] = weights.scales.get(n * blocks + block);
                zero_points[block][lane] = f32::from(weights.zero_point(n, block));
            }
        }
        Self { steps, scales, zero_points }
    }
}

/// Some strips.
struct Part<'a> {
    product: &'a Integer<'a>,
    rows: Range<usize>,
}

impl Kernel for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { product, rows } = self;
        let ordered = product.ordered;
        let mut strips = Vec::new();
        for first in rows.clone().step_by(LANES) {
            let gate = product.gate.map(|gate| Strip::new(gate, first, ordered.columns));
            strips.push((gate, Strip::new(product.weights, first, ordered.columns)));
        }
        let block = product.weights.block;
        for m in (0..ordered.rows).step_by(ROWS) {
            for (index, (gate, strip)) in strips.iter().enumerate() {
                let mut sums = [simd.splat(0.0); ROWS];
                let mut gates = sums;
                for strip in gate.iter().chain([strip]) {
                    gates = sums;
                    sums = dots(simd, strip, ordered, m, block);
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

/// The products of a strip with [`ROWS`] rows of activations.
#[inline(always)]
fn dots<S: Simd>(
    simd: S,
    strip: &Strip,
    ordered: &Ordered,
    m: usize,
    block: usize,
) -> [S::F; ROWS] {
    let per_row = ordered.columns / 4;
    let mut sums = [simd.splat(0.0); ROWS];
    for (index, steps) in strip.steps.chunks(block / 4).take(ordered.blocks).enumerate() {
        let mut rounded = [&ordered.steps[..0]; ROWS];
        for row in 0..ROWS {
            let first = (m + row) * per_row + index * block / 4;
            rounded[row] = &ordered.steps[first..][..steps.len()];
        }
        let levels = simd.steps(steps, rounded);
        let zero_points = simd.load(&strip.zero_points[index]);
        let strip_scales = simd.load(&strip.scales[index]);
        for row in 0..ROWS {
            let at = (m + row) * ordered.blocks + index;
            let levels = simd.fnma(zero_points, simd.splat(ordered.sums[at]), levels[row]);
            let scales = simd.mul(strip_scales, simd.splat(ordered.scales[at]));
            sums[row] = simd.fma(levels, scales, sums[row]);
        }
    }
    sums
}
