//! The Gemma 4 computation over any engine: token ids and media features in, logits out, with the
//! keys and values of what was seen in between. What to feed and when is decided by the reply; how a
//! graph runs, by the engine.

pub mod audio;
mod block;
pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod decoder;
pub(crate) mod drafter;
mod encoded;
pub(crate) mod encoder;
pub(crate) mod fast;
pub(crate) mod generate;
pub mod image;
pub(crate) mod layout;
pub(crate) mod lookup;
pub(crate) mod open;
pub(crate) mod ports;
mod prefill;
pub(crate) mod prefix;
pub(crate) mod trace;
pub(crate) mod variant;
pub mod video;
pub(crate) mod worth;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{Device, Engine, Tensor};
use crate::error::Error;
use crate::graph::Port;
pub(crate) use block::{Block, Soft, SoftKind};
use cache::Slot;
use config::Config;
use decoder::{Decoder, Given};
use drafter::Drafter;
use encoded::Encoded;
use encoder::{Encoder, Forms};
use layout::Prepared;
use ports::EmbedPorts;
use worth::Worth;

/// A model whose graphs are loaded.
pub(crate) struct Gemma<E: Engine> {
    engine: E,
    config: Config,
    /// A graph that embeds tokens itself has none.
    embed: Option<(E::Graph, EmbedPorts)>,
    decoder: Decoder<E>,
    vision: Result<Encoder<E>, String>,
    audio: Result<Encoder<E>, String>,
    encoded: Encoded,
    /// None where the folder has none; else why it cannot be used.
    drafter: Option<Result<Drafter<E>, String>>,
    given: Given,
    all_logits: bool,
    engine_time: Duration,
    worth: Worth,
}

impl<E: Engine> Gemma<E> {
    /// What the configuration says.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Where the graphs compute.
    pub(crate) fn device(&self) -> Device {
        self.engine.device()
    }

    /// What the encoders want pictures and sound to be made into.
    pub(crate) fn forms(&self, image_budget: usize) -> Forms {
        Forms {
            image_budget,
            image: self.vision.as_ref().map(Encoder::form).unwrap_or_default(),
            sound: self.audio.as_ref().map(Encoder::form).unwrap_or_default(),
        }
    }

