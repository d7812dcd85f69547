//! Weights of every form as rows of plain numbers, in the order in which they come out cheapest.

use crate::{
    Matrix, Weights,
    simd::{LANES, Simd, UNIT, widen},
};

/// Columns are handled in multiples of this, filled up with zeros.
pub(super) const COLUMNS: usize = 64;

/// Columns of a matrix whose rows have `columns`, filled up.
pub(super) fn filled_up(matrix: &Matrix<'_>, columns: usize) -> usize {
    let blocks = match matrix {
        Matrix::Quantized(weights) => weights.blocks() * weights.block,
        Matrix::F32(_) | Matrix::F16(_) => columns,
    };
    blocks.next_multiple_of(COLUMNS)
}

/// The column that stands at `place` of a row that [`read`] has written.
pub(super) fn column(matrix: &Matrix<'_>, place: usize) -> usize {
    let parts = match matrix {
        Matrix::Quantized(Weights { bits: 4, .. }) => 8,
        Matrix::Quantized(Weights { bits: 8, .. }) => 4,
        Matrix::Quantized(_) | Matrix::F32(_) | Matrix::F16(_) => 1,
    };
    let (unit, inside) = (place / (parts * LANES), place % (parts * LANES));
    unit * parts * LANES + inside % LANES * parts + inside / LANES
}

/// Writes the columns from `first` on of row `n`, as many as `into` has; both are multiples of
/// [`COLUMNS`]. What lies behind the last column is zero.
#[inline(always)]
pub(super) fn read<S: Simd>(
    simd: S,
    matrix: &Matrix<'_>,
    columns: usize,
    n: usize,
    first: usize,
    into: &mut [f32],
) {
    match matrix {
        Matrix::Quantized(weights) if weights.bits == 4 => {
            units::<S, 8>(simd, weights, n, first, into);
        }
        Matrix::Quantized(weights) if weights.bits == 8 => {
            units::<S, 4>(simd, weights, n, first, into);
        }
        Matrix::Quantized(weights) => two_bits(weights, n, first, into),
        Matrix::F32(matrix) => {
            let row = &matrix[n * columns..][..columns];
            let row = &row[first.min(columns)..columns.min(first + into.len())];
            let (present, behind) = into.split_at_mut(row.len());
            present.copy_from_slice(row);
            behind.fill(0.0);
        }
        Matrix::F16(matrix) => {
            let row = &matrix[n * columns..][..columns];
            let row = &row[first.min(columns)..columns.min(first + into.len())];
            let (present, behind) = into.split_at_mut(row.len());
            widen(simd, row, present);
            behind.fill(0.0);
        }
    }
}

/// Units of 32 bytes, each of which becomes `PARTS` vectors.
#[inline(always)]
fn units<S: Simd, const PARTS: usize>(
    simd: S,
    weights: &Weights<'_>,
    n: usize,
    first: usize,
    into: &mut [f32],
) {
    let row = &weights.data[n * weights.row_bytes()..][..weights.row_bytes()];
    let (units, _) = into.as_chunks_mut::<LANES>();
    for (index, into) in units.chunks_exact_mut(PARTS).enumerate() {
        let unit = first / (PARTS * LANES) + index;
        let levels = unit_at(row, unit * UNIT);
        let (scales, zero_points) = lanes(weights, n, unit * PARTS * LANES, PARTS);
        let (scales, zero_points) = (simd.load(&scales), simd.load(&zero_points));
        let minus = simd.splat(-1.0);
        if PARTS == 8 {
            let levels = simd.nibbles(&levels);
            for part in 0..8 {
                let level = simd.fma(zero_points, minus, levels[part]);
                simd.store(simd.mul(level, scales), &mut into[part]);
            }
        } else {
            let levels = simd.bytes(&levels);
            for part in 0..4 {
                let level = simd.fma(zero_points, minus, levels[part]);
                simd.store(simd.mul(level, scales), &mut into[part]);
            }
        }
    }
}

/// The unit that begins at a byte of a row, with zeros behind the row.
#[inline(always)]
pub(super) fn unit_at(row: &[u8], first: usize) -> [u8; UNIT] {
    let row = row.get(first..).unwrap_or_default();
    if let Some(unit) = row.first_chunk() {
        return *unit;
    }
    let mut unit = [0; UNIT];
    for (place, byte) in unit.iter_mut().zip(row) {
        *place = *byte;
    }
    unit
}

/// Scale and zero point for each lane of a unit: lane j holds columns first + j * each and more of
/// the same block.
#[inline(always)]
fn lanes(
    weights: &Weights<'_>,
    n: usize,
    first: usize,
    each: usize,
) -> ([f32; LANES], [f32; LANES]) {
    let (mut scales, mut zero_points) = ([0.0; LANES], [0.0; LANES]);
    let lanes_of_block = (weights.block / each).min(LANES);
    let blocks = weights.blocks();
    for lane in (0..LANES).step_by(lanes_of_block) {
        let block = (first + lane * each) / weights.block;
        if block < blocks {
            let scale = weights.scales.get(n * blocks + block);
            let zero_point = f32::from(weights.zero_point(n, block));
            scales[lane..][..lanes_of_block].fill(scale);
            zero_points[lane..][..lanes_of_block].fill(zero_point);
        }
    }
    (scales, zero_points)
}

/// Levels of 2 bits, which no instruction helps with.
fn two_bits(weights: &Weights<'_>, n: usize, first: usize, into: &mut [f32]) {
    let mut levels = [0; 256];
    for (index, place) in into.iter_mut().enumerate() {
        let (block, inside) = ((first + index) / weights.block, (first + index) % weights.block);
        if block >= weights.blocks() {
            *place = 0.0;
            continue;
        }
        if inside == 0 || index == 0 {
            weights.levels(n, block, &mut levels);
        }
        let scale = weights.scales.get(n * weights.blocks() + block);
        *place = f32::from(levels[inside]) * scale;
    }
}
