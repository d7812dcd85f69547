//! The keys and values of one conversation, row by row, owned by us and not by an engine. The
//! attention operators write the rows of a step into it and read what each token sees.
//!
//! Rows lie in blocks that are shared by the sequences that branched from one another; who writes
//! to a block copies it first. Layers that see a window drop the blocks that no token to come can
//! see. What is gone cannot be gone back to; the blocks at the end of the last prompt are kept
//! beside, since the next prompt mostly shares that much and not what was thought or said after it.

mod block;
pub(crate) mod handles;
mod layer;
pub(crate) mod saved;
mod slot;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use gemma_kernels::Segment;

use layer::{Layer, first_seen};
pub(crate) use slot::{Slot, before_medium, same, soft_tokens};

/// The shape of the keys and values of a layer that owns some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerShape {
    /// Heads of keys, and of values.
    pub(crate) heads: usize,
    /// Numbers of a head.
    pub(crate) width: usize,
    /// Rows that a token sees, itself included; `None` where it sees all before it.
    pub(crate) window: Option<usize>,
}

impl LayerShape {
    /// Numbers of the keys, or values, of a row.
    pub(crate) fn numbers(&self) -> usize {
        self.heads * self.width
    }
}

/// What numbers rows are kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// 32-bit floats, as they are computed.
    F32,
    /// 16-bit floats: half the memory.
    F16,
}

impl Store {
    /// Bytes of a number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Why a sequence does not do what was asked; none of it changes the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SequenceError {
    /// Rows that the tokens would see are gone.
    #[error("cannot go back to the first {tokens} tokens; possible are 0, and {reach} or more")]
    TooFarBack {
        /// Tokens that were to be left.
        tokens: usize,
        /// The fewest above 0 that can be left.
        reach: usize,
    },
    /// There is no such layer.
    #[error("there is no layer {layer} with keys and values; there are {layers}")]
    NoLayer {
        /// The layer asked for.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// The rows are not those of the step.
    #[error(
        "layer {layer} was given {keys} numbers of keys and {values} of values from position \
         {first} on; expected {expected} of each from {at} on"
    )]
    Rows {
        /// The layer.
        layer: usize,
        /// Numbers of the keys given.
        keys: usize,
        /// Numbers of the values given.
        values: usize,
        /// Position of the first row given.
        first: usize,
        /// Numbers that belong to the step.
        expected: usize,
        /// Position where they belong.
        at: usize,
    },
    /// Rows were asked for that are not there.
    #[error("layer {layer} holds positions {from} to {to}, without those around {position}")]
    NotThere {
        /// The layer.
        layer: usize,
        /// Position of its first row.
        from: usize,
        /// Position behind its last row.
        to: usize,
        /// Position that is to be attended from.
        position: usize,
    },
}

/// What the tokens of a step see in a layer.
pub(crate) struct View<'a> {
    /// For each token the positions that it sees.
    pub(crate) sees: Vec<Range<usize>>,
    /// The rows of the layer; every position of `sees` is among them.
    pub(crate) segments: Vec<Segment<'a>>,
}

/// The keys and values of one conversation.
#[derive(Debug)]
pub(crate) struct Sequence {
    store: Store,
    layers: Vec<Layer>,
    slots: Vec<Slot>,
    step: Step,
    mark: Option<Mark>,
}

/// Tokens that are being processed.
#[derive(Clone, Debug, Default)]
struct Step {
    slots: Vec<Slot>,
    /// Positions of the pictures among them.
    pictures: Vec<Range<usize>>,
}

/// The sliding layers as they were after some of the tokens.
#[derive(Clone, Debug)]
struct Mark {
    tokens: usize,
    layers: Vec<Layer>,
}

impl Sequence {
    /// A sequence of no tokens.
    pub(crate) fn new(shapes: &[LayerShape], store: Store) -> Self {
        let layers = shapes.iter().map(|&shape| Layer::new(shape, store)).collect();
        Self { store, layers, slots: Vec::new(), step: Step::default(), mark: None }
    }

    /// Tokens in it.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What its rows stand for.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// What numbers its rows are kept as.
    pub(crate) fn store(&self) -> Store {
        self.store
    }

