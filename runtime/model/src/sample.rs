//! Chooses the next token from the logits: temperature, then top-k, then top-p, then one draw.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher, RandomState};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; below 1 sharpens, above 1 flattens, 0 or less always takes the likeliest.
    pub temperature: f32,
    /// Keeps the likeliest tokens that together have at least this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps this many of the likeliest tokens; 0 keeps all, 1 always takes the likeliest.
    pub top_k: usize,
    /// Makes the draws repeatable: the same seed, options and logits yield the same tokens, on any
    /// machine and in any later version. None draws differently each time.
    pub seed: Option<u64>,
}

impl Sampling {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 1, seed: None }
    }

    fn is_greedy(&self) -> bool {
        // A temperature that is not a number counts as none.
        self.top_k == 1 || self.temperature <= 0.0 || self.temperature.is_nan()
    }
}

/// What the makers of Gemma 4 recommend for everything: temperature 1, top-p 0.95, top-k 64.
impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 0.95, top_k: 64, seed: None }
    }
}

/// Why no token could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// There is nothing to choose from.
    #[error(
        "none of {0} logits is a number; the engine overflowed, expected weights of another \
         precision"
    )]
    NoCandidate(usize),
}

/// One token that may be chosen.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    logit: f32,
    id: u32,
    /// Probability, not yet divided by the sum of all.
    weight: f64,
}

/// Chooses tokens; remembers the state of its random numbers (xoshiro256++) between draws.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    suppressed: Vec<u32>,
    random: Xoshiro256PlusPlus,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler at the beginning of its sequence of random numbers.
    pub fn new(sampling: &Sampling) -> Self {
        let seed = sampling.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Self {
            sampling: *sampling,
            suppressed: Vec::new(),
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            candidates: Vec::new(),
        }
    }

    /// Never chooses these tokens.
    #[must_use]
    pub fn suppressing(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.suppressed.extend(ids);
        self
    }

    /// Chooses one token; `logits` are `[vocabulary] f32`. Those of suppressed tokens are overwritten;
    /// those that are not a number are passed over.
    ///
    /// # Errors
    /// When no logit is a number.
    pub fn pick(&mut self, logits: &mut [f32]) -> Result<u32, SampleError> {
        for &id in &self.suppressed {
            if let Some(logit) = usize::try_from(id).ok().and_then(|id| logits.get_mut(id)) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let best = likeliest(logits).ok_or(SampleError::NoCandidate(logits.len()))?;
        if self.sampling.is_greedy() || best.logit == f32::INFINITY {
            return Ok(best.id);
        }
        self.keep_top_k(logits);
        self.weigh(best.logit);
        self.keep_top_p();
        Ok(self.draw().unwrap_or(best.id))
    }

    /// Collects the likeliest tokens. One pass: a token enters only above the least of those kept, and
    /// the kept ones are thinned whenever there are twice too many.
    fn keep_top_k(&mut self, logits: &[f32]) {
        self.candidates.clear();
        let wanted = match self.sampling.top_k {
            0 => logits.len(),
            some => some.min(logits.len()),
        };
        let mut floor = f32::NEG_INFINITY;
        for (id, &logit) in (0..).zip(logits) {
            if logit > floor {
                self.candidates.push(Candidate { logit, id, weight: 0.0 });
                if self.candidates.len() >= wanted.saturating_mul(2) {
                    floor = keep_first(&mut self.candidates, wanted);
                }
            }
        }
        if self.candidates.len() > wanted {
            keep_first(&mut self.candidates, wanted);
        }
        if self.sampling.top_k > 0 {
            self.candidates.sort_unstable_by(likelier);
        }
    }

    /// Gives every candidate its weight.
    fn weigh(&mut self, best: f32) {
        let temperature = f64::from(self.sampling.temperature);
        for candidate in &mut self.candidates {
            candidate.weight = (f64::from(candidate.logit - best) / temperature).exp();
        }
    }

    /// Keeps the likeliest candidates up to the probability asked for: one stays if those before it
    /// have less than that. Sorts only as far as needed.
    fn keep_top_p(&mut self) {
        let share = f64::from(self.sampling.top_p);
        if share >= 1.0 || share.is_nan() {
            return;
        }
        let all: f64 = self.candidates.iter().map(|candidate| candidate.weight).sum();
        let (mut sorted, mut block, mut before) = (0, 256, 0.0);
        while sorted < self.candidates.len() {
            let rest = &mut self.candidates[sorted..];
            let length = rest.len().min(block);
            if length < rest.len() {
                rest.select_nth_unstable_by(length - 1, likelier);
            }
            rest[..length].sort_unstable_by(likelier);
            for (index, candidate) in rest[..length].iter().enumerate() {
                before += candidate.weight;
                if before >= share * all {
                    self.candidates.truncate(sorted + index + 1);
                    return;
                }
            }
            sorted += length;
            block = block.saturating_mul(4);
        }
    }

    /// Draws one candidate with a probability in proportion to its weight.
    fn draw(&mut self) -> Option<u32> {
        let all: f64 = self.candidates.iter().map(|candidate| candidate.weight).sum();
        let mut left = self.random.random::<f64>() * all;
        for candidate in &self.candidates {
            left -= candidate.weight;
            if left < 0.0 {
                return Some(candidate.id);
            }
        }
        self.candidates.last().map(|candidate| candidate.id)
    }
}

/// Order of likelihood; of two alike, the one with the lower id comes first.
fn likelier(one: &Candidate, other: &Candidate) -> Ordering {
    other.logit.total_cmp(&one.logit).then(one.id.cmp(&other.id))
}

