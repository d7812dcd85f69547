//! Products of rows of activations with weights: every linear layer of the model. Here the lengths
//! are checked once; the versions behind trust them.

#[cfg(test)]
mod agreement;
mod fast;
mod few;
mod integer;
mod kind;
mod many;
mod plain;
mod portable;
mod prepared;
mod row;

use fast::Fast;

use crate::{
    Matrix, Mismatch, Threads, Weights,
    cpu::{self, Versions},
    mismatch::check_length,
    output::Output,
    simd::Simd,
};

/// How exactly the activations enter a product with quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// In single precision.
    Exact,
    /// Rounded to 8 bits for each block of the weights, as `accuracy_level` 4 does.
    Int8,
}

/// output[m, n] = sum over k of input[m, k] * weights[n, k].
///
/// `input` is `[rows, K]` f32, `output` `[rows, N]` f32; `rows` may be zero.
///
/// # Errors
/// Where lengths do not agree; nothing is written then.
pub fn product(
    weights: &Weights<'_>,
    input: &[f32],
    rows: usize,
    output: &mut [f32],
    activations: Activations,
    threads: &Threads,
) -> Result<(), Mismatch> {
    compute(Fast { weights, gate: None, input, activations }, rows, output, threads)
}

/// output = gelu(input * gate) * (input * up), element by element; both weights are `[N, K]`.
///
/// `input` is `[rows, K]` f32, `output` `[rows, N]` f32; `rows` may be zero.
///
/// # Errors
/// Where lengths do not agree; nothing is written then.
pub fn gated_product(
    gate: &Weights<'_>,
    up: &Weights<'_>,
    input: &[f32],
    rows: usize,
    output: &mut [f32],
    activations: Activations,
    threads: &Threads,
) -> Result<(), Mismatch> {
    compute(Fast { weights: up, gate: Some(gate), input, activations }, rows, output, threads)
}

/// Checks the lengths, and computes what there is to compute.
fn compute(
    fast: Fast<'_>,
    rows: usize,
    output: &mut [f32],
    threads: &Threads,
) -> Result<(), Mismatch> {
    for weights in fast.gate.into_iter().chain([fast.weights]) {
        check(weights, fast.input, rows, output)?;
    }
    if rows == 0 || fast.weights.columns == 0 {
        output.fill(0.0);
    } else if fast.is_in_bytes() {
        cpu::run_in_bytes(BytesCall(Call { fast, output, threads }));
    } else {
        cpu::run(Call { fast, output, threads });
    }
    Ok(())
}

/// The same as [`product`] for any kind of matrix; plain ones take their shape `[N, K]` from the
/// lengths of input and output, and know no rounding.
///
/// # Errors
/// Where lengths do not agree; nothing is written then.
pub fn matrix_product(
    matrix: &Matrix<'_>,
    input: &[f32],
    rows: usize,
    output: &mut [f32],
    activations: Activations,
    threads: &Threads,
) -> Result<(), Mismatch> {
    let length = match matrix {
        Matrix::Quantized(weights) => {
            return product(weights, input, rows, output, activations, threads);
        }
        Matrix::F32(matrix) => matrix.len(),
        Matrix::F16(matrix) => matrix.len(),
    };
    if rows == 0 || input.is_empty() {
        check_length("the output", output.len(), &[rows, output.len() / rows.max(1)])?;
        output.fill(0.0);
        return Ok(());
    }
    let (columns, outputs) = (input.len() / rows, output.len() / rows);
    check_length("the input", input.len(), &[rows, columns])?;
    check_length("the output", output.len(), &[rows, outputs])?;
    check_length("the matrix", length, &[outputs, columns])?;
    cpu::run(PlainCall { matrix, columns, input, output, threads });
    Ok(())
}

/// A product with quantised weights; the lengths agree.
struct Call<'a> {
    fast: Fast<'a>,
    output: &'a mut [f32],
    threads: &'a Threads,
}

impl Versions for Call<'_> {
    fn portable(self) {
        self.fast.portable(self.output, self.threads);
    }

    fn fast<S: Simd>(self, simd: S) {
        self.fast.run(simd, self.output, self.threads);
    }
}

/// The same, of activations that are multiplied as bytes.
struct BytesCall<'a>(Call<'a>);

impl Versions for BytesCall<'_> {
    fn portable(self) {
        self.0.portable();
    }

    fn fast<S: Simd>(self, simd: S) {
        let Call { fast, output, threads } = self.0;
        fast.run_in_bytes(simd, output, threads);
    }
}

/// A product with a plain matrix; the lengths agree.
struct PlainCall<'a> {
    matrix: &'a Matrix<'a>,
    columns: usize,
    input: &'a [f32],
    output: &'a mut [f32],
    threads: &'a Threads,
}

impl Versions for PlainCall<'_> {
    fn portable(self) {
        let Self { matrix, columns, input, output, threads } = self;
        portable::plain_product(matrix, columns, input, Output::new(output), threads);
    }

    fn fast<S: Simd>(self, simd: S) {
        let Self { matrix, columns, input, output, threads } = self;
        fast::plain_product(simd, matrix, columns, input, output, threads);
    }
}

fn check(
    weights: &Weights<'_>,
    input: &[f32],
    rows: usize,
    output: &[f32],
) -> Result<(), Mismatch> {
    weights.check()?;
    check_length("the input", input.len(), &[rows, weights.columns])?;
    check_length("the output", output.len(), &[rows, weights.rows])
}
