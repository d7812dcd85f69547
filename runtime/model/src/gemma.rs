//! The Gemma 4 computation over any engine: token ids and media features in, logits out, with the
//! KV cache in between. What to feed and when is decided by the reply; how a graph runs, by the
//! engine.

pub mod audio;
mod block;
pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod encoder;
pub(crate) mod generate;
pub mod image;
pub(crate) mod layout;
pub(crate) mod open;
pub(crate) mod ports;
mod prefill;
pub(crate) mod trace;
pub(crate) mod variant;
pub mod video;
mod window;

use std::time::{Duration, Instant};

use crate::engine::{Engine, Tensor};
use crate::error::Error;
use crate::graph::Port;
pub(crate) use block::{Block, Soft, SoftKind};
use cache::{Cache, Shorten, Slot};
use config::{Config, LayerKind};
use encoder::{Encoder, Forms};
use ports::{DecoderPorts, EmbedPorts, KvPorts};

/// A model whose graphs are loaded.
pub(crate) struct Gemma<E: Engine> {
    engine: E,
    config: Config,
    /// A graph that embeds tokens itself has none.
    embed: Option<(E::Graph, EmbedPorts)>,
    decoder: E::Graph,
    decoder_ports: DecoderPorts,
    vision: Result<Encoder<E>, String>,
    audio: Result<Encoder<E>, String>,
    cache: Cache<E::Value>,
    /// Rows of the past that the next token sees in sliding layers; `None` where all are kept.
    window: Option<usize>,
    logits: Vec<f32>,
    all_logits: bool,
    engine_time: Duration,
}

impl<E: Engine> Gemma<E> {
    /// What the configuration says.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// What the encoders want pictures and sound to be made into.
    pub(crate) fn forms(&self, image_budget: usize) -> Forms {
        Forms {
            image_budget,
            image: self.vision.as_ref().map(Encoder::form).unwrap_or_default(),
            sound: self.audio.as_ref().map(Encoder::form).unwrap_or_default(),
        }
    }

    /// Why pictures, and why sound, cannot be encoded; `None` where they can.
    pub(crate) fn refusals(&self) -> (Option<&str>, Option<&str>) {
        let (vision, audio) = (self.vision.as_ref().err(), self.audio.as_ref().err());
        (vision.map(String::as_str), audio.map(String::as_str))
    }

    /// Says whether what a prompt holds can be encoded.
    ///
    /// # Errors
    /// When there is a medium without an encoder.
    pub(crate) fn check_media(&self, images: bool, sound: bool) -> Result<(), Error> {
        match (&self.vision, &self.audio) {
            (Err(reason), _) if images => Err(unsupported("pictures", reason)),
            (_, Err(reason)) if sound => Err(unsupported("sound", reason)),
            _ => Ok(()),
        }
    }

    /// The KV cache.
    pub(crate) fn cache(&self) -> &Cache<E::Value> {
        &self.cache
    }

    /// Rows of the past that the next token sees in sliding layers; `None` where all are kept.
    pub(crate) fn window(&self) -> Option<usize> {
        self.window
    }

    /// Bytes of the keys and values of one token, in sliding and in global layers.
    pub(crate) fn token_bytes(&self) -> (usize, usize) {
        let of = |kind: LayerKind| {
            let layers = self.decoder_ports.kv.iter().filter(|kv| kv.kind == kind);
            layers.map(KvPorts::bytes).sum()
        };
        (of(LayerKind::Sliding), of(LayerKind::Global))
    }

    /// Bytes of all keys and values that are kept now.
    pub(crate) fn cache_bytes(&self) -> usize {
        let (sliding, global) = self.token_bytes();
        sliding * (self.cache.recent() + self.cache.spared()) + global * self.cache.len()
    }

    /// Logits `[vocabulary] f32` of the token that follows the last one processed.
    pub(crate) fn logits(&mut self) -> &mut [f32] {
        let last = self.logits.len().saturating_sub(self.config.vocabulary);
        &mut self.logits[last..]
    }

    /// Logits `[rows, vocabulary] f32` of the last block: of all its tokens or, unless all were
    /// asked for, of its last.
    pub(crate) fn block_logits(&self) -> &[f32] {
        &self.logits
    }

    /// Time spent in the engine so far, by the monotonic clock.
    pub(crate) fn engine_time(&self) -> Duration {
        self.engine_time
    }

    /// Forgets all but the first `tokens` tokens, which the cache has named.
    ///
    /// # Errors
    /// When the engine cannot copy a tensor; the cache is then empty.
    pub(crate) fn truncate(&mut self, tokens: usize) -> Result<(), Error> {
        let kept = match tokens {
            0 => Ok(()),
            _ => self.cache.truncate(tokens, &Shortener(&self.engine)),
        };
        if tokens == 0 || kept.is_err() {
            self.cache = empty_cache(&self.engine, &self.decoder_ports, self.window)?;
        }
        kept
    }

