//! Operators on halves (f16). tract would sum them up as halves, which loses what a model knows; here
//! they are summed up as whole floats. A matrix that never changes stays in halves in memory.

use half::f16;
use half::slice::HalfFloatSliceExt;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_core::ops::math::mul;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::matmul::MatMulInference;

use super::elements::{float_type, floats, tensor};
use super::operator::{Built, Operator, typed};
use super::product::{Rows, product};
use super::registry::original;

/// Operators of tract that sum up, or in which small differences grow.
pub(super) const WIDENED: [&str; 20] = [
    "BiasGelu",
    "Conv",
    "Cos",
    "CumSum",
    "Erf",
    "Exp",
    "FastGelu",
    "Gelu",
    "Gemm",
    "MatMul",
    "Pow",
    "QuickGelu",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "Sigmoid",
    "Sin",
    "Softmax",
    "Sqrt",
    "Tanh",
];

/// Reads a node as tract does, so that it computes with whole floats.
///
/// # Errors
/// What tract says of the node.
pub(super) fn widened(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let (operator, closures) = original(context, node)?;
    let Some(inner) = operator.as_op().downcast_ref::<Box<dyn Expansion>>().cloned() else {
        return Ok((operator, closures));
    };
    let is_product = node.op_type == "MatMul";
    Ok((expand(Widened { inner, is_product, counts: node.op_type == "CumSum" }), closures))
}

/// Reads a node of FusedMatMul of ONNX Runtime: a product of transposes, scaled.
///
/// # Errors
/// When it turns whole batches.
pub(super) fn fused_matmul(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    for attribute in ["transBatchA", "transBatchB"] {
        let value = node.get_attr_opt(attribute)?.unwrap_or(0_i64);
        ensure!(value == 0, "FusedMatMul with {attribute} is not supported");
    }
    let transposed =
        |name: &str| -> TractResult<bool> { Ok(node.get_attr_opt(name)?.unwrap_or(0_i64) != 0) };
    let product = MatMulInference::default()
        .with_a_trans(transposed("transA")?)
        .with_b_trans(transposed("transB")?);
    let alpha = node.get_attr_opt("alpha")?.unwrap_or(1.0);
    let inner: Box<dyn Expansion> = Box::new(ScaledProduct { product, alpha });
    Ok((expand(Widened { inner, is_product: false, counts: false }), Vec::new()))
}

/// A product with a factor.
#[derive(Clone, Debug)]
struct ScaledProduct {
    product: MatMulInference,
    alpha: f32,
}

impl Expansion for ScaledProduct {
    fn name(&self) -> StaticName {
        "FusedMatMul".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.product.rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let wires = self.product.wire(prefix, model, inputs)?;
        let rank = model.outlet_fact(wires[0])?.rank();
        let alpha = tensor0(self.alpha).into_shape(&vec![1; rank])?;
        let alpha = model.add_const(format!("{prefix}.alpha"), alpha)?;
        model.wire_node(format!("{prefix}.scaled"), mul(), &[wires[0], alpha])
    }
}

/// An operator of tract that computes with whole floats.
#[derive(Clone, Debug)]
struct Widened {
    inner: Box<dyn Expansion>,
    is_product: bool,
    /// Whether it sums up sizes, too, which tract takes for symbols: they are numbers by then.
    counts: bool,
}

impl Expansion for Widened {
    fn name(&self) -> StaticName {
        self.inner.name()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.inner.as_ref().nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.inner.rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let Some(&first) = inputs.first() else { bail!("{prefix} without inputs") };
        let kind = model.outlet_fact(first)?.datum_type;
        let (narrow, wide) = if kind == DatumType::F16 {
            (DatumType::F16, DatumType::F32)
        } else if kind == DatumType::TDim && self.counts {
            (DatumType::TDim, DatumType::I64)
        } else {
            return self.inner.wire(prefix, model, inputs);
        };
        if self.is_product
            && let Some(wires) = kept_narrow(prefix, model, inputs)?
        {
            return Ok(wires);
        }
        let inputs = cast_all(&format!("{prefix}.widened"), model, inputs, [narrow, wide])?;
        let outputs = self.inner.wire(prefix, model, &inputs)?;
        cast_all(&format!("{prefix}.narrowed"), model, &outputs, [wide, narrow])
    }
}

/// Casts all wires of one type to another.
fn cast_all(
    name: &str,
    model: &mut TypedModel,
    wires: &[OutletId],
    [from, to]: [DatumType; 2],
) -> TractResult<TVec<OutletId>> {
    let mut cast_wires = TVec::new();
    for (place, &wire) in wires.iter().enumerate() {
        let is_cast = model.outlet_fact(wire)?.datum_type == from;
        cast_wires.push(match is_cast {
            true => model.wire_node(format!("{name}-{place}"), cast(to), &[wire])?[0],
            false => wire,
        });
    }
    Ok(cast_wires)
}

/// The product with a matrix that never changes, which stays in halves.
fn kept_narrow(
    prefix: &str,
    model: &mut TypedModel,
    inputs: &[OutletId],
) -> TractResult<Option<TVec<OutletId>>> {
    let &[left, right] = inputs else { return Ok(None) };
    let matrix = model.outlet_fact(right)?.konst.clone();
    let Some(matrix) = matrix.filter(|matrix| matrix.rank() == 2 && !matrix.shape().contains(&0))
    else {
        return Ok(None);
    };
    // Rows of the transpose are columns of the matrix, which lie together then.
    let turned = matrix.as_ref().clone().permute_axes(&[1, 0])?;
    let matrix = model.add_const(format!("{prefix}.turned"), turned)?;
    Ok(Some(model.wire_node(prefix, typed(HalfProduct), &[left, matrix])?))
}

/// Activations `[.., columns]` times the transpose of halves `[rows, columns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HalfProduct;

impl Operator for HalfProduct {
    const NAME: &'static str = "MatMul of halves";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let kind = float_type(inputs[0], "A")?;
        let mut shape = inputs[0].shape.to_tvec();
        let columns = shape.pop().context("MatMul: A has no dimensions")?;
        ensure!(
            columns == inputs[1].shape[1],
            "MatMul of rows of {columns} with columns of {}",
            inputs[1].shape[1]
        );
        shape.push(inputs[1].shape[0].clone());
        Ok(tvec![kind.fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let &[count, width] = inputs[1].shape() else { bail!("MatMul of {:?}", inputs[1].shape()) };
        let halves = inputs[1].try_as_plain_ram()?.as_slice::<f16>()?;
        let left = floats(&inputs[0])?;
        let out = product(&Halves { halves, count, width }, &left, left.len() / width)?;
        let mut shape: TVec<usize> = inputs[0].shape().into();
        if let Some(last) = shape.last_mut() {
            *last = count;
        }
        Ok(tvec![tensor(&shape, &out, inputs[0].datum_type())?])
    }
}

/// A matrix of halves.
struct Halves<'a> {
    halves: &'a [f16],
    count: usize,
    width: usize,
}

impl Rows for Halves<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn width(&self) -> usize {
        self.width
    }

    #[inline(always)]
    fn widen(&self, row: usize, out: &mut [f32]) {
        self.halves[row * self.width..(row + 1) * self.width].convert_to_f32_slice(out);
    }
}
