//! The weights of a product: codes of 4 or 8 bits in blocks, each with a scale and a code of zero, in
//! the layout of ONNX Runtime's `MatMulNBits`.

use gemma_kernels::{Activations, Scales, Weights};
use half::f16;

use super::Attributes;

/// What the attributes of a product say about its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// Rows, which are the columns of what comes out.
    pub(crate) rows: usize,
    /// Columns, as many as what goes in has.
    pub(crate) columns: usize,
    bits: u8,
    block: usize,
    /// Whether what goes in may be rounded to 8 bits.
    rounds: bool,
}

/// The level of accuracy that allows activations of 8 bits.
pub(super) const ACCURACY_INT8: i64 = 4;

/// The scales of a matrix, in either width.
#[derive(Clone, Copy)]
pub(crate) enum ScaleSlice<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

impl Matrix {
    /// Reads the attributes of a node.
    ///
    /// # Errors
    /// When one is missing or makes no sense.
    pub(crate) fn read(node: &impl Attributes) -> Result<Self, String> {
        let bits = node.integer("bits").unwrap_or(4);
        let bits = u8::try_from(bits).ok().filter(|bits| matches!(bits, 2 | 4 | 8));
        let bits = bits.ok_or("its attribute bits is none of 2, 4 and 8")?;
        let new = Self {
            rows: node.size("N")?,
            columns: node.size("K")?,
            bits,
            block: node.size("block_size")?,
            rounds: node.integer("accuracy_level") == Some(ACCURACY_INT8),
        };
        match new.rows == 0 || new.columns == 0 || new.block == 0 {
            true => Err(format!("a matrix of {new:?}")),
            false => Ok(new),
        }
    }

    /// How exactly what goes in is taken.
    pub(crate) fn activations(&self) -> Activations {
        match self.rounds {
            true => Activations::Int8,
            false => Activations::Exact,
        }
    }

    /// The matrix in these bytes.
    ///
    /// # Errors
    /// When their lengths do not fit.
    pub(crate) fn weights<'a>(
        &self,
        data: &'a [u8],
        scales: ScaleSlice<'a>,
        zero_points: Option<&'a [u8]>,
    ) -> Result<Weights<'a>, String> {
        let scales = match scales {
            ScaleSlice::F32(scales) => Scales::F32(scales),
            ScaleSlice::F16(scales) => Scales::F16(scales),
        };
        let (rows, columns, bits, block) = (self.rows, self.columns, self.bits, self.block);
        let weights = Weights { rows, columns, bits, block, data, scales, zero_points };
        weights.check().map_err(|mismatch| mismatch.to_string())?;
        Ok(weights)
    }

    /// Rows of what goes in.
    ///
    /// # Errors
    /// When it has another number of columns.
    pub(crate) fn input_rows(&self, shape: &[usize]) -> Result<usize, String> {
        match shape.split_last() {
            Some((&columns, rows)) if columns == self.columns => Ok(rows.iter().product()),
            Some(_) | None => Err(format!("x is {shape:?}; {} columns are due", self.columns)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use super::*;

    /// A node with these integers.
    pub(crate) struct Integers(pub(crate) BTreeMap<&'static str, i64>);

    impl Attributes for Integers {
        fn integer(&self, name: &str) -> Option<i64> {
            self.0.get(name).copied()
        }

        fn fraction(&self, _name: &str) -> Option<f32> {
            None
        }
    }

    fn check(change: (&'static str, i64), expected: &str) {
        let attributes = [("N", 4), ("K", 32), ("block_size", 16), change];
        let read = Matrix::read(&Integers(attributes.into()));
        assert_eq!(read.err().unwrap_or_default(), expected);
    }

    #[test]
    fn attributes_that_make_no_sense_are_refused() {
        check(("bits", 8), "");
        check(("bits", 3), "its attribute bits is none of 2, 4 and 8");
        check(("K", -1), "its attribute K is -1; 0 to 2147483648 is accepted");
        let empty = Matrix::read(&Integers(BTreeMap::new())).unwrap_err();
        assert_eq!(empty, "its attribute N is missing");
    }

    #[test]
    fn what_goes_in_has_the_columns_of_the_matrix() {
        let attributes = [("N", 4), ("K", 32), ("block_size", 16)];
        let matrix = Matrix::read(&Integers(attributes.into())).unwrap();
        assert_eq!(matrix.input_rows(&[1, 3, 32]), Ok(3));
        assert_eq!(matrix.input_rows(&[1, 0, 32]), Ok(0));
        let error = matrix.input_rows(&[1, 3, 16]).unwrap_err();
        assert_eq!(error, "x is [1, 3, 16]; 32 columns are due");
        let scales = [1.0; 8];
        let error = matrix.weights(&[0; 3], ScaleSlice::F32(&scales), None).err();
        assert!(error.is_some());
    }
}
