//! Our operators in ONNX Runtime. It calls them on the thread that runs the session, and they share
//! their work among threads of their own; weights are read where ONNX Runtime has mapped them.

mod attention;
mod columns;
mod experts;
mod product;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use half::f16;
use ort::operator::{ComputeContext, KernelContext, OperatorDomain};
use ort::value::{DynValueRef, PrimitiveTensorElementType};

use crate::engine::own::matrix::ScaleSlice;
use crate::engine::own::shared::Shared;
use crate::engine::own::{Attributes, DOMAIN};
use crate::engine::said;
use attention::AttentionOperator;
use columns::ColumnProductOperator;
use experts::ExpertsOperator;
use product::{GatedProductOperator, ProductOperator};

/// The domain of our operators, for one session.
///
/// # Errors
/// When ONNX Runtime does not take it.
pub(super) fn domain(shared: &Arc<Shared>) -> ort::Result<OperatorDomain> {
    let shared = || Arc::clone(shared);
    OperatorDomain::new(DOMAIN)?
        .add(ProductOperator::<f32>::new(shared()))?
        .add(ProductOperator::<f16>::new(shared()))?
        .add(GatedProductOperator::<f32>::new(shared()))?
        .add(GatedProductOperator::<f16>::new(shared()))?
        .add(ColumnProductOperator::<u8>::new(shared()))?
        .add(ColumnProductOperator::<i8>::new(shared()))?
        .add(ExpertsOperator::<u8, f32>::new(shared()))?
        .add(ExpertsOperator::<u8, f16>::new(shared()))?
        .add(ExpertsOperator::<f32, f32>::new(shared()))?
        .add(ExpertsOperator::<f16, f32>::new(shared()))?
        .add(AttentionOperator(shared()))
}

impl Attributes for KernelContext<'_> {
    fn integer(&self, name: &str) -> Option<i64> {
        self.get(name)
    }

    fn fraction(&self, name: &str) -> Option<f32> {
        self.get(name)
    }
}

/// What an operator computes, or in words why it does not: a panic must not cross into C.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> ort::Result<T> {
    let result = catch_unwind(AssertUnwindSafe(work));
    let result = result.unwrap_or_else(|panic| Err(format!("it panicked: {}", said(&*panic))));
    // A zero in a message would end it in C.
    result.map_err(|reason| ort::Error::new(reason.replace('\0', " ")))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` wants")]
fn words(error: ort::Error) -> String {
    error.message().to_owned()
}

/// An input; `None` where the node leaves it out.
fn optional<'c>(
    context: &'c ComputeContext,
    place: usize,
) -> Result<Option<DynValueRef<'c>>, String> {
    match place < context.num_inputs().map_err(words)? {
        true => context.input(place).map_err(words),
        false => Ok(None),
    }
}

/// An input that must be there.
fn needed<'c>(
    context: &'c ComputeContext,
    place: usize,
    name: &str,
) -> Result<DynValueRef<'c>, String> {
    optional(context, place)?.ok_or_else(|| format!("its input {name} is missing"))
}

/// Sizes and elements of an input.
fn elements<'v, T: PrimitiveTensorElementType>(
    value: &'v DynValueRef<'_>,
    name: &str,
) -> Result<(Vec<usize>, &'v [T]), String> {
    let found = value.try_extract_tensor::<T>();
    let (shape, data) = found.map_err(|error| format!("{name}: {}", error.message()))?;
    let shape = shape.iter().map(|&size| usize::try_from(size)).collect::<Result<_, _>>();
    Ok((shape.map_err(|_| format!("{name} has no size"))?, data))
}

/// The scales of a matrix in the element type of an operator.
trait Scale: PrimitiveTensorElementType + Send + Sync + 'static {
    /// The scales as the kernels take them.
    fn slice(scales: &[Self]) -> ScaleSlice<'_>
    where
        Self: Sized;
}

impl Scale for f32 {
    fn slice(scales: &[Self]) -> ScaleSlice<'_> {
        ScaleSlice::F32(scales)
    }
}

impl Scale for f16 {
    fn slice(scales: &[Self]) -> ScaleSlice<'_> {
        ScaleSlice::F16(scales)
    }
}
