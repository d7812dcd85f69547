//! Mixtures of experts in tract.

use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{THREADS, wrong};
use crate::engine::own::Attributes;
use crate::engine::own::experts::{DataSlice, Experts, Given, Parts};
use crate::engine::own::matrix::ScaleSlice;
use crate::engine::own::shared::Shared;
use crate::engine::tract::elements::{floats, tensor};
use crate::engine::tract::held::Held;
use crate::engine::tract::operator::{Built, Operator, built, needed, places};

/// Reads a node.
///
/// # Errors
/// When an attribute makes no sense, or an input is missing.
pub(super) fn experts(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let [x, scores, factors] = places(node);
    let operator = OwnExperts {
        experts: Experts::read(node).map_err(wrong)?,
        x: needed(x, node, "x")?,
        scores: needed(scores, node, "scores")?,
        factors,
        first: Stored::find(context, node, 3)?,
        second: Stored::find(context, node, 6)?,
        shared: Shared::with(node.size(THREADS).map_err(wrong)?),
    };
    operator.first.parts()?;
    operator.second.parts()?;
    built(node, operator, 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnExperts {
    experts: Experts,
    x: usize,
    scores: usize,
    factors: Option<usize>,
    first: Stored,
    second: Stored,
    shared: Arc<Shared>,
}

/// The constants that are one matrix for each expert.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    data: Held,
    scales: Option<Held>,
    zero_points: Option<Held>,
}

impl Stored {
    /// The matrices that begin at this input.
    fn find(context: &ParsingContext<'_>, node: &NodeProto, place: usize) -> TractResult<Self> {
        let find = |place| Held::find(context, node, place);
        let missing = || format!("{} without constant weights", node.op_type);
        Ok(Self {
            data: find(place)?.with_context(missing)?,
            scales: find(place + 1)?,
            zero_points: find(place + 2)?,
        })
    }

    fn parts(&self) -> TractResult<Parts<'_>> {
        let data = if self.data.kind() == DatumType::U8 {
            DataSlice::Levels(self.data.bytes()?)
        } else {
            match self.data.scales()? {
                ScaleSlice::F32(data) => DataSlice::F32(data),
                ScaleSlice::F16(data) => DataSlice::F16(data),
            }
        };
        let scales = self.scales.as_ref().map(Held::scales).transpose()?;
        let zero_points = self.zero_points.as_ref().map(Held::bytes).transpose()?;
        Ok(Parts { data, scales, zero_points })
    }
}

impl Operator for OwnExperts {
    const NAME: &'static str = super::OWN_EXPERTS;

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = inputs[self.x].shape.to_tvec();
        let (columns, due) = (shape.last().context("x has no dimensions")?, self.experts.hidden);
        ensure!(*columns == due.to_dim(), "x has {columns} columns, not {due}");
        Ok(tvec![f32::fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (x, scores) = (floats(&inputs[self.x])?, floats(&inputs[self.scores])?);
        let factors = self.factors.map(|place| floats(&inputs[place])).transpose()?;
        let given = Given {
            x: &x,
            scores: &scores,
            factors: factors.as_deref(),
            first: self.first.parts()?,
            second: self.second.parts()?,
        };
        let shape = inputs[self.x].shape();
        let rows = self.experts.input_rows(shape).map_err(wrong)?;
        let mut output = vec![0.0; x.len()];
        self.experts.compute(&given, rows, &mut output, &self.shared).map_err(wrong)?;
        Ok(tvec![tensor(shape, &output, f32::datum_type())?])
    }
}
