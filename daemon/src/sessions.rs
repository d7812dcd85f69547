//! What waits for the model and what was said before: the bounded queue of turns and the
//! conversations by id. Pure: the time and the sizes come from the caller.

mod conversations;
mod queue;

pub use conversations::{Conversations, Exchange};
pub use queue::{Push, Queue};

use std::time::Instant;

use gemma_types::Message;
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
    /// What the person says, pictures and sound first.
    pub message: Message,
    /// Whether the model may think aloud first.
    pub thinking: bool,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// Cancelled when nobody wants the answer any more.
    pub cancel: CancellationToken,
}
