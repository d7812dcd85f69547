//! Attention of ONNX (operator sets 23 and 24): masks of floats or of truth values, causality, a
//! past, and a bound of the scores.

use std::borrow::Cow;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::attention::{Attention, Mask, Scores, Sizes, swapped};
use super::elements::{float_type, floats, known, tensor};
use super::operator::{Built, Operator, Real, built, places};

/// Reads a node.
///
/// # Errors
/// When it is ONNX Runtime's operator of the same name, or uses a cache of fixed size.
pub(super) fn attention(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    ensure!(
        matches!(node.domain.as_str(), "" | "ai.onnx"),
        "Attention of {} is not supported; that of ONNX is",
        node.domain
    );
    let [_, key, value, mask, past_key, past_value, lengths] = places(node);
    ensure!(key.is_some() && value.is_some(), "Attention without K or V");
    ensure!(lengths.is_none(), "Attention with the input nonpad_kv_seqlen is not supported");
    ensure!(past_key.is_some() == past_value.is_some(), "Attention with half of a past");
    let operator = StandardAttention {
        heads: node.get_attr_opt("q_num_heads")?.unwrap_or(0),
        kv_heads: node.get_attr_opt("kv_num_heads")?.unwrap_or(0),
        scale: node.get_attr_opt("scale")?.unwrap_or(0.0_f32).into(),
        softcap: node.get_attr_opt("softcap")?.unwrap_or(0.0_f32).into(),
        causal: node.get_attr_opt("is_causal")?.unwrap_or(0_i64) != 0,
        mask,
        past: past_key.zip(past_value),
    };
    built(node, operator, 3)
}

/// Reads a node of ONNX Runtime's MultiHeadAttention, which is the same but for its inputs.
///
/// # Errors
/// When queries, keys and values are packed, or it has inputs that no Gemma graph has.
pub(super) fn multi_head_attention(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let [_, key, value, bias, padding, mask, past_key, past_value, length, beams] = places(node);
    let name = "MultiHeadAttention";
    ensure!(key.is_some() && value.is_some(), "{name} with packed inputs is not supported");
    for (input, place) in [
        ("bias", bias),
        ("key_padding_mask", padding),
        ("past_sequence_length", length),
        ("cache_indirection", beams),
    ] {
        ensure!(place.is_none(), "{name} with the input {input} is not supported");
    }
    ensure!(past_key.is_some() == past_value.is_some(), "{name} with half of a past");
    let heads = node.get_attr("num_heads")?;
    let operator = StandardAttention {
        heads,
        kv_heads: heads,
        scale: node.get_attr_opt("scale")?.unwrap_or(0.0_f32).into(),
        softcap: 0.0.into(),
        causal: node.get_attr_opt("unidirectional")?.unwrap_or(0_i64) != 0,
        mask,
        past: past_key.zip(past_value),
    };
    built(node, operator, 3)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct StandardAttention {
    heads: usize,
    kv_heads: usize,
    scale: Real,
    softcap: Real,
    causal: bool,
    mask: Option<usize>,
    past: Option<(usize, usize)>,
}

/// Sizes of an input, `[batch, heads, steps, width]`.
type Shape<D> = [D; 4];

impl StandardAttention {
    /// The sizes of an input of rank 4, or of rank 3 with its heads in one row.
    fn shape<D: DimLike>(&self, shape: &[D], heads: usize) -> TractResult<Shape<D>> {
        match shape {
            [batch, heads, steps, width] => {
                Ok([batch.clone(), heads.clone(), steps.clone(), width.clone()])
            }
            [batch, steps, row] => {
                ensure!(heads > 0, "Attention of rank 3 without a number of heads");
                let row = known(&row.to_dim(), "a width of Attention")?;
                ensure!(row.is_multiple_of(heads), "Attention: {heads} heads in rows of {row}");
                let [heads, width] = [heads, row / heads].map(|size| D::from(size));
                Ok([batch.clone(), heads, steps.clone(), width])
            }
            shape => bail!("Attention on an input of rank {}", shape.len()),
        }
    }

    /// An input as `[batch, heads, steps, width]`.
    fn rows<'t>(
        &self,
        input: &'t Tensor,
        heads: usize,
    ) -> TractResult<(Shape<usize>, Cow<'t, [f32]>)> {
        let shape = self.shape(input.shape(), heads)?;
        let data = floats(input)?;
        let [batch, heads, steps, width] = shape;
        Ok(match input.rank() {
            3 => (shape, Cow::Owned(swapped(&data, [batch, steps, heads, width]))),
            _ => (shape, data),
        })
    }

    /// Keys or values with their past, `[batch, heads, keys, width]`.
    fn with_past<'t>(
        &self,
        input: &'t Tensor,
        past: Option<&Tensor>,
    ) -> TractResult<(Shape<usize>, Cow<'t, [f32]>)> {
        let (shape, fresh) = self.rows(input, self.kv_heads)?;
        let Some(past) = past else { return Ok((shape, fresh)) };
        let [batch, heads, steps, width] = shape;
        let &[past_batch, past_heads, rows, past_width] = past.shape() else {
            bail!("Attention: a past of {:?}", past.shape());
        };
        ensure!(
            [past_batch, past_heads, past_width] == [batch, heads, width],
            "Attention: a past of {:?} before {shape:?}",
            past.shape()
        );
        let old = floats(past)?;
        let mut all = Vec::with_capacity(old.len() + fresh.len());
        for head in 0..batch * heads {
            all.extend_from_slice(&old[head * rows * width..(head + 1) * rows * width]);
            all.extend_from_slice(&fresh[head * steps * width..(head + 1) * steps * width]);
        }
        Ok(([batch, heads, rows + steps, width], Cow::Owned(all)))
    }
}

