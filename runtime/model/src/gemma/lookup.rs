//! Guesses the next tokens from what has been written: where the last few tokens stood before, they
//! may be followed by the same ones again (prompt lookup decoding). A guess costs no second model;
//! the decoder verifies it in one run with the token before it, which reads the weights once. Every
//! guess is scored against the tokens that really came, also while none is verified.

use std::collections::HashMap;

use super::worth::{GUESSES_MAX, Source, Worth};

/// Lengths of what must have stood before, longest first.
const CONTEXTS: [usize; 2] = [4, 2];

/// Finds what followed the last tokens when they stood there before.
#[derive(Debug, Default)]
struct Lookup {
    tokens: Vec<u32>,
    /// For each length of context: after which token it last stood.
    places: [HashMap<u128, usize>; CONTEXTS.len()],
}

impl Lookup {
    /// Takes a token that has come.
    fn push(&mut self, token: u32) {
        // The context that ends before this token is followed by it.
        for (length, places) in CONTEXTS.iter().zip(&mut self.places) {
            if let Some(context) = context(&self.tokens, *length) {
                places.insert(context, self.tokens.len());
            }
        }
        self.tokens.push(token);
    }

    /// The `count` tokens that may come next, or none. What followed is taken to go on as it did,
    /// also beyond the last token.
    fn guess(&self, count: usize) -> Vec<u32> {
        let place = CONTEXTS
            .iter()
            .zip(&self.places)
            .find_map(|(length, places)| places.get(&context(&self.tokens, *length)?).copied());
        let after = place.and_then(|place| self.tokens.get(place..)).unwrap_or_default();
        after.iter().copied().cycle().take(count).collect()
    }
}

/// The last tokens as one number.
fn context(tokens: &[u32], length: usize) -> Option<u128> {
    let last = tokens.get(tokens.len().checked_sub(length)?..)?;
    Some(last.iter().fold(0, |number, token| number << 32 | u128::from(*token)))
}

/// What was written, and a guess at what follows that is only watched, to learn how often guesses
/// come true.
#[derive(Debug)]
pub(crate) struct Guessing {
    lookup: Lookup,
    watched: Vec<u32>,
    right: usize,
}

impl Guessing {
    /// Behind a prompt of these tokens.
    pub(crate) fn behind(prompt: impl IntoIterator<Item = u32>) -> Self {
        let mut lookup = Lookup::default();
        prompt.into_iter().for_each(|token| lookup.push(token));
        Self { lookup, watched: Vec::new(), right: 0 }
    }

    /// At most `count` tokens that may come next.
    pub(crate) fn guess(&self, count: usize) -> Vec<u32> {
        self.lookup.guess(count)
    }

    /// Takes a token that has come; scores the watched guess once it is decided.
    pub(crate) fn see(&mut self, token: u32, worth: &mut Worth) {
        if self.watched.is_empty() {
            self.watched = self.guess(GUESSES_MAX);
        }
        let came = self.watched.get(self.right) == Some(&token);
        self.right += usize::from(came);
        if !came || self.right == self.watched.len() {
            worth.score(Source::Written, self.watched.len(), self.right);
            self.watched.clear();
            self.right = 0;
        }
        self.lookup.push(token);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gemma::worth::NEW_SHARE;

    fn lookup(tokens: &[u32]) -> Lookup {
        let mut lookup = Lookup::default();
        tokens.iter().for_each(|&token| lookup.push(token));
        lookup
    }

    #[test]
    fn what_followed_last_time_is_guessed() {
        let written = lookup(&[1, 2, 3, 4, 9, 1, 2, 5, 6, 7, 8, 1, 2]);
        assert_eq!(written.guess(3), [5, 6, 7]);
        assert!(written.guess(0).is_empty());
    }

    #[test]
    fn a_longer_context_counts_more_than_a_later_one() {
        let written = lookup(&[1, 2, 3, 4, 10, 11, 9, 3, 4, 20, 1, 2, 3, 4]);
        assert_eq!(written.guess(2), [10, 11]);
    }

    #[test]
    fn nothing_is_guessed_after_what_is_new() {
        assert!(lookup(&[1, 2, 3, 4, 5]).guess(4).is_empty());
        assert!(lookup(&[]).guess(4).is_empty());
        assert!(lookup(&[7]).guess(4).is_empty());
    }

    #[test]
    fn what_repeats_itself_is_guessed_to_go_on() {
        assert_eq!(lookup(&[3; 6]).guess(4), [3; 4]);
        assert_eq!(lookup(&[1, 2, 3, 1, 2, 3, 1, 2]).guess(5), [3, 1, 2, 3, 1]);
    }

    #[test]
    fn a_watched_guess_is_scored_once_it_is_decided() {
        let (mut guessing, mut worth) =
            (Guessing::behind([1, 2, 3, 4, 5, 6, 1, 2]), Worth::unknown());
        for token in [3, 4, 9] {
            assert_eq!(worth.written, None);
            guessing.see(token, &mut worth);
        }
        let right = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0].map(|came| NEW_SHARE * came);
        assert_eq!(worth.written, Some(right));
    }

    proptest! {
        #[test]
        fn a_guess_is_what_stood_there(tokens in prop::collection::vec(0_u32..4, 0..60)) {
            let written = lookup(&tokens);
            let guess = written.guess(GUESSES_MAX);
            prop_assert!(guess.len() <= GUESSES_MAX);
            if let Some(next) = guess.first() {
                let followed = [tokens[tokens.len() - 2], tokens[tokens.len() - 1], *next];
                prop_assert!(tokens.windows(3).any(|place| place == followed));
            }
        }
    }
}
