//! The Gemma 4 computation over any engine: token ids and media features in, logits out, with the
//! KV cache in between. What to feed and when is decided by the reply; how a graph runs, by the
//! engine.

pub mod audio;
pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod encoder;
pub(crate) mod generate;
pub mod image;
pub(crate) mod layout;
pub(crate) mod ports;
pub mod video;

use std::time::{Duration, Instant};

use crate::engine::{Engine, Tensor};
use crate::error::Error;
use crate::folder::{Folder, GraphFile};
use crate::graph::{Graph, Port};
use cache::{Cache, Slot};
use config::Config;
use encoder::Encoder;
use ports::{DecoderPorts, EmbedPorts};

/// A model whose graphs are loaded.
pub(crate) struct Gemma<E: Engine> {
    engine: E,
    config: Config,
    embed: E::Graph,
    embed_ports: EmbedPorts,
    decoder: E::Graph,
    decoder_ports: DecoderPorts,
    vision: Result<Encoder<E>, String>,
    audio: Result<Encoder<E>, String>,
    cache: Cache<E::Value>,
    logits: Vec<f32>,
    engine_time: Duration,
}

/// Tokens to be processed in one step, with what the embedding graph cannot know about them.
pub(crate) struct Block<'a> {
    /// What each row stands for in the cache.
    pub(crate) slots: &'a [Slot],
    /// Ids to look up; the pad token where a soft token stands.
    pub(crate) ids: Vec<i64>,
    /// Ids as the prompt spells them, placeholders included.
    pub(crate) placeholder_ids: Vec<i64>,
    /// Rows of encoder features `[rows, hidden]`, with the first row of the block they belong to.
    pub(crate) features: Vec<(usize, &'a [f32])>,
}

impl<'a> Block<'a> {
    /// One token of the vocabulary.
    pub(crate) fn token(slot: &'a [Slot; 1], id: u32) -> Self {
        let ids = vec![i64::from(id)];
        Self { slots: slot, placeholder_ids: ids.clone(), ids, features: Vec::new() }
    }
}

impl<E: Engine> Gemma<E> {
    /// Loads the graphs of a folder.
    ///
    /// # Errors
    /// When a file is damaged, a graph is not of its role, or the engine refuses one that every
    /// reply needs. A refused encoder is remembered, and said when something is to be encoded.
    pub(crate) fn open(engine: E, folder: &Folder, config: Config) -> Result<(Self, u64), Error> {
        let embed_graph = Graph::read(&folder.embed.path)?;
        let decoder_graph = Graph::read(&folder.decoder.path)?;
        let read = |file: &Option<GraphFile>| {
            file.as_ref().map(|file| Graph::read(&file.path)).transpose()
        };
        let (vision_graph, audio_graph) = (read(&folder.vision)?, read(&folder.audio)?);
        let embed_ports = EmbedPorts::find(&embed_graph, &config)?;
        let decoder_ports = DecoderPorts::find(&decoder_graph, &config)?;
        if decoder_ports.per_layer.is_some() && embed_ports.per_layer.is_none() {
            let reason = "the decoder needs per_layer_inputs, which it does not give";
            return Err(embed_graph.wrong("embedding", reason));
        }
        let embed = engine.load(&embed_ports.spec(&embed_graph))?;
        let decoder = engine.load(&decoder_ports.spec(&decoder_graph, &config))?;
        let vision = Encoder::open(&engine, vision_graph, "vision", config.hidden)?;
        let audio = Encoder::open(&engine, audio_graph, "audio", config.hidden)?;
        let encoders = [&vision, &audio].into_iter().flatten().map(Encoder::bytes);
        let bytes = embed_graph.bytes + decoder_graph.bytes + encoders.sum::<u64>();
        let cache = empty_cache(&engine, &decoder_ports)?;
        let new = Self {
            engine,
            config,
            embed,
            embed_ports,
            decoder,
            decoder_ports,
            vision,
            audio,
            cache,
            logits: Vec::new(),
            engine_time: Duration::ZERO,
        };
        Ok((new, bytes))
    }

