//! Attention itself: each query's mixture of the values whose keys it may see. The operators around
//! it differ in how they lay out their inputs and in what a query may see.

use std::ops::Range;

use tract_onnx::tract_core::tract_linalg::multithread::par_chunks_mut;
use tract_onnx::tract_hir::internal::*;

use super::dots::{dots, mix};

/// Queries that look at the same keys while these are in the nearest caches.
const TILE: usize = 16;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Heads of queries.
    pub(super) heads: usize,
    /// Heads of keys and values; each serves as many heads of queries as the others.
    pub(super) kv_heads: usize,
    /// Queries of a head.
    pub(super) queries: usize,
    /// Keys, and values, of a head.
    pub(super) keys: usize,
    /// Elements of a query and of a key.
    pub(super) width: usize,
    /// Elements of a value.
    pub(super) value_width: usize,
}

/// What is done to the products of queries and keys before they become weights.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scores<'a> {
    /// Their factor.
    pub(super) scale: f32,
    /// Bounds them softly; 0 does not.
    pub(super) softcap: f32,
    /// Whether the mask is added before they are bounded.
    pub(super) masked_first: bool,
    /// Is added to them.
    pub(super) mask: Option<&'a Mask>,
    /// Of each head, a score that takes its share of the weights and has no value.
    pub(super) sinks: Option<&'a [f32]>,
}

/// What is added to the scores, `[1 or heads, 1 or queries, keys]`.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    /// Its elements.
    pub(super) data: Vec<f32>,
    /// Elements from a head to the next; 0 where all share one.
    pub(super) head_stride: usize,
    /// Elements from a query to the next; 0 where all share one.
    pub(super) query_stride: usize,
}

/// One sequence of queries, `[heads, queries, width]`, with its keys and values,
/// `[kv_heads, keys, width]`.
pub(super) struct Attention<'a> {
    /// The queries.
    pub(super) query: &'a [f32],
    /// The keys.
    pub(super) keys: &'a [f32],
    /// The values.
    pub(super) values: &'a [f32],
    /// Their sizes.
    pub(super) sizes: Sizes,
    /// How scores are made.
    pub(super) scores: Scores<'a>,
}

