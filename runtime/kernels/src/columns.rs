//! Products with matrices whose outputs lie side by side, `[inputs, outputs]`, as the standard's own
//! products store them: floats, or bytes with a scale. They are read as they lie, nothing is turned.

#[cfg(test)]
mod agreement;
mod strip;

use half::f16;

use crate::{
    Mismatch, Threads,
    cpu::{self, Versions},
    mismatch::check_length,
    output::Output,
    simd::Simd,
};
use strip::{Element, Strips};

/// A matrix `[inputs, outputs]`: weight = (element - zero point) * scale.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// How many inputs, `K`.
    pub inputs: usize,
    /// How many outputs, `N`.
    pub outputs: usize,
    /// `[inputs, outputs]`.
    pub elements: Elements<'a>,
    /// One for all, or one for each output; without any they are 1.
    pub scales: &'a [f32],
    /// Elements that mean zero: one for all, or one for each output; without any they are 0.
    pub zero_points: &'a [f32],
}

/// The elements of a matrix.
#[derive(Debug, Clone, Copy)]
pub enum Elements<'a> {
    /// In single precision.
    F32(&'a [f32]),
    /// In half precision.
    F16(&'a [f16]),
    /// Bytes without sign.
    U8(&'a [u8]),
    /// Bytes with a sign.
    I8(&'a [i8]),
}

impl<'a> Elements<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::F16(elements) => elements.len(),
            Self::U8(elements) => elements.len(),
            Self::I8(elements) => elements.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of them, none where they are not there.
    pub(crate) fn part(&self, first: usize, length: usize) -> Elements<'a> {
        let range = first..first.saturating_add(length);
        match self {
            Self::F32(elements) => Elements::F32(elements.get(range).unwrap_or_default()),
            Self::F16(elements) => Elements::F16(elements.get(range).unwrap_or_default()),
            Self::U8(elements) => Elements::U8(elements.get(range).unwrap_or_default()),
            Self::I8(elements) => Elements::I8(elements.get(range).unwrap_or_default()),
        }
    }
}

impl Columns<'_> {
    /// Whether the lengths agree with the shape.
    ///
    /// # Errors
    /// Names the first thing that does not.
    pub fn check(&self) -> Result<(), Mismatch> {
        check_length("the matrix", self.elements.len(), &[self.inputs, self.outputs])?;
        for (name, length) in
            [("the scales", self.scales.len()), ("the zero points", self.zero_points.len())]
        {
            if length > 1 {
                check_length(name, length, &[self.outputs])?;
            }
        }
        Ok(())
    }
}

/// output[m, n] = sum over k of input[m, k] * weights[k, n], in single precision.
///
/// `input` is `[rows, K]` f32, `output` `[rows, N]` f32; `rows` may be zero.
///
/// # Errors
/// Where lengths do not agree; nothing is written then.
pub fn column_product(
    matrix: &Columns<'_>,
    input: &[f32],
    rows: usize,
    output: &mut [f32],
    threads: &Threads,
) -> Result<(), Mismatch> {
    matrix.check()?;
    check_length("the input", input.len(), &[rows, matrix.inputs])?;
    check_length("the output", output.len(), &[rows, matrix.outputs])?;
    if rows == 0 || matrix.inputs == 0 {
        output.fill(0.0);
        return Ok(());
    }
    match matrix.elements {
        Elements::F32(elements) => run(matrix, elements, input, output, threads),
        Elements::F16(elements) => run(matrix, elements, input, output, threads),
        Elements::U8(elements) => run(matrix, elements, input, output, threads),
        Elements::I8(elements) => run(matrix, elements, input, output, threads),
    }
    Ok(())
}

fn run<T: Element>(
    matrix: &Columns<'_>,
    elements: &[T],
    input: &[f32],
    output: &mut [f32],
    threads: &Threads,
) {
    let output = Output::new(output);
    cpu::run(Call { strips: Strips { matrix, elements, input, output }, threads });
}

/// A product; the lengths agree, nothing is empty.
struct Call<'a, T> {
    strips: Strips<'a, T>,
    threads: &'a Threads,
}

impl<T: Element> Versions for Call<'_, T> {
    fn portable(self) {
        self.strips.portable(self.threads);
    }

    fn fast<S: Simd>(self, simd: S) {
        self.strips.run(simd, self.threads);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

    use super::*;

    #[test]
    fn columns_are_multiplied_less_their_zero_points_and_times_their_scales() {
        let levels: [u8; 6] = [10, 20, 30, 40, 50, 60];
        let matrix = Columns {
            inputs: 2,
            outputs: 3,
            elements: Elements::U8(&levels),
            scales: &[1.0, 2.0, 0.5],
            zero_points: &[10.0],
        };
        let mut output = [0.0; 6];
        let threads = Threads::new(1);
        column_product(&matrix, &[1.0, 2.0, 0.0, -1.0], 2, &mut output, &threads).unwrap();
        assert_eq!(output, [60.0, 180.0, 60.0, -30.0, -80.0, -25.0]);
    }

    #[test]
    fn lengths_that_do_not_agree_are_named_and_nothing_is_written() {
        let check = |elements: usize, scales: usize, zero_points: usize, expected: &str| {
            let (levels, scales) = (vec![0_i8; elements], vec![1.0; scales]);
            let zero_points = vec![0.0; zero_points];
            let matrix = Columns {
                inputs: 2,
                outputs: 3,
                elements: Elements::I8(&levels),
                scales: &scales,
                zero_points: &zero_points,
            };
            let mut output = [7.0; 3];
            let threads = Threads::new(1);
            let error = column_product(&matrix, &[0.0; 2], 1, &mut output, &threads).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(output, [7.0; 3]);
        };
        check(5, 1, 1, "the matrix has 5 elements where 2 x 3");
        check(6, 2, 1, "the scales has 2 elements where 3");
        check(6, 3, 4, "the zero points has 4 elements where 3");
        let empty = Columns {
            inputs: usize::MAX,
            outputs: 3,
            elements: Elements::U8(&[]),
            scales: &[],
            zero_points: &[],
        };
        assert!(column_product(&empty, &[], 0, &mut [], &Threads::new(1)).is_err());
    }
}
