//! Which experts a row goes to, and how much each of them counts: the best scores of its router.

use crate::{Mismatch, mismatch::check_length};

/// An expert that a row goes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Which expert.
    pub expert: usize,
    /// What its answer is multiplied by.
    pub share: f32,
}

/// How experts are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Router<'a> {
    /// How many experts there are.
    pub experts: usize,
    /// How many of them a row goes to.
    pub chosen: usize,
    /// Whether the shares of a row are made to add up to 1, before the factors.
    pub adds_up: bool,
    /// What the share of each expert is multiplied by, `[experts]`; none where by nothing.
    pub factors: Option<&'a [f32]>,
}

impl Router<'_> {
    /// The experts of each row by the softmax of its scores, the best first; of equal ones the first.
    ///
    /// `scores` is `[rows, experts]` f32; the choices are `[rows, chosen]`.
    ///
    /// # Errors
    /// Where lengths do not agree, or the scores of a row have no largest number.
    pub fn choose(&self, scores: &[f32]) -> Result<Vec<Choice>, Mismatch> {
        let Self { experts, chosen, .. } = *self;
        if chosen == 0 || chosen > experts {
            return Err(Mismatch::new(format!("{chosen} of {experts} experts are chosen")));
        }
        check_length("the scores", scores.len(), &[scores.len() / experts, experts])?;
        if let Some(factors) = self.factors {
            check_length("the experts' factors", factors.len(), &[experts])?;
        }
        let mut choices = Vec::with_capacity(scores.len() / experts * chosen);
        for (row, scores) in scores.chunks_exact(experts).enumerate() {
            self.choose_of(row, scores, &mut choices)?;
        }
        Ok(choices)
    }

    fn choose_of(
        &self,
        row: usize,
        scores: &[f32],
        choices: &mut Vec<Choice>,
    ) -> Result<(), Mismatch> {
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if scores.iter().any(|score| score.is_nan()) || !largest.is_finite() {
            let reason = "has a router score that is no number";
            return Err(Mismatch::new(format!("row {row} of the scores {reason}")));
        }
        let mut shares: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
        let whole: f32 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= whole);
        let first = choices.len();
        let mut open: Vec<usize> = (0..scores.len()).collect();
        let order = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then_with(|| a.cmp(b));
        if self.chosen < open.len() {
            open.select_nth_unstable_by(self.chosen, order);
            open.truncate(self.chosen);
        }
        open.sort_unstable_by(order);
        choices.extend(open.into_iter().map(|expert| Choice { expert, share: shares[expert] }));
        let whole: f32 = choices[first..].iter().map(|choice| choice.share).sum();
        for choice in &mut choices[first..] {
            let factor = self.factors.map_or(1.0, |factors| factors[choice.expert]);
            choice.share *= if self.adds_up { factor / whole } else { factor };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

    use super::*;

    fn check(router: Router<'_>, scores: &[f32], expected: &[(usize, f32)]) {
        let found = router.choose(scores).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, &(expert, share)) in found.iter().zip(expected) {
            assert!(found.expert == expert && (found.share - share).abs() < 1e-6, "{found:?}");
        }
    }

    const ROUTER: Router<'static> = Router { experts: 4, chosen: 2, adds_up: true, factors: None };

    #[test]
    fn the_best_experts_are_chosen_with_shares_of_their_softmax() {
        // Softmax of the logarithms of these numbers are the numbers, divided by their sum.
        let scores: Vec<f32> = [1.0_f32, 4.0, 2.0, 1.0].map(f32::ln).into();
        check(ROUTER, &scores, &[(1, 2.0 / 3.0), (2, 1.0 / 3.0)]);
        check(Router { adds_up: false, ..ROUTER }, &scores, &[(1, 0.5), (2, 0.25)]);
        let factors = Some(&[0.0, 3.0, 6.0, 0.0][..]);
        check(Router { factors, ..ROUTER }, &scores, &[(1, 2.0), (2, 2.0)]);
    }

    #[test]
    fn of_equal_scores_the_first_are_chosen() {
        check(ROUTER, &[1.0; 8], &[(0, 0.5), (1, 0.5), (0, 0.5), (1, 0.5)]);
        let all = Router { chosen: 4, ..ROUTER };
        check(
            all,
            &[f32::NEG_INFINITY, 0.0, 0.0, 0.0],
            &[(1, 1.0 / 3.0), (2, 1.0 / 3.0), (3, 1.0 / 3.0), (0, 0.0)],
        );
    }

    #[test]
    fn scores_that_say_nothing_are_refused() {
        let refused = |router: Router<'_>, scores: &[f32], expected: &str| {
            let error = router.choose(scores).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let good = [0.0; 4];
        let bad = [0.0, f32::NAN, 0.0, 0.0];
        refused(ROUTER, &[good, bad].concat(), "row 1 of the scores has a router score that is no");
        refused(ROUTER, &[0.0, f32::INFINITY, 0.0, 0.0], "no number");
        refused(ROUTER, &[f32::NEG_INFINITY; 4], "no number");
        refused(ROUTER, &[0.0; 5], "the scores has 5 elements where 1 x 4");
        refused(Router { chosen: 5, ..ROUTER }, &good, "5 of 4 experts are chosen");
        refused(Router { chosen: 0, ..ROUTER }, &good, "0 of 4 experts are chosen");
        refused(Router { experts: 0, chosen: 0, ..ROUTER }, &[], "0 of 0 experts");
        let factors = Some(&[1.0][..]);
        refused(Router { factors, ..ROUTER }, &good, "factors has 1 elements where 4");
        assert_eq!(ROUTER.choose(&[]).unwrap(), []);
    }
}
