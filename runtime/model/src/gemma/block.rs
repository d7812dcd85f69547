//! The tokens of one step, with what the graphs cannot know about them.

use std::ops::Range;

use super::cache::Slot;
use crate::error::Error;

/// Tokens to be processed in one step, with what the embedding graph cannot know about them.
pub(crate) struct Block<'a> {
    /// What each row stands for in the cache.
    pub(crate) slots: &'a [Slot],
    /// Ids to look up; the pad token where a soft token stands, since per-layer inputs of the
    /// placeholders would be wrong there.
    pub(crate) ids: Vec<i64>,
    /// Ids as the graphs know them, with the placeholders of pictures and sound.
    pub(crate) placeholder_ids: Vec<i64>,
    /// What encoders made of the media in the block, in the order of their rows.
    pub(crate) features: Vec<Soft<'a>>,
}

/// Rows of a block that an encoder has filled.
pub(crate) struct Soft<'a> {
    /// What was encoded.
    pub(crate) kind: SoftKind,
    /// First row of the block that it fills.
    pub(crate) first: usize,
    /// How many rows it fills.
    pub(crate) rows: usize,
    /// Features, `[rows, hidden]`.
    pub(crate) features: &'a [f32],
}

/// What soft tokens stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SoftKind {
    /// A picture, or a frame of a film.
    Picture,
    /// Sound.
    Sound,
}

impl<'a> Block<'a> {
    /// One token of the vocabulary.
    pub(crate) fn token(slot: &'a [Slot; 1], id: u32) -> Self {
        let ids = vec![i64::from(id)];
        Self { slots: slot, placeholder_ids: ids.clone(), ids, features: Vec::new() }
    }

    /// Rows and features `[rows, hidden]` of all media of a kind, in the order of the block.
    pub(crate) fn features_of(&self, kind: SoftKind) -> (usize, Vec<f32>) {
        let of_kind = || self.features.iter().filter(|soft| soft.kind == kind);
        let rows = of_kind().map(|soft| soft.rows).sum();
        (rows, of_kind().flat_map(|soft| soft.features).copied().collect())
    }

    /// Positions of the pictures, where the block begins at `first`.
    pub(crate) fn pictures(&self, first: usize) -> Vec<Range<usize>> {
        let pictures = self.features.iter().filter(|soft| soft.kind == SoftKind::Picture);
        let positions = pictures.map(|soft| first + soft.first..first + soft.first + soft.rows);
        positions.collect()
    }

    /// 1 for each row of a picture, 0 for the others.
    pub(crate) fn picture_mask(&self) -> Vec<i64> {
        let mut mask = vec![0; self.slots.len()];
        for soft in self.features.iter().filter(|soft| soft.kind == SoftKind::Picture) {
            mask.iter_mut().skip(soft.first).take(soft.rows).for_each(|row| *row = 1);
        }
        mask
    }
}

impl Soft<'_> {
    /// Puts the features in the place of the embeddings `[tokens, hidden]` of their rows.
    ///
    /// # Errors
    /// When there are not as many features as rows, or the rows are not all there.
    pub(crate) fn put(&self, embeddings: &mut [f32], hidden: usize) -> Result<(), Error> {
        let wrong =
            |reason: String| Error::engine("embedding", "cannot put features in place", reason);
        if self.features.len() != self.rows * hidden {
            let (given, rows) = (self.features.len(), self.rows);
            return Err(wrong(format!("{given} values for {rows} rows of {hidden}")));
        }
        let start = self.first * hidden;
        let rows = embeddings.get_mut(start..start + self.features.len());
        rows.ok_or_else(|| wrong("too few rows".into()))?.copy_from_slice(self.features);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const SLOTS: [Slot; 5] = [Slot::Token(1); 5];

    fn soft(kind: SoftKind, first: usize, features: &[f32]) -> Soft<'_> {
        Soft { kind, first, rows: features.len() / 2, features }
    }

    #[test]
    fn features_go_by_kind_in_the_order_of_the_block() {
        let features = vec![
            soft(SoftKind::Picture, 0, &[1.0, 2.0]),
            soft(SoftKind::Sound, 1, &[3.0, 4.0, 5.0, 6.0]),
            soft(SoftKind::Picture, 4, &[7.0, 8.0]),
        ];
        let ids = vec![0; 5];
        let block = Block { slots: &SLOTS, ids: ids.clone(), placeholder_ids: ids, features };
        let pictures = block.features_of(SoftKind::Picture);
        assert_eq!(pictures, (2, vec![1.0, 2.0, 7.0, 8.0]));
        assert_eq!(block.features_of(SoftKind::Sound).0, 2);
        assert_eq!(block.picture_mask(), [1, 0, 0, 0, 1]);
        assert_eq!(block.pictures(7), [7..8, 11..12]);
        assert_eq!(Block::token(&[Slot::Token(3)], 3).features_of(SoftKind::Sound), (0, vec![]));
    }

    #[test]
    fn features_fill_exactly_their_rows() {
        let mut embeddings = vec![0.0; 6];
        soft(SoftKind::Sound, 1, &[3.0, 4.0]).put(&mut embeddings, 2).unwrap();
        assert_eq!(embeddings, [0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        let check = |soft: Soft<'_>, expected: &str| {
            let error = soft.put(&mut [0.0; 6], 2).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        };
        let few = Soft { rows: 2, ..soft(SoftKind::Sound, 0, &[3.0, 4.0]) };
        check(few, "2 values for 2 rows of 2");
        check(soft(SoftKind::Sound, 3, &[3.0, 4.0]), "too few rows");
    }
}
