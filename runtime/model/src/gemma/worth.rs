//! Measures whether guessing pays: how often guesses come true, scored against the tokens that really
//! came, and how long a run takes by its rows. Nothing is assumed for longer than it takes to measure.

use std::time::Duration;

/// Most tokens that are guessed at once.
pub(super) const GUESSES_MAX: usize = 7;

/// How much a new measurement counts against all that were made before.
pub(super) const NEW_SHARE: f64 = 0.1;

/// By how much a guess must be faster before one is tried, so that noise switches nothing.
const GAIN_MIN: f64 = 1.1;

/// What a further row is expected to add to the time of a run, before it has been measured.
const ROW_SHARE: f64 = 0.15;

/// How many of the tokens that a drafter drafts are expected to be right, each behind right ones, and
/// what drafting one is expected to take of a run, before they have been measured.
const DRAFT_RIGHT: f64 = 0.7;
const DRAFT_SHARE: f64 = 0.1;

/// After so many runs without a draft that did not pay, a short one is tried again.
const DRAFT_AGAIN: usize = 64;
const DRAFT_TRIED: usize = 3;

/// Whether tokens are guessed, and verified several in one run. The reply is the same in all cases;
/// only the fast graph can verify.
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

/// Where a guess comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// What was written.
    Written,
    /// The drafter.
    Drafted,
}

/// How many tokens to guess from each source, the more worthwhile one first.
pub(crate) type Plan = [(Source, usize); 2];

/// How often the guess at each place was right together with all before it.
type Shares = [f64; GUESSES_MAX];

/// What is known about the worth of guesses.
#[derive(Debug)]
pub(crate) struct Worth {
    /// Of guesses from what was written; `None` before the first.
    pub(super) written: Option<Shares>,
    /// Of drafts.
    drafted: Shares,
    /// Seconds of a run by its rows, from one on.
    runs: [Option<f64>; GUESSES_MAX + 1],
    /// Seconds that drafting a token takes.
    draft: Option<f64>,
    /// Runs since the last draft.
    without_draft: usize,
}

impl Worth {
    /// Nothing is known yet.
    pub(crate) fn unknown() -> Self {
        let mut right = 1.0;
        let drafted = [(); GUESSES_MAX].map(|()| {
            right *= DRAFT_RIGHT;
            right
        });
        let runs = [None; GUESSES_MAX + 1];
        Self { written: None, drafted, runs, draft: None, without_draft: 0 }
    }

    /// How many tokens to guess from each source; `drafts` says whether there is a drafter.
    pub(crate) fn plan(&self, guesses: Guesses, drafts: bool) -> Plan {
        let (written, drafted) = match guesses {
            Guesses::Never => ((0, 0.0), (0, 0.0)),
            Guesses::Always => ((GUESSES_MAX, 0.0), (GUESSES_MAX, 1.0)),
            Guesses::Measured => (self.best(self.written, 0.0), self.best_draft()),
        };
        let drafted = if drafts { drafted } else { (0, 0.0) };
        let plan = [(Source::Drafted, drafted.0), (Source::Written, written.0)];
        if written.1 > drafted.1 { [plan[1], plan[0]] } else { plan }
    }

    /// Notes how many of `guessed` tokens, from the first on, came as guessed.
    pub(crate) fn score(&mut self, source: Source, guessed: usize, right: usize) {
        if guessed == 0 {
            return;
        }
        let known = match source {
            Source::Written => self.written.get_or_insert([0.0; GUESSES_MAX]),
            Source::Drafted => &mut self.drafted,
        };
        for (place, share) in known.iter_mut().enumerate().take(guessed) {
            let came = if place < right { 1.0 } else { 0.0 };
            *share += NEW_SHARE * (came - *share);
        }
    }

    /// Notes how long a run of so many rows took.
    pub(crate) fn took(&mut self, rows: usize, time: Duration) {
        if let Some(known) = rows.checked_sub(1).and_then(|at| self.runs.get_mut(at)) {
            note(known, time.as_secs_f64());
        }
        self.without_draft += 1;
    }

    /// Notes how long drafting so many tokens took.
    pub(crate) fn drafted(&mut self, tokens: usize, time: Duration) {
        if let Ok(tokens @ 1..) = u16::try_from(tokens) {
            note(&mut self.draft, time.as_secs_f64() / f64::from(tokens));
        }
        self.without_draft = 0;
    }

    /// How many tokens to draft, and what is gained. Where it does not pay it is tried now and then,
    /// since a draft that is not made cannot be scored.
    fn best_draft(&self) -> (usize, f64) {
        let one = self.runs[0];
        let share = self.draft.zip(one.filter(|one| *one > 0.0));
        let share = share.map_or(DRAFT_SHARE, |(draft, one)| draft / one);
        match self.best(Some(self.drafted), share) {
            (0, _) if one.is_some() && self.without_draft >= DRAFT_AGAIN => (DRAFT_TRIED, GAIN_MIN),
            best => best,
        }
    }

