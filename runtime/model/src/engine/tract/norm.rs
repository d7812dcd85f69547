//! RMS norms in their three forms: RMSNormalization of ONNX, and SimplifiedLayerNormalization and
//! SkipSimplifiedLayerNormalization of ONNX Runtime, the last of which adds a second input first.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::elements::{float_type, floats, tensor};
use super::operator::{Built, Operator, Real, built, needed, places};

/// Reads a node of RMSNormalization or SimplifiedLayerNormalization.
///
/// # Errors
/// When its attributes have other types than they should.
pub(super) fn rms_norm(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let [_, scale] = places(node);
    let operator = RmsNorm {
        axis: node.get_attr_opt("axis")?.unwrap_or(-1),
        epsilon: node.get_attr_opt("epsilon")?.unwrap_or(1e-5_f32).into(),
        scale: needed(scale, node, "scale")?,
    };
    built(node, operator, 2)
}

/// Reads a node of SkipSimplifiedLayerNormalization.
///
/// # Errors
/// When its attributes have other types than they should.
pub(super) fn skip_rms_norm(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let [_, skip, scale, bias] = places(node);
    let operator = SkipRmsNorm {
        epsilon: node.get_attr_opt("epsilon")?.unwrap_or(1e-5_f32).into(),
        skip: needed(skip, node, "skip")?,
        scale: needed(scale, node, "gamma")?,
        bias,
    };
    built(node, operator, 4)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RmsNorm {
    axis: i64,
    epsilon: Real,
    scale: usize,
}

impl Operator for RmsNorm {
    const NAME: &'static str = "RMSNormalization";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        float_type(inputs[0], "X")?;
        let kind = float_type(inputs[self.scale], "scale")?;
        let axis = axis(self.axis, inputs[0].rank())?;
        let shape = inputs[0].shape.to_tvec();
        check_scale(inputs[self.scale], &shape[axis..])?;
        let deviations = deviations(&shape, axis);
        Ok(tvec![kind.fact(shape), f32::fact(deviations)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (x, scale) = (floats(&inputs[0])?, floats(&inputs[self.scale])?);
        let shape = inputs[0].shape();
        let axis = axis(self.axis, shape.len())?;
        let (out, inverse) = normalised(&x, &scale, shape[axis..].iter().product(), self.epsilon);
        let kind = inputs[self.scale].datum_type();
        let deviations = tensor(&deviations(shape, axis), &inverse, DatumType::F32)?;
        Ok(tvec![tensor(shape, &out, kind)?, deviations])
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SkipRmsNorm {
    epsilon: Real,
    skip: usize,
    scale: usize,
    bias: Option<usize>,
}

impl Operator for SkipRmsNorm {
    const NAME: &'static str = "SkipSimplifiedLayerNormalization";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let kind = float_type(inputs[0], "input")?;
        let shape = inputs[0].shape.to_tvec();
        let axis = axis(-1, shape.len())?;
        check_scale(inputs[self.scale], &shape[axis..])?;
        let deviations = f32::fact(deviations(&shape, axis));
        Ok(tvec![kind.fact(shape.clone()), deviations.clone(), deviations, kind.fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (x, skip) = (floats(&inputs[0])?, floats(&inputs[self.skip])?);
        let (kind, shape) = (inputs[0].datum_type(), inputs[0].shape());
        ensure!(!skip.is_empty() || x.is_empty(), "{}: skip is empty", Self::NAME);
        ensure!(skip.is_empty() || x.len().is_multiple_of(skip.len()), "{}: skip", Self::NAME);
        let mut sum: Vec<f32> = x.iter().zip(skip.iter().cycle()).map(|(x, s)| x + s).collect();
        let width = shape.last().copied().unwrap_or(1);
        if let Some(place) = self.bias {
            let bias = floats(&inputs[place])?;
            ensure!(bias.len() == width, "{}: {} biases", Self::NAME, bias.len());
            sum.iter_mut().zip(bias.iter().cycle()).for_each(|(sum, bias)| *sum += bias);
        }
        let scale = floats(&inputs[self.scale])?;
        let (out, inverse) = normalised(&sum, &scale, width, self.epsilon);
        let deviations = deviations(shape, shape.len() - 1);
        let none = tensor(&deviations, &vec![0.0; inverse.len()], DatumType::F32)?;
        let inverse = tensor(&deviations, &inverse, DatumType::F32)?;
        Ok(tvec![tensor(shape, &out, kind)?, none, inverse, tensor(shape, &sum, kind)?])
    }
}

/// An axis counted from the front.
pub(super) fn axis(axis: i64, rank: usize) -> TractResult<usize> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    let place = usize::try_from(from_front).ok().filter(|&place| place < rank);
    place.with_context(|| format!("a norm along axis {axis} of rank {rank}"))
}

/// The shape of what is computed once for each row.
pub(super) fn deviations<D: DimLike>(shape: &[D], axis: usize) -> TVec<D> {
    let dims = shape.iter().enumerate();
    dims.map(|(at, dim)| if at < axis { dim.clone() } else { D::one() }).collect()
}

/// Says whether there is one factor for each value of a row, or one for all.
pub(super) fn check_scale(scale: &TypedFact, row: &[TDim]) -> TractResult<()> {
    let width: TDim = row.iter().product();
    let due = scale.shape.volume();
    ensure!(due == width || due.is_one(), "a norm of rows of {width} by {due} factors");
    Ok(())
}

/// Rows divided by the root of their mean square and scaled; and the inverse of that root.
fn normalised(x: &[f32], scale: &[f32], width: usize, epsilon: Real) -> (Vec<f32>, Vec<f32>) {
    let mut out = Vec::with_capacity(x.len());
    let mut inverses = Vec::with_capacity(x.len() / width.max(1));
    for row in x.chunks_exact(width.max(1)) {
        // Squares of activations are large and small: their sum is kept in double precision.
        let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let inverse = 1.0 / (squares / row.len() as f64 + f64::from(epsilon.get())).sqrt();
        let inverse = inverse as f32;
        out.extend(row.iter().zip(scale.iter().cycle()).map(|(x, scale)| x * inverse * scale));
        inverses.push(inverse);
    }
    (out, inverses)
}
