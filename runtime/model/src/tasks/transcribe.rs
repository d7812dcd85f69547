//! Speech to text.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Ask, Said, Task, TaskError, exact, speech};

/// Tokens of the text of one window at most; fast speech has about 300.
const REPLY_TOKENS_MAX: usize = 1024;

/// Writes down what is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcribe {
    /// Speech, mono i16, 16 kHz, at least 20 ms and as long as it is.
    pub samples: Arc<[i16]>,
    /// English name of the language that is spoken, such as `French`; without it, the model listens
    /// for itself.
    pub language: Option<String>,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transcript {
    /// All of it, on one line.
    pub text: String,
    /// The parts that were heard one by one.
    pub segments: Vec<Segment>,
}

/// What was said in one part of the sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// When the part begins, since the beginning of the sound.
    #[serde(rename = "start_s", serialize_with = "in_seconds")]
    pub start: Duration,
    /// When it ends.
    #[serde(rename = "end_s", serialize_with = "in_seconds")]
    pub end: Duration,
    /// The text, on one line; empty where nothing is said.
    pub text: String,
}

fn in_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl Transcribe {
    /// The question of the model card; of the sentence for an unknown language, it has the same
    /// second half.
    fn words(&self) -> Result<String, TaskError> {
        let what = match &self.language {
            Some(name) => {
                let name = speech::language(name)?;
                format!("in {name} into {name} text")
            }
            None => "in its original language".to_owned(),
        };
        Ok(format!(
            "Transcribe the following speech segment {what}.\n\n\
             Follow these specific instructions for formatting the answer:\n\
             * Only output the transcription, with no newlines.\n\
             * When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, \
             and write 3 instead of three."
        ))
    }
}

impl Task for Transcribe {
    type Answer = Transcript;

    fn asks(&self) -> Result<Vec<Ask>, TaskError> {
        speech::asks(&self.samples, &self.words()?, &exact(REPLY_TOKENS_MAX))
    }

    fn read(&self, said: &[Said]) -> Result<Transcript, TaskError> {
        let windows = speech::windows(&self.samples)?;
        let segment = |(window, said): (std::ops::Range<usize>, &Said)| {
            Ok(Segment {
                start: speech::at(window.start),
                end: speech::at(window.end),
                text: speech::one_line(said.whole_text()?),
            })
        };
        let segments = windows.into_iter().zip(said).map(segment);
        let segments = segments.collect::<Result<Vec<_>, TaskError>>()?;
        let text = speech::join(segments.iter().map(|segment| segment.text.as_str()));
        Ok(Transcript { text, segments })
    }
}
