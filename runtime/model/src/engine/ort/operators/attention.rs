//! Attention over the rows of a sequence in ONNX Runtime.

use std::sync::Arc;

use ort::operator::{
    BoxedKernel, ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{DynValueRef, TensorElementType};

use super::{elements, guarded, needed, optional, words};
use crate::engine::own::ATTENTION;
use crate::engine::own::attention::{Attention, Given};
use crate::engine::own::shared::Shared;

/// Attention over the rows of a sequence.
pub(super) struct AttentionOperator(pub(super) Arc<Shared>);

impl Operator for AttentionOperator {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let [float, integer] = [TensorElementType::Float32, TensorElementType::Int64];
        let required = OperatorInput::required;
        let optional = || OperatorInput::optional(float);
        let [query, query_norm] = [required(float), required(float)];
        let [key, value, key_norm] = [optional(), optional(), optional()];
        [query, key, value, query_norm, key_norm, required(integer), required(integer)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let attention = guarded(|| Attention::read(node))?;
        let shared = Arc::clone(&self.0);
        Ok(Box::new(move |context: &ComputeContext| {
            guarded(|| compute(&attention, context, &shared))
        }))
    }
}

fn compute(attention: &Attention, context: &ComputeContext, shared: &Shared) -> Result<(), String> {
    let query = needed(context, 0, "query")?;
    let (key, value) = (optional(context, 1)?, optional(context, 2)?);
    let (query_norm, key_norm) = (needed(context, 3, "query_norm")?, optional(context, 4)?);
    let (handle, rows) = (needed(context, 5, "handle")?, needed(context, 6, "rows")?);
    let (shape, query) = elements::<f32>(&query, "query")?;
    let key_value = match (&key, &value) {
        (Some(key), Some(value)) => Some([floats(key, "key")?, floats(value, "value")?]),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err("keys and values come together".into()),
    };
    let given = Given {
        query,
        key_value,
        query_norm: floats(&query_norm, "query_norm")?,
        key_norm: key_norm.as_ref().map(|norm| floats(norm, "key_norm")).transpose()?,
        handle: elements::<i64>(&handle, "handle")?.1,
        rows: elements::<i64>(&rows, "rows")?.1,
    };
    let output = context.output(0, shape).map_err(words)?;
    let mut output = output.ok_or("nothing takes its output")?;
    let (_, output) = output.try_extract_tensor_mut::<f32>().map_err(words)?;
    attention.compute(&given, output, shared)
}

fn floats<'v>(value: &'v DynValueRef<'_>, name: &str) -> Result<&'v [f32], String> {
    Ok(elements(value, name)?.1)
}
