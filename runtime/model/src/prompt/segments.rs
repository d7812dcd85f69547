//! Turns rendered text into ids, and leaves a gap where a picture or sound goes.

use gemma_types::{Frame, Utterance};

use super::standin::StandIns;
use super::{Prompt, PromptError, Segment};
use crate::tokens::{Part, Tokenizer};

/// Writes the segments of one prompt.
pub(super) struct Writer<'prompt> {
    tokenizer: &'prompt Tokenizer,
    stand_ins: &'prompt StandIns,
    segments: Vec<Segment>,
    tokens: Vec<u32>,
    images: usize,
    audio: usize,
    thought_open: bool,
}

impl<'prompt> Writer<'prompt> {
    /// Begins a prompt.
    pub(super) fn new(tokenizer: &'prompt Tokenizer, stand_ins: &'prompt StandIns) -> Self {
        Self {
            tokenizer,
            stand_ins,
            segments: Vec::new(),
            tokens: Vec::new(),
            images: 0,
            audio: 0,
            thought_open: false,
        }
    }

    /// Appends rendered text. Text between two control tokens is tokenised as a whole, whoever said
    /// which part of it, as the reference does.
    pub(super) fn write(&mut self, rendered: &str) -> Result<(), PromptError> {
        for part in self.tokenizer.control().split(rendered) {
            match part {
                Part::Text(text) => {
                    let text = self.stand_ins.reveal(text);
                    self.tokens.extend(self.tokenizer.encode_text(&text)?);
                }
                Part::Control(id) => self.control(id)?,
            }
        }
        Ok(())
    }

    /// Ends the prompt, if it has a place for every medium.
    pub(super) fn finish(
        mut self,
        images: Vec<Frame>,
        audio: Vec<Utterance>,
    ) -> Result<Prompt, PromptError> {
        self.end_tokens();
        let ids = self.tokenizer.ids();
        check_media("picture", ids.image.is_some(), images.len(), self.images)?;
        check_media("sound", ids.audio.is_some(), audio.len(), self.audio)?;
        let Self { segments, thought_open, .. } = self;
        Ok(Prompt { segments, images, audio, thought_open })
    }

    fn control(&mut self, id: u32) -> Result<(), PromptError> {
        let ids = self.tokenizer.ids();
        if Some(id) == ids.image {
            let segment = Segment::Image(self.images);
            self.images += 1;
            return self.medium("picture", segment, ids.image_open, ids.image_close);
        }
        if Some(id) == ids.audio {
            let segment = Segment::Audio(self.audio);
            self.audio += 1;
            return self.medium("sound", segment, ids.audio_open, ids.audio_close);
        }
        if Some(id) == ids.channel_open {
            self.thought_open = true;
        } else if Some(id) == ids.channel_close || id == ids.turn_close || id == ids.turn_open {
            self.thought_open = false;
        }
        self.tokens.push(id);
        Ok(())
    }

    /// Leaves a gap between the tokens that open and close a medium.
    fn medium(
        &mut self,
        kind: &'static str,
        segment: Segment,
        open: Option<u32>,
        close: Option<u32>,
    ) -> Result<(), PromptError> {
        let (Some(open), Some(close)) = (open, close) else {
            return Err(PromptError::NoMedia(kind));
        };
        self.tokens.push(open);
        self.end_tokens();
        self.segments.push(segment);
        self.tokens.push(close);
        Ok(())
    }

    fn end_tokens(&mut self) {
        if !self.tokens.is_empty() {
            self.segments.push(Segment::Tokens(std::mem::take(&mut self.tokens)));
        }
    }
}

fn check_media(
    kind: &'static str,
    known: bool,
    given: usize,
    placed: usize,
) -> Result<(), PromptError> {
    if given > 0 && !known {
        return Err(PromptError::NoMedia(kind));
    }
    if given == placed {
        return Ok(());
    }
    Err(PromptError::MediaLost { kind, given, placed })
}