/// The likeliest token. Passes over what is not a number and over what is impossible.
fn likeliest(logits: &[f32]) -> Option<Candidate> {
    let mut best: Option<Candidate> = None;
    for (id, &logit) in (0..).zip(logits) {
        if logit > best.map_or(f32::NEG_INFINITY, |best| best.logit) {
            best = Some(Candidate { logit, id, weight: 1.0 });
        }
    }
    best
}

/// Keeps the `wanted` likeliest, in no order, and returns the least logit among them.
fn keep_first(candidates: &mut Vec<Candidate>, wanted: usize) -> f32 {
    let (_, least, _) = candidates.select_nth_unstable_by(wanted.saturating_sub(1), likelier);
    let least = least.logit;
    candidates.truncate(wanted);
    least
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn sampling(temperature: f32, top_p: f32, top_k: usize) -> Sampling {
        Sampling { temperature, top_p, top_k, seed: Some(7) }
    }

    /// How often each token comes out in many draws.
    fn counts(sampling: &Sampling, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(sampling);
        let mut counts = vec![0; logits.len()];
        for _ in 0..20_000 {
            let id = sampler.pick(&mut logits.to_vec()).unwrap();
            counts[usize::try_from(id).unwrap()] += 1;
        }
        counts
    }

    /// Draws many times and compares with the expected probabilities.
    fn check(sampling: &Sampling, logits: &[f32], expected: &[f64]) {
        for (count, expected) in counts(sampling, logits).into_iter().zip(expected) {
            let found = f64::from(u32::try_from(count).unwrap()) / 20_000.0;
            assert!((found - expected).abs() < 0.015, "{found} instead of {expected}");
            assert!(*expected > 0.0 || count == 0, "an excluded token was drawn");
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.4_f32, 0.3, 0.2, 0.1].map(f32::ln);
        check(&sampling(1.0, 1.0, 0), &logits, &[0.4, 0.3, 0.2, 0.1]);
        check(&sampling(0.5, 1.0, 0), &logits, &[16.0 / 30.0, 9.0 / 30.0, 4.0 / 30.0, 1.0 / 30.0]);
        check(&sampling(1.0, 1.0, 2), &logits, &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
        check(&sampling(1.0, 0.69, 0), &logits, &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
        check(&sampling(1.0, 0.75, 0), &logits, &[4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0]);
        // Top-p counts what top-k has left: of 4/7 and 3/7, the first alone reaches one half.
        check(&sampling(1.0, 0.5, 2), &logits, &[1.0, 0.0, 0.0, 0.0]);
        check(&sampling(1.0, 0.0, 0), &logits, &[1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        for greedy in [Sampling::greedy(), sampling(0.0, 0.5, 9), sampling(f32::NAN, 1.0, 0)] {
            assert_eq!(Sampler::new(&greedy).pick(&mut [1.0, 3.0, 3.0, f32::NAN]), Ok(1));
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens_for_ever() {
        let logits: Vec<f32> = (0..1000_u16).map(|index| f32::from(index % 17) / 4.0).collect();
        let draw = |sampling: &Sampling| -> Vec<u32> {
            let mut sampler = Sampler::new(sampling);
            (0..6).map(|_| sampler.pick(&mut logits.clone()).unwrap()).collect()
        };
        assert_eq!(draw(&sampling(1.0, 0.95, 64)), RECORDED);
        let other = Sampling { seed: Some(8), ..sampling(1.0, 0.95, 64) };
        assert_ne!(draw(&other), RECORDED);
    }

    /// Must not change: people keep seeds.
    const RECORDED: [u32; 6] = [67, 186, 730, 441, 985, 475];

    #[test]
    fn what_is_not_a_number_is_passed_over_or_refused() {
        let mut sampler = Sampler::new(&sampling(1.0, 0.95, 64));
        assert_eq!(sampler.pick(&mut [f32::NAN, 1.0, f32::NEG_INFINITY]), Ok(1));
        assert_eq!(sampler.pick(&mut [0.0, f32::INFINITY, f32::NAN]), Ok(1));
        assert_eq!(sampler.pick(&mut [f32::NAN; 3]), Err(SampleError::NoCandidate(3)));
        assert_eq!(sampler.pick(&mut [f32::NEG_INFINITY; 2]), Err(SampleError::NoCandidate(2)));
        assert_eq!(sampler.pick(&mut []), Err(SampleError::NoCandidate(0)));
    }

    #[test]
    fn suppressed_tokens_never_come() {
        let mut sampler = Sampler::new(&Sampling::greedy()).suppressing([1, 4_000_000_000]);
        assert_eq!(sampler.pick(&mut [0.0, 9.0, 1.0]), Ok(2));
    }

    proptest! {
        #[test]
        fn only_the_likeliest_k_come(
            logits in prop::collection::vec(-20.0_f32..20.0, 1..600),
            top_k in 0_usize..80,
            top_p in 0.0_f32..1.2,
            seed: u64,
        ) {
            let sampling = Sampling { temperature: 0.8, top_p, top_k, seed: Some(seed) };
            let id = Sampler::new(&sampling).pick(&mut logits.clone()).unwrap();
            let logit = logits[usize::try_from(id).unwrap()];
            let better = logits.iter().filter(|other| **other > logit).count();
            prop_assert!(top_k == 0 || better < top_k);
        }

        #[test]
        fn any_bits_are_taken(
            bits in prop::collection::vec(any::<u32>(), 0..300),
            temperature: f32,
            top_p: f32,
            top_k in 0_usize..400,
        ) {
            let mut logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let possible = logits.iter().any(|logit| *logit > f32::NEG_INFINITY);
            let sampling = Sampling { temperature, top_p, top_k, seed: Some(1) };
            prop_assert_eq!(Sampler::new(&sampling).pick(&mut logits).is_ok(), possible);
        }
    }
}
