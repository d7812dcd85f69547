//! Products with quantised weights in ONNX Runtime: one matrix, or the two of a gated layer.

use std::marker::PhantomData;
use std::sync::Arc;

use gemma_kernels::{Mismatch, Weights, gated_product, product};
use ort::operator::{
    BoxedKernel, ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{DynValueRef, TensorElementType};

use super::{Scale, elements, guarded, needed, optional, words};
use crate::engine::own::matrix::Matrix;
use crate::engine::own::shared::Shared;
use crate::engine::own::{GATED_PRODUCT, PRODUCT};

const X: OperatorInput = OperatorInput::required(TensorElementType::Float32);
const DATA: OperatorInput = OperatorInput::required(TensorElementType::Uint8);
const ZERO_POINTS: OperatorInput = OperatorInput::optional(TensorElementType::Uint8);
const Y: OperatorOutput = OperatorOutput::required(TensorElementType::Float32);

/// `y = x * weights^T`, with scales of one element type.
pub(super) struct ProductOperator<S> {
    shared: Arc<Shared>,
    scales: PhantomData<S>,
}

/// `y = gelu(x * gate^T) * (x * up^T)`, with scales of one element type.
pub(super) struct GatedProductOperator<S> {
    shared: Arc<Shared>,
    scales: PhantomData<S>,
}

impl<S> ProductOperator<S> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, scales: PhantomData }
    }
}

impl<S> GatedProductOperator<S> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, scales: PhantomData }
    }
}

impl<S: Scale> Operator for ProductOperator<S> {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        PRODUCT
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [X, DATA, OperatorInput::required(S::into_tensor_element_type()), ZERO_POINTS]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [Y]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let matrix = guarded(|| Matrix::read(node))?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(move |context: &ComputeContext| {
            guarded(|| {
                let given = Parts::of(context, 1)?;
                let weights = given.weights::<S>(&matrix)?;
                let activations = matrix.activations();
                apply(context, &matrix, |x, rows, y| {
                    product(&weights, x, rows, y, activations, &shared.threads)
                })
            })
        }))
    }
}

impl<S: Scale> Operator for GatedProductOperator<S> {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        GATED_PRODUCT
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let scales = || OperatorInput::required(S::into_tensor_element_type());
        [X, DATA, scales(), ZERO_POINTS, DATA, scales(), ZERO_POINTS]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [Y]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let matrix = guarded(|| Matrix::read(node))?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(move |context: &ComputeContext| {
            guarded(|| {
                let (gate, up) = (Parts::of(context, 1)?, Parts::of(context, 4)?);
                let (gate, up) = (gate.weights::<S>(&matrix)?, up.weights::<S>(&matrix)?);
                let activations = matrix.activations();
                apply(context, &matrix, |x, rows, y| {
                    gated_product(&gate, &up, x, rows, y, activations, &shared.threads)
                })
            })
        }))
    }
}

/// The inputs that are one matrix.
struct Parts<'c> {
    data: DynValueRef<'c>,
    scales: DynValueRef<'c>,
    zero_points: Option<DynValueRef<'c>>,
}

impl<'c> Parts<'c> {
    /// The matrix that begins at this input.
    fn of(context: &'c ComputeContext, place: usize) -> Result<Self, String> {
        Ok(Self {
            data: needed(context, place, "data")?,
            scales: needed(context, place + 1, "scales")?,
            zero_points: optional(context, place + 2)?,
        })
    }

    fn weights<S: Scale>(&self, matrix: &Matrix) -> Result<Weights<'_>, String> {
        let (_, data) = elements::<u8>(&self.data, "data")?;
        let (_, scales) = elements::<S>(&self.scales, "scales")?;
        let zero_points = self.zero_points.as_ref();
        let zero_points = zero_points.map(|value| elements::<u8>(value, "zero_points"));
        let zero_points = zero_points.transpose()?.map(|(_, zero_points)| zero_points);
        matrix.weights(data, S::slice(scales), zero_points)
    }
}

/// Makes the output of what a product is given.
fn apply(
    context: &ComputeContext,
    matrix: &Matrix,
    work: impl FnOnce(&[f32], usize, &mut [f32]) -> Result<(), Mismatch>,
) -> Result<(), String> {
    let x = needed(context, 0, "x")?;
    let (mut shape, x) = elements::<f32>(&x, "x")?;
    let rows = matrix.input_rows(&shape)?;
    if let Some(last) = shape.last_mut() {
        *last = matrix.rows;
    }
    let output = context.output(0, shape).map_err(words)?;
    let mut output = output.ok_or("nothing takes its output")?;
    let (_, y) = output.try_extract_tensor_mut::<f32>().map_err(words)?;
    work(x, rows, y).map_err(|mismatch| mismatch.to_string())
}
