//! LayerNormalization. tract sums in single precision; over the 6912 values of a patch of one colour
//! its error is as large as the deviation that it then divides by.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::elements::{float_type, floats, tensor};
use super::norm::{axis, check_scale, deviations};
use super::operator::{Built, Operator, Real, built, needed, places};

/// Reads a node of LayerNormalization.
///
/// # Errors
/// When its attributes have other types than they should.
pub(super) fn layer_norm(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let [_, scale, bias] = places(node);
    let operator = LayerNorm {
        axis: node.get_attr_opt("axis")?.unwrap_or(-1),
        epsilon: node.get_attr_opt("epsilon")?.unwrap_or(1e-5_f32).into(),
        scale: needed(scale, node, "Scale")?,
        bias,
    };
    built(node, operator, 3)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LayerNorm {
    axis: i64,
    epsilon: Real,
    scale: usize,
    bias: Option<usize>,
}

impl Operator for LayerNorm {
    const NAME: &'static str = "LayerNormalization";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let kind = float_type(inputs[0], "X")?;
        let shape = inputs[0].shape.to_tvec();
        let axis = axis(self.axis, shape.len())?;
        check_scale(inputs[self.scale], &shape[axis..])?;
        self.bias.map_or(Ok(()), |bias| check_scale(inputs[bias], &shape[axis..]))?;
        let deviations = f32::fact(deviations(&shape, axis));
        Ok(tvec![kind.fact(shape), deviations.clone(), deviations])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (x, scale) = (floats(&inputs[0])?, floats(&inputs[self.scale])?);
        let bias = self.bias.map(|bias| floats(&inputs[bias])).transpose()?;
        let shape = inputs[0].shape();
        let axis = axis(self.axis, shape.len())?;
        let width = shape[axis..].iter().product::<usize>().max(1);
        let mut out = Vec::with_capacity(x.len());
        let (mut means, mut inverses) = (Vec::new(), Vec::new());
        for row in x.chunks_exact(width) {
            let (mean, inverse) = moments(row, self.epsilon);
            let centred = row.iter().map(|&x| ((f64::from(x) - mean) * inverse) as f32);
            out.extend(centred.zip(scale.iter().cycle()).map(|(x, scale)| x * scale));
            means.push(mean as f32);
            inverses.push(inverse as f32);
        }
        if let Some(bias) = &bias {
            out.iter_mut().zip(bias.iter().cycle()).for_each(|(out, bias)| *out += bias);
        }
        let deviations = deviations(shape, axis);
        let one_each = |values: &[f32]| tensor(&deviations, values, DatumType::F32);
        let kind = inputs[0].datum_type();
        Ok(tvec![tensor(shape, &out, kind)?, one_each(&means)?, one_each(&inverses)?])
    }
}

/// The mean of a row, and the inverse of its deviation.
fn moments(row: &[f32], epsilon: Real) -> (f64, f64) {
    let count = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let squares = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>();
    (mean, 1.0 / (squares / count + f64::from(epsilon.get())).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_of_one_colour_has_no_deviation() {
        for colour in [0.1_f32, 0.6, 0.929_411_8] {
            let (mean, inverse) = moments(&[colour; 6912], 1e-5_f32.into());
            let centred = (f64::from(colour) - mean) * inverse;
            assert!(centred.abs() < 1e-9, "{colour}: {centred}");
        }
    }
}
