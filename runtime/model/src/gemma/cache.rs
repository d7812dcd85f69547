//! The KV cache: the keys and values of every layer, in the engine's own form, and what each of
//! their rows stands for, so that the next prompt can keep what it shares with the last.
//!
//! Layers that see a window keep their last rows only, where the engine allows it. What is gone
//! cannot be gone back to; a copy of those rows at the end of the last prompt is kept, since the
//! next prompt mostly shares that much and not what was thought or said after it.

pub(crate) use crate::sequence::Slot;
use crate::sequence::{before_medium, same, soft_tokens};

/// Keys and values of the tokens that the decoder has seen.
#[derive(Clone, Debug)]
pub(crate) struct Cache<V> {
    /// Key and value of each layer that owns some, `[1, heads, tokens, width]`.
    layers: Vec<[V; 2]>,
    /// Which layers see a window only.
    sliding: Vec<bool>,
    /// Rows of a sliding layer that the next token sees; `None` where all are kept.
    window: Option<usize>,
    /// Rows of the sliding layers.
    recent: usize,
    slots: Vec<Slot>,
    checkpoint: Option<Checkpoint<V>>,
}

/// The sliding layers as they were after some of the tokens.
#[derive(Clone, Debug)]
struct Checkpoint<V> {
    tokens: usize,
    recent: usize,
    layers: Vec<[V; 2]>,
}

/// Rows that a sliding layer may have beyond its window before they are cut off, so that not every
/// token costs a copy.
const SPARE_ROWS: usize = 64;

/// Shortens keys or values, `[1, heads, rows, width]`.
pub(crate) trait Shorten<V> {
    /// What can go wrong.
    type Error;

    /// The first rows.
    fn first(&self, value: &V, rows: usize) -> Result<V, Self::Error>;

    /// The last rows.
    fn last(&self, value: &V, rows: usize) -> Result<V, Self::Error>;
}

impl<V> Cache<V> {
    /// A cache of no tokens; `layers` are tensors of no rows, each with whether it is sliding, and
    /// `window` is how many rows of a sliding layer the next token sees, unless all are to be kept.
    pub(crate) fn empty(layers: Vec<([V; 2], bool)>, window: Option<usize>) -> Self {
        let (layers, sliding): (Vec<_>, Vec<_>) = layers.into_iter().unzip();
        Self { layers, sliding, window, recent: 0, slots: Vec::new(), checkpoint: None }
    }

    /// Tokens in it.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Rows of the sliding layers.
    pub(crate) fn recent(&self) -> usize {
        self.recent
    }

