//! What a row of keys and values stands for.

/// What one row of the KV cache, or one position of a prompt, stands for.
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

/// How many first positions of a prompt are the same as those kept. At least one position of the
/// prompt is left to be processed, since logits are wanted; a medium is kept whole or not at all.
pub(crate) fn same(kept: &[Slot], prompt: &[Slot]) -> usize {
    let same = kept.iter().zip(prompt).take_while(|(old, new)| old == new).count();
    before_medium(prompt, same.min(prompt.len().saturating_sub(1)))
}

/// A place in a prompt, moved to before the medium that it is in.
pub(crate) fn before_medium(prompt: &[Slot], place: usize) -> usize {
    match prompt.get(place) {
        Some(Slot::Soft { row, .. }) => place.saturating_sub(*row as usize),
        Some(Slot::Token(_)) | None => place,
    }
}

/// Soft tokens of a medium, if one of the slots is of it.
pub(crate) fn soft_tokens(slots: &[Slot], wanted: u128) -> Option<usize> {
    slots.iter().find_map(|slot| match slot {
        Slot::Soft { media, of, .. } if *media == wanted => Some(*of as usize),
        Slot::Soft { .. } | Slot::Token(_) => None,
    })
}
