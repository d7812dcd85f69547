//! What waits for the model and what was said before: the bounded queue of turns and the
//! conversations by id. Pure: the time and the sizes come from the caller.

mod conversations;
mod queue;

pub use conversations::{Conversations, Exchange};
pub use queue::{Push, Queue};

use std::time::Instant;

use gemma_runtime::tasks::AnyTask;
use gemma_types::{Message, Part};
use tokio_util::sync::CancellationToken;

use crate::event::{Origin, TurnId};

/// A question that was accepted.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Its number.
    pub id: TurnId,
    /// Where it came from.
    pub origin: Origin,
    /// The conversation that it belongs to.
    pub session: String,
    /// What is wanted.
    pub asked: Asked,
    /// Memory of the pictures, films and sound that came along.
    pub media_bytes: usize,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// Cancelled when nobody wants the answer any more.
    pub cancel: CancellationToken,
}

/// Memory of decoded pictures, films and sound in bytes: a small file may unfold to much.
pub fn media_bytes(parts: &[Part]) -> usize {
    let bytes = |part: &Part| match part {
        Part::Text(_) => 0,
        Part::Image(frame) => frame.rgb.len(),
        Part::Video(clip) => clip.frames.iter().map(|frame| frame.rgb.len()).sum(),
        Part::Audio(utterance) => size_of_val(&*utterance.samples),
    };
    parts.iter().map(bytes).sum()
}

/// What a turn wants.
#[derive(Clone, Debug)]
pub enum Asked {
    /// To go on with a conversation.
    Talk {
        /// What the person says, pictures and sound first.
        message: Message,
        /// Whether the model may think aloud first.
        thinking: bool,
    },
    /// To do a ready-made task.
    Task(Box<AnyTask>),
}
