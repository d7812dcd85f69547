//! How many rows a step has, and the last of them, for numbers of rows that are known when the graph
//! runs.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use crate::engine::tract::elements::integers;
use crate::engine::tract::operator::{Built, Operator, built};

/// The dimension of the rows.
const AXIS: usize = 1;

/// Reads a node that counts rows.
///
/// # Errors
/// When it gives more than a number.
pub(super) fn count_rows(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    built(node, CountRows, 1)
}

/// Reads a node that takes rows from a place on.
///
/// # Errors
/// When it gives more than these.
pub(super) fn last_rows(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    // One number of rows throughout the graph, so that what is taken fits together.
    let kept = context.template.symbols.sym("K").to_dim();
    built(node, LastRows { kept }, 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CountRows;

#[derive(Clone, Debug, PartialEq, Eq)]
struct LastRows {
    kept: TDim,
}

impl Operator for CountRows {
    const NAME: &'static str = super::COUNT_ROWS;

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].rank() > AXIS, "rows of rank {}", inputs[0].rank());
        Ok(tvec![i64::fact([1])])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let rows = inputs[0].shape().get(AXIS).context("rows of no rank")?;
        Ok(tvec![tensor1(&[i64::try_from(*rows)?]).into()])
    }
}

impl Operator for LastRows {
    const NAME: &'static str = super::LAST_ROWS;

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.to_tvec();
        ensure!(shape.len() > AXIS, "rows of rank {}", shape.len());
        shape[AXIS] = self.kept.clone();
        Ok(tvec![inputs[0].datum_type.fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let rows = inputs[0].shape().get(AXIS).context("rows of no rank")?;
        let from = integers(&inputs[1])?;
        let from = from.first().and_then(|&from| usize::try_from(from).ok());
        let from = from.filter(|from| from <= rows);
        let from = from.with_context(|| format!("the last rows of {rows}"))?;
        if from == *rows {
            // tract itself slices nothing off.
            let mut shape = inputs[0].shape().to_vec();
            shape[AXIS] = 0;
            return Ok(tvec![Tensor::zero_dt(inputs[0].datum_type(), &shape)?.into()]);
        }
        Ok(tvec![inputs[0].slice(AXIS, from, *rows)?.into()])
    }
}
