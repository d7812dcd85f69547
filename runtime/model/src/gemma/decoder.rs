//! The decoder with the keys and values of what it has seen: as it was published, where they go
//! through the graph as tensors, or as our fast graph, whose operators find them in a sequence.

pub(super) mod fast;
pub(super) mod published;
mod window;

use super::cache::Slot;
use super::config::Config;
use super::drafter::Rows;
use super::open::Use;
use super::{Block, Embedded};
use crate::engine::Engine;
use crate::error::Error;
use crate::graph::Port;
use crate::model::KvInfo;
use fast::FastDecoder;
use published::PublishedDecoder;

/// What a decoder gives for the last tokens of a block.
#[derive(Default)]
pub(crate) struct Given {
    /// Logits `[wanted, vocabulary]`.
    pub(crate) logits: Vec<f32>,
    /// The states that they are made of, `[wanted, hidden]`; the published graph keeps them to itself.
    pub(crate) states: Vec<f32>,
}

/// A decoder, ready to run.
pub(crate) enum Decoder<E: Engine> {
    /// As it was published.
    Published(PublishedDecoder<E>),
    /// Our fast graph.
    Fast(FastDecoder<E>),
}

impl<E: Engine> Decoder<E> {
    /// Where the embeddings go in; a graph that embeds tokens itself has no such port.
    pub(super) fn embeds(&self) -> Option<&Port> {
        match self {
            Self::Published(decoder) => decoder.ports.embeds.as_ref(),
            Self::Fast(decoder) => decoder.ports.embeds.as_ref(),
        }
    }

    /// Where the per-layer inputs go in.
    pub(super) fn per_layer(&self) -> Option<&Port> {
        match self {
            Self::Published(decoder) => decoder.ports.per_layer.as_ref(),
            Self::Fast(decoder) => decoder.ports.per_layer.as_ref(),
        }
    }

    /// Whether it can know which tokens belong to a picture.
    pub(super) fn knows_pictures(&self) -> bool {
        match self {
            Self::Published(decoder) => decoder.ports.knows_pictures(),
            Self::Fast(_) => true,
        }
    }

    /// Whether it gives the logits of several tokens and forgets the last ones for nothing, so that
    /// it can say which guesses are right.
    pub(super) fn verifies(&self) -> bool {
        match self {
            Self::Published(_) => false,
            Self::Fast(_) => true,
        }
    }

    /// Tokens that it has seen and remembers.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Published(decoder) => decoder.len(),
            Self::Fast(decoder) => decoder.len(),
        }
    }

    /// Goes on with the conversation that a prompt shares most with, cut off to what they share: so
    /// many of its first tokens need not be processed. At least one token of the prompt is left,
    /// since logits are wanted; a medium is kept whole or not at all. What was gone on with before
    /// is kept while there is room.
    ///
    /// # Errors
    /// When the engine cannot copy a tensor; it goes on with nothing then.
    pub(super) fn resume(&mut self, engine: &E, prompt: &[Slot]) -> Result<usize, Error> {
        match self {
            Self::Published(decoder) => decoder.resume(engine, prompt),
            Self::Fast(decoder) => decoder.resume(prompt),
        }
    }

    /// Whether a prefix of just these tokens is pinned.
    pub(super) fn is_pinned(&self, prefix: &[Slot]) -> bool {
        match self {
            Self::Published(decoder) => decoder.is_pinned(prefix),
            Self::Fast(decoder) => decoder.is_pinned(prefix),
        }
    }

    /// Pins what it has seen, as a prefix to begin conversations with, and goes on with nothing.
    ///
    /// # Errors
    /// When the engine cannot make a tensor.
    pub(super) fn pin(&mut self, engine: &E) -> Result<(), Error> {
        match self {
            Self::Published(decoder) => decoder.pin(engine),
            Self::Fast(decoder) => {
                decoder.pin();
                Ok(())
            }
        }
    }

    /// Soft tokens of a medium that it remembers.
    pub(crate) fn soft_tokens(&self, media: u128) -> Option<usize> {
        match self {
            Self::Published(decoder) => decoder.soft_tokens(media),
            Self::Fast(decoder) => decoder.soft_tokens(media),
        }
    }

    /// Whether sliding layers keep no more than what is seen.
    pub(crate) fn keeps_window(&self) -> bool {
        match self {
            Self::Published(decoder) => decoder.keeps_window(),
            Self::Fast(decoder) => decoder.keeps_window(),
        }
    }

    /// Bytes of the keys and values of one token, in sliding and in global layers.
    pub(crate) fn token_bytes(&self) -> (usize, usize) {
        match self {
            Self::Published(decoder) => decoder.token_bytes(),
            Self::Fast(decoder) => decoder.token_bytes(),
        }
    }

    /// Bytes of all keys and values that are kept now.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Published(decoder) => decoder.bytes(),
            Self::Fast(decoder) => decoder.bytes(),
        }
    }

    /// Forgets all but the first `tokens` tokens; only the last few can be forgotten for certain, and
    /// all of them.
    ///
    /// # Errors
    /// When the engine cannot copy a tensor; nothing is remembered then.
    pub(super) fn truncate(&mut self, engine: &E, tokens: usize) -> Result<(), Error> {
        match self {
            Self::Published(decoder) => decoder.truncate(engine, tokens),
            Self::Fast(decoder) => decoder.truncate(tokens),
        }
    }

    /// Makes it possible to go back to what it has seen now.
    ///
    /// # Errors
    /// When the engine cannot copy a tensor.
    pub(super) fn remember(&mut self, engine: &E) -> Result<(), Error> {
        match self {
            Self::Published(decoder) => decoder.remember(engine),
            Self::Fast(decoder) => {
                decoder.remember();
                Ok(())
            }
        }
    }

    /// Keys and values of the last rows of a layer that has some of its own, or of all; there are none
    /// where they lie in tensors of the engine.
    pub(super) fn last_rows(&self, layer: usize, rows: Option<usize>) -> Option<Rows> {
        match self {
            Self::Published(_) => None,
            Self::Fast(decoder) => decoder.last_rows(layer, rows),
        }
    }

    /// Processes a block after what it has seen, and gives what is `wanted` of its last tokens.
    ///
    /// # Errors
    /// When the engine fails; what it has seen is then as it was.
    pub(super) fn run(
        &mut self,
        engine: &E,
        embedded: &Embedded<E::Value>,
        block: &Block<'_>,
        wanted: usize,
    ) -> Result<Given, Error> {
        match self {
            Self::Published(decoder) => {
                let logits = decoder.run(engine, embedded, block, wanted)?;
                Ok(Given { logits, states: Vec::new() })
            }
            Self::Fast(decoder) => decoder.run(engine, embedded, block, wanted),
        }
    }
}

/// Bytes that conversations may take beside the one that is gone on with: as was asked for, or as
/// many as two take that fill the context.
fn room(used: Use, config: &Config, token_bytes: (usize, usize), keeps_window: bool) -> usize {
    let (local_bytes, global_bytes) = token_bytes;
    let kv =
        KvInfo { local_bytes, global_bytes, window_tokens: config.window_tokens, keeps_window };
    let context_tokens = used.context_tokens.min(config.context_tokens);
    used.kv_bytes_max.unwrap_or_else(|| 2 * kv.bytes(context_tokens))
}
