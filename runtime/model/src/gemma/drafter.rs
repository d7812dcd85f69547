//! Drafts the next tokens with the small model that is trained beside each Gemma 4 for just that
//! (multi-token prediction). It has no keys and values of its own: it reads those of the decoder's
//! last layers, and goes on from the decoder's last state. What it drafts is verified like any guess.

use super::config::Config;
use super::ports::DrafterPorts;
use super::{floats, integers};
use crate::engine::Engine;
use crate::error::Error;
use crate::graph::Graph;

/// A drafter, ready to run.
pub(crate) struct Drafter<E: Engine> {
    graph: E::Graph,
    ports: DrafterPorts,
}

/// Keys and values of some rows of a layer, `[heads, rows, width]` f32 each.
pub(crate) struct Rows {
    /// How many there are.
    pub(crate) rows: usize,
    /// Heads of keys, and of values.
    pub(crate) heads: usize,
    /// Numbers of a head.
    pub(crate) width: usize,
    /// Keys, then values.
    pub(crate) parts: [Vec<f32>; 2],
}

/// What does not change within a draft, by the names of the inputs.
pub(crate) struct Seen<V>(Vec<(String, V)>);

impl<E: Engine> Drafter<E> {
    /// Loads a drafter.
    ///
    /// # Errors
    /// When it is not one for a decoder of this configuration, or the engine refuses it.
    pub(super) fn open(engine: &E, graph: &Graph, config: &Config) -> Result<Self, Error> {
        let ports = DrafterPorts::find(graph, config)?;
        let loaded = engine.load(&ports.spec(graph, config))?;
        Ok(Self { graph: loaded, ports })
    }

    /// The layers whose keys and values it reads, and of how many of the last rows.
    pub(super) fn borrows(&self) -> impl Iterator<Item = (usize, Option<usize>)> {
        self.ports.kv.iter().map(|kv| (kv.layer, kv.rows))
    }

    /// Takes over what a draft sees: keys and values in the order of [`Self::borrows`], and the
    /// `position` of the token that it follows, where all of a draft are computed to stand.
    ///
    /// # Errors
    /// When the engine takes no such tensors.
    pub(super) fn sees(
        &self,
        engine: &E,
        position: usize,
        borrowed: Vec<Rows>,
    ) -> Result<Seen<E::Value>, Error> {
        let ports = &self.ports;
        let mut seen = Vec::new();
        for (kv, rows) in ports.kv.iter().zip(borrowed) {
            let shape = [1, rows.heads, rows.rows, rows.width];
            for (port, part) in [&kv.key, &kv.value].into_iter().zip(rows.parts) {
                seen.push((port.name.clone(), floats(engine, port, shape.to_vec(), part)?));
            }
        }
        let place = i64::try_from(position).unwrap_or(i64::MAX);
        if let Some(port) = &ports.positions {
            seen.push((port.name.clone(), integers(engine, port, vec![1, 1], vec![place])?));
        }
        if let Some(port) = &ports.mask {
            let ones = integers(engine, port, vec![1, position], vec![1; position])?;
            seen.push((port.name.clone(), ones));
        }
        Ok(Seen(seen))
    }

    /// The likeliest token, and the state to go on from; `beside` is the embedding of the token before
    /// it beside the state before that, `[2 * hidden]`.
    ///
    /// # Errors
    /// When the engine fails.
    pub(super) fn next(
        &mut self,
        engine: &E,
        seen: &Seen<E::Value>,
        beside: Vec<f32>,
    ) -> Result<(u32, Vec<f32>), Error> {
        let Self { graph, ports } = self;
        let beside = floats(engine, &ports.embeds, vec![1, 1, beside.len()], beside)?;
        let mut inputs = vec![(ports.embeds.name.as_str(), &beside)];
        inputs.extend(seen.0.iter().map(|(name, value)| (name.as_str(), value)));
        let outputs = engine.run(graph, &inputs)?;
        let output = |place: usize| {
            let missing = || Error::engine("assistant", "a draft", "an output is missing");
            engine.floats(outputs.get(place).ok_or_else(missing)?)
        };
        let token = likeliest(&output(ports.logits)?.1)?;
        Ok((token, output(ports.state)?.1.into_owned()))
    }
}

/// The first of the tokens with the largest logit.
fn likeliest(logits: &[f32]) -> Result<u32, Error> {
    let larger = |best: Option<(usize, f32)>, (at, &logit): (usize, &f32)| match best {
        Some((_, most)) if logit <= most || logit.is_nan() => best,
        Some(_) | None => Some((at, logit)),
    };
    let best = logits.iter().enumerate().fold(None, larger);
    let token = best.and_then(|(at, _)| u32::try_from(at).ok());
    token.ok_or_else(|| Error::engine("assistant", "a draft", "it gave no logits"))
}

#[cfg(test)]
mod tests;
