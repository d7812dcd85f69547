//! Sound as it travels from a microphone to the model.

use std::sync::Arc;
use std::time::Duration;

/// Sample rate of every [`AudioChunk`] and [`Utterance`], in hertz.
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// A short run of sound from a microphone.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioChunk {
    /// Mono samples, 16-bit signed, 16 kHz.
    pub samples: Vec<i16>,
    /// When the first sample was captured, since the daemon started (monotonic clock).
    pub captured_at: Duration,
    /// What is said in the file that is being replayed, on the first chunk of that file.
    ///
    /// Only a replayed microphone knows this; a real one leaves it empty.
    pub caption: Option<Arc<str>>,
}

/// One stretch of speech, from its first word to the pause that ended it.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    /// Mono samples, 16-bit signed, 16 kHz; at most 30 seconds.
    pub samples: Arc<[i16]>,
    /// When the first sample was captured, since the daemon started (monotonic clock).
    pub started_at: Duration,
    /// What is said, where a replayed file brought its text along; empty for a real microphone.
    pub caption: Option<Arc<str>>,
}