impl Operator for StandardAttention {
    const NAME: &'static str = "Attention";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let kind = float_type(inputs[0], "Q")?;
        let query = self.shape(&inputs[0].shape.to_tvec(), self.heads)?;
        let mut kept = TVec::new();
        for (at, fact) in inputs.iter().enumerate().take(3).skip(1) {
            let mut shape = self.shape(&fact.shape.to_tvec(), self.kv_heads)?;
            if let Some((key, value)) = self.past {
                let past = inputs[[key, value][at - 1]];
                ensure!(past.rank() == 4, "Attention: a past of rank {}", past.rank());
                shape[2] = past.shape[2].clone() + shape[2].clone();
            }
            kept.push(float_type(fact, "K or V")?.fact(shape));
        }
        let [batch, heads, steps, _] = query;
        let width = kept[1].shape[3].clone();
        let mixed: TVec<TDim> = match inputs[0].rank() {
            4 => tvec![batch, heads, steps, width],
            _ => tvec![batch, steps, heads * width],
        };
        if let Some(place) = self.mask {
            let mask = inputs[place];
            let is_mask = mask.datum_type == DatumType::Bool || float_type(mask, "").is_ok();
            ensure!(is_mask, "Attention: a mask of {:?}", mask.datum_type);
            ensure!((2..=4).contains(&mask.rank()), "Attention: a mask of rank {}", mask.rank());
        }
        let mut facts = tvec![kind.fact(mixed)];
        facts.extend(kept);
        Ok(facts)
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (query_shape, query) = self.rows(&inputs[0], self.heads)?;
        let past = self.past.map(|(key, value)| [&*inputs[key], &*inputs[value]]);
        let (key_shape, keys) = self.with_past(&inputs[1], past.map(|past| past[0]))?;
        let (value_shape, values) = self.with_past(&inputs[2], past.map(|past| past[1]))?;
        let [batch, heads, queries, width] = query_shape;
        let [key_batch, kv_heads, rows, key_width] = key_shape;
        let value_width = value_shape[3];
        ensure!(
            key_width == width && key_batch == batch && value_shape[..3] == key_shape[..3],
            "Attention of {query_shape:?} on {key_shape:?} and {value_shape:?}"
        );
        let sizes = Sizes { heads, kv_heads, queries, keys: rows, width, value_width };
        let old = past.map_or(0, |past| past[0].shape()[2]);
        let scale = self.scale.get();
        let scale = if scale == 0.0 { (width as f32).sqrt().recip() } else { scale };
        let mut mixed = Vec::with_capacity(batch * heads * queries * value_width);
        for at in 0..batch {
            let of = |all: &'_ [f32], part: usize| at * part..((at + 1) * part).min(all.len());
            let mask = self.mask.map(|place| mask(&inputs[place], at, &sizes)).transpose()?;
            let attention = Attention {
                query: &query[of(&query, heads * queries * width)],
                keys: &keys[of(&keys, kv_heads * rows * width)],
                values: &values[of(&values, kv_heads * rows * value_width)],
                sizes,
                scores: Scores {
                    scale,
                    softcap: self.softcap.get(),
                    masked_first: false,
                    mask: mask.as_ref(),
                    sinks: None,
                },
            };
            let seen = |query: usize| if self.causal { 0..old + query + 1 } else { 0..rows };
            mixed.extend(attention.compute(&seen)?);
        }
        let kind = inputs[0].datum_type();
        let out = match inputs[0].rank() {
            4 => tensor(&[batch, heads, queries, value_width], &mixed, kind)?,
            _ => {
                let rows = swapped(&mixed, [batch, heads, queries, value_width]);
                tensor(&[batch, queries, heads * value_width], &rows, kind)?
            }
        };
        let keys = tensor(&key_shape, &keys, inputs[1].datum_type())?;
        Ok(tvec![out, keys, tensor(&value_shape, &values, inputs[2].datum_type())?])
    }
}

