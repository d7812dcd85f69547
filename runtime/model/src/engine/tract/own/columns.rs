//! Products with bytes whose outputs lie side by side in tract.

use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{THREADS, wrong};
use crate::engine::own::Attributes;
use crate::engine::own::columns::{Columns, Parts};
use crate::engine::own::matrix::ScaleSlice;
use crate::engine::own::shared::Shared;
use crate::engine::tract::elements::{floats, tensor};
use crate::engine::tract::held::Held;
use crate::engine::tract::operator::{Built, Operator, built};

/// Reads a product.
///
/// # Errors
/// When an attribute makes no sense, or a weight is missing.
pub(super) fn column_product(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let missing = || format!("{} without constant weights", node.op_type);
    let operator = ColumnProduct {
        columns: Columns::read(node).map_err(wrong)?,
        data: Held::find(context, node, 1)?.with_context(missing)?,
        scales: Held::find(context, node, 2)?.with_context(missing)?,
        zero_points: Held::find(context, node, 3)?,
        shared: Shared::with(node.size(THREADS).map_err(wrong)?),
    };
    operator.parts()?;
    built(node, operator, 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ColumnProduct {
    columns: Columns,
    data: Held,
    scales: Held,
    zero_points: Option<Held>,
    shared: Arc<Shared>,
}

impl ColumnProduct {
    fn parts(&self) -> TractResult<Parts<'_>> {
        let ScaleSlice::F32(scales) = self.scales.scales()? else {
            bail!("scales in 16-bit floats; 32 bits are due");
        };
        let zero_points = self.zero_points.as_ref().map(Held::byte_slice).transpose()?;
        Ok(Parts { data: self.data.byte_slice()?, scales, zero_points })
    }
}

impl Operator for ColumnProduct {
    const NAME: &'static str = super::OWN_COLUMN_PRODUCT;

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.to_tvec();
        let (columns, due) = (shape.pop().context("x has no dimensions")?, self.columns.inputs);
        ensure!(columns == due.to_dim(), "x has {columns} columns, not {due}");
        shape.push(self.columns.outputs.to_dim());
        Ok(tvec![f32::fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let mut shape: TVec<usize> = inputs[0].shape().into();
        let rows = self.columns.input_rows(&shape).map_err(wrong)?;
        let mut y = vec![0.0; rows * self.columns.outputs];
        let x = floats(&inputs[0])?;
        self.columns.compute(&self.parts()?, &x, rows, &mut y, &self.shared).map_err(wrong)?;
        if let Some(last) = shape.last_mut() {
            *last = self.columns.outputs;
        }
        Ok(tvec![tensor(&shape, &y, f32::datum_type())?])
    }
}