    /// How many tokens to guess, and what is gained: as many as give the most tokens for the time, or
    /// none. `each` is what guessing one takes of a run.
    fn best(&self, right: Option<Shares>, each: f64) -> (usize, f64) {
        let (Some(right), Some(one)) = (right, self.runs[0]) else { return (0, 0.0) };
        let mut tokens = 1.0;
        let mut best = (0, GAIN_MIN);
        for (place, share) in right.iter().enumerate() {
            let guesses = place + 1;
            tokens += share;
            let gain = tokens / (self.cost(guesses, one) + count(guesses) * each);
            if gain > best.1 {
                best = (guesses, gain);
            }
        }
        best
    }

    /// Time of a run with so many guesses, as a multiple of one without.
    fn cost(&self, guesses: usize, one: f64) -> f64 {
        let measured = self.runs.get(guesses).copied().flatten();
        let expected = 1.0 + ROW_SHARE * count(guesses);
        measured.map_or(expected, |seconds| if one > 0.0 { seconds / one } else { expected })
    }
}

fn count(guesses: usize) -> f64 {
    f64::from(u16::try_from(guesses).unwrap_or(u16::MAX))
}

fn note(known: &mut Option<f64>, seconds: f64) {
    *known = Some(known.map_or(seconds, |old| old + NEW_SHARE * (seconds - old)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After `rounds` guesses of which so many tokens came; each row adds so much to a run.
    fn worth(source: Source, right: usize, rounds: usize, row_share: f64) -> Worth {
        let mut worth = Worth::unknown();
        for rows in 1..=GUESSES_MAX + 1 {
            let seconds = 0.1 * (1.0 + row_share * count(rows - 1));
            worth.took(rows, Duration::from_secs_f64(seconds));
        }
        (0..rounds).for_each(|_| worth.score(source, GUESSES_MAX, right));
        worth
    }

    fn check_written(right: usize, row_share: f64, expected: usize) {
        let worth = worth(Source::Written, right, 40, row_share);
        let plan = worth.plan(Guesses::Measured, false);
        let written = plan.into_iter().find(|(source, _)| *source == Source::Written);
        let expected = Some((Source::Written, expected));
        assert_eq!(written, expected, "{right} right, {row_share} for a row");
    }

    #[test]
    fn guessing_pays_where_guesses_come_true_and_rows_are_cheap() {
        check_written(GUESSES_MAX, 0.05, GUESSES_MAX);
        check_written(0, 0.05, 0);
        check_written(GUESSES_MAX, 1.0, 0);
        check_written(3, 0.1, 3);
    }

    #[test]
    fn nothing_is_guessed_before_anything_is_known() {
        let none = [(Source::Drafted, 0), (Source::Written, 0)];
        assert_eq!(Worth::unknown().plan(Guesses::Measured, true), none);
        let mut unscored = Worth::unknown();
        unscored.took(1, Duration::from_millis(100));
        assert_eq!(unscored.plan(Guesses::Measured, false), none);
    }

    #[test]
    fn guessing_stops_where_it_no_longer_comes_true() {
        let mut worth = worth(Source::Written, GUESSES_MAX, 40, 0.1);
        (0..40).for_each(|_| worth.score(Source::Written, GUESSES_MAX, 0));
        assert_eq!(worth.plan(Guesses::Measured, false).map(|(_, count)| count), [0, 0]);
    }

    #[test]
    fn a_drafter_is_trusted_until_it_is_measured_and_tried_again_later() {
        let mut worth = Worth::unknown();
        worth.took(1, Duration::from_millis(100));
        let [(source, count), _] = worth.plan(Guesses::Measured, true);
        assert!(source == Source::Drafted && count > 0, "{source:?} {count}");
        worth.drafted(count, Duration::from_millis(1));
        (0..40).for_each(|_| worth.score(Source::Drafted, GUESSES_MAX, 0));
        assert_eq!(worth.plan(Guesses::Measured, true)[0].1, 0, "nothing that it drafts comes");
        (0..DRAFT_AGAIN).for_each(|_| worth.took(1, Duration::from_millis(100)));
        assert_eq!(worth.plan(Guesses::Measured, true)[0], (Source::Drafted, DRAFT_TRIED));
    }

    #[test]
    fn a_drafter_that_takes_as_long_as_a_run_does_not_pay() {
        let mut worth = worth(Source::Drafted, 5, 40, 0.05);
        assert!(worth.plan(Guesses::Measured, true)[0].1 > 0);
        worth.drafted(1, Duration::from_millis(100));
        assert_eq!(worth.plan(Guesses::Measured, true)[0].1, 0);
    }

    #[test]
    fn the_better_source_comes_first() {
        let mut worth = worth(Source::Written, GUESSES_MAX, 40, 0.05);
        assert_eq!(worth.plan(Guesses::Measured, true)[0].0, Source::Written);
        (0..40).for_each(|_| worth.score(Source::Written, GUESSES_MAX, 0));
        assert_eq!(worth.plan(Guesses::Measured, true)[0].0, Source::Drafted);
    }
}
