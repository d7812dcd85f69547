//! Products with many rows of activations, in single precision: prefill. A block of weights becomes
//! plain numbers once and is used for all rows while it lies in the second cache.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use super::plain;
use crate::{
    Matrix, Threads,
    gelu::gelu_lanes,
    output::Output,
    simd::{Kernel, LANES, Simd},
    tile::{self, TALL, add_rows},
};

/// Rows of activations side by side.
const WIDE: usize = 2 * LANES;
type Step = tile::Step<2>;
type Tile = tile::Tile<2>;
const EMPTY: Tile = [[[0.0; LANES]; 2]; TALL];

/// Rows of weights that become plain at once, a multiple of [`TALL`].
const BLOCK: usize = 48;
/// Columns that become plain at once.
const DEPTH: usize = 512;

/// Activations, `[panels, columns]` steps: a panel has [`WIDE`] rows side by side, filled up with
/// zeros, its columns in the order of [`plain::column`].
pub(super) struct Panels {
    steps: Vec<Step>,
    columns: usize,
    rows: usize,
}

impl Panels {
    /// Orders `[rows, columns]` for a product with `matrix`.
    pub(super) fn new(
        matrix: &Matrix<'_>,
        input: &[f32],
        columns: usize,
        threads: &Threads,
    ) -> Self {
        let (rows, filled_up) = (input.len() / columns, plain::filled_up(matrix, columns));
        let mut steps = vec![[[0.0; LANES]; 2]; rows.div_ceil(WIDE) * filled_up];
        let order: Vec<usize> = (0..filled_up).map(|place| plain::column(matrix, place)).collect();
        let places: Vec<_> = steps.chunks_exact_mut(filled_up).map(Mutex::new).collect();
        threads.split(places.len(), 1, &|range| {
            for panel in range {
                let mut steps = places[panel].lock().unwrap_or_else(PoisonError::into_inner);
                let first = panel * WIDE * columns;
                let rows = &input[first..input.len().min(first + WIDE * columns)];
                for (lane, row) in rows.chunks_exact(columns).enumerate() {
                    for (step, &column) in steps.iter_mut().zip(&order) {
                        if let Some(&value) = row.get(column) {
                            step[lane / LANES][lane % LANES] = value;
                        }
                    }
                }
            }
        });
        Self { steps, columns: filled_up, rows }
    }
}

/// A product of `[rows, columns]` with a matrix `[outputs, columns]`.
pub(super) struct Many<'a> {
    pub(super) matrix: &'a Matrix<'a>,
    /// The other matrix of a gated product, of the same form.
    pub(super) gate: Option<&'a Matrix<'a>>,
    pub(super) columns: usize,
    pub(super) outputs: usize,
    pub(super) panels: &'a Panels,
    pub(super) output: Output<'a>,
}

impl Many<'_> {
    /// Does it all.
    pub(super) fn run<S: Simd>(&self, simd: S, threads: &Threads) {
        let each = self.outputs.div_ceil(4 * threads.count()).next_multiple_of(TALL).min(BLOCK);
        threads.split(self.outputs, each, &|range| {
            let mut scratch = Scratch::new(self.panels.steps.len() / self.panels.columns, each);
            for first in range.clone().step_by(each) {
                let block = first..range.end.min(first + each);
                simd.enter(Block { product: self, block, scratch: &mut scratch });
            }
        });
    }
}

/// What a thread works with.
struct Scratch {
    /// Plain weights, `[block, DEPTH]`.
    weights: Vec<f32>,
    /// Sums, `[panels, block / TALL]`.
    tiles: Vec<Tile>,
    /// The same of the gate.
    gates: Vec<Tile>,
    /// One row of the output.
    row: Vec<f32>,
}

impl Scratch {
    fn new(panels: usize, block: usize) -> Self {
        let tiles = vec![EMPTY; panels * (block / TALL)];
        let gates = tiles.clone();
        Self { weights: vec![0.0; block * DEPTH], tiles, gates, row: vec![0.0; block] }
    }
}

/// A block of the rows of weights.
struct Block<'a> {
    product: &'a Many<'a>,
    block: Range<usize>,
    scratch: &'a mut Scratch,
}

impl Kernel for Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { product, block, scratch } = self;
        for matrix in product.gate.into_iter().chain([product.matrix]) {
            std::mem::swap(&mut scratch.tiles, &mut scratch.gates);
            add_all(simd, product, matrix, &block, scratch);
        }
        if product.gate.is_some() {
            open_gates(simd, scratch);
        }
        write(product, &block, scratch);
    }
}

/// Fills the tiles with the products of a block of the rows of `matrix`.
#[inline(always)]
fn add_all<S: Simd>(
    simd: S,
    product: &Many<'_>,
    matrix: &Matrix<'_>,
    block: &Range<usize>,
    scratch: &mut Scratch,
) {
    let panels = product.panels;
    scratch.tiles.fill(EMPTY);
    for first in (0..panels.columns).step_by(DEPTH) {
        let depth = DEPTH.min(panels.columns - first);
        for (place, n) in block.clone().enumerate() {
            let into = &mut scratch.weights[place * DEPTH..][..depth];
            plain::read(simd, matrix, product.columns, n, first, into);
        }
        add_depth(simd, panels, first..first + depth, block.len(), scratch);
    }
}

/// Multiplies every sum with its gate.
#[inline(always)]
fn open_gates<S: Simd>(simd: S, scratch: &mut Scratch) {
    let sums = scratch.tiles.as_flattened_mut().as_flattened_mut();
    let gates = scratch.gates.as_flattened().as_flattened();
    for (sums, gates) in sums.iter_mut().zip(gates) {
        let gates = gelu_lanes(simd, simd.load(gates));
        simd.store(simd.mul(simd.load(sums), gates), sums);
    }
}

/// Adds the products over a range of the columns.
#[inline(always)]
fn add_depth<S: Simd>(
    simd: S,
    panels: &Panels,
    columns: Range<usize>,
    rows: usize,
    scratch: &mut Scratch,
) {
    let tall = scratch.row.len() / TALL;
    let depth = columns.len();
    for (panel, tiles) in scratch.tiles.chunks_exact_mut(tall).enumerate() {
        let steps = &panels.steps[panel * panels.columns + columns.start..][..depth];
        for (index, tile) in tiles.iter_mut().take(rows.div_ceil(TALL)).enumerate() {
            let weights = &scratch.weights[index * TALL * DEPTH..];
            let mut rows = [&weights[..depth]; TALL];
            for row in 1..TALL {
                rows[row] = &weights[row * DEPTH..][..depth];
            }
            add_rows(simd, rows, steps, tile);
        }
    }
}

/// Puts the sums of a block into the output.
#[inline(always)]
fn write(product: &Many<'_>, block: &Range<usize>, scratch: &mut Scratch) {
    let tall = scratch.row.len() / TALL;
    let row = &mut scratch.row[..block.len()];
    for m in 0..product.panels.rows {
        let tiles = &scratch.tiles[m / WIDE * tall..][..tall];
        for (index, place) in row.iter_mut().enumerate() {
            *place = tiles[index / TALL][index % TALL][m % WIDE / LANES][m % LANES];
        }
        product.output.set(m * product.outputs + block.start, row);
    }
}