    /// Makes it possible to go back to what the cache holds now.
    ///
    /// # Errors
    /// When the engine cannot copy a tensor.
    pub(crate) fn remember(&mut self) -> Result<(), Error> {
        self.cache.remember(&Shortener(&self.engine))
    }

    /// Features `[soft_tokens, hidden] f32` of a picture.
    ///
    /// # Errors
    /// When the model has no vision encoder, or the encoder fails.
    pub(crate) fn encode_image(&mut self, image: &image::PreparedImage) -> Result<Vec<f32>, Error> {
        let encoder = self.vision.as_mut().map_err(|reason| unsupported("pictures", reason))?;
        let started = Instant::now();
        let features = encoder.image(&self.engine, image);
        self.engine_time += started.elapsed();
        features
    }

    /// Features `[soft_tokens, hidden] f32` of sound.
    ///
    /// # Errors
    /// When the model has no audio encoder, or the encoder fails.
    pub(crate) fn encode_audio(&mut self, sound: &audio::PreparedAudio) -> Result<Vec<f32>, Error> {
        let encoder = self.audio.as_mut().map_err(|reason| unsupported("sound", reason))?;
        let started = Instant::now();
        let features = encoder.sound(&self.engine, sound);
        self.engine_time += started.elapsed();
        features
    }

    /// Processes a block after what the cache holds. Then [`Self::logits`] are those of its end.
    ///
    /// # Errors
    /// When the engine fails; the cache is then as it was.
    pub(crate) fn forward(&mut self, block: &Block<'_>) -> Result<(), Error> {
        let embedded = self.embed(block)?;
        let extra = step_inputs(&self.engine, &self.decoder_ports, self.cache.len(), block)?;
        let ports = &self.decoder_ports;
        let mut inputs: Vec<(&str, &E::Value)> = Vec::new();
        if let (Some(port), Some(value)) = (&ports.embeds, &embedded.embeds) {
            inputs.push((&port.name, value));
        }
        if let (Some(port), Some(value)) = (&ports.per_layer, &embedded.per_layer) {
            inputs.push((&port.name, value));
        }
        inputs.extend(extra.iter().map(|(port, value)| (port.name.as_str(), value)));
        for (port, [key, value]) in ports.kv.iter().zip(self.cache.layers()) {
            inputs.extend([(port.key.name.as_str(), key), (port.value.name.as_str(), value)]);
        }
        let started = Instant::now();
        let outputs = self.engine.run(&mut self.decoder, &inputs)?;
        self.engine_time += started.elapsed();
        self.take_outputs(outputs, block.slots)
    }

    /// Embeddings and per-layer inputs of a block, as the decoder wants them.
    fn embed(&mut self, block: &Block<'_>) -> Result<Embedded<E::Value>, Error> {
        let Some((graph, ports)) = &mut self.embed else {
            return Ok(Embedded { embeds: None, per_layer: None });
        };
        // A graph that puts features in place itself looks for placeholders, and gives per-layer
        // inputs that depend on the features.
        let ids = if ports.merges() { &block.placeholder_ids } else { &block.ids };
        let shape = vec![1, block.slots.len()];
        let ids = integers(&self.engine, &ports.ids, shape, ids.clone())?;
        let mut features = Vec::new();
        let kinds =
            [(&ports.image_features, SoftKind::Picture), (&ports.audio_features, SoftKind::Sound)];
        for (port, kind) in kinds {
            let Some(port) = port else { continue };
            let (rows, data) = block.features_of(kind);
            let value = floats(&self.engine, port, vec![rows, self.config.hidden], data)?;
            features.push((port.name.as_str(), value));
        }
        let mut inputs = vec![(ports.ids.name.as_str(), &ids)];
        inputs.extend(features.iter().map(|(name, value)| (*name, value)));
        let started = Instant::now();
        let outputs = self.engine.run(graph, &inputs)?;
        self.engine_time += started.elapsed();
        let mut outputs: Vec<Option<E::Value>> = outputs.into_iter().map(Some).collect();
        let per_layer = self.per_layer(&mut outputs)?;
        Ok(Embedded { embeds: self.merged(&mut outputs, block)?, per_layer })
    }

