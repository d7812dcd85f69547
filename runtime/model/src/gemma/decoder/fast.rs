//! The fast graph: keys and values lie in a sequence of ours, which its operators find by number.

use super::{Given, room};
use crate::engine::Engine;
use crate::error::Error;
use crate::gemma::cache::Slot;
use crate::gemma::config::Config;
use crate::gemma::drafter::Rows;
use crate::gemma::open::Use;
use crate::gemma::ports::FastPorts;
use crate::gemma::{Block, Embedded, integers};
use crate::graph::{Graph, Port};
use crate::sequence::handles::{self, Handle};
use crate::sequence::saved::SavedError;
use crate::sequence::{LayerShape, Sequence, SequenceError};
use crate::sequences::Sequences;
use crate::sequences::folder::PrefixFolder;

const NAME: &str = "decoder";

/// The fast graph, and the sequence of what it has seen.
pub(crate) struct FastDecoder<E: Engine> {
    graph: E::Graph,
    pub(super) ports: FastPorts,
    sequence: Handle,
    others: Sequences<Sequence>,
    vocabulary: usize,
    hidden: usize,
}

impl<E: Engine> FastDecoder<E> {
    /// Loads a fast graph.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub(crate) fn open(
        engine: &E,
        graph: &Graph,
        ports: FastPorts,
        config: &Config,
        used: Use,
    ) -> Result<Self, Error> {
        let loaded = engine.load(&ports.spec(graph, config))?;
        let sequence = handles::enter(Sequence::new(&ports.kv, ports.store));
        let Config { vocabulary, hidden, .. } = *config;
        let keeps_window = ports.kv.iter().any(|layer| layer.window.is_some());
        let others = Sequences::new(room(used, config, token_bytes(&ports), keeps_window));
        Ok(Self { graph: loaded, ports, sequence, others, vocabulary, hidden })
    }

    pub(super) fn len(&self) -> usize {
        self.sequence.with(|sequence| sequence.len())
    }

    pub(super) fn soft_tokens(&self, media: u128) -> Option<usize> {
        let current = self.sequence.with(|sequence| sequence.soft_tokens(media));
        current.or_else(|| self.others.soft_tokens(media))
    }

    pub(super) fn resume(&mut self, prompt: &[Slot]) -> Result<usize, Error> {
        let current = self.sequence.replace(self.empty());
        let Some((sequence, shared)) = self.others.change(current, prompt) else { return Ok(0) };
        self.sequence.replace(sequence);
        self.truncate(shared)?;
        Ok(shared)
    }

    pub(super) fn is_pinned(&self, prefix: &[Slot]) -> bool {
        self.others.pinned(prefix).is_some()
    }

    pub(super) fn pin(&mut self) {
        let prefix = self.sequence.replace(self.empty());
        self.others.pin(prefix);
    }

    /// Pins a prefix that was saved.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub(crate) fn load_prefix(
        &mut self,
        folder: &PrefixFolder,
        prefix: &[Slot],
    ) -> Result<(), SavedError> {
        let loaded = folder.load(&self.ports.kv, self.ports.store, prefix)?;
        self.others.pin(loaded);
        Ok(())
    }

    /// Saves a pinned prefix, unless that was done; from then on it takes no memory of its own.
    ///
    /// # Errors
    /// When it cannot be saved.
    pub(crate) fn save_prefix(
        &mut self,
        folder: &PrefixFolder,
        prefix: &[Slot],
    ) -> Result<(), SavedError> {
        let Some(pinned) = self.others.pinned(prefix).filter(|pinned| !pinned.is_saved()) else {
            return Ok(());
        };
        folder.save(pinned)?;
        self.load_prefix(folder, prefix)
    }

    fn empty(&self) -> Sequence {
        Sequence::new(&self.ports.kv, self.ports.store)
    }

    pub(super) fn keeps_window(&self) -> bool {
        self.ports.kv.iter().any(|layer| layer.window.is_some())
    }

    pub(super) fn token_bytes(&self) -> (usize, usize) {
        token_bytes(&self.ports)
    }

    pub(super) fn bytes(&self) -> usize {
        self.sequence.with(|sequence| self.others.bytes(sequence))
    }

    pub(super) fn truncate(&mut self, tokens: usize) -> Result<(), Error> {
        let kept = self.sequence.with(|sequence| sequence.truncate(tokens));
        if tokens == 0 || kept.is_err() {
            self.sequence.replace(self.empty());
        }
        kept.map_err(|error| Error::engine(NAME, "cannot go back", error))
    }

    pub(super) fn remember(&mut self) {
        self.sequence.with(Sequence::remember);
    }

    /// Keys and values of the last rows of a layer, or of all that are kept.
    pub(super) fn last_rows(&self, layer: usize, rows: Option<usize>) -> Option<Rows> {
        self.sequence.with(|sequence| {
            let LayerShape { heads, width, .. } = sequence.shape(layer)?;
            let (rows, parts) = sequence.last_rows(layer, rows.unwrap_or(usize::MAX))?;
            Some(Rows { rows, heads, width, parts })
        })
    }

    pub(super) fn run(
        &mut self,
        engine: &E,
        embedded: &Embedded<E::Value>,
        block: &Block<'_>,
        wanted: usize,
    ) -> Result<Given, Error> {
        let first = self.sequence.with(|sequence| {
            let first = sequence.len();
            sequence.begin(block.slots, &block.pictures(first));
            first
        });
        let given = self.step(engine, embedded, block, first, wanted);
        let ended = self.sequence.with(|sequence| match given {
            Ok(_) => sequence.commit(),
            Err(_) => {
                sequence.abort();
                Ok(())
            }
        });
        ended.map_err(|error: SequenceError| Error::engine(NAME, "a step is not whole", error))?;
        given
    }

    /// Runs the graph for a step that has begun.
    fn step(
        &mut self,
        engine: &E,
        embedded: &Embedded<E::Value>,
        block: &Block<'_>,
        first: usize,
        wanted: usize,
    ) -> Result<Given, Error> {
        let ports = &self.ports;
        let number = |port: &Port, value: usize| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            integers(engine, port, vec![1], vec![value])
        };
        let handle = integers(engine, &ports.handle, vec![1], vec![self.sequence.number()])?;
        let (first, keep) = (number(&ports.first, first)?, number(&ports.keep, wanted)?);
        let mut inputs: Vec<(&str, &E::Value)> = vec![
            (&ports.handle.name, &handle),
            (&ports.first.name, &first),
            (&ports.keep.name, &keep),
        ];
        let ids = ports.ids.as_ref().map(|port| {
            let shape = vec![1, block.slots.len()];
            let ids = integers(engine, port, shape, block.placeholder_ids.clone())?;
            Ok::<_, Error>((port, ids))
        });
        let ids = ids.transpose()?;
        inputs.extend(ids.iter().map(|(port, value)| (port.name.as_str(), value)));
        let embeds = ports.embeds.iter().zip(&embedded.embeds);
        inputs.extend(embeds.map(|(port, value)| (port.name.as_str(), value)));
        let per_layer = ports.per_layer.iter().zip(&embedded.per_layer);
        inputs.extend(per_layer.map(|(port, value)| (port.name.as_str(), value)));
        let outputs = engine.run(&mut self.graph, &inputs)?;
        let output = |place: usize, numbers: usize| {
            let missing = || Error::engine(NAME, "a step", "an output is missing");
            engine.last_floats(outputs.get(place).ok_or_else(missing)?, wanted * numbers)
        };
        Ok(Given {
            logits: output(ports.logits, self.vocabulary)?,
            states: output(ports.states, self.hidden)?,
        })
    }
}

/// Bytes of the keys and values of one token, in sliding and in global layers.
fn token_bytes(ports: &FastPorts) -> (usize, usize) {
    let bytes = |layer: &LayerShape| 2 * layer.numbers() * ports.store.bytes();
    let (sliding, global): (Vec<_>, Vec<_>) =
        ports.kv.iter().partition(|layer| layer.window.is_some());
    (sliding.into_iter().map(bytes).sum(), global.into_iter().map(bytes).sum())
}