    /// What it cannot do, and why: encode pictures or sound, or draft tokens although there is a graph
    /// for that.
    pub(crate) fn refusals(&self) -> [(&'static str, Option<&str>); 3] {
        let (vision, audio) = (self.vision.as_ref().err(), self.audio.as_ref().err());
        let drafter = self.drafter.as_ref().and_then(|drafter| drafter.as_ref().err());
        [("pictures", vision), ("sound", audio), ("drafts", drafter)]
            .map(|(what, reason)| (what, reason.map(String::as_str)))
    }

    /// Whether it can draft tokens.
    pub(crate) fn drafts(&self) -> bool {
        matches!(self.drafter, Some(Ok(_)))
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

    /// The decoder, and what it has seen.
    pub(crate) fn decoder(&self) -> &Decoder<E> {
        &self.decoder
    }

    /// Logits `[vocabulary] f32` of the token that follows the last one processed.
    pub(crate) fn logits(&mut self) -> &mut [f32] {
        self.logits_before(0)
    }

    /// Logits `[vocabulary] f32` of the token that follows the one `rows` before the last.
    pub(crate) fn logits_before(&mut self, rows: usize) -> &mut [f32] {
        let vocabulary = self.config.vocabulary;
        let logits = &mut self.given.logits;
        let end = logits.len().saturating_sub(rows * vocabulary);
        &mut logits[end.saturating_sub(vocabulary)..end]
    }

    /// Drafts at most `count` tokens behind one that the decoder has not seen, which it chose from the
    /// logits `rows` before the last: as many as it can.
    pub(crate) fn draft(&mut self, count: usize, token: u32, rows: usize) -> Vec<u32> {
        let Some(Ok(mut drafter)) = self.drafter.take() else { return Vec::new() };
        let started = Instant::now();
        let drafted = self.draft_with(&mut drafter, count, token, rows);
        let (drafted, drafter) = match drafted {
            Ok(drafted) => (drafted, Ok(drafter)),
            Err(error) => {
                tracing::warn!("no more tokens are drafted: {error}");
                (Vec::new(), Err(error.to_string()))
            }
        };
        self.drafter = Some(drafter);
        self.worth.drafted(drafted.len(), started.elapsed());
        drafted
    }

    fn draft_with(
        &mut self,
        drafter: &mut Drafter<E>,
        count: usize,
        mut token: u32,
        rows: usize,
    ) -> Result<Vec<u32>, Error> {
        let (hidden, position) = (self.config.hidden, self.decoder.len());
        let end = self.given.states.len().checked_sub(rows * hidden);
        let state = end.and_then(|end| self.given.states.get(end.checked_sub(hidden)?..end));
        let borrowed: Option<Vec<_>> =
            drafter.borrows().map(|(layer, rows)| self.decoder.last_rows(layer, rows)).collect();
        let mut drafted = Vec::new();
        let (Some(state), Some(borrowed)) = (state, borrowed) else { return Ok(drafted) };
        let mut state = state.to_vec();
        let seen = drafter.sees(&self.engine, position, borrowed)?;
        while drafted.len() < count {
            let embedded = self.embed(&Block::token(&[Slot::Token(token)], token))?;
            let Some(embeds) = embedded.embeds else { return Ok(drafted) };
            let beside = [self.engine.floats(&embeds)?.1.as_ref(), &state].concat();
            let started = Instant::now();
            (token, state) = drafter.next(&self.engine, &seen, beside)?;
            self.engine_time += started.elapsed();
            drafted.push(token);
        }
        Ok(drafted)
    }

    /// What is known about the worth of guesses.
    pub(crate) fn worth(&mut self) -> &mut Worth {
        &mut self.worth
    }

    /// Logits `[rows, vocabulary] f32` of the last block: of all its tokens or, unless all were
    /// asked for, of its last.
    pub(crate) fn block_logits(&self) -> &[f32] {
        &self.given.logits
    }

    /// Time spent in the engine so far, by the monotonic clock.
    pub(crate) fn engine_time(&self) -> Duration {
        self.engine_time
    }

    /// Goes on with the conversation that a prompt shares most with; how many of its first tokens
    /// need not be processed.
    ///
    /// # Errors
    /// When the engine cannot copy a tensor; it goes on with nothing then.
    pub(crate) fn resume(&mut self, prompt: &[Slot]) -> Result<usize, Error> {
        self.decoder.resume(&self.engine, prompt)
    }

    /// Forgets all but the first `tokens` tokens; only the last few can be forgotten for certain, and
    /// all of them.
    ///
    /// # Errors
    /// When the engine cannot copy a tensor; nothing is remembered then.
    pub(crate) fn truncate(&mut self, tokens: usize) -> Result<(), Error> {
        self.decoder.truncate(&self.engine, tokens)
    }

    /// Makes it possible to go back to what the decoder has seen now.
    ///
    /// # Errors
    /// When the engine cannot copy a tensor.
    pub(crate) fn remember(&mut self) -> Result<(), Error> {
        self.decoder.remember(&self.engine)
    }

    /// How many tokens of a block get logits where those of the `last` ones are needed: all of them,
    /// if all were asked for when the model was opened.
    pub(crate) fn wanted(&self, block: &Block<'_>, last: usize) -> usize {
        match self.all_logits {
            true => block.slots.len(),
            false => last,
        }
    }

    /// Soft tokens of a medium that was met before, so that it need not be prepared to be laid out.
    pub(crate) fn soft_tokens(&self, medium: u128) -> Option<usize> {
        let encoded = || Some(self.encoded.numbers(medium)? / self.config.hidden.max(1));
        self.decoder.soft_tokens(medium).or_else(encoded)
    }

    /// What a medium was encoded to, if that is kept.
    pub(crate) fn encoded(&mut self, medium: u128) -> Option<Arc<[f32]>> {
        self.encoded.get(medium)
    }

    /// Encodes a medium and keeps its features `[soft tokens, hidden] f32` for the next time.
    ///
    /// # Errors
    /// When the model has no encoder for it, or the encoder fails.
    pub(crate) fn encode(
        &mut self,
        medium: u128,
        prepared: &Prepared,
    ) -> Result<Arc<[f32]>, Error> {
        let started = Instant::now();
        let (vision, audio) = (&mut self.vision, &mut self.audio);
        let features = match prepared {
            Prepared::Image(image) => match vision {
                Ok(encoder) => encoder.image(&self.engine, image),
                Err(reason) => Err(unsupported("pictures", reason)),
            },
            Prepared::Audio(sound) => match audio {
                Ok(encoder) => encoder.sound(&self.engine, sound),
                Err(reason) => Err(unsupported("sound", reason)),
            },
        };
        self.engine_time += started.elapsed();
        Ok(self.encoded.keep(medium, features?))
    }

    /// Processes a block after what the decoder has seen. Then [`Self::logits`] are those of its
    /// last `wanted` tokens.
    ///
    /// # Errors
    /// When the engine fails; what the decoder has seen is then as it was.
    pub(crate) fn forward(&mut self, block: &Block<'_>, wanted: usize) -> Result<(), Error> {
        let embedded = self.embed(block)?;
        let started = Instant::now();
        let given = self.decoder.run(&self.engine, &embedded, block, wanted);
        self.engine_time += started.elapsed();
        self.given = given?;
        Ok(())
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
        let (Some(to), Some((place, from))) = (self.decoder.per_layer(), from) else {
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
        let (Some(to), Some((_, from))) = (self.decoder.embeds(), &self.embed) else {
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
}

/// What the embedding graph makes of a block.
pub(crate) struct Embedded<V> {
    embeds: Option<V>,
    per_layer: Option<V>,
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