    /// Per-layer inputs in the element type and rank of the decoder, where it takes them.
    fn per_layer(&self, embedded: &mut [Option<E::Value>]) -> Result<Option<E::Value>, Error> {
        let from = self.embed.as_ref().and_then(|(_, ports)| ports.per_layer.as_ref());
        let (Some(to), Some((place, from))) = (&self.decoder_ports.per_layer, from) else {
            return Ok(None);
        };
        let same = to.element == from.element && to.dims.len() == from.dims.len();
        let value = take(embedded, *place, "embedding")?;
        if same {
            return Ok(Some(value));
        }
        let (mut shape, data) = self.engine.floats(&value)?;
        if to.dims.len() == 3 {
            let width = shape.iter().skip(2).product();
            shape.truncate(2);
            shape.push(width);
        } else if shape.len() == 3 {
            let layers = self.config.layers.max(1);
            let width = shape.pop().unwrap_or(0) / layers;
            shape.extend([layers, width]);
        }
        floats(&self.engine, to, shape, data.into_owned()).map(Some)
    }

    /// Embeddings in the element type of the decoder, with features in place of soft tokens.
    fn merged(
        &self,
        embedded: &mut [Option<E::Value>],
        block: &Block<'_>,
    ) -> Result<Option<E::Value>, Error> {
        let (Some(to), Some((_, from))) = (&self.decoder_ports.embeds, &self.embed) else {
            return Ok(None);
        };
        let value = take(embedded, from.embeds, "embedding")?;
        if block.features.is_empty() && from.embeds_element == to.element {
            return Ok(Some(value));
        }
        let (shape, data) = self.engine.floats(&value)?;
        let mut data = data.into_owned();
        for soft in &block.features {
            soft.put(&mut data, self.config.hidden)?;
        }
        floats(&self.engine, to, shape, data).map(Some)
    }

    /// Keeps keys and values, and copies the logits that are wanted to the host.
    fn take_outputs(&mut self, outputs: Vec<E::Value>, slots: &[Slot]) -> Result<(), Error> {
        let mut outputs: Vec<Option<E::Value>> = outputs.into_iter().map(Some).collect();
        let mut take = |place: usize| take(&mut outputs, place, "decoder");
        let logits = take(self.decoder_ports.logits)?;
        let layers = self.decoder_ports.kv.iter();
        let layers = layers.map(|kv| Ok([take(kv.key_output)?, take(kv.value_output)?]));
        let layers = layers.collect::<Result<Vec<_>, Error>>()?;
        let rows = if self.all_logits { slots.len() } else { 1 };
        self.logits = self.engine.last_floats(&logits, rows * self.config.vocabulary)?;
        self.cache.advance(layers, slots);
        self.cache.trim(&Shortener(&self.engine))
    }
}

/// What the embedding graph makes of a block.
struct Embedded<V> {
    embeds: Option<V>,
    per_layer: Option<V>,
}

/// Shortens the tensors of an engine.
struct Shortener<'e, E>(&'e E);

impl<E: Engine> Shorten<E::Value> for Shortener<'_, E> {
    type Error = Error;

    fn first(&self, value: &E::Value, rows: usize) -> Result<E::Value, Error> {
        self.0.first_rows(value, rows)
    }

    fn last(&self, value: &E::Value, rows: usize) -> Result<E::Value, Error> {
        self.0.last_rows(value, rows)
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

fn integers<E: Engine>(
    engine: &E,
    port: &Port,
    shape: Vec<usize>,
    data: Vec<i64>,
) -> Result<E::Value, Error> {
    let tensor = Tensor::integers(shape, data, port.element);
    engine.enter(tensor.map_err(|reason| Error::engine("gemma", &port.name, reason))?)
}

fn floats<E: Engine>(
    engine: &E,
    port: &Port,
    shape: Vec<usize>,
    data: Vec<f32>,
) -> Result<E::Value, Error> {
    let tensor = Tensor::floats(shape, data, port.element);
    engine.enter(tensor.map_err(|reason| Error::engine("gemma", &port.name, reason))?)
}

fn empty_cache<E: Engine>(
    engine: &E,
    ports: &DecoderPorts,
    window: Option<usize>,
) -> Result<Cache<E::Value>, Error> {
    let layer = |kv: &KvPorts| {
        let shape = || vec![1, kv.shape.heads, 0, kv.shape.width];
        let empty = |port: &Port| floats(engine, port, shape(), Vec::new());
        Ok(([empty(&kv.key)?, empty(&kv.value)?], kv.kind == LayerKind::Sliding))
    };
    Ok(Cache::empty(ports.kv.iter().map(layer).collect::<Result<_, Error>>()?, window))
}

/// Takes an output out of those that a graph gave.
fn take<V>(outputs: &mut [Option<V>], place: usize, graph: &'static str) -> Result<V, Error> {
    let output = outputs.get_mut(place).and_then(Option::take);
    output.ok_or_else(|| {
        let reason = format!("{} given, number {place} is missing or used twice", outputs.len());
        Error::engine(graph, "an output is missing", reason)
    })
}

fn unsupported(what: &'static str, reason: &str) -> Error {
    Error::Unsupported { what, reason: reason.to_owned() }
}