    /// The shape of a layer, where there is one.
    pub(crate) fn shape(&self, layer: usize) -> Option<LayerShape> {
        self.layers.get(layer).map(Layer::shape)
    }

    /// The shapes of its layers.
    pub(crate) fn shapes(&self) -> Vec<LayerShape> {
        self.layers.iter().map(Layer::shape).collect()
    }

    /// Whether all of its rows lie in files.
    pub(crate) fn is_saved(&self) -> bool {
        self.layers.iter().flat_map(Layer::blocks).all(|block| block.bytes() == 0)
    }

    /// Bytes of memory of its rows whose blocks are not among those counted already.
    pub(crate) fn count_bytes(&self, counted: &mut HashSet<usize>) -> usize {
        let marked = self.mark.iter().flat_map(|mark| &mark.layers);
        let blocks = self.layers.iter().chain(marked).flat_map(Layer::blocks);
        let new = blocks.filter(|block| counted.insert(Arc::as_ptr(block).addr()));
        new.map(|block| block.bytes()).sum()
    }

    /// Begins a step: these tokens follow, and `pictures` are the positions of those whose tokens
    /// see each other. A step that was begun before and not committed is aborted.
    pub(crate) fn begin(&mut self, slots: &[Slot], pictures: &[Range<usize>]) {
        self.abort();
        let pictures = pictures.to_vec();
        self.step = Step { slots: slots.to_vec(), pictures };
    }

    /// Writes the rows of the step into a layer; `keys` and `values` are `[rows, heads, width]`, and
    /// `first` is the position of their first row.
    ///
    /// # Errors
    /// When these are not the rows of the step, or they were written already.
    pub(crate) fn write(
        &mut self,
        layer: usize,
        first: usize,
        keys: &[f32],
        values: &[f32],
    ) -> Result<(), SequenceError> {
        let (layers, rows) = (self.layers.len(), self.step.slots.len());
        let to = self.layers.get_mut(layer).ok_or(SequenceError::NoLayer { layer, layers })?;
        let expected = rows * to.shape().numbers();
        let at = to.end();
        if at != self.slots.len() || [first, keys.len(), values.len()] != [at, expected, expected] {
            let (keys, values) = (keys.len(), values.len());
            return Err(SequenceError::Rows { layer, keys, values, first, expected, at });
        }
        to.append(keys, values);
        Ok(())
    }

