//! GroupQueryAttention of ONNX Runtime for one sequence: rotary positions, the window of sliding
//! layers, the bound of the scores, and layers that attend to the keys of another.
//!
//! Where a row of the past stands is told by the length of the whole sequence, from which is counted
//! back. So a past that lacks rows which no query sees any more gives the same answer.

use std::ops::Range;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::attention::{Attention, Mask, Scores, Sizes, swapped};
use super::elements::{float_type, floats, integers, known, tensor};
use super::operator::{Built, Operator, Real, built, needed, places};
use super::rotation::{Angles, position};

/// Inputs that change what is computed and that no Gemma graph has.
const REFUSED: [(usize, &str); 4] =
    [(12, "k_scale"), (13, "v_scale"), (14, "q_norm_weight"), (15, "k_norm_weight")];

/// Reads a node.
///
/// # Errors
/// When queries, keys and values are packed into one input, or the cache is quantised or a ring.
pub(super) fn group_query_attention(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let places = places::<16>(node);
    let name = "GroupQueryAttention";
    ensure!(
        places[1].is_some() && places[2].is_some(),
        "{name} with packed queries, keys and values is not supported; unpack them"
    );
    for (place, input) in REFUSED {
        ensure!(places[place].is_none(), "{name} with the input {input} is not supported");
    }
    for attribute in ["qk_output", "sliding_window_cache", "kv_cache_bit_width"] {
        let value = node.get_attr_opt(attribute)?.unwrap_or(0_i64);
        ensure!(value == 0, "{name} with {attribute} = {value} is not supported");
    }
    ensure!(node.get_attr_opt("causal")?.unwrap_or(1_i64) == 1, "{name} that sees the future");
    ensure!(places[3].is_some() == places[4].is_some(), "{name} with half of a past");
    let rotary = node.get_attr_opt("do_rotary")?.unwrap_or(0_i64) != 0;
    let tables = match rotary {
        true => {
            Some([needed(places[7], node, "cos_cache")?, needed(places[8], node, "sin_cache")?])
        }
        false => None,
    };
    let operator = GroupQueryAttention {
        heads: node.get_attr("num_heads")?,
        kv_heads: node.get_attr("kv_num_heads")?,
        scale: node.get_attr_opt("scale")?.unwrap_or(0.0_f32).into(),
        softcap: node.get_attr_opt("softcap")?.unwrap_or(0.0_f32).into(),
        window: usize::try_from(node.get_attr_opt("local_window_size")?.unwrap_or(-1_i64)).ok(),
        interleaved: node.get_attr_opt("rotary_interleaved")?.unwrap_or(0_i64) != 0,
        smooth: node.get_attr_opt("smooth_softmax")?.unwrap_or(0_i64) == 1,
        past: places[3].zip(places[4]),
        lengths: needed(places[5], node, "seqlens_k")?,
        tables,
        positions: places[9],
        bias: places[10],
        sinks: places[11],
    };
    built(node, operator, 3)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupQueryAttention {
    heads: usize,
    kv_heads: usize,
    scale: Real,
    softcap: Real,
    window: Option<usize>,
    interleaved: bool,
    /// Whether every query has a sink of score 0.
    smooth: bool,
    past: Option<(usize, usize)>,
    lengths: usize,
    tables: Option<[usize; 2]>,
    positions: Option<usize>,
    bias: Option<usize>,
    sinks: Option<usize>,
}

/// Turns a row of a step by its position.
type Turn<'t> = dyn Fn(usize, &mut [f32]) -> TractResult<()> + 't;

impl GroupQueryAttention {
    /// Elements of a head, of rows of all heads.
    fn width(&self, row: usize, heads: usize) -> TractResult<usize> {
        ensure!(
            heads > 0 && row > 0 && row.is_multiple_of(heads),
            "GroupQueryAttention: {heads} heads in rows of {row}"
        );
        Ok(row / heads)
    }

    /// `[1, steps, heads * width]` as `[heads, steps, width]`, turned by the positions.
    fn heads(
        &self,
        input: &Tensor,
        heads: usize,
        turn: Option<&Turn<'_>>,
    ) -> TractResult<Vec<f32>> {
        let (steps, row) = (input.shape()[1], input.shape()[2]);
        let width = self.width(row, heads)?;
        let mut rows = swapped(&floats(input)?, [1, steps, heads, width]);
        if let Some(turn) = turn {
            for (at, row) in rows.chunks_exact_mut(width).enumerate() {
                turn(at % steps, row)?;
            }
        }
        Ok(rows)
    }

    /// The keys a query of the step sees, among those that are given.
    fn visible(&self, query: usize, queries: usize, keys: usize) -> Range<usize> {
        let end = (keys + query + 1).saturating_sub(queries);
        let start = self.window.map_or(0, |window| end.saturating_sub(window));
        start..end
    }
}

impl Operator for GroupQueryAttention {
    const NAME: &'static str = "GroupQueryAttention";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let kind = float_type(inputs[0], "query")?;
        ensure!(
            inputs[..3].iter().all(|input| input.rank() == 3),
            "GroupQueryAttention: query, key and value are due in rank 3"
        );
        ensure!(inputs[0].shape[0].is_one(), "GroupQueryAttention: a batch of one is due");
        let row = |input: usize| known(&inputs[input].shape[2], "a width");
        let width = self.width(row(0)?, self.heads)?;
        ensure!(self.heads.is_multiple_of(self.kv_heads.max(1)), "{} heads", self.heads);
        ensure!(self.width(row(1)?, self.kv_heads)? == width, "keys of another width");
        let value_width = self.width(row(2)?, self.kv_heads)?;
        let mut shape = inputs[0].shape.to_tvec();
        shape[2] = (self.heads * value_width).to_dim();
        let mut facts = tvec![kind.fact(shape)];
        let past = self.past.map(|(key, value)| [key, value]);
        for (at, width) in [width, value_width].into_iter().enumerate() {
            let mut rows = inputs[1 + at].shape[1].clone();
            let mut kept = kind;
            if let Some(place) = past.map(|past| past[at]) {
                let past = inputs[place];
                ensure!(past.rank() == 4, "GroupQueryAttention: a past of rank {}", past.rank());
                rows = past.shape[2].clone() + rows;
                kept = float_type(past, "past")?;
            }
            let shape = [1.to_dim(), self.kv_heads.to_dim(), rows, width.to_dim()];
            facts.push(kept.fact(shape));
        }
        Ok(facts)
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (queries, steps) = (inputs[0].shape()[1], inputs[1].shape()[1]);
        let total = integers(&inputs[self.lengths])?;
        let total = position(*total.first().context("seqlens_k is empty")?)? + 1;
        ensure!(
            queries <= total && (steps == queries || steps == 0),
            "{queries} queries and {steps} keys in a sequence of {total}"
        );
        let positions = self.positions.map(|place| integers(&inputs[place])).transpose()?;
        let place = |step: usize| match positions.as_deref() {
            Some(given) => position(*given.get(step).context("too few position_ids")?),
            None => Ok(total - queries + step),
        };
        let tables = self.tables.map(|tables| tables.map(|table| floats(&inputs[table])));
        let tables = match tables {
            Some([cosines, sines]) => Some((cosines?, sines?)),
            None => None,
        };
        let half = self.tables.and_then(|[cosines, _]| inputs[cosines].shape().last().copied());
        let angles = match &tables {
            Some((cosines, sines)) => {
                Some(Angles::new(cosines, sines, half.unwrap_or(0), self.interleaved)?)
            }
            None => None,
        };
        let turn = |step: usize, row: &mut [f32]| match &angles {
            Some(angles) => angles.turn(row, place(step)?),
            None => Ok(()),
        };
        let query = self.heads(&inputs[0], self.heads, Some(&turn))?;
        let past = self.past.map(|(key, value)| [&inputs[key], &inputs[value]]);
        let present = |at: usize| -> TractResult<TValue> {
            let turn = (at == 0).then_some(&turn as &Turn<'_>);
            if let Some(past) = past.filter(|_| steps == 0) {
                return Ok(past[at].clone());
            }
            let fresh = self.heads(&inputs[1 + at], self.kv_heads, turn)?;
            let past = past.map(|past| &**past[at]);
            appended(past, &fresh, self.kv_heads, steps, inputs[1 + at].datum_type())
        };
        let (keys, values) = (present(0)?, present(1)?);
        let mixed = self.attend(inputs, &query, &keys, &values, total)?;
        let value_width = values.shape()[3];
        let out = swapped(&mixed, [1, self.heads, queries, value_width]);
        let shape = [1, queries, self.heads * value_width];
        Ok(tvec![tensor(&shape, &out, inputs[0].datum_type())?, keys, values])
    }
}

impl GroupQueryAttention {
    fn attend(
        &self,
        inputs: &[TValue],
        query: &[f32],
        keys: &Tensor,
        values: &Tensor,
        total: usize,
    ) -> TractResult<Vec<f32>> {
        let &[1, kv_heads, rows, width] = keys.shape() else {
            bail!("GroupQueryAttention: keys of {:?}", keys.shape());
        };
        let value_width = values.shape()[3];
        let queries = inputs[0].shape()[1];
        ensure!(
            kv_heads == self.kv_heads && rows <= total,
            "GroupQueryAttention: {kv_heads} heads of {rows} keys in a sequence of {total}"
        );
        let needed = self.window.map_or(total, |window| total.min(window + queries - 1));
        ensure!(rows >= needed, "GroupQueryAttention: {rows} keys where {needed} are seen");
        let mask = self.bias.map(|place| bias(&inputs[place], total, rows)).transpose()?;
        let sinks = match self.sinks {
            Some(place) => Some(floats(&inputs[place])?.into_owned()),
            None => self.smooth.then(|| vec![0.0; self.heads]),
        };
        if let Some(sinks) = &sinks {
            ensure!(sinks.len() == self.heads, "GroupQueryAttention: {} sinks", sinks.len());
        }
        let scale = self.scale.get();
        let attention = Attention {
            query,
            keys: &floats(keys)?,
            values: &floats(values)?,
            sizes: Sizes { heads: self.heads, kv_heads, queries, keys: rows, width, value_width },
            scores: Scores {
                scale: if scale == 0.0 { (width as f32).sqrt().recip() } else { scale },
                softcap: self.softcap.get(),
                masked_first: false,
                mask: mask.as_ref(),
                sinks: sinks.as_deref(),
            },
        };
        attention.compute(&|query| self.visible(query, queries, rows))
    }
}

/// The past with the rows of this step, `[1, heads, rows, width]`, in the past's element type.
fn appended(
    past: Option<&Tensor>,
    fresh: &[f32],
    heads: usize,
    steps: usize,
    kind: DatumType,
) -> TractResult<TValue> {
    let width = fresh.len() / (heads * steps).max(1);
    let Some(past) = past else { return tensor(&[1, heads, steps, width], fresh, kind) };
    let &[1, past_heads, rows, past_width] = past.shape() else {
        bail!("GroupQueryAttention: a past of {:?}", past.shape());
    };
    ensure!(
        past_heads == heads && past_width == width,
        "GroupQueryAttention: a past of {past_heads} heads of {past_width}, not {heads} of {width}"
    );
    let fresh = tensor(&[1, heads, steps, width], fresh, past.datum_type())?;
    let mut out = Tensor::zero_dt(past.datum_type(), &[1, heads, rows + steps, width])?;
    let bytes = width * past.datum_type().size_of();
    let (old, new) = (past.as_bytes(), fresh.as_bytes());
    let outs = out.as_bytes_mut().chunks_exact_mut((rows + steps) * bytes);
    for (head, out) in outs.enumerate() {
        let (before, after) = out.split_at_mut(rows * bytes);
        before.copy_from_slice(&old[head * rows * bytes..(head + 1) * rows * bytes]);
        after.copy_from_slice(&new[head * steps * bytes..(head + 1) * steps * bytes]);
    }
    Ok(out.into())
}

/// The bias `[1, 1 or heads, queries, total]` of the last `rows` keys.
fn bias(input: &Tensor, total: usize, rows: usize) -> TractResult<Mask> {
    let &[1, heads, queries, keys] = input.shape() else {
        bail!("GroupQueryAttention: an attention_bias of {:?}", input.shape());
    };
    ensure!(keys == total, "GroupQueryAttention: an attention_bias for {keys} of {total} keys");
    let data = floats(input)?;
    let rows_of = data.chunks_exact(keys.max(1)).flat_map(|row| &row[keys - rows..]);
    let head_stride = if heads == 1 { 0 } else { queries * rows };
    Ok(Mask { data: rows_of.copied().collect(), head_stride, query_stride: rows })
}
