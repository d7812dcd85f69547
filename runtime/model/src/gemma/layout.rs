//! A prompt as the decoder sees it: one slot per position, and the media whose soft tokens fill
//! some of them. Decides where the prompt may be cut into blocks.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use gemma_types::{Frame, Utterance};

use super::audio::{self, PreparedAudio};
use super::cache::Slot;
use super::encoder::{Form, Forms};
use super::image::{self, PreparedImage};
use super::{Block, Soft, SoftKind, video};
use crate::error::Error;
use crate::prompt::{Prompt, Segment};
use crate::tokens::ControlTokens;

/// A prompt, position by position.
pub(crate) struct Layout {
    slots: Vec<Slot>,
    spans: Vec<Span>,
    pad: u32,
}

/// A medium and the positions of its soft tokens.
pub(crate) struct Span {
    start: usize,
    rows: usize,
    /// Fingerprint of the medium's content.
    pub(crate) media: u128,
    /// The picture or sound.
    pub(crate) medium: Medium,
    /// Id that stands for one of its soft tokens.
    placeholder: u32,
    /// Id by which the graphs know one of its soft tokens.
    graph_placeholder: u32,
    prepared: Option<Prepared>,
    /// What the encoder made of it, `[rows, hidden] f32`.
    pub(crate) features: Option<Arc<[f32]>>,
}

/// A picture or sound, as it was sent.
#[derive(Clone)]
pub(crate) enum Medium {
    Image(Frame),
    /// A frame of a film, which has a budget of its own.
    Film(Frame),
    Audio(Utterance),
}

/// A picture or sound, as its encoder wants it.
pub(crate) enum Prepared {
    Image(PreparedImage),
    Audio(PreparedAudio),
}

impl Span {
    fn end(&self) -> usize {
        self.start + self.rows
    }

    /// The medium as its encoder wants it.
    ///
    /// # Errors
    /// When the picture or sound is empty or out of proportion.
    pub(crate) fn prepare(&mut self, forms: Forms) -> Result<Prepared, Error> {
        match self.prepared.take() {
            Some(prepared) => Ok(prepared),
            None => self.medium.prepare(forms),
        }
    }
}

impl Medium {
    /// Whether it is a picture, whose tokens see each other in some models.
    fn is_seen(&self) -> bool {
        match self {
            Self::Image(_) | Self::Film(_) => true,
            Self::Audio(_) => false,
        }
    }

    fn prepare(&self, forms: Forms) -> Result<Prepared, Error> {
        let budget = forms.image_budget;
        Ok(match (self, forms) {
            (Self::Image(frame), Forms { image: Form::Tower, .. }) => {
                Prepared::Image(image::prepare(frame, budget)?)
            }
            (Self::Image(frame), Forms { image: Form::Unified, .. }) => {
                Prepared::Image(image::prepare_unified(frame, budget)?)
            }
            (Self::Film(frame), Forms { image: Form::Tower, .. }) => {
                Prepared::Image(image::prepare(frame, video::FRAME_BUDGET)?)
            }
            (Self::Film(frame), Forms { image: Form::Unified, .. }) => {
                Prepared::Image(image::prepare_unified(frame, video::FRAME_BUDGET)?)
            }
            (Self::Audio(utterance), Forms { sound: Form::Tower, .. }) => {
                Prepared::Audio(audio::prepare(&utterance.samples)?)
            }
            (Self::Audio(utterance), Forms { sound: Form::Unified, .. }) => {
                Prepared::Audio(audio::prepare_frames(&utterance.samples)?)
            }
        })
    }

    /// What its soft tokens stand for.
    fn kind(&self) -> SoftKind {
        match self {
            Self::Image(_) | Self::Film(_) => SoftKind::Picture,
            Self::Audio(_) => SoftKind::Sound,
        }
    }

    /// A number that two media share only when their content is the same.
    fn fingerprint(&self, image_budget: usize) -> u128 {
        let picture = |frame: &Frame, budget: usize, hasher: &mut DefaultHasher| {
            (budget, frame.width, frame.height).hash(hasher);
            frame.rgb.hash(hasher);
        };
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            seed.hash(&mut hasher);
            match self {
                Self::Image(frame) => picture(frame, image_budget, &mut hasher),
                Self::Film(frame) => picture(frame, video::FRAME_BUDGET, &mut hasher),
                Self::Audio(utterance) => utterance.samples.hash(&mut hasher),
            }
            u128::from(hasher.finish())
        };
        half(0) << 64 | half(1)
    }
}

impl Prepared {
    fn soft_tokens(&self) -> usize {
        match self {
            Self::Image(image) => image.soft_tokens,
            Self::Audio(audio) => audio.soft_tokens,
        }
    }
}

