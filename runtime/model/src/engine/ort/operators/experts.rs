//! Mixtures of experts in ONNX Runtime.

use std::marker::PhantomData;
use std::sync::Arc;

use half::f16;
use ort::operator::{
    BoxedKernel, ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{DynValueRef, PrimitiveTensorElementType, TensorElementType};

use super::{Scale, elements, guarded, needed, optional, words};
use crate::engine::own::EXPERTS;
use crate::engine::own::experts::{DataSlice, Experts, Given, Parts};
use crate::engine::own::shared::Shared;

/// A mixture of experts, with weights and scales of one element type each.
pub(super) struct ExpertsOperator<D, S> {
    shared: Arc<Shared>,
    types: PhantomData<(D, S)>,
}

/// Weights in the element type of an operator.
pub(super) trait Data: PrimitiveTensorElementType + Send + Sync + 'static {
    /// The weights as the kernels take them.
    fn slice(data: &[Self]) -> DataSlice<'_>
    where
        Self: Sized;
}

impl Data for u8 {
    fn slice(data: &[Self]) -> DataSlice<'_> {
        DataSlice::Levels(data)
    }
}

impl Data for f32 {
    fn slice(data: &[Self]) -> DataSlice<'_> {
        DataSlice::F32(data)
    }
}

impl Data for f16 {
    fn slice(data: &[Self]) -> DataSlice<'_> {
        DataSlice::F16(data)
    }
}

impl<D, S> ExpertsOperator<D, S> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, types: PhantomData }
    }
}

impl<D: Data, S: Scale> Operator for ExpertsOperator<D, S> {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        EXPERTS
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let (required, optional) = (OperatorInput::required, OperatorInput::optional);
        let float = TensorElementType::Float32;
        let data = || required(D::into_tensor_element_type());
        let scales = || optional(S::into_tensor_element_type());
        let zero_points = || optional(TensorElementType::Uint8);
        let [x, scores, factors] = [required(float), required(float), optional(float)];
        let (first, second) =
            ([data(), scales(), zero_points()], [data(), scales(), zero_points()]);
        [x, scores, factors].into_iter().chain(first).chain(second)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, node: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let experts = guarded(|| Experts::read(node))?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(move |context: &ComputeContext| {
            guarded(|| compute::<D, S>(&experts, context, &shared))
        }))
    }
}

fn compute<D: Data, S: Scale>(
    experts: &Experts,
    context: &ComputeContext,
    shared: &Shared,
) -> Result<(), String> {
    let (x, scores) = (needed(context, 0, "x")?, needed(context, 1, "scores")?);
    let factors = optional(context, 2)?;
    let (first, second) = (Stored::of(context, 3)?, Stored::of(context, 6)?);
    let (shape, x) = elements::<f32>(&x, "x")?;
    let factors = factors.as_ref().map(|value| elements::<f32>(value, "factors"));
    let given = Given {
        x,
        scores: elements::<f32>(&scores, "scores")?.1,
        factors: factors.transpose()?.map(|(_, factors)| factors),
        first: first.parts::<D, S>()?,
        second: second.parts::<D, S>()?,
    };
    let rows = experts.input_rows(&shape)?;
    let output = context.output(0, shape).map_err(words)?;
    let mut output = output.ok_or("nothing takes its output")?;
    let (_, output) = output.try_extract_tensor_mut::<f32>().map_err(words)?;
    experts.compute(&given, rows, output, shared)
}

/// The inputs that are one matrix for each expert.
struct Stored<'c> {
    data: DynValueRef<'c>,
    scales: Option<DynValueRef<'c>>,
    zero_points: Option<DynValueRef<'c>>,
}

impl<'c> Stored<'c> {
    /// The matrices that begin at this input.
    fn of(context: &'c ComputeContext, place: usize) -> Result<Self, String> {
        Ok(Self {
            data: needed(context, place, "data")?,
            scales: optional(context, place + 1)?,
            zero_points: optional(context, place + 2)?,
        })
    }

    fn parts<D: Data, S: Scale>(&self) -> Result<Parts<'_>, String> {
        let scales = self.scales.as_ref().map(|value| elements::<S>(value, "scales"));
        let zero_points = self.zero_points.as_ref();
        let zero_points = zero_points.map(|value| elements::<u8>(value, "zero_points"));
        Ok(Parts {
            data: D::slice(elements(&self.data, "data")?.1),
            scales: scales.transpose()?.map(|(_, scales)| S::slice(scales)),
            zero_points: zero_points.transpose()?.map(|(_, zero_points)| zero_points),
        })
    }
}
