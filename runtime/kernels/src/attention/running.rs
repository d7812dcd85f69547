//! Attention that has seen some of the positions: softmax with a maximum and a sum that are brought
//! up to date block by block, for several queries side by side.

use std::ops::Range;

use super::blocks::{BLOCK, HeadRows};
use crate::{
    simd::{LANES, Simd},
    tile::{Step, TALL, Tile, add_columns, add_rows, load_step},
};

/// The state of `WIDE` vectors of queries.
pub(super) struct Running<const WIDE: usize> {
    /// The largest score so far.
    pub(super) largest: Step<WIDE>,
    /// The sum of e^(score - largest).
    pub(super) whole: Step<WIDE>,
    /// The sum of e^(score - largest) * value; tile t holds elements from [`tile_start`] on.
    pub(super) values: Vec<Tile<WIDE>>,
    scores: Vec<Step<WIDE>>,
}

/// The first element of a tile; the last tile begins earlier where the width is no multiple of
/// [`TALL`], so that nothing behind a row is read.
#[inline(always)]
pub(super) fn tile_start(tile: usize, width: usize) -> usize {
    (tile * TALL).min(width - TALL)
}

impl<const WIDE: usize> Running<WIDE> {
    /// Nothing seen yet.
    pub(super) fn new(width: usize) -> Self {
        Self {
            // Lower than any score, but a number, so that no difference is undefined.
            largest: [[f32::MIN; LANES]; WIDE],
            whole: [[0.0; LANES]; WIDE],
            values: vec![[[[0.0; LANES]; WIDE]; TALL]; width.div_ceil(TALL)],
            scores: vec![[[0.0; LANES]; WIDE]; BLOCK],
        }
    }

    /// Sees the positions of a block that are in the `sees` of each lane.
    #[inline(always)]
    pub(super) fn see<S: Simd>(
        &mut self,
        simd: S,
        queries: &[Step<WIDE>],
        sees: &[[Range<usize>; LANES]; WIDE],
        positions: &Range<usize>,
        keys: HeadRows<'_>,
        values: HeadRows<'_>,
    ) {
        let count = positions.len().min(BLOCK);
        self.score(simd, queries, keys, count);
        self.hide(sees, positions);
        self.shares(simd, count);
        let width = queries.len();
        let shares = &self.scores[..count];
        for (tile, sums) in self.values.iter_mut().enumerate() {
            let columns = &values.numbers[tile_start(tile, width)..];
            add_columns(simd, columns, values.stride, shares, sums);
        }
    }

    /// Scores of `count` positions.
    #[inline(always)]
    fn score<S: Simd>(
        &mut self,
        simd: S,
        queries: &[Step<WIDE>],
        keys: HeadRows<'_>,
        count: usize,
    ) {
        let width = queries.len();
        for first in (0..count).step_by(TALL) {
            let mut rows = [&keys.numbers[..0]; TALL];
            for row in 0..TALL {
                let position = (first + row).min(count - 1);
                rows[row] = &keys.numbers[position * keys.stride..][..width];
            }
            let mut tile = [[[0.0; LANES]; WIDE]; TALL];
            add_rows(simd, rows, queries, &mut tile);
            for (score, sums) in self.scores[first..].iter_mut().zip(tile) {
                *score = sums;
            }
        }
    }

    /// Takes out what a lane does not see.
    #[inline(always)]
    fn hide(&mut self, sees: &[[Range<usize>; LANES]; WIDE], positions: &Range<usize>) {
        for (vector, sees) in sees.iter().enumerate() {
            for (lane, sees) in sees.iter().enumerate() {
                if sees.start <= positions.start && sees.end >= positions.end {
                    continue;
                }
                for (score, position) in self.scores.iter_mut().zip(positions.clone()) {
                    if !sees.contains(&position) {
                        score[vector][lane] = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }

    /// Turns scores into shares of the new largest one, and what was summed up as well.
    #[inline(always)]
    fn shares<S: Simd>(&mut self, simd: S, count: usize) {
        let minus = simd.splat(-1.0);
        for vector in 0..WIDE {
            let before = simd.load(&self.largest[vector]);
            let mut largest = before;
            for score in &self.scores[..count] {
                largest = simd.max(simd.load(&score[vector]), largest);
            }
            let mut whole = simd.splat(0.0);
            for score in &mut self.scores[..count] {
                let share = simd.fma(largest, minus, simd.load(&score[vector]));
                let share = simd.exp(share);
                whole = simd.add(whole, share);
                simd.store(share, &mut score[vector]);
            }
            let shrink = simd.exp(simd.fma(largest, minus, before));
            whole = simd.fma(simd.load(&self.whole[vector]), shrink, whole);
            simd.store(whole, &mut self.whole[vector]);
            simd.store(largest, &mut self.largest[vector]);
            let mut factors = [1.0; LANES];
            simd.store(shrink, &mut factors);
            if factors != [1.0; LANES] {
                self.scale(simd, vector, shrink);
            }
        }
    }

    #[inline(always)]
    fn scale<S: Simd>(&mut self, simd: S, vector: usize, factor: S::F) {
        for tile in &mut self.values {
            for sums in tile {
                let scaled = simd.mul(simd.load(&sums[vector]), factor);
                simd.store(scaled, &mut sums[vector]);
            }
        }
    }

    /// Adds what another has seen of other positions.
    #[inline(always)]
    pub(super) fn merge<S: Simd>(&mut self, simd: S, other: &Self) {
        let minus = simd.splat(-1.0);
        for vector in 0..WIDE {
            let (mine, others) = (self.largest[vector], other.largest[vector]);
            let (mine, others) = (simd.load(&mine), simd.load(&others));
            let largest = simd.max(mine, others);
            let mine = simd.exp(simd.fma(largest, minus, mine));
            let others = simd.exp(simd.fma(largest, minus, others));
            let whole = simd.mul(simd.load(&self.whole[vector]), mine);
            let whole = simd.fma(simd.load(&other.whole[vector]), others, whole);
            simd.store(whole, &mut self.whole[vector]);
            simd.store(largest, &mut self.largest[vector]);
            self.scale(simd, vector, mine);
            for (tile, theirs) in self.values.iter_mut().zip(&other.values) {
                for (sums, theirs) in tile.iter_mut().zip(theirs) {
                    let theirs = load_step(simd, theirs);
                    let sum = simd.fma(theirs[vector], others, simd.load(&sums[vector]));
                    simd.store(sum, &mut sums[vector]);
                }
            }
        }
    }
}
