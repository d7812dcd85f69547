//! A decoder as it was published: keys and values go in and come out as tensors of the engine.

use std::collections::HashSet;
use std::sync::Arc;

use super::{room, window};
use crate::engine::Engine;
use crate::error::Error;
use crate::gemma::cache::{Cache, Shorten, Slot};
use crate::gemma::config::{Config, LayerKind};
use crate::gemma::open::Use;
use crate::gemma::ports::{DecoderPorts, KvPorts};
use crate::gemma::{Block, Embedded, floats, integers, take};
use crate::graph::{Graph, Port};
use crate::sequences::{Kept, Sequences};

/// A conversation in tensors of an engine. A step replaces them by longer ones, so branches share
/// them until one of the two goes on.
pub(crate) struct Conversation<V> {
    cache: Cache<Arc<V>>,
    /// Bytes of the keys and values of one token, in sliding and in global layers.
    token_bytes: (usize, usize),
}

impl<V> Kept for Conversation<V> {
    fn slots(&self) -> &[Slot] {
        self.cache.slots()
    }

    fn shared(&self, prompt: &[Slot]) -> usize {
        self.cache.shared(prompt)
    }

    fn branch(&self) -> Self {
        Self { cache: self.cache.clone(), token_bytes: self.token_bytes }
    }

    fn count_bytes(&self, counted: &mut HashSet<usize>) -> usize {
        let (sliding, global) = self.token_bytes;
        let cache = &self.cache;
        let bytes = [global * cache.len(), sliding * cache.recent(), sliding * cache.spared()];
        let samples = cache.samples().into_iter().zip(bytes);
        let new = samples.filter(|(sample, _)| {
            sample.is_some_and(|sample| counted.insert(Arc::as_ptr(sample).addr()))
        });
        new.map(|(_, bytes)| bytes).sum()
    }
}

/// A published decoder, and the tensors of what it has seen.
pub(crate) struct PublishedDecoder<E: Engine> {
    graph: E::Graph,
    pub(super) ports: DecoderPorts,
    conversation: Conversation<E::Value>,
    others: Sequences<Conversation<E::Value>>,
    /// Rows of the past that the next token sees in sliding layers; `None` where all are kept.
    window: Option<usize>,
    vocabulary: usize,
}

impl<E: Engine> PublishedDecoder<E> {
    /// Loads a decoder.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub(crate) fn open(
        engine: &E,
        graph: &Graph,
        ports: DecoderPorts,
        config: &Config,
        used: Use,
    ) -> Result<Self, Error> {
        let mut loaded = engine.load(&ports.spec(graph, config, used.all_logits))?;
        let is_short = used.context_tokens.min(config.context_tokens) <= config.window_tokens;
        let window = match !is_short && engine.takes_recent(&loaded) {
            true => window::tried(engine, &mut loaded, &ports, config),
            false => None,
        };
        let conversation = empty(engine, &ports, window)?;
        let (token_bytes, vocabulary) = (conversation.token_bytes, config.vocabulary);
        let others = Sequences::new(room(used, config, token_bytes, window.is_some()));
        Ok(Self { graph: loaded, ports, conversation, others, window, vocabulary })
    }

    pub(super) fn keeps_window(&self) -> bool {
        self.window.is_some()
    }

    pub(super) fn token_bytes(&self) -> (usize, usize) {
        self.conversation.token_bytes
    }

    pub(super) fn bytes(&self) -> usize {
        self.others.bytes(&self.conversation)
    }

    pub(super) fn len(&self) -> usize {
        self.conversation.cache.len()
    }

    pub(super) fn soft_tokens(&self, media: u128) -> Option<usize> {
        self.conversation.cache.soft_tokens(media).or_else(|| self.others.soft_tokens(media))
    }

    pub(super) fn is_pinned(&self, prefix: &[Slot]) -> bool {
        self.others.pinned(prefix).is_some()
    }

    pub(super) fn resume(&mut self, engine: &E, prompt: &[Slot]) -> Result<usize, Error> {
        let empty = empty(engine, &self.ports, self.window)?;
        let current = std::mem::replace(&mut self.conversation, empty);
        let Some((conversation, shared)) = self.others.change(current, prompt) else {
            return Ok(0);
        };
        self.conversation = conversation;
        self.truncate(engine, shared)?;
        Ok(shared)
    }

    pub(super) fn pin(&mut self, engine: &E) -> Result<(), Error> {
        let empty = empty(engine, &self.ports, self.window)?;
        self.others.pin(std::mem::replace(&mut self.conversation, empty));
        Ok(())
    }

    pub(super) fn truncate(&mut self, engine: &E, tokens: usize) -> Result<(), Error> {
        let kept = match tokens {
            0 => Ok(()),
            _ => self.conversation.cache.truncate(tokens, &Shortener(engine)),
        };
        if tokens == 0 || kept.is_err() {
            self.conversation = empty(engine, &self.ports, self.window)?;
        }
        kept
    }

    pub(super) fn remember(&mut self, engine: &E) -> Result<(), Error> {
        self.conversation.cache.remember(&Shortener(engine))
    }

    pub(super) fn run(
        &mut self,
        engine: &E,
        embedded: &Embedded<E::Value>,
        block: &Block<'_>,
        wanted: usize,
    ) -> Result<Vec<f32>, Error> {
        let ports = &self.ports;
        let cache = &mut self.conversation.cache;
        let extra = step_inputs(engine, ports, cache.len(), block)?;
        let mut inputs: Vec<(&str, &E::Value)> = Vec::new();
        if let (Some(port), Some(value)) = (&ports.embeds, &embedded.embeds) {
            inputs.push((&port.name, value));
        }
        if let (Some(port), Some(value)) = (&ports.per_layer, &embedded.per_layer) {
            inputs.push((&port.name, value));
        }
        inputs.extend(extra.iter().map(|(port, value)| (port.name.as_str(), value)));
        for (port, [key, value]) in ports.kv.iter().zip(cache.layers()) {
            inputs.push((&port.key.name, key.as_ref()));
            inputs.push((&port.value.name, value.as_ref()));
        }
        let outputs = engine.run(&mut self.graph, &inputs)?;
        let mut outputs: Vec<Option<E::Value>> = outputs.into_iter().map(Some).collect();
        let mut take = |place: usize| take(&mut outputs, place, "decoder");
        let logits = take(ports.logits)?;
        let layers = ports.kv.iter();
        let layers =
            layers.map(|kv| Ok([take(kv.key_output)?, take(kv.value_output)?].map(Arc::new)));
        let layers = layers.collect::<Result<Vec<_>, Error>>()?;
        let logits = engine.last_floats(&logits, wanted * self.vocabulary)?;
        cache.advance(layers, block.slots);
        cache.trim(&Shortener(engine))?;
        Ok(logits)
    }
}

