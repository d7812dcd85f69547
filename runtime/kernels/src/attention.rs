//! Attention of a few query rows over the rows of a sequence that lie in several pieces.

#[cfg(test)]
mod agreement;
mod blocks;
mod fast;
mod portable;
mod running;

use std::ops::Range;

use half::f16;

use crate::{
    Mismatch, Threads,
    cpu::{self, Versions},
    mismatch::check_length,
    output::Output,
    simd::Simd,
};

/// Rows of keys or values, `[rows, kv_heads, width]`.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// In single precision.
    F32(&'a [f32]),
    /// In half precision.
    F16(&'a [f16]),
}

/// Keys and values of consecutive positions.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Position of the first row.
    pub first: usize,
    /// How many positions.
    pub rows: usize,
    /// `[rows, kv_heads, width]`.
    pub keys: Rows<'a>,
    /// `[rows, kv_heads, width]`.
    pub values: Rows<'a>,
}

/// The shape of a layer's attention.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// How many heads ask.
    pub query: usize,
    /// How many heads hold keys and values; each answers `query / kv` that ask.
    pub kv: usize,
    /// Elements of one head.
    pub width: usize,
}

/// output[row, h] = softmax over j of (query[row, h] . key[j, h / (query / kv)]), times value[j].
///
/// `query` and `output` are `[rows, query heads, width]` f32; j goes over the positions in
/// `sees[row]`. Segments ascend and hold all of these; a position that is in none counts as not seen,
/// and a row that sees nothing is zero. Scores are not scaled.
///
/// # Errors
/// Where lengths do not agree; nothing is written then.
pub fn attend(
    heads: &Heads,
    query: &[f32],
    sees: &[Range<usize>],
    segments: &[Segment<'_>],
    output: &mut [f32],
    threads: &Threads,
) -> Result<(), Mismatch> {
    check(heads, query, sees, segments, output)?;
    let output = Output::new(output);
    cpu::run(Call { heads, query, sees, segments, output, threads });
    Ok(())
}

/// What is to be computed; the lengths agree.
struct Call<'a> {
    heads: &'a Heads,
    query: &'a [f32],
    sees: &'a [Range<usize>],
    segments: &'a [Segment<'a>],
    output: Output<'a>,
    threads: &'a Threads,
}

impl Versions for Call<'_> {
    fn portable(self) {
        let Self { heads, query, sees, segments, output, threads } = self;
        portable::attend(heads, query, sees, segments, output, threads);
    }

    fn fast<S: Simd>(self, simd: S) {
        fast::attend(simd, &self);
    }
}

fn check(
    heads: &Heads,
    query: &[f32],
    sees: &[Range<usize>],
    segments: &[Segment<'_>],
    output: &[f32],
) -> Result<(), Mismatch> {
    if heads.kv == 0 || !heads.query.is_multiple_of(heads.kv) {
        let Heads { query, kv, .. } = heads;
        return Err(Mismatch::new(format!("{query} query heads cannot share {kv} heads of keys")));
    }
    check_length("the query", query.len(), &[sees.len(), heads.query, heads.width])?;
    check_length("the output", output.len(), &[sees.len(), heads.query, heads.width])?;
    for segment in segments {
        let shape = [segment.rows, heads.kv, heads.width];
        check_length("a segment's keys", segment.keys.len(), &shape)?;
        check_length("a segment's values", segment.values.len(), &shape)?;
        if segment.first.checked_add(segment.rows).is_none() {
            return Err(Mismatch::new(format!("a segment begins at {}", segment.first)));
        }
    }
    if segments.windows(2).any(|pair| pair[0].first + pair[0].rows > pair[1].first) {
        return Err(Mismatch::new("the segments' positions do not ascend".into()));
    }
    Ok(())
}

impl Segment<'_> {
    /// The part of `range` that lies in this segment, counted from the segment's first row.
    pub(crate) fn part(&self, range: &Range<usize>) -> Range<usize> {
        let start = range.start.clamp(self.first, self.first + self.rows) - self.first;
        let end = range.end.clamp(self.first, self.first + self.rows) - self.first;
        start..end.max(start)
    }
}

impl Rows<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(rows) => rows.len(),
            Self::F16(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