    /// Rows of the sliding layers that are kept beside, to go back to.
    pub(crate) fn spared(&self) -> usize {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.recent)
    }

    /// What its rows stand for.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// A tensor of each kind of rows: of the global layers, of the sliding ones, and of those that
    /// are kept beside. All of a kind are replaced together.
    pub(crate) fn samples(&self) -> [Option<&V>; 3] {
        let first = |sliding: bool| self.sliding.iter().position(|&is| is == sliding);
        let of = |sliding: bool| first(sliding).and_then(|place| self.layers.get(place));
        let spared = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.layers.first());
        [of(false), of(true), spared].map(|layer| layer.map(|[key, _]| key))
    }

    /// Keys and values, layer by layer.
    pub(crate) fn layers(&self) -> &[[V; 2]] {
        &self.layers
    }

    /// Takes the keys and values that a step gave in place of the old ones.
    pub(crate) fn advance(&mut self, layers: Vec<[V; 2]>, slots: &[Slot]) {
        self.layers = layers;
        self.recent += slots.len();
        self.slots.extend_from_slice(slots);
    }

    /// Cuts from sliding layers what no token to come can see, once that is worth a copy.
    ///
    /// # Errors
    /// What `shorten` says; the cache is then as it was.
    pub(crate) fn trim<S: Shorten<V>>(&mut self, shorten: &S) -> Result<(), S::Error> {
        match self.window {
            Some(window) if self.recent > kept(window) + SPARE_ROWS => {
                self.replace_sliding(|value| shorten.last(value, kept(window)))?;
                self.recent = kept(window);
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers the sliding layers as they are now, to go back to.
    ///
    /// # Errors
    /// What `shorten` says; nothing is remembered then.
    pub(crate) fn remember<S: Shorten<V>>(&mut self, shorten: &S) -> Result<(), S::Error> {
        let Some(window) = self.window.filter(|_| self.recent < self.len()) else {
            self.checkpoint = None;
            return Ok(());
        };
        let recent = kept(window).min(self.recent);
        let copy =
            |[key, value]: &[V; 2]| Ok([shorten.last(key, recent)?, shorten.last(value, recent)?]);
        self.checkpoint = None;
        let sliding = self.layers.iter().zip(&self.sliding).filter(|(_, sliding)| **sliding);
        let layers = sliding.map(|(layer, _)| copy(layer)).collect::<Result<_, _>>()?;
        self.checkpoint = Some(Checkpoint { tokens: self.len(), recent, layers });
        Ok(())
    }

    /// How many of its first tokens a prompt may keep. At least one token of the prompt is left
    /// to be processed, since logits are wanted; a medium is kept whole or not at all.
    pub(crate) fn shared(&self, prompt: &[Slot]) -> usize {
        let same = same(&self.slots, prompt);
        if self.reaches(same) || self.checkpoint_for(same).is_some() {
            return same;
        }
        // Not further than what the checkpoint ends with, which may be in a medium again.
        let checkpoint = self.checkpoint.as_ref().map(|checkpoint| checkpoint.tokens);
        let earlier = before_medium(prompt, checkpoint.filter(|&at| at <= same).unwrap_or(0));
        if self.checkpoint_for(earlier).is_some() { earlier } else { 0 }
    }

    /// Soft tokens of a medium that the cache has met.
    pub(crate) fn soft_tokens(&self, wanted: u128) -> Option<usize> {
        soft_tokens(&self.slots, wanted)
    }

    /// Forgets all but the first `tokens`, which [`shared`](Self::shared) has named.
    ///
    /// # Errors
    /// What `shorten` says; the cache is then to be emptied.
    pub(crate) fn truncate<S: Shorten<V>>(
        &mut self,
        tokens: usize,
        shorten: &S,
    ) -> Result<(), S::Error> {
        if tokens >= self.len() {
            return Ok(());
        }
        if self.reaches(tokens) {
            self.recent -= self.len() - tokens;
            let recent = self.recent;
            self.replace_sliding(|value| shorten.first(value, recent))?;
        } else if let Some(checkpoint) = self.checkpoint.take() {
            self.recent = checkpoint.recent - checkpoint.tokens.saturating_sub(tokens);
            let mut layers = checkpoint.layers.into_iter();
            let sliding =
                self.layers.iter_mut().zip(&self.sliding).filter(|(_, sliding)| **sliding);
            for ((layer, _), [key, value]) in sliding.zip(&mut layers) {
                *layer = [shorten.first(&key, self.recent)?, shorten.first(&value, self.recent)?];
            }
        }
        let others = self.layers.iter_mut().zip(&self.sliding).filter(|(_, sliding)| !**sliding);
        for (layer, _) in others {
            *layer = [shorten.first(&layer[0], tokens)?, shorten.first(&layer[1], tokens)?];
        }
        self.slots.truncate(tokens);
        self.checkpoint = self.checkpoint.take().filter(|checkpoint| checkpoint.tokens <= tokens);
        Ok(())
    }

    /// Whether the sliding layers still have all that a token after the first `tokens` would see.
    fn reaches(&self, tokens: usize) -> bool {
        covers(self.len(), self.recent, tokens, self.window)
    }

    /// The checkpoint, if one can go back to the first `tokens` with it.
    fn checkpoint_for(&self, tokens: usize) -> Option<&Checkpoint<V>> {
        self.checkpoint.as_ref().filter(|at| covers(at.tokens, at.recent, tokens, self.window))
    }

    fn replace_sliding<E>(&mut self, make: impl Fn(&V) -> Result<V, E>) -> Result<(), E> {
        let both = self.layers.iter().zip(&self.sliding).filter(|(_, sliding)| **sliding);
        let new = both.map(|([key, value], _)| Ok([make(key)?, make(value)?]));
        let new: Vec<[V; 2]> = new.collect::<Result<_, E>>()?;
        let old = self.layers.iter_mut().zip(&self.sliding).filter(|(_, sliding)| **sliding);
        old.zip(new).for_each(|((layer, _), new)| *layer = new);
        Ok(())
    }
}

/// Rows to keep of a sliding layer: one more than are needed, so that the last token of a prompt can
/// be processed again.
fn kept(window: usize) -> usize {
    window + 1
}

/// Whether the last `recent` of `of` rows hold the window before row `tokens`.
fn covers(of: usize, recent: usize, tokens: usize, window: Option<usize>) -> bool {
    let needed = window.map_or(0, |window| tokens.saturating_sub(window));
    tokens <= of && of - recent.min(of) <= needed
}

#[cfg(test)]
mod tests;
