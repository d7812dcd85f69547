//! How long a picture and a piece of speech take until the decoder can read them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gemma_runtime::{Model, ReplyOptions};
use gemma_types::{Frame, Message, Part, Piece, Role, SAMPLE_RATE_HZ, Utterance};

use super::report::Medium;
use super::spread::Spread;

/// Size of the picture in pixels.
const PICTURE: (u32, u32) = (640, 480);
/// Length of the sound.
const SOUND_S: u32 = 5;

/// What is encoded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A picture of 640 x 480.
    Picture,
    /// Five seconds of sound.
    Sound,
}

impl Kind {
    /// Its name in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Sound => "sound",
        }
    }

    /// The words under which a model says why it takes none.
    fn refused_as(self) -> &'static str {
        match self {
            Self::Picture => "pictures",
            Self::Sound => "sound",
        }
    }

    /// One of the kind, another one for each number.
    fn part(self, number: u16) -> Part {
        match self {
            Self::Picture => Part::Image(picture(number)),
            Self::Sound => Part::Audio(sound(number)),
        }
    }
}

/// Measures in so many rounds; or says why it cannot.
///
/// # Errors
/// When the model fails.
pub(super) fn measure(
    model: &mut Model,
    kind: Kind,
    rounds: u16,
) -> anyhow::Result<Result<Medium, String>> {
    let refused = model.info().refusals.iter().find(|(what, _)| *what == kind.refused_as());
    if let Some((_, reason)) = refused {
        return Ok(Err(reason.clone()));
    }
    let mut seconds = Vec::new();
    // One more than asked for: what the first one does once is not measured.
    for number in 0..=rounds {
        let Some(time) = encode(model, kind.part(number))? else {
            return Ok(Err("it is encoded together with other work".into()));
        };
        if number > 0 {
            seconds.push(time.as_secs_f64());
        }
    }
    Ok(Spread::of(seconds).ok_or_else(|| "no round was asked for".to_owned()).map(|encode_s| {
        let what = match kind {
            Kind::Picture => format!("picture of {} x {} pixels", PICTURE.0, PICTURE.1),
            Kind::Sound => format!("{SOUND_S} seconds of sound"),
        };
        Medium { what, encode_s }
    }))
}

/// The first step of a reply, which prepares and encodes the only medium; `None` where it did more.
fn encode(model: &mut Model, part: Part) -> anyhow::Result<Option<Duration>> {
    let (tool_calls, tool_results) = (Vec::new(), Vec::new());
    let message = Message { role: Role::User, parts: vec![part], tool_calls, tool_results };
    let options = ReplyOptions { reply_tokens_max: 1, ..ReplyOptions::default() };
    let mut reply = model.reply(&[message], &[], &options)?;
    let started = Instant::now();
    let first = reply.next().transpose()?;
    let time = started.elapsed();
    let Some(Piece::Progress { prompt_tokens_done, .. }) = first else { return Ok(None) };
    for piece in reply {
        if let Piece::End { usage, .. } = piece? {
            return Ok((prompt_tokens_done == usage.cached_tokens).then_some(time));
        }
    }
    Ok(None)
}

/// Stripes that lie elsewhere for each number.
fn picture(number: u16) -> Frame {
    let (width, height) = PICTURE;
    let shift = u32::from(number) * 3;
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgb: Arc<[u8]> = pixels
        .flat_map(|(x, y)| [(x + shift) as u8, (y + 2 * shift) as u8, (x + y) as u8])
        .collect();
    Frame { width, height, rgb, captured_at: Duration::ZERO }
}

/// A tone, a higher one for each number.
fn sound(number: u16) -> Utterance {
    let step = 2.0 * std::f32::consts::PI * (220.0 + 20.0 * f32::from(number));
    let samples = (0..SAMPLE_RATE_HZ * SOUND_S)
        .map(|at| ((at as f32 * step / SAMPLE_RATE_HZ as f32).sin() * 8_000.0) as i16);
    Utterance { samples: samples.collect(), started_at: Duration::ZERO, caption: None }
}
