//! Turns rendered text into ids, and leaves a gap where a picture, sound, or a frame of a film goes.

use super::conversation::Media;
use super::standin::StandIns;
use super::{Prompt, PromptError, Segment};
use crate::tokens::{Part, Tokenizer};

/// Writes the segments of one prompt.
pub(super) struct Writer<'prompt> {
    tokenizer: &'prompt Tokenizer,
    stand_ins: &'prompt StandIns,
    media: Media,
    segments: Vec<Segment>,
    /// Text that is not tokenised yet, as more of it may follow.
    text: String,
    tokens: Vec<u32>,
    images: usize,
    audio: usize,
    clips: usize,
    thought_open: bool,
}

impl<'prompt> Writer<'prompt> {
    /// Begins a prompt.
    pub(super) fn new(
        tokenizer: &'prompt Tokenizer,
        stand_ins: &'prompt StandIns,
        media: Media,
    ) -> Self {
        Self {
            tokenizer,
            stand_ins,
            media,
            segments: Vec::new(),
            text: String::new(),
            tokens: Vec::new(),
            images: 0,
            audio: 0,
            clips: 0,
            thought_open: false,
        }
    }

    /// Appends rendered text. Text between two control tokens is tokenised as a whole, whoever said
    /// which part of it, as the reference does.
    pub(super) fn write(&mut self, rendered: &str) -> Result<(), PromptError> {
        for part in self.tokenizer.control().split(rendered) {
            match part {
                Part::Text(text) => self.text.push_str(&self.stand_ins.reveal(text)),
                Part::Control(id) => self.control(id)?,
            }
        }
        Ok(())
    }

    /// Ends the prompt, if it has a place for every medium.
    pub(super) fn finish(mut self) -> Result<Prompt, PromptError> {
        self.end_text()?;
        self.end_tokens();
        let ids = self.tokenizer.ids();
        let Media { images, audio, clips } = self.media;
        check_media("picture", ids.image.is_some(), images.len(), self.images)?;
        check_media("sound", ids.audio.is_some(), audio.len(), self.audio)?;
        check_media("film", ids.video.is_some(), clips.len(), self.clips)?;
        let Self { segments, thought_open, .. } = self;
        Ok(Prompt { segments, images, audio, clips, thought_open })
    }

    fn control(&mut self, id: u32) -> Result<(), PromptError> {
        let ids = self.tokenizer.ids();
        if Some(id) == ids.video {
            return self.film();
        }
        self.end_text()?;
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

    /// Tells the frames of a film, each after its time, with blanks between them. The blanks and times
    /// belong to the text around the film: they are tokenised together.
    fn film(&mut self) -> Result<(), PromptError> {
        let ids = self.tokenizer.ids();
        let clip = self.clips;
        self.clips += 1;
        // A film that the conversation does not hold is found out at the end.
        let Some(film) = self.media.clips.get(clip) else { return Ok(()) };
        let (frames, times) = (film.frames.len(), film.seconds.len());
        if frames == 0 || frames != times {
            return Err(PromptError::Film { frames, times });
        }
        let times: Vec<String> = film.seconds.iter().map(|seconds| timestamp(*seconds)).collect();
        for (frame, time) in times.into_iter().enumerate() {
            if frame > 0 {
                self.text.push(' ');
            }
            self.text.push_str(&time);
            self.text.push(' ');
            self.end_text()?;
            let segment = Segment::Video { clip, frame };
            self.medium("film", segment, ids.image_open, ids.image_close)?;
        }
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

    fn end_text(&mut self) -> Result<(), PromptError> {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.tokens.extend(self.tokenizer.encode_text(&text)?);
        }
        Ok(())
    }

    fn end_tokens(&mut self) {
        if !self.tokens.is_empty() {
            self.segments.push(Segment::Tokens(std::mem::take(&mut self.tokens)));
        }
    }
}

/// Minutes and seconds, as in 01:07; fractions are dropped.
fn timestamp(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
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

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn times_are_minutes_and_whole_seconds() {
        let check = |seconds: f64, expected: &str| assert_eq!(timestamp(seconds), expected);
        check(0.0, "00:00");
        check(59.99, "00:59");
        check(67.0, "01:07");
        check(6_000.0, "100:00");
        check(-1.0, "00:00");
        check(f64::NAN, "00:00");
    }
}