impl Layout {
    /// Lays a prompt out. `cached` knows how many soft tokens a medium has that was met before, so
    /// that it need not be prepared again.
    ///
    /// # Errors
    /// When a picture or sound cannot be prepared.
    pub(crate) fn new(
        prompt: &Prompt,
        ids: &ControlTokens,
        forms: Forms,
        cached: impl Fn(u128) -> Option<usize>,
    ) -> Result<Self, Error> {
        let mut new = Self { slots: Vec::new(), spans: Vec::new(), pad: ids.pad };
        for segment in &prompt.segments {
            let (medium, placeholder) = match segment {
                Segment::Tokens(ids) => {
                    new.slots.extend(ids.iter().map(|&id| Slot::Token(id)));
                    continue;
                }
                Segment::Image(place) => {
                    (prompt.images.get(*place).cloned().map(Medium::Image), ids.image)
                }
                Segment::Audio(place) => {
                    (prompt.audio.get(*place).cloned().map(Medium::Audio), ids.audio)
                }
                Segment::Video { clip, frame } => {
                    let clip = prompt.clips.get(*clip);
                    let frame = clip.and_then(|clip| clip.frames.get(*frame));
                    (frame.cloned().map(Medium::Film), ids.video)
                }
            };
            let (Some(medium), Some(placeholder)) = (medium, placeholder) else {
                let reason = "the prompt names one that it does not hold".to_owned();
                return Err(Error::Unsupported { what: "this medium", reason });
            };
            let media = medium.fingerprint(forms.image_budget);
            let known = cached(media);
            let prepared = match known {
                Some(_) => None,
                None => Some(medium.prepare(forms)?),
            };
            let rows = known.or(prepared.as_ref().map(Prepared::soft_tokens)).unwrap_or(0);
            let start = new.slots.len();
            let of = u32::try_from(rows).unwrap_or(u32::MAX);
            new.slots.extend((0..of).map(|row| Slot::Soft { media, row, of }));
            // Graphs know the token of a picture only; it stands for a frame of a film as well.
            let graph_placeholder = match medium {
                Medium::Film(_) => ids.image.unwrap_or(placeholder),
                Medium::Image(_) | Medium::Audio(_) => placeholder,
            };
            let features = None;
            new.spans.push(Span {
                start,
                rows,
                media,
                medium,
                placeholder,
                graph_placeholder,
                prepared,
                features,
            });
        }
        Ok(new)
    }

    /// What each position stands for.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Ids `[positions]` of the prompt; a soft token has the id of its placeholder.
    pub(crate) fn placeholder_ids(&self) -> Vec<u32> {
        let token = |slot: &Slot| match slot {
            Slot::Token(id) => *id,
            Slot::Soft { .. } => self.pad,
        };
        let mut ids: Vec<u32> = self.slots.iter().map(token).collect();
        for span in &self.spans {
            ids.iter_mut().take(span.end()).skip(span.start).for_each(|id| *id = span.placeholder);
        }
        ids
    }

    /// Where a block that begins at `start` ends: after at most `block_tokens` tokens, except that
    /// a picture is not cut where its tokens see each other.
    pub(crate) fn block_end(&self, start: usize, block_tokens: usize, whole_images: bool) -> usize {
        let end = self.slots.len().min(start.saturating_add(block_tokens.max(1)));
        let cut = |span: &&Span| span.medium.is_seen() && span.start < end && end < span.end();
        match self.spans.iter().find(cut) {
            Some(span) if whole_images && span.start > start => span.start,
            Some(span) if whole_images => span.end(),
            Some(_) | None => end,
        }
    }

    /// A medium with positions in a block that has not been encoded yet.
    pub(crate) fn unencoded(&mut self, start: usize, end: usize) -> Option<&mut Span> {
        let touches = |span: &Span| span.start < end && start < span.end();
        self.spans.iter_mut().find(|span| touches(span) && span.features.is_none())
    }

    /// The tokens of a block, ready to be processed.
    pub(crate) fn block(&self, start: usize, end: usize) -> Block<'_> {
        let slots = self.slots.get(start..end).unwrap_or_default();
        let ids = slots.iter().map(|slot| match slot {
            Slot::Token(id) => i64::from(*id),
            Slot::Soft { .. } => i64::from(self.pad),
        });
        let ids: Vec<i64> = ids.collect();
        let mut placeholder_ids = ids.clone();
        let mut features = Vec::new();
        for span in self.spans.iter().filter(|span| span.start < end && start < span.end()) {
            let (from, to) = (span.start.max(start), span.end().min(end));
            let (first, rows) = (from - start, to - from);
            for id in placeholder_ids.iter_mut().skip(first).take(rows) {
                *id = i64::from(span.graph_placeholder);
            }
            let all = span.features.as_deref().unwrap_or_default();
            let width = all.len().checked_div(span.rows).unwrap_or(0);
            let part = (from - span.start) * width..(to - span.start) * width;
            let part = all.get(part).unwrap_or_default();
            features.push(Soft { kind: span.medium.kind(), first, rows, features: part });
        }
        Block { slots, ids, placeholder_ids, features }
    }
}
