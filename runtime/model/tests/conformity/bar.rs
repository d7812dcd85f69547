//! What every cell of the conformity table must be: a bar for what is computed, and a reason for
//! what is not.

use crate::cell::{CONTINUED, Outcome};
use crate::fixture::{Decoder, Fixture, Layout};

/// What a cell must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    /// Answered, with every logit this close to the reference and all ids alike.
    Exact(f32),
    /// Answered, with every logit this close to the reference, and ids alike until the two best
    /// tokens of the reference are closer to each other than twice that.
    Near(f32),
    /// Refused, with a reason that holds these words.
    Refused(&'static str),
}

/// The bar where the arithmetic is f32 and the reference has the same weights.
const EXACT: f32 = 1e-3;

/// The bar where scales of weights are rounded to half precision, and nothing else.
const HALF_SCALES: f32 = 0.05;

/// The bar where activations are rounded to half precision after every operation, which
/// transformers in f32 does not do.
const HALF: f32 = 0.2;

/// The bar where activations are rounded to eight bits: the reference rounds too, but a value that
/// lies between two steps may fall to either side, and of random weights one such value moves a
/// logit by up to one. The answer to another prompt differs by four and more.
const BYTES: f32 = 1.2;

/// Cases that only models with sound are asked.
const SOUND: [&str; 2] = ["audio", "interleaved"];

/// Cases without media.
const WORDS: [&str; 2] = ["text", "long"];

/// What the cell of a case must be.
pub(crate) fn bar(fixture: &Fixture, case: &str) -> Bar {
    let is_deaf = matches!(fixture.variant, "26b" | "31b") || fixture.layout == Layout::Text;
    if fixture.layout == Layout::Text && !WORDS.contains(&case) && case != "audio" {
        return Bar::Refused("its folder has no vision_encoder");
    }
    if is_deaf && SOUND.contains(&case) {
        return Bar::Refused("its folder has no audio_encoder");
    }
    match fixture.dtype {
        _ if fixture.decoder == Decoder::Halved => Bar::Near(HALF_SCALES),
        "fp16" | "q4f16" => Bar::Near(HALF),
        "q8" => Bar::Near(BYTES),
        _ => Bar::Exact(EXACT),
    }
}

impl Bar {
    /// Whether an outcome is what it must be.
    pub(crate) fn allows(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Exact(most), Outcome::Answered { difference, same, .. }) => {
                difference <= most && *same == CONTINUED
            }
            (Self::Near(most), Outcome::Answered { difference, same, margin }) => {
                difference <= most && (*same == CONTINUED || *margin <= 2.0 * most)
            }
            (Self::Refused(words), Outcome::Refused(reason)) => reason.contains(words),
            (Self::Exact(_) | Self::Near(_) | Self::Refused(_), _) => false,
        }
    }
}
