//! Holds a fast graph against the published one: the same prompts through both, with blocks, windows
//! and pictures, and the likeliest tokens after them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gemma_types::{Frame, Message, Part, Role};

use super::notes::Checked;
use super::{Int8, Kv, Levers, OptimizeError, OptimizeOptions};
use crate::error::Error;
use crate::gemma::config::Config;
use crate::gemma::fast::Fast;
use crate::gemma::image::BUDGETS;
use crate::gemma::trace::Trace;
use crate::model::{Model, Options};
use crate::prompt::{Prompt, Segment};

/// Greedy tokens after each prompt.
const TOKENS: usize = 24;

/// Tokens of a prefill step: few enough that prompts take several.
const BLOCK_TOKENS: usize = 128;

/// Lines of the long text; enough for every window.
const LINES: usize = 1000;

/// Sides of the picture, in pixels.
const SIDE: u32 = 96;

/// How the two graphs compute, as far as it makes their numbers differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arithmetic {
    /// The published one rounds every value to 16 bits.
    pub(super) halves: bool,
    /// The published one rounds activations to eight bits.
    pub(super) int8: bool,
    /// The published one keeps keys and values in 16 bits.
    pub(super) half_kv: bool,
    /// The fast one has scales in 16 bits that are published in 32.
    pub(super) half_scales: bool,
}

impl Arithmetic {
    /// Largest difference of a logit that the arithmetic explains.
    pub(super) fn tolerance(self, levers: Levers) -> f32 {
        let by_int8 = (self.int8 || levers.int8 == Int8::On, 1.0);
        let by_halves = (self.halves, 0.25);
        let by_kv = (levers.kv == Kv::F16 && !self.half_kv, 0.1);
        let by_scales = (self.half_scales, 0.1);
        let reasons =
            [by_int8, by_halves, by_kv, by_scales].into_iter().filter(|(is_so, _)| *is_so);
        reasons.map(|(_, tolerance)| tolerance).fold(0.01, f32::max)
    }
}

/// Compares the candidate of a folder with its published decoder.
///
/// # Errors
/// When one of them cannot be run, or the numbers differ by more than the arithmetic explains.
pub(super) fn compare(
    folder: &Path,
    config: &Config,
    options: &OptimizeOptions,
    tolerance: f32,
) -> Result<Checked, OptimizeError> {
    let published = traces(folder, config, options, Fast::Off)?;
    let fast = traces(folder, config, options, Fast::Candidate)?;
    let mut checked = Checked { difference: 0.0, tolerance, tokens: 0, same: 0 };
    let mut is_same = published.len() == fast.len();
    for (published, fast) in published.iter().zip(&fast) {
        let difference = difference(&published.logits, &fast.logits);
        checked.difference = checked.difference.max(difference);
        let pairs = published.continuation.iter().zip(&fast.continuation);
        let same = pairs.take_while(|(one, other)| one == other).count();
        checked.tokens += published.continuation.len();
        checked.same += same;
        // What is nearly as likely may well fall the other way.
        let margin = published.margins.get(same).copied().unwrap_or(0.0);
        is_same &= margin <= 2.0 * tolerance;
    }
    match is_same && checked.difference <= tolerance {
        true => Ok(checked),
        false => Err(OptimizeError::Differs { folder: folder.to_owned(), checked }),
    }
}

/// The largest absolute difference; what is no number differs from everything.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    if ours.len() != theirs.len() {
        return f32::INFINITY;
    }
    let pairs = ours.iter().zip(theirs).map(|(one, other)| (one - other).abs());
    pairs.fold(0.0, |worst, pair| if pair.is_nan() { f32::INFINITY } else { worst.max(pair) })
}

/// What a decoder makes of all prompts. Only one is open at a time.
fn traces(
    folder: &Path,
    config: &Config,
    options: &OptimizeOptions,
    fast: Fast,
) -> Result<Vec<Trace>, Error> {
    let window = config.window_tokens;
    let options = Options {
        engine: options.engine,
        library: options.library.clone(),
        threads: options.threads,
        image_budget: BUDGETS.first().copied(),
        dtype: options.dtype.clone(),
        context_tokens: window.saturating_add(window / 4).saturating_add(8 * TOKENS),
        prefill_block_tokens: BLOCK_TOKENS,
        fast,
        ..Options::default()
    };
    let mut model = Model::open(folder, &options)?;
    let context = model.info().context_tokens;
    let sees = model.info().has_vision && config.images_see_all;
    let prompts = prompts(&model, context, sees)?;
    prompts.iter().map(|prompt| model.trace_prompt(prompt, TOKENS)).collect()
}

/// A question, a text that is longer than a window, and, where the decoder must know which tokens are
/// a picture's, a picture.
fn prompts(model: &Model, context: usize, sees: bool) -> Result<Vec<Prompt>, Error> {
    let ask = |parts: Vec<Part>| {
        let (tool_calls, tool_results) = (Vec::new(), Vec::new());
        let message = Message { role: Role::User, parts, tool_calls, tool_results };
        model.render(&[message], &[], false)
    };
    let question = "What does a barometer measure? Say it in one sentence.";
    let lines = (1..=LINES).map(|at| format!("{at} times {at} is {}.\n", at * at));
    let mut long = ask(vec![Part::Text(lines.collect())])?;
    let mut left = context.saturating_sub(TOKENS + 1);
    for segment in &mut long.segments {
        if let Segment::Tokens(ids) = segment {
            ids.truncate(left);
            left -= ids.len();
        }
    }
    let mut prompts = vec![ask(vec![Part::Text(question.into())])?, long];
    if sees {
        let text = Part::Text("What is on the picture?".into());
        prompts.push(ask(vec![Part::Image(picture()), text])?);
    }
    Ok(prompts)
}

/// A picture whose corners have different colours.
fn picture() -> Frame {
    let shade = |at: u32| u8::try_from(at * 255 / SIDE).unwrap_or(u8::MAX);
    let pixels = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| [shade(x), shade(y), 128]));
    let rgb: Arc<[u8]> = pixels.flatten().collect();
    Frame { width: SIDE, height: SIDE, rgb, captured_at: Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_differs_from_everything() {
        assert_eq!(difference(&[1.0, 2.0], &[1.0, 2.5]), 0.5);
        assert_eq!(difference(&[1.0, f32::NAN], &[1.0, 2.5]), f32::INFINITY);
        assert_eq!(difference(&[1.0], &[1.0, 2.5]), f32::INFINITY);
        assert_eq!(difference(&[], &[]), 0.0);
    }

    #[test]
    fn only_arithmetic_that_rounds_may_differ_much() {
        let exact = Arithmetic { halves: false, int8: false, half_kv: false, half_scales: false };
        let published = Levers { kv: Kv::F32, ..Levers::default() };
        assert!(exact.tolerance(published) <= 0.01);
        for (arithmetic, levers) in [
            (Arithmetic { halves: true, ..exact }, published),
            (Arithmetic { int8: true, ..exact }, published),
            (Arithmetic { half_scales: true, ..exact }, published),
            (exact, Levers { kv: Kv::F16, ..published }),
            (exact, Levers { int8: Int8::On, ..published }),
        ] {
            assert!(arithmetic.tolerance(levers) > 0.01, "{arithmetic:?} {levers}");
        }
    }
}