    /// What tokens at these positions see in a layer whose rows of the step are written. With
    /// `images_see` the tokens of a picture see each other, as far as the window goes back.
    ///
    /// # Errors
    /// When the layer does not hold all rows that they see.
    pub(crate) fn view(
        &self,
        layer: usize,
        positions: Range<usize>,
        images_see: bool,
    ) -> Result<View<'_>, SequenceError> {
        let layers = self.layers.len();
        let of = self.layers.get(layer).ok_or(SequenceError::NoLayer { layer, layers })?;
        let window = of.shape().window;
        let sees = |position: usize| {
            let pictures = if images_see { self.step.pictures.as_slice() } else { &[] };
            let picture = pictures.iter().find(|picture| picture.contains(&position));
            let end = picture.map_or(position + 1, |picture| picture.end);
            let (from, to) = (of.first(), of.end());
            let seen = first_seen(position, window)..end;
            match from <= seen.start && seen.end <= to {
                true => Ok(seen),
                false => Err(SequenceError::NotThere { layer, from, to, position }),
            }
        };
        let sees = positions.map(sees).collect::<Result<_, _>>()?;
        Ok(View { sees, segments: of.segments() })
    }

    /// Keys and values of the last rows of a layer, fewer where fewer are kept: how many there are, and
    /// both as `[heads, rows, width]`.
    pub(crate) fn last_rows(&self, layer: usize, rows: usize) -> Option<(usize, [Vec<f32>; 2])> {
        self.layers.get(layer).map(|layer| layer.last_rows(rows))
    }

    /// Ends a step whose rows are written into all layers.
    ///
    /// # Errors
    /// When a layer lacks them; the step is then aborted.
    pub(crate) fn commit(&mut self) -> Result<(), SequenceError> {
        let position = self.slots.len() + self.step.slots.len();
        let short = self.layers.iter().position(|layer| layer.end() != position);
        if let Some(layer) = short {
            let (from, to) = (self.layers[layer].first(), self.layers[layer].end());
            self.abort();
            return Err(SequenceError::NotThere { layer, from, to, position });
        }
        self.layers.iter_mut().for_each(Layer::forget);
        self.slots.append(&mut self.step.slots);
        self.step = Step::default();
        Ok(())
    }

    /// Gives a step up: the sequence is as it was before.
    pub(crate) fn abort(&mut self) {
        let tokens = self.slots.len();
        self.layers.iter_mut().for_each(|layer| layer.cut(tokens));
        self.step = Step::default();
    }

    /// Makes it possible to go back to what the sequence holds now.
    pub(crate) fn remember(&mut self) {
        let sliding = self.layers.iter().filter(|layer| is_sliding(layer)).cloned();
        self.mark = Some(Mark { tokens: self.len(), layers: sliding.collect() });
    }

    /// How many of its first tokens a prompt may keep. At least one token of the prompt is left to
    /// be processed, since logits are wanted; a medium is kept whole or not at all.
    pub(crate) fn shared(&self, prompt: &[Slot]) -> usize {
        let same = same(&self.slots, prompt);
        if self.reaches(same) {
            return same;
        }
        // Not further than what the mark ends with, which may be in a medium again.
        let marked = self.mark.as_ref().map_or(0, |mark| mark.tokens.min(same));
        let earlier = before_medium(prompt, marked);
        if self.reaches(earlier) { earlier } else { 0 }
    }

    /// Forgets all but the first `tokens`. A step that was begun is aborted.
    ///
    /// # Errors
    /// When rows that they would see are gone.
    pub(crate) fn truncate(&mut self, tokens: usize) -> Result<(), SequenceError> {
        self.abort();
        if tokens >= self.len() {
            return Ok(());
        }
        if !self.reaches(tokens) {
            return Err(SequenceError::TooFarBack { tokens, reach: self.reach() });
        }
        if !self.layers.iter().all(|layer| layer.reaches(tokens))
            && let Some(mark) = self.mark.take().filter(|mark| mark.reaches(tokens))
        {
            let sliding = self.layers.iter_mut().filter(|layer| is_sliding(layer));
            sliding.zip(mark.layers).for_each(|(layer, marked)| *layer = marked);
        }
        self.layers.iter_mut().for_each(|layer| layer.cut(tokens));
        self.slots.truncate(tokens);
        self.mark = self.mark.take().filter(|mark| mark.tokens <= tokens);
        Ok(())
    }

    /// The fewest tokens above 0 that one can go back to.
    pub(crate) fn reach(&self) -> usize {
        let reach = |layers: &[Layer]| layers.iter().map(Layer::reach).max().unwrap_or(0);
        let marked = self.mark.as_ref().map(|mark| reach(&mark.layers).min(mark.tokens));
        reach(&self.layers).min(marked.unwrap_or(usize::MAX)).min(self.len())
    }

    /// A sequence of the same tokens; the two share their rows until one of them is written to. A
    /// step that was begun stays here.
    pub(crate) fn branch(&self) -> Self {
        let mut layers = self.layers.clone();
        layers.iter_mut().for_each(|layer| layer.cut(self.len()));
        let (slots, mark) = (self.slots.clone(), self.mark.clone());
        Self { store: self.store, layers, slots, step: Step::default(), mark }
    }

    /// Soft tokens of a medium that the sequence has met.
    pub(crate) fn soft_tokens(&self, wanted: u128) -> Option<usize> {
        soft_tokens(&self.slots, wanted)
    }

    /// Whether one can go back to the first `tokens`.
    fn reaches(&self, tokens: usize) -> bool {
        tokens == 0
            || self.layers.iter().all(|layer| layer.reaches(tokens))
            || self.mark.as_ref().is_some_and(|mark| mark.reaches(tokens))
    }
}

impl Mark {
    fn reaches(&self, tokens: usize) -> bool {
        tokens <= self.tokens && self.layers.iter().all(|layer| layer.reaches(tokens))
    }
}

fn is_sliding(layer: &Layer) -> bool {
    layer.shape().window.is_some()
}

#[cfg(test)]
mod tests;
