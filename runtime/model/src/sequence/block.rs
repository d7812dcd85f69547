//! A block of rows: keys and values of consecutive positions of one layer. A block is shared by the
//! sequences that branched from one another, and copied by the one that writes to it.

use std::ops::Range;
use std::sync::Arc;

use gemma_kernels::Rows;
use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::Store;
use crate::mapped::{self, Mapped};

/// Rows of a block. Long enough that attention walks over few of them, short enough that the last
/// one, half empty, wastes little.
pub(super) const BLOCK_ROWS: usize = 128;

/// Keys `[BLOCK_ROWS, heads, width]`, then values of the same shape.
#[derive(Debug)]
pub(super) struct Block(Numbers);

#[derive(Debug)]
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    /// Numbers of a file, between two places in it.
    Mapped(Arc<Mapped>, Store, Range<usize>),
}

impl Block {
    /// A block of zeros; `numbers` is heads times width.
    pub(super) fn empty(numbers: usize, store: Store) -> Self {
        let length = 2 * BLOCK_ROWS * numbers;
        Self(match store {
            Store::F32 => Numbers::F32(vec![0.0; length]),
            Store::F16 => Numbers::F16(vec![f16::ZERO; length]),
        })
    }

    /// A block that lies in a file, between two places counted in bytes.
    pub(super) fn mapped(file: Arc<Mapped>, store: Store, place: Range<usize>) -> Self {
        Self(Numbers::Mapped(file, store, place))
    }

    /// Bytes of memory that it takes; none for one that lies in a file.
    pub(super) fn bytes(&self) -> usize {
        match &self.0 {
            Numbers::F32(numbers) => size_of_val(numbers.as_slice()),
            Numbers::F16(numbers) => size_of_val(numbers.as_slice()),
            Numbers::Mapped(..) => 0,
        }
    }

    /// Keys and values of the first rows, both `[rows, heads, width]`; `numbers` is heads times
    /// width.
    pub(super) fn rows(&self, rows: usize, numbers: usize) -> [Rows<'_>; 2] {
        halves(rows, numbers).map(|place| match &self.0 {
            Numbers::F32(all) => Rows::F32(&all[place]),
            Numbers::F16(all) => Rows::F16(&all[place]),
            Numbers::Mapped(file, store, all) => {
                let bytes = file.bytes().get(within(all, *store, &place)).unwrap_or_default();
                match store {
                    Store::F32 => Rows::F32(mapped::floats(bytes).unwrap_or_default()),
                    Store::F16 => Rows::F16(mapped::halves(bytes).unwrap_or_default()),
                }
            }
        })
    }

    /// A block that nobody shares, with the same first rows, in memory.
    fn copied(&self, rows: usize, numbers: usize) -> Self {
        let of = halves(BLOCK_ROWS, numbers);
        let from = self.rows(rows, numbers);
        let mut new = Self::empty(numbers, self.store());
        for (place, rows) in of.into_iter().zip(from) {
            let place = place.start..place.start + rows.len();
            match (&mut new.0, rows) {
                (Numbers::F32(all), Rows::F32(rows)) => all[place].copy_from_slice(rows),
                (Numbers::F16(all), Rows::F16(rows)) => all[place].copy_from_slice(rows),
                // The new block is of the same kind and in memory.
                (Numbers::F32(_) | Numbers::F16(_) | Numbers::Mapped(..), _) => {}
            }
        }
        new
    }

    fn store(&self) -> Store {
        match &self.0 {
            Numbers::F32(_) => Store::F32,
            Numbers::F16(_) => Store::F16,
            Numbers::Mapped(_, store, _) => *store,
        }
    }

    /// Writes rows behind the first `at`; `keys` and `values` are `[rows, heads, width]`.
    fn put(&mut self, at: usize, numbers: usize, keys: &[f32], values: &[f32]) {
        for (half, new) in halves(BLOCK_ROWS, numbers).into_iter().zip([keys, values]) {
            let start = half.start + at * numbers;
            let place = start..start + new.len();
            match &mut self.0 {
                Numbers::F32(all) => all[place].copy_from_slice(new),
                Numbers::F16(all) => all[place].convert_from_f32_slice(new),
                // `write` has made a copy of it.
                Numbers::Mapped(..) => {}
            }
        }
    }
}

/// Writes rows behind the first `at` of a block, which is copied if others share it.
pub(super) fn write(
    block: &mut Arc<Block>,
    at: usize,
    numbers: usize,
    keys: &[f32],
    values: &[f32],
) {
    let is_mapped = matches!(block.0, Numbers::Mapped(..));
    if is_mapped || Arc::get_mut(block).is_none() {
        *block = Arc::new(block.copied(at, numbers));
    }
    if let Some(block) = Arc::get_mut(block) {
        block.put(at, numbers, keys, values);
    }
}

/// Where the keys and the values of the first rows are.
fn halves(rows: usize, numbers: usize) -> [Range<usize>; 2] {
    [0, BLOCK_ROWS * numbers].map(|start| start..start + rows * numbers)
}

/// Where some of the numbers of a block are in its file.
fn within(block: &Range<usize>, store: Store, place: &Range<usize>) -> Range<usize> {
    let at = |number: usize| block.start + number * store.bytes();
    at(place.start)..at(place.end)
}
