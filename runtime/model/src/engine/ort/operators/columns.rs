//! Products with bytes whose outputs lie side by side in ONNX Runtime.

use std::marker::PhantomData;
use std::sync::Arc;

use ort::operator::{
    BoxedKernel, ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{PrimitiveTensorElementType, TensorElementType};

use super::{elements, guarded, needed, optional, words};
use crate::engine::own::COLUMN_PRODUCT;
use crate::engine::own::columns::{ByteSlice, Columns, Parts};
use crate::engine::own::shared::Shared;

/// `y = x * weights`, with bytes of one type.
pub(super) struct ColumnProductOperator<B> {
    shared: Arc<Shared>,
    bytes: PhantomData<B>,
}

/// Bytes in the element type of an operator.
pub(super) trait Byte: PrimitiveTensorElementType + Send + Sync + 'static {
    /// The bytes as the kernels take them.
    fn slice(bytes: &[Self]) -> ByteSlice<'_>
    where
        Self: Sized;
}

impl Byte for u8 {
    fn slice(bytes: &[Self]) -> ByteSlice<'_> {
        ByteSlice::U8(bytes)
    }
}

impl Byte for i8 {
    fn slice(bytes: &[Self]) -> ByteSlice<'_> {
        ByteSlice::I8(bytes)
    }
}

impl<B> ColumnProductOperator<B> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, bytes: PhantomData }
    }
}

impl<B: Byte> Operator for ColumnProductOperator<B> {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        COLUMN_PRODUCT
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let float = || OperatorInput::required(TensorElementType::Float32);
        let bytes = B::into_tensor_element_type();
        [float(), OperatorInput::required(bytes), float(), OperatorInput::optional(bytes)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let columns = guarded(|| Columns::read(node))?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(move |context: &ComputeContext| {
            guarded(|| compute::<B>(&columns, context, &shared))
        }))
    }
}

fn compute<B: Byte>(
    columns: &Columns,
    context: &ComputeContext,
    shared: &Shared,
) -> Result<(), String> {
    let (x, data) = (needed(context, 0, "x")?, needed(context, 1, "data")?);
    let (scales, zero_points) = (needed(context, 2, "scales")?, optional(context, 3)?);
    let (mut shape, x) = elements::<f32>(&x, "x")?;
    let zero_points = zero_points.as_ref().map(|value| elements::<B>(value, "zero_points"));
    let parts = Parts {
        data: B::slice(elements(&data, "data")?.1),
        scales: elements(&scales, "scales")?.1,
        zero_points: zero_points.transpose()?.map(|(_, bytes)| B::slice(bytes)),
    };
    let rows = columns.input_rows(&shape)?;
    if let Some(last) = shape.last_mut() {
        *last = columns.outputs;
    }
    let output = context.output(0, shape).map_err(words)?;
    let mut output = output.ok_or("nothing takes its output")?;
    let (_, y) = output.try_extract_tensor_mut::<f32>().map_err(words)?;
    columns.compute(&parts, x, rows, y, shared)
}