/// The part of a mask for one sequence. What a mask of truth values forbids is infinitely far away,
/// and so are keys behind the end of a short mask. Where keys are left out that nobody sees, a mask
/// for all of them is too long: its end counts.
fn mask(input: &Tensor, batch: usize, sizes: &Sizes) -> TractResult<Mask> {
    let mut shape: TVec<usize> = input.shape().into();
    while shape.len() < 4 {
        shape.insert(0, 1);
    }
    let [batches, heads, queries, keys] = [shape[0], shape[1], shape[2], shape[3]];
    let fits = |size: usize, of: usize| size == 1 || size == of;
    ensure!(
        (batches == 1 || batch < batches)
            && fits(heads, sizes.heads)
            && fits(queries, sizes.queries),
        "Attention: a mask of {shape:?} on {sizes:?}"
    );
    let all: Cow<'_, [f32]> = if input.datum_type() == DatumType::Bool {
        let bools = input.try_as_plain_ram()?.as_slice::<bool>()?;
        bools.iter().map(|&seen| if seen { 0.0 } else { f32::NEG_INFINITY }).collect()
    } else {
        floats(input)?
    };
    let part = heads * queries * keys;
    let start = if batches == 1 { 0 } else { batch * part };
    let mut data = Vec::with_capacity(heads * queries * sizes.keys);
    for row in all[start..start + part].chunks_exact(keys.max(1)) {
        match keys {
            1 => data.extend(std::iter::repeat_n(row[0], sizes.keys)),
            _ => {
                data.extend_from_slice(&row[keys.saturating_sub(sizes.keys)..]);
                data.resize(data.len() + sizes.keys.saturating_sub(keys), f32::NEG_INFINITY);
            }
        }
    }
    let query_stride = if queries == 1 { 0 } else { sizes.keys };
    let head_stride = if heads == 1 { 0 } else { queries * sizes.keys };
    Ok(Mask { data, head_stride, query_stride })
}
