//! Elements of tract's tensors as our operators compute with them: floats of half width are widened,
//! integers of any width are 64 bits wide.

use std::borrow::Cow;

use half::f16;
use half::slice::HalfFloatSliceExt;
use tract_onnx::tract_hir::internal::*;

/// The elements of a tensor of floats.
///
/// # Errors
/// When it holds something else.
pub(super) fn floats(tensor: &Tensor) -> TractResult<Cow<'_, [f32]>> {
    let plain = tensor.try_as_plain_ram()?;
    if tensor.datum_type() == f16::datum_type() {
        return Ok(Cow::Owned(widened(plain.as_slice::<f16>()?)));
    }
    Ok(Cow::Borrowed(plain.as_slice::<f32>()?))
}

/// The elements of a tensor of integers.
///
/// # Errors
/// When it holds something else.
pub(super) fn integers(tensor: &Tensor) -> TractResult<Vec<i64>> {
    let numbers = tensor.cast_to::<i64>()?;
    Ok(numbers.try_as_plain_ram()?.as_slice::<i64>()?.to_vec())
}

/// A tensor of floats of the given type, `f32` or `f16`.
///
/// # Errors
/// When shape and data disagree, or the type is another one.
pub(super) fn tensor(shape: &[usize], data: &[f32], kind: DatumType) -> TractResult<TValue> {
    let tensor = if kind == DatumType::F16 {
        Tensor::from_shape(shape, &narrowed(data))?
    } else {
        ensure!(kind == DatumType::F32, "{kind:?} where floats are due");
        Tensor::from_shape(shape, data)?
    };
    Ok(tensor.into())
}

/// Refuses what are no floats.
///
/// # Errors
/// When the type is neither `f32` nor `f16`.
pub(super) fn float_type(fact: &TypedFact, name: &str) -> TractResult<DatumType> {
    let kind = fact.datum_type;
    ensure!(
        kind == DatumType::F32 || kind == DatumType::F16,
        "{name} holds {kind:?}; f32 or f16 is due"
    );
    Ok(kind)
}

/// Halves as whole floats.
pub(super) fn widened(halves: &[f16]) -> Vec<f32> {
    let mut floats = vec![0.0; halves.len()];
    halves.convert_to_f32_slice(&mut floats);
    floats
}

/// Floats as halves.
pub(super) fn narrowed(floats: &[f32]) -> Vec<f16> {
    let mut halves = vec![f16::ZERO; floats.len()];
    halves.convert_from_f32_slice(floats);
    halves
}

/// A dimension that must be known when a graph is loaded.
///
/// # Errors
/// When it is not.
pub(super) fn known(dim: &TDim, name: &str) -> TractResult<usize> {
    dim.to_usize().with_context(|| format!("{name} is {dim}; a number is due"))
}
