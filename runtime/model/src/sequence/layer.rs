//! The rows of one layer, in blocks.

use std::collections::VecDeque;
use std::sync::Arc;

use gemma_kernels::{Rows, Segment};
use half::slice::HalfFloatSliceExt as _;

use super::block::{self, BLOCK_ROWS, Block};
use super::{LayerShape, Store};

/// Rows of a sliding layer that are kept beyond its window, so that one can go back a little.
pub(super) const SPARE_ROWS: usize = 32;

/// The rows of one layer; a clone shares them until one of the two is written to.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    shape: LayerShape,
    store: Store,
    /// Blocks that were dropped in front of those that are kept.
    dropped: usize,
    blocks: VecDeque<Arc<Block>>,
    /// Position behind the last row.
    end: usize,
}

impl Layer {
    /// A layer of no rows.
    pub(super) fn new(shape: LayerShape, store: Store) -> Self {
        Self { shape, store, dropped: 0, blocks: VecDeque::new(), end: 0 }
    }

    /// A layer whose blocks, the first of them behind `dropped` others, hold rows up to `end`.
    pub(super) fn with_blocks(
        shape: LayerShape,
        store: Store,
        dropped: usize,
        blocks: VecDeque<Arc<Block>>,
        end: usize,
    ) -> Self {
        Self { shape, store, dropped, blocks, end }
    }

    pub(super) fn shape(&self) -> LayerShape {
        self.shape
    }

    /// Position of the first row that is kept.
    pub(super) fn first(&self) -> usize {
        self.dropped * BLOCK_ROWS
    }

    /// Position behind the last row.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Appends rows; `keys` and `values` are `[rows, heads, width]`.
    pub(super) fn append(&mut self, keys: &[f32], values: &[f32]) {
        let numbers = self.shape.numbers();
        let (mut keys, mut values) = (keys, values);
        while !keys.is_empty() {
            let (place, at) = (self.end / BLOCK_ROWS - self.dropped, self.end % BLOCK_ROWS);
            let rows = (keys.len() / numbers).min(BLOCK_ROWS - at);
            let (new_keys, rest_keys) = keys.split_at(rows * numbers);
            let (new_values, rest_values) = values.split_at(rows * numbers);
            if place == self.blocks.len() {
                self.blocks.push_back(Arc::new(Block::empty(numbers, self.store)));
            }
            block::write(&mut self.blocks[place], at, numbers, new_keys, new_values);
            self.end += rows;
            (keys, values) = (rest_keys, rest_values);
        }
    }

    /// Removes all rows behind the first `tokens`.
    pub(super) fn cut(&mut self, tokens: usize) {
        if tokens == 0 {
            *self = Self::new(self.shape, self.store);
        }
        self.end = self.end.min(tokens);
        self.blocks.truncate(self.end.div_ceil(BLOCK_ROWS).saturating_sub(self.dropped));
    }

    /// Drops the blocks that no token to come can see, nor any after going back a little.
    pub(super) fn forget(&mut self) {
        let Some(window) = self.shape.window else { return };
        let needed = first_seen(self.end.saturating_sub(SPARE_ROWS), Some(window));
        while self.first() + BLOCK_ROWS <= needed && self.blocks.pop_front().is_some() {
            self.dropped += 1;
        }
    }

    /// Whether all is kept that a token behind the first `tokens` would see.
    pub(super) fn reaches(&self, tokens: usize) -> bool {
        tokens <= self.end && self.first() <= first_seen(tokens, self.shape.window)
    }

    /// The fewest tokens above 0 that one can go back to.
    pub(super) fn reach(&self) -> usize {
        match (self.first(), self.shape.window) {
            (0, _) | (_, None) => 0,
            (first, Some(window)) => first + window.saturating_sub(1),
        }
    }

    /// All rows that are kept.
    pub(super) fn segments(&self) -> Vec<Segment<'_>> {
        let numbers = self.shape.numbers();
        self.blocks
            .iter()
            .enumerate()
            .map(|(place, block)| {
                let first = (self.dropped + place) * BLOCK_ROWS;
                let rows = self.end.saturating_sub(first).min(BLOCK_ROWS);
                let [keys, values] = block.rows(rows, numbers);
                Segment { first, rows, keys, values }
            })
            .collect()
    }

    /// Keys and values of the last rows, fewer where fewer are kept: how many there are, and both as
    /// `[heads, rows, width]`.
    pub(super) fn last_rows(&self, rows: usize) -> (usize, [Vec<f32>; 2]) {
        let LayerShape { heads, width, .. } = self.shape;
        let rows = rows.min(self.end - self.first());
        let from = self.end - rows;
        let mut parts = [(); 2].map(|()| vec![0.0; heads * rows * width]);
        for segment in self.segments() {
            let skipped = from.saturating_sub(segment.first).min(segment.rows);
            for (part, numbers) in parts.iter_mut().zip([segment.keys, segment.values]) {
                for row in skipped..segment.rows {
                    let to = segment.first + row - from;
                    for head in 0..heads {
                        let place = (row * heads + head) * width;
                        let into = &mut part[(head * rows + to) * width..][..width];
                        match numbers {
                            Rows::F32(all) => into.copy_from_slice(&all[place..place + width]),
                            Rows::F16(all) => all[place..place + width].convert_to_f32_slice(into),
                        }
                    }
                }
            }
        }
        (rows, parts)
    }

    /// The blocks, front to back.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.blocks.iter()
    }
}

/// The first position that the token at `position` sees.
pub(super) fn first_seen(position: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window.max(1)))
}
