//! Attention over the rows of a sequence in tract.

use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::{THREADS, wrong};
use crate::engine::own::Attributes;
use crate::engine::own::attention::{Attention, Given};
use crate::engine::own::shared::Shared;
use crate::engine::tract::elements::{floats, integers, tensor};
use crate::engine::tract::operator::{Built, Operator, built, needed, places};

/// Reads a node.
///
/// # Errors
/// When an attribute makes no sense, or an input is missing.
pub(super) fn attention(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let [_, key, value, query_norm, key_norm, handle, rows] = places(node);
    ensure!(key.is_some() == value.is_some(), "keys and values come together");
    let operator = OwnAttention {
        attention: Attention::read(node).map_err(wrong)?,
        shared: Shared::with(node.size(THREADS).map_err(wrong)?),
        key_value: key.zip(value),
        query_norm: needed(query_norm, node, "query_norm")?,
        key_norm,
        handle: needed(handle, node, "handle")?,
        rows: needed(rows, node, "rows")?,
    };
    built(node, operator, 1)
}

#[derive(Clone, Debug, PartialEq)]
struct OwnAttention {
    attention: Attention,
    shared: Arc<Shared>,
    key_value: Option<(usize, usize)>,
    query_norm: usize,
    key_norm: Option<usize>,
    handle: usize,
    rows: usize,
}

/// Its fractions are numbers, which an attention that was read has made sure of.
impl Eq for OwnAttention {}

impl Operator for OwnAttention {
    const NAME: &'static str = super::OWN_ATTENTION;

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = inputs[0].shape.to_tvec();
        let (columns, due) = (shape.last().context("queries have no dimensions")?, &self.attention);
        ensure!(*columns == due.row().to_dim(), "queries have {columns} columns: {due:?}");
        Ok(tvec![f32::fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let query = floats(&inputs[0])?;
        let key_value = self
            .key_value
            .map(|(key, value)| TractResult::Ok((floats(&inputs[key])?, floats(&inputs[value])?)));
        let key_value = key_value.transpose()?;
        let query_norm = floats(&inputs[self.query_norm])?;
        let key_norm = self.key_norm.map(|place| floats(&inputs[place])).transpose()?;
        let given = Given {
            query: &query,
            key_value: key_value.as_ref().map(|(key, value)| [&**key, &**value]),
            query_norm: &query_norm,
            key_norm: key_norm.as_deref(),
            handle: &integers(&inputs[self.handle])?,
            rows: &integers(&inputs[self.rows])?,
        };
        let mut output = vec![0.0; query.len()];
        self.attention.compute(&given, &mut output, &self.shared).map_err(wrong)?;
        Ok(tvec![tensor(inputs[0].shape(), &output, f32::datum_type())?])
    }
}