    /// What the configuration says.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether pictures, and whether sound, can be encoded.
    pub(crate) fn encodes(&self) -> (bool, bool) {
        (self.vision.is_ok(), self.audio.is_ok())
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

    /// Logits `[vocabulary] f32` of the token that follows the last one processed.
    pub(crate) fn logits(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    /// Time spent in the engine so far, by the monotonic clock.
    pub(crate) fn engine_time(&self) -> Duration {
        self.engine_time
    }

    /// Forgets all but the first `tokens` tokens.
    ///
    /// # Errors
    /// When the engine cannot copy a tensor.
    pub(crate) fn truncate(&mut self, tokens: usize) -> Result<(), Error> {
        if tokens == 0 {
            self.cache = empty_cache(&self.engine, &self.decoder_ports)?;
            return Ok(());
        }
        self.cache.truncate(tokens, |value| self.engine.first_rows(value, tokens))
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
        let rows = block.slots.len();
        let ids = integers(&self.engine, &self.embed_ports.ids, vec![1, rows], block.ids.clone())?;
        let started = Instant::now();
        let name = self.embed_ports.ids.name.as_str();
        let embedded = self.engine.run(&mut self.embed, &[(name, &ids)])?;
        self.engine_time += started.elapsed();
        let mut embedded: Vec<Option<E::Value>> = embedded.into_iter().map(Some).collect();
        let per_layer = self.per_layer(&mut embedded)?;
        let embeds = self.merged(&mut embedded, block)?;
        let extra = step_inputs(&self.engine, &self.decoder_ports, self.cache.len(), block)?;
        let ports = &self.decoder_ports;
        let mut inputs: Vec<(&str, &E::Value)> = vec![(&ports.embeds.name, &embeds)];
        if let (Some(port), Some(value)) = (&ports.per_layer, &per_layer) {
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

    /// Per-layer inputs in the element type and rank of the decoder, where it takes them.
    fn per_layer(&self, embedded: &mut [Option<E::Value>]) -> Result<Option<E::Value>, Error> {
        let ports = (&self.decoder_ports.per_layer, &self.embed_ports.per_layer);
        let (Some(to), Some((place, from))) = ports else { return Ok(None) };
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
        self.enter_floats(to, shape, data.into_owned()).map(Some)
    }

    /// Embeddings in the element type of the decoder, with features in place of soft tokens.
    fn merged(
        &self,
        embedded: &mut [Option<E::Value>],
        block: &Block<'_>,
    ) -> Result<E::Value, Error> {
        let to = &self.decoder_ports.embeds;
        let value = take(embedded, self.embed_ports.embeds, "embedding")?;
        if block.features.is_empty() && self.embed_ports.embeds_element == to.element {
            return Ok(value);
        }
        let (shape, data) = self.engine.floats(&value)?;
        let mut data = data.into_owned();
        for (first, features) in &block.features {
            let start = first * self.config.hidden;
            let rows = data.get_mut(start..start + features.len());
            let rows = rows.ok_or_else(|| {
                Error::engine("embedding", "cannot put features in place", "too few rows")
            })?;
            rows.copy_from_slice(features);
        }
        self.enter_floats(to, shape, data)
    }

    /// Keeps keys and values, and copies the last row of the logits to the host.
    fn take_outputs(&mut self, outputs: Vec<E::Value>, slots: &[Slot]) -> Result<(), Error> {
        let mut outputs: Vec<Option<E::Value>> = outputs.into_iter().map(Some).collect();
        let mut take = |place: usize| take(&mut outputs, place, "decoder");
        let logits = take(self.decoder_ports.logits)?;
        let layers = self.decoder_ports.kv.iter();
        let layers = layers.map(|kv| Ok([take(kv.key_output)?, take(kv.value_output)?]));
        let layers = layers.collect::<Result<Vec<_>, Error>>()?;
        let (_, all) = self.engine.floats(&logits)?;
        let last = all.len().checked_sub(self.config.vocabulary).and_then(|at| all.get(at..));
        let last = last.ok_or_else(|| {
            let reason = format!("{} of {} entries", all.len(), self.config.vocabulary);
            Error::engine("decoder", "the logits are too few", reason)
        })?;
        self.logits.clear();
        self.logits.extend_from_slice(last);
        self.cache.advance(layers, slots);
        Ok(())
    }

    fn enter_floats(
        &self,
        port: &Port,
        shape: Vec<usize>,
        data: Vec<f32>,
    ) -> Result<E::Value, Error> {
        let tensor = Tensor::floats(shape, data, port.element);
        self.engine.enter(tensor.map_err(|reason| Error::engine("gemma", &port.name, reason))?)
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

fn empty_cache<E: Engine>(engine: &E, ports: &DecoderPorts) -> Result<Cache<E::Value>, Error> {
    let empty = |port: &Port, heads: usize, width: usize| {
        let tensor = Tensor::floats(vec![1, heads, 0, width], Vec::new(), port.element);
        engine.enter(tensor.map_err(|reason| Error::engine("gemma", &port.name, reason))?)
    };
    let layer = |kv: &ports::KvPorts| {
        let (heads, width) = (kv.shape.heads, kv.shape.width);
        Ok([empty(&kv.key, heads, width)?, empty(&kv.value, heads, width)?])
    };
    Ok(Cache::empty(ports.kv.iter().map(layer).collect::<Result<_, Error>>()?))
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
