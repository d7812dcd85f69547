//! One matrix for each expert, one after the other, in the forms that published graphs have.

use crate::{
    Activations, Columns, Elements, Matrix, Mismatch, Scales, Threads, Weights, column_product,
    matrix_product, mismatch::check_length, product, weights::level,
};

/// One matrix for each expert.
#[derive(Debug, Clone, Copy)]
pub enum Stack<'a> {
    /// Blocks of levels: the rows of the first expert, then those of the second.
    Blocks(Weights<'a>),
    /// Levels with one scale for each row.
    Rows {
        /// Width of a level: 4 or 8 bits.
        bits: u8,
        /// `[experts, outputs, inputs * bits / 8]` u8, the first in the lowest bits.
        data: &'a [u8],
        /// `[experts, outputs]`.
        scales: Scales<'a>,
        /// `[experts, outputs * bits / 8]` u8; where there are none it is the middle level.
        zero_points: Option<&'a [u8]>,
    },
    /// Plain single precision, `[experts, outputs, inputs]`.
    F32(&'a [f32]),
    /// Plain half precision, `[experts, outputs, inputs]`.
    F16(&'a [half::f16]),
    /// With the outputs side by side, `[experts, inputs, outputs]`.
    Columns(Elements<'a>),
}

/// Sizes of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) count: usize,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
}

/// The largest block of levels; where inputs come in no multiple of it, a smaller one fits.
const BLOCK_MAX: usize = 256;
const BLOCK_MIN: usize = 16;

impl Stack<'_> {
    /// Whether the lengths agree with the shape.
    ///
    /// # Errors
    /// Names the first thing that does not.
    pub(super) fn check(&self, shape: Shape) -> Result<(), Mismatch> {
        let Shape { count, outputs, inputs } = shape;
        let name = "the experts' weights";
        match self {
            Self::Blocks(weights) => {
                let rows = count.checked_mul(outputs);
                if rows != Some(weights.rows) || weights.columns != inputs {
                    let Weights { rows, columns, .. } = weights;
                    return Err(Mismatch::new(format!(
                        "the experts' weights are {rows} x {columns} where {count} x {outputs} x \
                         {inputs} are expected"
                    )));
                }
                weights.check()
            }
            Self::Rows { bits, data, scales, zero_points } => {
                let in_byte = levels_in_byte(*bits)?;
                if !inputs.is_multiple_of(BLOCK_MIN) {
                    let reason = format!("experts have {inputs} columns, not a multiple of 16");
                    return Err(Mismatch::new(reason));
                }
                check_length(name, data.len(), &[count, outputs, inputs / in_byte])?;
                check_length("the experts' scales", scales.len(), &[count, outputs])?;
                let Some(zero_points) = zero_points else { return Ok(()) };
                let shape = [count, outputs.div_ceil(in_byte)];
                check_length("the experts' zero points", zero_points.len(), &shape)
            }
            Self::F32(elements) => check_length(name, elements.len(), &[count, outputs, inputs]),
            Self::F16(elements) => check_length(name, elements.len(), &[count, outputs, inputs]),
            Self::Columns(elements) => {
                check_length(name, elements.len(), &[count, inputs, outputs])
            }
        }
    }

    /// `[rows, outputs]`: the product of `[rows, inputs]` with the matrix of an expert.
    ///
    /// # Errors
    /// Where the shape is not the one that was checked.
    pub(super) fn product(
        &self,
        shape: Shape,
        expert: usize,
        input: &[f32],
        rows: usize,
        activations: Activations,
        threads: &Threads,
    ) -> Result<Vec<f32>, Mismatch> {
        let Shape { outputs, inputs, .. } = shape;
        let mut output = vec![0.0; rows * outputs];
        let size = outputs * inputs;
        match *self {
            Self::Blocks(weights) => {
                let weights = of_expert(&weights, expert, outputs);
                product(&weights, input, rows, &mut output, activations, threads)?;
            }
            Self::Rows { .. } => {
                self.row_product(shape, expert, input, &mut output, activations, threads)?;
            }
            Self::F32(elements) => {
                let matrix = Matrix::F32(part(elements, expert, size));
                matrix_product(&matrix, input, rows, &mut output, activations, threads)?;
            }
            Self::F16(elements) => {
                let matrix = Matrix::F16(part(elements, expert, size));
                matrix_product(&matrix, input, rows, &mut output, activations, threads)?;
            }
            Self::Columns(elements) => {
                let elements = elements.part(expert * size, size);
                let matrix = Columns { inputs, outputs, elements, scales: &[], zero_points: &[] };
                column_product(&matrix, input, rows, &mut output, threads)?;
            }
        }
        Ok(output)
    }

    /// A product whose rows have one scale each: one with scales of 1 less what zero points take off,
    /// then the scales.
    fn row_product(
        &self,
        shape: Shape,
        expert: usize,
        input: &[f32],
        output: &mut [f32],
        activations: Activations,
        threads: &Threads,
    ) -> Result<(), Mismatch> {
        let Shape { outputs, inputs, .. } = shape;
        let Self::Rows { bits, data, scales, zero_points } = *self else { return Ok(()) };
        let in_byte = levels_in_byte(bits)?;
        let block = (1 << inputs.trailing_zeros()).clamp(BLOCK_MIN, BLOCK_MAX);
        let ones = vec![1.0; outputs * inputs.div_ceil(block)];
        let weights = Weights {
            rows: outputs,
            columns: inputs,
            bits,
            block,
            data: part(data, expert, outputs * inputs / in_byte),
            scales: Scales::F32(&ones),
            zero_points: None,
        };
        let rows = input.len() / inputs.max(1);
        product(&weights, input, rows, output, activations, threads)?;
        let zeros = zero_points.map(|zeros| part(zeros, expert, outputs.div_ceil(in_byte)));
        let middle = f32::from(1_u8 << (bits - 1));
        for (input, output) in input.chunks_exact(inputs).zip(output.chunks_exact_mut(outputs)) {
            let sum: f32 = input.iter().sum();
            for (row, value) in output.iter_mut().enumerate() {
                let zero = zeros.map_or(middle, |zeros| f32::from(level(zeros, row, bits)));
                *value = (*value + (middle - zero) * sum) * scales.get(expert * outputs + row);
            }
        }
        Ok(())
    }
}

fn levels_in_byte(bits: u8) -> Result<usize, Mismatch> {
    match bits {
        4 | 8 => Ok(usize::from(8 / bits)),
        _ => Err(Mismatch::new(format!("experts have weights of {bits} bits, not 4 or 8"))),
    }
}

/// The rows of one expert.
fn of_expert<'a>(weights: &Weights<'a>, expert: usize, outputs: usize) -> Weights<'a> {
    let blocks = weights.blocks();
    let scales = match weights.scales {
        Scales::F32(scales) => Scales::F32(part(scales, expert, outputs * blocks)),
        Scales::F16(scales) => Scales::F16(part(scales, expert, outputs * blocks)),
    };
    let zero_bytes = outputs * weights.zero_point_bytes();
    Weights {
        rows: outputs,
        data: part(weights.data, expert, outputs * weights.row_bytes()),
        scales,
        zero_points: weights.zero_points.map(|zeros| part(zeros, expert, zero_bytes)),
        ..*weights
    }
}

/// The part of an expert, nothing where it is not there.
fn part<T>(all: &[T], expert: usize, size: usize) -> &[T] {
    all.get(expert * size..(expert + 1) * size).unwrap_or_default()
}
