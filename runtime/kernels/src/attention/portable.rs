//! Attention for any processor, written to be read: the other versions are held against this one.

use std::ops::Range;

use super::{Heads, Rows, Segment};
use crate::{Threads, output::Output};

/// See [`crate::attend`]; lengths agree.
pub(super) fn attend(
    heads: &Heads,
    query: &[f32],
    sees: &[Range<usize>],
    segments: &[Segment<'_>],
    output: Output<'_>,
    threads: &Threads,
) {
    let width = heads.width;
    threads.split(sees.len() * heads.query, 1, &|range| {
        for index in range {
            let (row, head) = (index / heads.query, index % heads.query);
            let kv_head = head / (heads.query / heads.kv);
            let query = &query[index * width..][..width];
            let answer = answer(heads, kv_head, query, &sees[row], segments);
            output.set(index * width, &answer);
        }
    });
}

/// What one query head gets.
fn answer(
    heads: &Heads,
    kv_head: usize,
    query: &[f32],
    sees: &Range<usize>,
    segments: &[Segment<'_>],
) -> Vec<f32> {
    let rows =
        || segments.iter().flat_map(|segment| segment.part(sees).map(move |row| (segment, row)));
    let at = |row: usize| (row * heads.kv + kv_head) * heads.width;
    let mut key = vec![0.0; heads.width];
    let mut scores = Vec::new();
    for (segment, row) in rows() {
        segment.keys.read(at(row), &mut key);
        scores.push(query.iter().zip(&key).map(|(query, key)| query * key).sum::<f32>());
    }
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut answer = vec![0.0; heads.width];
    let mut value = key;
    let mut whole = 0.0;
    for ((segment, row), score) in rows().zip(scores) {
        let share = (score - largest).exp();
        whole += share;
        segment.values.read(at(row), &mut value);
        for (answer, value) in answer.iter_mut().zip(&value) {
            *answer += share * value;
        }
    }
    if whole > 0.0 {
        answer.iter_mut().for_each(|answer| *answer /= whole);
    }
    answer
}

impl Rows<'_> {
    /// Copies as many elements as `into` has, from `first` on.
    fn read(&self, first: usize, into: &mut [f32]) {
        match self {
            Self::F32(rows) => into.copy_from_slice(&rows[first..][..into.len()]),
            Self::F16(rows) => {
                for (into, value) in into.iter_mut().zip(&rows[first..]) {
                    *into = value.to_f32();
                }
            }
        }
    }
}
