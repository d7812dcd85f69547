//! Holds two ways of running a model against each other: the same prompts through both, with blocks,
//! windows and media, and the likeliest tokens after them. No reference implementation is needed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gemma_types::{Frame, Message, Part, Role, SAMPLE_RATE_HZ, Utterance};

use crate::engine::{Device, EngineKind};
use crate::error::Error;
use crate::gemma::config::Config;
use crate::gemma::fast::Fast;
use crate::gemma::image::BUDGETS;
use crate::gemma::trace::Trace;
use crate::model::{Model, Options};
use crate::optimize::{self, Checked, OptimizeError};
use crate::prompt::{Prompt, Segment};

/// Greedy tokens after each prompt.
const TOKENS: usize = 24;

/// Tokens of a prefill step: few enough that prompts take several.
const BLOCK_TOKENS: usize = 128;

/// Lines of the long text; enough for every window.
const LINES: usize = 1000;

/// Sides of the picture, in pixels.
const SIDE: u32 = 96;

/// Seconds of the sound.
const SECONDS: u32 = 2;

/// How two ways of running a model compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parity {
    /// The figures.
    pub checked: Checked,
    /// Whether the numbers differ by no more than the arithmetic explains.
    pub holds: bool,
}

/// What became of comparing a fast graph with the published one.
#[derive(Clone, Debug, PartialEq)]
pub enum FastParity {
    /// They were compared.
    Compared(Parity),
    /// There is no fast graph that could be used, for this reason.
    None(String),
}

/// Compares the fast graph of a folder with its published decoder, on the engine of the options.
///
/// # Errors
/// When the folder holds no decoder, or one of the two cannot be run.
pub fn fast_against_published(
    folder: &Path,
    options: &Options,
) -> Result<FastParity, OptimizeError> {
    let config = Config::open(folder)?;
    let tolerance = match optimize::fast_tolerance(folder, options.dtype.as_deref(), &config)? {
        Ok(tolerance) => tolerance,
        Err(reason) => return Ok(FastParity::None(reason)),
    };
    // The fast graph computes on the processor only.
    let with = |fast| Options { fast, device: Device::Processor, ..options.clone() };
    let media = Media { pictures: config.images_see_all, sound: false };
    let published = traces(folder, &config, &with(Fast::Off), media)?;
    let fast = traces(folder, &config, &with(Fast::Required), media)?;
    Ok(FastParity::Compared(judge(&published, &fast, tolerance)))
}

/// Compares what a folder's published graphs compute on ONNX Runtime and on tract: the encoders,
/// where it has some, and the decoder behind them.
///
/// # Errors
/// When the folder holds no decoder, or one of the engines cannot run it.
pub fn ort_against_tract(folder: &Path, options: &Options) -> Result<Parity, OptimizeError> {
    let config = Config::open(folder)?;
    let tolerance = optimize::published_tolerance(folder, options.dtype.as_deref(), &config)?;
    let on = |engine| Options { fast: Fast::Off, ..options.on(engine) };
    let all = Media { pictures: true, sound: true };
    let ort = traces(folder, &config, &on(EngineKind::Ort), all)?;
    let tract = traces(folder, &config, &on(EngineKind::Tract), all)?;
    Ok(judge(&ort, &tract, tolerance))
}

/// Which media the prompts hold, as far as the model takes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Media {
    /// A picture.
    pub(crate) pictures: bool,
    /// A sound.
    pub(crate) sound: bool,
}

/// What a decoder makes of all prompts. Only one is open at a time.
pub(crate) fn traces(
    folder: &Path,
    config: &Config,
    options: &Options,
    media: Media,
) -> Result<Vec<Trace>, Error> {
    let window = config.window_tokens;
    let options = Options {
        image_budget: BUDGETS.first().copied(),
        context_tokens: window.saturating_add(window / 4).saturating_add(8 * TOKENS),
        prefill_block_tokens: BLOCK_TOKENS,
        ..options.clone()
    };
    let mut model = Model::open(folder, &options)?;
    let context = model.info().context_tokens;
    let media = Media {
        pictures: media.pictures && model.info().has_vision,
        sound: media.sound && model.info().has_audio,
    };
    let prompts = prompts(&model, context, media)?;
    prompts.iter().map(|prompt| model.trace_prompt(prompt, TOKENS)).collect()
}

/// Compares what two ways made of the same prompts.
pub(crate) fn judge(ones: &[Trace], others: &[Trace], tolerance: f32) -> Parity {
    let mut checked = Checked { difference: 0.0, tolerance, tokens: 0, same: 0 };
    let mut holds = ones.len() == others.len();
    for (one, other) in ones.iter().zip(others) {
        let difference = difference(&one.logits, &other.logits);
        checked.difference = checked.difference.max(difference);
        let pairs = one.continuation.iter().zip(&other.continuation);
        let same = pairs.take_while(|(one, other)| one == other).count();
        checked.tokens += one.continuation.len();
        checked.same += same;
        // What is nearly as likely may well fall the other way.
        let margin = one.margins.get(same).copied().unwrap_or(0.0);
        holds &= margin <= 2.0 * tolerance;
    }
    Parity { checked, holds: holds && checked.difference <= tolerance }
}

/// The largest absolute difference; what is no number differs from everything.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    if ours.len() != theirs.len() {
        return f32::INFINITY;
    }
    let pairs = ours.iter().zip(theirs).map(|(one, other)| (one - other).abs());
    pairs.fold(0.0, |worst, pair| if pair.is_nan() { f32::INFINITY } else { worst.max(pair) })
}

/// A question, a text that is longer than a window, and the media.
fn prompts(model: &Model, context: usize, media: Media) -> Result<Vec<Prompt>, Error> {
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
    if media.pictures {
        let text = Part::Text("What is on the picture?".into());
        prompts.push(ask(vec![Part::Image(picture()), text])?);
    }
    if media.sound {
        let text = Part::Text("What is to be heard?".into());
        prompts.push(ask(vec![Part::Audio(sound()), text])?);
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

/// A tone that rises from 100 to 4,100 Hz.
fn sound() -> Utterance {
    let count = SECONDS * SAMPLE_RATE_HZ;
    let sample = |at: u32| {
        let seconds = f64::from(at) / f64::from(SAMPLE_RATE_HZ);
        let turns = seconds * (100.0 + 2_000.0 * seconds / f64::from(SECONDS));
        (8_000.0 * (std::f64::consts::TAU * turns).sin()) as i16
    };
    let samples: Arc<[i16]> = (0..count).map(sample).collect();
    Utterance { samples, started_at: Duration::ZERO, caption: None }
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
    fn a_token_may_fall_the_other_way_only_where_it_was_close() {
        let trace = |last: u32, margin: f32| Trace {
            prompt_ids: vec![1],
            logits: vec![0.5],
            rows: 1,
            continuation: vec![7, last],
            margins: vec![9.0, margin],
        };
        let holds = |margin: f32, other: u32| {
            judge(&[trace(8, margin)], &[trace(other, margin)], 0.1).holds
        };
        assert!(holds(3.0, 8));
        assert!(holds(0.15, 9));
        assert!(!holds(3.0, 9));
        assert!(!judge(&[trace(8, 3.0)], &[], 0.1).holds);
    }
}
