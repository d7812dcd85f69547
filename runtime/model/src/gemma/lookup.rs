//! Guesses the next tokens from what has been written: where the last few tokens stood before, they
//! may be followed by the same ones again (prompt lookup decoding). A guess costs no second model;
//! the decoder verifies it in one run with the token before it, which reads the weights once.
//!
//! Whether guessing pays is measured, not assumed: every guess is scored against the tokens that
//! really came, also while none is verified, and the time of a run by how many rows it had.

use std::collections::HashMap;
use std::time::Duration;

/// Most tokens that are guessed at once.
const GUESSES_MAX: usize = 7;

/// Lengths of what must have stood before, longest first.
const CONTEXTS: [usize; 2] = [4, 2];

/// How much a new measurement counts against all that were made before.
const NEW_SHARE: f64 = 0.1;

/// By how much a guess must be faster before one is tried, so that noise switches nothing.
const GAIN_MIN: f64 = 1.1;

/// What a further row is expected to add to the time of a run, before it has been measured.
const ROW_SHARE: f64 = 0.15;

/// Whether tokens are guessed from what was written, and verified several in one run. The reply is
/// the same in all cases; only the fast graph can verify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guesses {
    /// Where it has been measured to pay.
    #[default]
    Measured,
    /// Never.
    Never,
    /// As many as can be, wherever something can be guessed.
    Always,
}

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
            worth.score(self.watched.len(), self.right);
            self.watched.clear();
            self.right = 0;
        }
        self.lookup.push(token);
    }
}

/// Measures whether guessing pays.
#[derive(Debug)]
pub(crate) struct Worth {
    /// How often the guess at each place was right together with all before it; `None` before the
    /// first guess.
    right: Option<[f64; GUESSES_MAX]>,
    /// Seconds of a run by its rows, from one on.
    seconds: [Option<f64>; GUESSES_MAX + 1],
}

impl Worth {
    /// Nothing is known yet.
    pub(crate) const fn unknown() -> Self {
        Self { right: None, seconds: [None; GUESSES_MAX + 1] }
    }

    /// How many tokens to guess.
    pub(crate) fn count(&self, guesses: Guesses) -> usize {
        match guesses {
            Guesses::Measured => self.guesses(),
            Guesses::Never => 0,
            Guesses::Always => GUESSES_MAX,
        }
    }

    /// Notes how many of `guessed` tokens, from the first on, came as guessed.
    fn score(&mut self, guessed: usize, right: usize) {
        if guessed == 0 {
            return;
        }
        let known = self.right.get_or_insert([0.0; GUESSES_MAX]);
        for (place, share) in known.iter_mut().enumerate().take(guessed) {
            let came = if place < right { 1.0 } else { 0.0 };
            *share += NEW_SHARE * (came - *share);
        }
    }

    /// Notes how long a run of so many rows took.
    pub(crate) fn took(&mut self, rows: usize, time: Duration) {
        let Some(known) = rows.checked_sub(1).and_then(|at| self.seconds.get_mut(at)) else {
            return;
        };
        let seconds = time.as_secs_f64();
        *known = Some(known.map_or(seconds, |old| old + NEW_SHARE * (seconds - old)));
    }

    /// How many tokens to guess: as many as give the most tokens for the time, or none.
    fn guesses(&self) -> usize {
        let (Some(right), Some(one)) = (&self.right, self.seconds[0]) else { return 0 };
        let mut tokens = 1.0;
        let mut best = (0, GAIN_MIN);
        for (place, share) in right.iter().enumerate() {
            let guesses = place + 1;
            tokens += share;
            let gain = tokens / self.cost(guesses, one);
            if gain > best.1 {
                best = (guesses, gain);
            }
        }
        best.0
    }

    /// Time of a run with so many guesses, as a multiple of one without.
    fn cost(&self, guesses: usize, one: f64) -> f64 {
        let measured = self.seconds.get(guesses).copied().flatten();
        let expected = 1.0 + ROW_SHARE * f64::from(u16::try_from(guesses).unwrap_or(u16::MAX));
        measured.map_or(expected, |seconds| if one > 0.0 { seconds / one } else { expected })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    fn worth(right: usize, rounds: usize, row_share: f64) -> Worth {
        let mut worth = Worth::unknown();
        for rows in 1..=GUESSES_MAX + 1 {
            let further = f64::from(u16::try_from(rows - 1).unwrap_or(0));
            worth.took(rows, Duration::from_secs_f64(0.1 * (1.0 + row_share * further)));
        }
        (0..rounds).for_each(|_| worth.score(GUESSES_MAX, right));
        worth
    }

    #[test]
    fn guessing_pays_where_guesses_come_true_and_rows_are_cheap() {
        assert_eq!(worth(GUESSES_MAX, 40, 0.05).guesses(), GUESSES_MAX);
        assert_eq!(worth(0, 40, 0.05).guesses(), 0, "no guess comes true");
        assert_eq!(worth(GUESSES_MAX, 40, 1.0).guesses(), 0, "every row costs a whole run");
        assert_eq!(worth(3, 40, 0.1).guesses(), 3, "the rest never comes true");
    }

    #[test]
    fn nothing_is_guessed_before_anything_is_known() {
        assert_eq!(Worth::unknown().guesses(), 0);
        let mut unscored = Worth::unknown();
        unscored.took(1, Duration::from_millis(100));
        assert_eq!(unscored.guesses(), 0);
    }

    #[test]
    fn guessing_stops_where_it_no_longer_comes_true() {
        let mut worth = worth(GUESSES_MAX, 40, 0.1);
        (0..40).for_each(|_| worth.score(GUESSES_MAX, 0));
        assert_eq!(worth.guesses(), 0);
    }

    #[test]
    fn a_watched_guess_is_scored_once_it_is_decided() {
        let (mut guessing, mut worth) =
            (Guessing::behind([1, 2, 3, 4, 5, 6, 1, 2]), Worth::unknown());
        for token in [3, 4, 9] {
            assert_eq!(worth.right, None);
            guessing.see(token, &mut worth);
        }
        let right = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0].map(|came| NEW_SHARE * came);
        assert_eq!(worth.right, Some(right));
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