impl Attention<'_> {
    /// The mixtures, `[heads, queries, value_width]`; `visible` says which keys a query sees. A query
    /// that sees none gets zeros.
    ///
    /// # Errors
    /// When sizes and inputs disagree.
    pub(super) fn compute(
        &self,
        visible: &(dyn Fn(usize) -> Range<usize> + Sync),
    ) -> TractResult<Vec<f32>> {
        let Sizes { heads, kv_heads, queries, keys, width, value_width } = self.sizes;
        ensure!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads) && width > 0 && value_width > 0,
            "attention of {:?}",
            self.sizes
        );
        ensure!(
            self.query.len() == heads * queries * width
                && self.keys.len() == kv_heads * keys * width
                && self.values.len() == kv_heads * keys * value_width,
            "attention of {:?} on other inputs",
            self.sizes
        );
        let mut out = vec![0.0; heads * queries * value_width];
        if out.is_empty() || keys == 0 {
            return Ok(out);
        }
        let work = heads * queries * keys * (width + value_width) / 8;
        par_chunks_mut(&mut out, value_width, work, |first, out| {
            self.rows(first, out, visible);
            Ok(())
        })?;
        Ok(out)
    }

    /// A stretch of the rows `[heads * queries]`, whichever heads it touches.
    fn rows(&self, mut row: usize, mut out: &mut [f32], visible: &dyn Fn(usize) -> Range<usize>) {
        let Sizes { heads, kv_heads, queries, value_width, .. } = self.sizes;
        let of_kv_head = heads / kv_heads * queries;
        let mut scratch = Vec::new();
        while !out.is_empty() {
            let left = (row / of_kv_head + 1) * of_kv_head - row;
            let count = left.min(TILE).min(out.len() / value_width);
            let (tile, rest) = std::mem::take(&mut out).split_at_mut(count * value_width);
            self.tile(row, tile, visible, &mut scratch);
            out = rest;
            row += count;
        }
    }

    /// A few rows of the same head of keys.
    fn tile(
        &self,
        first: usize,
        out: &mut [f32],
        visible: &dyn Fn(usize) -> Range<usize>,
        scratch: &mut Vec<f32>,
    ) {
        let Sizes { heads, kv_heads, queries, keys, width, value_width } = self.sizes;
        let count = out.len() / value_width;
        let kv_head = first / (heads / kv_heads * queries);
        let of = |row: usize| {
            let seen = visible(row % queries);
            seen.start.min(keys)..seen.end.min(keys)
        };
        let seen = (first..first + count).map(of).filter(|seen| !seen.is_empty());
        let Some(span) = seen.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)) else { return };
        let rows = |all: &'_ [f32], width: usize| {
            let start = kv_head * keys * width;
            start + span.start * width..(start + span.end * width).min(all.len())
        };
        let key_rows = &self.keys[rows(self.keys, width)];
        let value_rows = &self.values[rows(self.values, value_width)];
        scratch.clear();
        scratch.resize(count * span.len(), 0.0);
        let query_rows = &self.query[first * width..(first + count) * width];
        dots(key_rows, query_rows, width, scratch);
        let outs = out.chunks_exact_mut(value_width).zip(scratch.chunks_exact_mut(span.len()));
        for (at, (out, scores)) in outs.enumerate() {
            let row = first + at;
            let seen = of(row);
            if seen.is_empty() {
                continue;
            }
            let scores = &mut scores[seen.start - span.start..seen.end - span.start];
            self.weigh(row / queries, row % queries, seen.start, scores);
            let start = (seen.start - span.start) * value_width;
            mix(scores, &value_rows[start..start + scores.len() * value_width], out);
        }
    }

    /// Turns the products of a query with the keys from `start` on into weights.
    fn weigh(&self, head: usize, query: usize, start: usize, scores: &mut [f32]) {
        let Scores { scale, softcap, masked_first, mask, sinks } = self.scores;
        scores.iter_mut().for_each(|score| *score *= scale);
        let mask = mask.map(|mask| {
            let from = head * mask.head_stride + query * mask.query_stride + start;
            &mask.data[from..from + scores.len()]
        });
        let add = |scores: &mut [f32]| {
            if let Some(mask) = mask {
                scores.iter_mut().zip(mask).for_each(|(score, mask)| *score += mask);
            }
        };
        if masked_first {
            add(scores);
        }
        if softcap > 0.0 {
            scores.iter_mut().for_each(|score| *score = softcap * (*score / softcap).tanh());
        }
        if !masked_first {
            add(scores);
        }
        softmax(scores, sinks.map(|sinks| sinks[head]));
    }
}

/// Weights that sum up to one, or to less where a sink takes its share.
fn softmax(scores: &mut [f32], sink: Option<f32>) {
    let most = scores.iter().copied().chain(sink).fold(f32::NEG_INFINITY, f32::max);
    if most == f32::NEG_INFINITY {
        scores.fill(0.0);
        return;
    }
    let mut sum = sink.map_or(0.0, |sink| (sink - most).exp());
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    let inverse = 1.0 / sum;
    scores.iter_mut().for_each(|score| *score *= inverse);
}

/// `[outer, middle, inner, width]` as `[outer, inner, middle, width]`.
pub(super) fn swapped(data: &[f32], [outer, middle, inner, width]: [usize; 4]) -> Vec<f32> {
    if middle == 1 || inner == 1 {
        return data.to_vec();
    }
    let mut out = Vec::with_capacity(data.len());
    for outer in 0..outer {
        for i in 0..inner {
            for m in 0..middle {
                let from = ((outer * middle + m) * inner + i) * width;
                out.extend_from_slice(&data[from..from + width]);
            }
        }
    }
    out
}