/// Shortens the tensors of an engine.
struct Shortener<'e, E>(&'e E);

impl<E: Engine> Shorten<Arc<E::Value>> for Shortener<'_, E> {
    type Error = Error;

    fn first(&self, value: &Arc<E::Value>, rows: usize) -> Result<Arc<E::Value>, Error> {
        self.0.first_rows(value, rows).map(Arc::new)
    }

    fn last(&self, value: &Arc<E::Value>, rows: usize) -> Result<Arc<E::Value>, Error> {
        self.0.last_rows(value, rows).map(Arc::new)
    }
}

/// Mask, positions and ids of a step, for the ports that the decoder has.
fn step_inputs<'p, E: Engine>(
    engine: &E,
    ports: &'p DecoderPorts,
    past: usize,
    block: &Block<'_>,
) -> Result<Vec<(&'p Port, E::Value)>, Error> {
    let rows = block.slots.len();
    let total = past + rows;
    let mut inputs = Vec::new();
    if let Some(port) = &ports.mask {
        inputs.push((port, integers(engine, port, vec![1, total], vec![1; total])?));
    }
    if let Some(port) = &ports.positions {
        let positions = (past..total).map(|at| i64::try_from(at).unwrap_or(i64::MAX)).collect();
        inputs.push((port, integers(engine, port, vec![1, rows], positions)?));
    }
    if let Some(port) = &ports.ids {
        let ids = block.placeholder_ids.clone();
        inputs.push((port, integers(engine, port, vec![1, rows], ids)?));
    }
    if let Some(port) = &ports.types {
        inputs.push((port, integers(engine, port, vec![1, rows], block.picture_mask())?));
    }
    Ok(inputs)
}

/// A conversation of no tokens.
fn empty<E: Engine>(
    engine: &E,
    ports: &DecoderPorts,
    window: Option<usize>,
) -> Result<Conversation<E::Value>, Error> {
    let layer = |kv: &KvPorts| {
        let shape = || vec![1, kv.shape.heads, 0, kv.shape.width];
        let empty = |port: &Port| floats(engine, port, shape(), Vec::new()).map(Arc::new);
        Ok(([empty(&kv.key)?, empty(&kv.value)?], kv.kind == LayerKind::Sliding))
    };
    let layers = ports.kv.iter().map(layer).collect::<Result<_, Error>>()?;
    let of = |kind: LayerKind| {
        ports.kv.iter().filter(|kv| kv.kind == kind).map(KvPorts::bytes).sum::<usize>()
    };
    let token_bytes = (of(LayerKind::Sliding), of(LayerKind::Global));
    Ok(Conversation { cache: Cache::empty(layers, window), token_bytes })
}
