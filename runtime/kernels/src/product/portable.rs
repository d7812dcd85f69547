//! Products for any processor, written to be read: the other versions are held against these.

use super::Activations;
use crate::{Matrix, Threads, Weights, gelu::gelu, output::Output, rounded::Rounded};

/// Rows of weights that a thread takes at least.
const GRAIN: usize = 8;

/// See [`crate::product`]; lengths agree, there is at least one row and one column.
pub(super) fn product(
    weights: &Weights<'_>,
    input: &[f32],
    output: Output<'_>,
    activations: Activations,
    threads: &Threads,
) {
    match activations {
        Activations::Exact => exact(weights, input, output, threads),
        Activations::Int8 => rounded(weights, input, output, threads),
    }
}

/// See [`crate::gated_product`].
pub(super) fn gated_product(
    gate: &Weights<'_>,
    up: &Weights<'_>,
    input: &[f32],
    output: &mut [f32],
    activations: Activations,
    threads: &Threads,
) {
    let mut gates = vec![0.0; output.len()];
    product(gate, input, Output::new(&mut gates), activations, threads);
    product(up, input, Output::new(output), activations, threads);
    for (value, gate) in output.iter_mut().zip(gates) {
        *value *= gelu(gate);
    }
}

/// See [`crate::matrix_product`], for plain matrices.
pub(super) fn plain_product(
    matrix: &Matrix<'_>,
    columns: usize,
    input: &[f32],
    output: Output<'_>,
    threads: &Threads,
) {
    let outputs = match matrix {
        Matrix::Quantized(_) => return,
        Matrix::F32(matrix) => matrix.len() / columns,
        Matrix::F16(matrix) => matrix.len() / columns,
    };
    threads.split(outputs, GRAIN, &|range| {
        for n in range {
            let row: Vec<f32> = match matrix {
                Matrix::Quantized(_) => return,
                Matrix::F32(matrix) => matrix[n * columns..][..columns].to_vec(),
                Matrix::F16(matrix) => {
                    matrix[n * columns..][..columns].iter().map(|weight| weight.to_f32()).collect()
                }
            };
            for (m, input) in input.chunks_exact(columns).enumerate() {
                output.set(m * outputs + n, &[dot(input, &row)]);
            }
        }
    });
}

fn exact(weights: &Weights<'_>, input: &[f32], output: Output<'_>, threads: &Threads) {
    let (columns, blocks) = (weights.columns, weights.blocks());
    threads.split(weights.rows, GRAIN, &|range| {
        let mut levels = vec![0; blocks * weights.block];
        for n in range {
            let scales = read_row(weights, n, &mut levels);
            let row: Vec<f32> = levels
                .iter()
                .enumerate()
                .map(|(k, &level)| f32::from(level) * scales[k / weights.block])
                .collect();
            for (m, input) in input.chunks_exact(columns).enumerate() {
                output.set(m * weights.rows + n, &[dot(input, &row)]);
            }
        }
    });
}

fn rounded(weights: &Weights<'_>, input: &[f32], output: Output<'_>, threads: &Threads) {
    let (blocks, width) = (weights.blocks(), weights.blocks() * weights.block);
    let rounded = Rounded::new(input, weights.columns, weights.block);
    threads.split(weights.rows, GRAIN, &|range| {
        let mut levels = vec![0; width];
        for n in range {
            let scales = read_row(weights, n, &mut levels);
            let rows = rounded.levels.chunks_exact(width).zip(rounded.scales.chunks_exact(blocks));
            for (m, (row, row_scales)) in rows.enumerate() {
                let pairs = row.chunks_exact(weights.block).zip(levels.chunks_exact(weights.block));
                let sum: f32 = pairs
                    .zip(row_scales.iter().zip(&scales))
                    .map(|((row, levels), (a, b))| integer_dot(row, levels) as f32 * (a * b))
                    .sum();
                output.set(m * weights.rows + n, &[sum]);
            }
        }
    });
}

/// Reads the levels of a row and returns its scales.
fn read_row(weights: &Weights<'_>, row: usize, levels: &mut [i16]) -> Vec<f32> {
    for (block, levels) in levels.chunks_exact_mut(weights.block).enumerate() {
        weights.levels(row, block, levels);
    }
    let blocks = weights.blocks();
    (0..blocks).map(|block| weights.scales.get(row * blocks + block)).collect()
}

/// Eight sums side by side, so that the compiler can use what lanes there are.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b[..a.len()].as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn integer_dot(a: &[i8], b: &[i16]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}
