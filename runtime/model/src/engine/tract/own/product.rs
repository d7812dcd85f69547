//! Products with quantised weights in tract: one matrix, or the two of a gated layer.

use std::sync::Arc;

use gemma_kernels::{Weights, gated_product, product};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{THREADS, wrong};
use crate::engine::own::Attributes;
use crate::engine::own::matrix::Matrix;
use crate::engine::own::shared::Shared;
use crate::engine::tract::elements::{floats, tensor};
use crate::engine::tract::held::Held;
use crate::engine::tract::operator::{Built, Operator, built};

/// Reads a product with one matrix.
///
/// # Errors
/// When an attribute makes no sense, or a weight is missing.
pub(super) fn product_of_one(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let operator = Product {
        matrix: Matrix::read(node).map_err(wrong)?,
        weights: Parts::find(context, node, 1)?,
        shared: Shared::with(node.size(THREADS).map_err(wrong)?),
    };
    operator.weights.weights(&operator.matrix)?;
    built(node, operator, 1)
}

/// Reads a product with the two matrices of a gated layer.
///
/// # Errors
/// As [`product_of_one`].
pub(super) fn product_of_two(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let operator = GatedProduct {
        matrix: Matrix::read(node).map_err(wrong)?,
        gate: Parts::find(context, node, 1)?,
        up: Parts::find(context, node, 4)?,
        shared: Shared::with(node.size(THREADS).map_err(wrong)?),
    };
    operator.gate.weights(&operator.matrix)?;
    operator.up.weights(&operator.matrix)?;
    built(node, operator, 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Product {
    matrix: Matrix,
    weights: Parts,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct GatedProduct {
    matrix: Matrix,
    gate: Parts,
    up: Parts,
    shared: Arc<Shared>,
}

/// The constants that are one matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    data: Held,
    scales: Held,
    zero_points: Option<Held>,
}

impl Parts {
    /// The matrix that begins at this input.
    fn find(context: &ParsingContext<'_>, node: &NodeProto, place: usize) -> TractResult<Self> {
        let find = |place| Held::find(context, node, place);
        let missing = || format!("{} without constant weights", node.op_type);
        Ok(Self {
            data: find(place)?.with_context(missing)?,
            scales: find(place + 1)?.with_context(missing)?,
            zero_points: find(place + 2)?,
        })
    }

    fn weights(&self, matrix: &Matrix) -> TractResult<Weights<'_>> {
        let zero_points = self.zero_points.as_ref().map(Held::bytes).transpose()?;
        let weights = matrix.weights(self.data.bytes()?, self.scales.scales()?, zero_points);
        weights.map_err(wrong)
    }
}

impl Operator for Product {
    const NAME: &'static str = super::OWN_PRODUCT;

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        facts(&self.matrix, inputs)
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let weights = self.weights.weights(&self.matrix)?;
        let (activations, threads) = (self.matrix.activations(), &self.shared.threads);
        apply(&self.matrix, inputs, |x, rows, y| {
            product(&weights, x, rows, y, activations, threads).map_err(|error| error.to_string())
        })
    }
}

impl Operator for GatedProduct {
    const NAME: &'static str = super::OWN_GATED_PRODUCT;

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        facts(&self.matrix, inputs)
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (gate, up) = (self.gate.weights(&self.matrix)?, self.up.weights(&self.matrix)?);
        let (activations, threads) = (self.matrix.activations(), &self.shared.threads);
        apply(&self.matrix, inputs, |x, rows, y| {
            gated_product(&gate, &up, x, rows, y, activations, threads)
                .map_err(|error| error.to_string())
        })
    }
}

fn facts(matrix: &Matrix, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
    let mut shape = inputs[0].shape.to_tvec();
    let columns = shape.pop().context("x has no dimensions")?;
    ensure!(columns == matrix.columns.to_dim(), "x has {columns} columns, not {}", matrix.columns);
    shape.push(matrix.rows.to_dim());
    Ok(tvec![f32::fact(shape)])
}

/// Makes the output of what a product is given.
fn apply(
    matrix: &Matrix,
    inputs: &[TValue],
    work: impl FnOnce(&[f32], usize, &mut [f32]) -> Result<(), String>,
) -> TractResult<TVec<TValue>> {
    let rows = matrix.input_rows(inputs[0].shape()).map_err(wrong)?;
    let mut y = vec![0.0; rows * matrix.rows];
    work(&floats(&inputs[0])?, rows, &mut y).map_err(wrong)?;
    let mut shape: TVec<usize> = inputs[0].shape().into();
    if let Some(last) = shape.last_mut() {
        *last = matrix.rows;
    }
    Ok(tvec![tensor(&shape, &y, f32::datum_type())?])
}
