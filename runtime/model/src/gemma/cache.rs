//! The KV cache: the keys and values of every layer, in the engine's own form, and what each of
//! their rows stands for, so that the next prompt can keep what it shares with the last.

/// What one row of the cache, or one position of a prompt, stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A token of the vocabulary.
    Token(u32),
    /// A soft token of a picture or of sound.
    Soft {
        /// Fingerprint of the medium's content.
        media: u128,
        /// Which of its soft tokens.
        row: u32,
        /// Of how many.
        of: u32,
    },
}

/// Keys and values of the tokens that the decoder has seen.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    /// Key and value of each layer that owns some, `[1, heads, tokens, width]`.
    layers: Vec<[V; 2]>,
    slots: Vec<Slot>,
}

impl<V> Cache<V> {
    /// A cache of no tokens; `layers` are tensors of no rows.
    pub(crate) fn empty(layers: Vec<[V; 2]>) -> Self {
        Self { layers, slots: Vec::new() }
    }

    /// Tokens in it.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Keys and values, layer by layer.
    pub(crate) fn layers(&self) -> &[[V; 2]] {
        &self.layers
    }

    /// Takes the keys and values that a step gave in place of the old ones.
    pub(crate) fn advance(&mut self, layers: Vec<[V; 2]>, slots: &[Slot]) {
        self.layers = layers;
        self.slots.extend_from_slice(slots);
    }

    /// How many of its first tokens a prompt may keep. At least one token of the prompt is left
    /// to be processed, since logits are wanted; a medium is kept whole or not at all.
    pub(crate) fn shared(&self, prompt: &[Slot]) -> usize {
        let same = self.slots.iter().zip(prompt).take_while(|(old, new)| old == new).count();
        let same = same.min(prompt.len().saturating_sub(1));
        match prompt.get(same) {
            Some(Slot::Soft { row, .. }) => same.saturating_sub(*row as usize),
            Some(Slot::Token(_)) | None => same,
        }
    }

    /// Soft tokens of a medium that the cache has met.
    pub(crate) fn soft_tokens(&self, wanted: u128) -> Option<usize> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Soft { media, of, .. } if *media == wanted => Some(*of as usize),
            Slot::Soft { .. } | Slot::Token(_) => None,
        })
    }

    /// Forgets all but the first `rows` tokens; `shorten` does so for one tensor.
    ///
    /// # Errors
    /// What `shorten` says; the cache is then as it was.
    pub(crate) fn truncate<E>(
        &mut self,
        rows: usize,
        shorten: impl Fn(&V) -> Result<V, E>,
    ) -> Result<(), E> {
        if rows < self.slots.len() {
            let layers =
                self.layers.iter().map(|[key, value]| Ok([shorten(key)?, shorten(value)?]));
            self.layers = layers.collect::<Result<_, E>>()?;
            self.slots.truncate(rows);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn tokens(ids: &[u32]) -> Vec<Slot> {
        ids.iter().map(|&id| Slot::Token(id)).collect()
    }

    fn medium(media: u128, rows: u32) -> Vec<Slot> {
        (0..rows).map(|row| Slot::Soft { media, row, of: rows }).collect()
    }

    fn cache(slots: &[Slot]) -> Cache<usize> {
        let mut cache = Cache::empty(vec![[0, 0]]);
        cache.advance(vec![[slots.len(), slots.len()]], slots);
        cache
    }

    fn check_shared(old: &[Vec<Slot>], new: &[Vec<Slot>], expected: usize) {
        assert_eq!(cache(&old.concat()).shared(&new.concat()), expected);
    }

    #[test]
    fn a_prompt_keeps_the_prefix_it_shares() {
        check_shared(&[tokens(&[1, 2, 3])], &[tokens(&[1, 2, 3, 4])], 3);
        check_shared(&[tokens(&[1, 2, 3])], &[tokens(&[1, 9, 3, 4])], 1);
        check_shared(&[tokens(&[1, 2, 3])], &[tokens(&[1, 2, 3])], 2);
        check_shared(&[tokens(&[1, 2, 3])], &[tokens(&[1])], 0);
        check_shared(&[tokens(&[1])], &[], 0);
    }

    #[test]
    fn a_medium_is_kept_whole_or_not_at_all() {
        let old = [tokens(&[1]), medium(7, 3), tokens(&[2])];
        check_shared(&old, &[tokens(&[1]), medium(7, 3), tokens(&[3])], 4);
        check_shared(&old, &[tokens(&[1]), medium(8, 3), tokens(&[2])], 1);
        check_shared(&old, &[tokens(&[1]), medium(7, 3)], 1);
    }

    #[test]
    fn soft_tokens_of_a_cached_medium_are_known() {
        let mut cut = [tokens(&[1]), medium(7, 3)].concat();
        cut.pop();
        let cache = cache(&cut);
        assert_eq!((cache.soft_tokens(7), cache.soft_tokens(8)), (Some(3), None));
    }

    proptest! {
        #[test]
        fn what_is_shared_is_equal_and_leaves_work(
            old in proptest::collection::vec(0_u32..3, 0..12),
            new in proptest::collection::vec(0_u32..3, 1..12),
        ) {
            let (old, new) = (tokens(&old), tokens(&new));
            let mut cache = cache(&old);
            let shared = cache.shared(&new);
            prop_assert!(shared < new.len());
            prop_assert_eq!(&old[..shared], &new[..shared]);
            cache.truncate(shared, |_| Ok::<_, Infallible>(shared)).unwrap();
            prop_assert_eq!(cache.len(), shared);
            let rows = cache.layers()[0][0];
            prop_assert_eq!(rows, shared);
        }
    }
}
