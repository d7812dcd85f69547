//! RotaryEmbedding of ONNX and of ONNX Runtime, which differ in the order of their inputs.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::elements::{float_type, floats, integers, known, tensor};
use super::operator::{Built, Operator, Real, built, needed, places};
use super::rotation::{Angles, position};

/// Reads a node.
///
/// # Errors
/// When it packs several sequences into one.
pub(super) fn rotary_embedding(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let contrib = node.domain == "com.microsoft";
    let packed = node.get_attr_opt("is_packed_batching")?.unwrap_or(0_i64);
    ensure!(packed == 0, "RotaryEmbedding with is_packed_batching is not supported");
    let [_, second, third, fourth] = places(node);
    let (cosines, sines, positions) =
        if contrib { (third, fourth, second) } else { (second, third, fourth) };
    let operator = RotaryEmbedding {
        cosines: needed(cosines, node, "cos_cache")?,
        sines: needed(sines, node, "sin_cache")?,
        positions,
        heads: node.get_attr_opt("num_heads")?.unwrap_or(0),
        dims: node.get_attr_opt("rotary_embedding_dim")?.unwrap_or(0),
        interleaved: node.get_attr_opt("interleaved")?.unwrap_or(0_i64) != 0,
        scale: node.get_attr_opt("scale")?.unwrap_or(1.0_f32).into(),
    };
    built(node, operator, 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RotaryEmbedding {
    cosines: usize,
    sines: usize,
    positions: Option<usize>,
    heads: usize,
    dims: usize,
    interleaved: bool,
    scale: Real,
}

impl RotaryEmbedding {
    /// Elements of a head of `[batch, steps, heads * width]`.
    fn width(&self, row: usize, half: usize) -> TractResult<usize> {
        let width = match self.heads {
            0 => 2 * half,
            heads => row / heads,
        };
        ensure!(width > 0 && row.is_multiple_of(width), "heads of {width} in rows of {row}");
        let turned = if self.dims == 0 { width } else { self.dims };
        ensure!(turned <= width && turned == 2 * half, "{turned} of {width} by tables of {half}");
        Ok(width)
    }
}

impl Operator for RotaryEmbedding {
    const NAME: &'static str = "RotaryEmbedding";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let kind = float_type(inputs[0], "X")?;
        let shape = inputs[0].shape.to_tvec();
        ensure!(matches!(shape.len(), 3 | 4), "RotaryEmbedding of rank {}", shape.len());
        let last = |fact: &TypedFact| fact.shape.last().cloned().unwrap_or_default();
        let half = known(&last(inputs[self.cosines]), "the width of cos_cache")?;
        let row = known(&last(inputs[0]), "the width of RotaryEmbedding")?;
        match shape.len() {
            3 => self.width(row, half)?,
            _ => Self { heads: 1, ..self.clone() }.width(row, half)?,
        };
        Ok(tvec![kind.fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (cosines, sines) = (floats(&inputs[self.cosines])?, floats(&inputs[self.sines])?);
        let half = inputs[self.cosines].shape().last().copied().unwrap_or(0);
        let angles = Angles::new(&cosines, &sines, half, self.interleaved)?;
        let shape = inputs[0].shape();
        // Rows of one position: [batch, steps, heads] of `width`, or [batch, heads, steps].
        let (steps, heads, width, steps_last) = match *shape {
            [_, steps, row] => {
                let width = self.width(row, half)?;
                (steps, row / width, width, false)
            }
            [_, heads, steps, width] => (steps, heads, width, true),
            _ => bail!("RotaryEmbedding of {shape:?}"),
        };
        let given = self.positions.map(|place| integers(&inputs[place])).transpose()?;
        let place = |batch: usize, step: usize| match given.as_deref() {
            None => Ok(batch * steps + step),
            Some([first]) if steps != 1 || batch > 0 => Ok(position(*first)? + step),
            Some(given) => {
                let given = given.get(batch * steps + step);
                position(*given.context("too few position_ids")?)
            }
        };
        let mut out = floats(&inputs[0])?.into_owned();
        for (at, row) in out.chunks_exact_mut(width).enumerate() {
            let (batch, within) = (at / (steps * heads), at % (steps * heads));
            let step = if steps_last { within % steps } else { within / heads };
            angles.turn(row, place(batch, step)?)?;
        }
        let scale = self.scale.get();
        if scale != 1.0 {
            out.iter_mut().for_each(|out| *out *= scale);
        }
        Ok(tvec![tensor(shape, &out, inputs[0].datum_type())?])
    }
}
