//! Products with matrices whose outputs lie side by side, in bytes: the layout of the standard's
//! integer products. What goes in is rounded as they round it, or not at all.

use std::borrow::Cow;

use gemma_kernels::{Columns as View, Elements, column_product};

use super::Attributes;
use super::matrix::ACCURACY_INT8;
use super::shared::Shared;

/// What the attributes of a product say about its matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Columns of what goes in.
    pub(crate) inputs: usize,
    /// Columns of what comes out.
    pub(crate) outputs: usize,
    /// Whether what goes in is rounded to 8 bits, with one scale for all of its rows.
    rounds: bool,
}

/// The bytes of a matrix, or its zero points.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ByteSlice<'a> {
    /// Without a sign.
    U8(&'a [u8]),
    /// With a sign.
    I8(&'a [i8]),
}

/// What a product is given besides what goes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// `[inputs, outputs]`.
    pub(crate) data: ByteSlice<'a>,
    /// One for all, or one for each output.
    pub(crate) scales: &'a [f32],
    /// As many; without any they are zero.
    pub(crate) zero_points: Option<ByteSlice<'a>>,
}

impl Columns {
    /// Reads the attributes of a node.
    ///
    /// # Errors
    /// When one is missing or makes no sense.
    pub(crate) fn read(node: &impl Attributes) -> Result<Self, String> {
        let rounds = node.integer("accuracy_level") == Some(ACCURACY_INT8);
        let new = Self { inputs: node.size("K")?, outputs: node.size("N")?, rounds };
        match new.inputs == 0 || new.outputs == 0 {
            true => Err(format!("a matrix of {new:?}")),
            false => Ok(new),
        }
    }

    /// Rows of what goes in.
    ///
    /// # Errors
    /// When it has another number of columns.
    pub(crate) fn input_rows(&self, shape: &[usize]) -> Result<usize, String> {
        match shape.split_last() {
            Some((&columns, rows)) if columns == self.inputs => Ok(rows.iter().product()),
            Some(_) | None => Err(format!("x is {shape:?}; {} columns are due", self.inputs)),
        }
    }

    /// Computes the product.
    ///
    /// # Errors
    /// When lengths do not fit.
    pub(crate) fn compute(
        &self,
        parts: &Parts<'_>,
        x: &[f32],
        rows: usize,
        y: &mut [f32],
        shared: &Shared,
    ) -> Result<(), String> {
        let zero_points = parts.zero_points.map(ByteSlice::values).unwrap_or_default();
        let elements = match parts.data {
            ByteSlice::U8(data) => Elements::U8(data),
            ByteSlice::I8(data) => Elements::I8(data),
        };
        let view = View {
            inputs: self.inputs,
            outputs: self.outputs,
            elements,
            scales: parts.scales,
            zero_points: &zero_points,
        };
        let x = if self.rounds { Cow::Owned(rounded(x)) } else { Cow::Borrowed(x) };
        let product = column_product(&view, &x, rows, y, &shared.threads);
        product.map_err(|mismatch| mismatch.to_string())
    }
}

/// What `DynamicQuantizeLinear` leaves of these numbers: 256 steps from the least to the largest,
/// zero among them.
fn rounded(x: &[f32]) -> Vec<f32> {
    let (low, high) =
        x.iter().fold((0.0_f32, 0.0_f32), |(low, high), x| (low.min(*x), high.max(*x)));
    let scale = (high - low) / 255.0;
    if scale == 0.0 {
        return vec![0.0; x.len()];
    }
    let zero = (-low / scale).round_ties_even();
    let step = |x: f32| ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0) - zero;
    x.iter().map(|x| step(*x) * scale).collect()
}

impl ByteSlice<'_> {
    fn values(self) -> Vec<f32> {
        match self {
            Self::U8(bytes) => bytes.iter().copied().map(f32::from).collect(),
            Self::I8(bytes) => bytes.iter().copied().map(f32::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn what_is_rounded_lies_on_steps_that_hold_zero() {
        // A step is 1 / 51 here, and zero the 51st of them.
        let found = rounded(&[-1.0, 0.0, 0.49 / 51.0, 0.51 / 51.0, 1.0, 4.0]);
        let expected = [-1.0, 0.0, 0.0, 1.0 / 51.0, 1.0, 4.0];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        assert_eq!(rounded(&[0.0; 3]), [0.0; 3]);
        assert!(rounded(&[]).is_empty());
        assert!(rounded(&[f32::NAN, 1.0])[0].is_nan());
    }
}
