//! Every so many rows along an axis: the one form of a slice with steps that encoders use, for lengths
//! that are open, too.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::operator::{Built, Operator, built};

/// Reads a node that the rewriting of slices made.
///
/// # Errors
/// When the step is none.
pub(super) fn every_nth(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let operator = EveryNth { axis: node.get_attr("axis")?, step: node.get_attr("step")? };
    ensure!(operator.step > 1, "a slice in steps of {}", operator.step);
    built(node, operator, 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct EveryNth {
    axis: i64,
    step: usize,
}

impl EveryNth {
    fn axis(&self, rank: usize) -> TractResult<usize> {
        let axis = if self.axis < 0 { self.axis + rank as i64 } else { self.axis };
        let axis = usize::try_from(axis).ok().filter(|&axis| axis < rank);
        axis.with_context(|| format!("a slice along axis {} of rank {rank}", self.axis))
    }
}

impl Operator for EveryNth {
    const NAME: &'static str = "EveryNth";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.to_tvec();
        let axis = self.axis(shape.len())?;
        let whole = shape[axis].maybe_div(&self.step.to_dim()).ok().filter(|(_, of)| *of == 1);
        shape[axis] = whole.map_or_else(|| shape[axis].divceil(self.step), |(whole, _)| whole);
        Ok(tvec![inputs[0].datum_type.fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let mut shape: TVec<usize> = inputs[0].shape().into();
        let axis = self.axis(shape.len())?;
        let size = inputs[0].datum_type().size_of();
        let row = shape[axis + 1..].iter().product::<usize>() * size;
        let rows = shape[axis];
        shape[axis] = rows.div_ceil(self.step);
        let mut out = Tensor::zero_dt(inputs[0].datum_type(), &shape)?;
        if row == 0 || out.len() == 0 {
            return Ok(tvec![out.into()]);
        }
        let groups = inputs[0].as_bytes().chunks_exact(rows * row);
        let taken = groups.flat_map(|group| group.chunks_exact(row).step_by(self.step));
        for (out, taken) in out.as_bytes_mut().chunks_exact_mut(row).zip(taken) {
            out.copy_from_slice(taken);
        }
        Ok(tvec![out.into()])
    }
}
