//! Any question about any media, with the model's thoughts kept apart from its answer.

use gemma_types::Part;
use serde::Serialize;

use super::{Ask, Said, Task, TaskError, only};
use crate::gemma::generate::ReplyOptions;

/// Tokens of a reply at most.
const REPLY_TOKENS_MAX: usize = 2048;

/// Asks something.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Pictures, clips and sound that it is about.
    pub media: Vec<Part>,
    /// The words; empty where the question is in the sound.
    pub words: String,
    /// Whether the model thinks first.
    pub thinking: bool,
}

/// What the model answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// What it thought before, where it was asked to.
    pub thought: Option<String>,
}

impl Task for Question {
    type Answer = Answer;

    fn asks(&self) -> Result<Vec<Ask>, TaskError> {
        let words = self.words.trim();
        if words.is_empty() && self.media.is_empty() {
            return Err(TaskError::NoQuestion);
        }
        let options = ReplyOptions {
            reply_tokens_max: REPLY_TOKENS_MAX,
            thinking: self.thinking,
            ..ReplyOptions::default()
        };
        let mut ask = Ask::of(self.media.clone(), words.to_owned(), options);
        if words.is_empty() {
            // Sound that asks by itself needs no empty words behind it.
            ask.messages.iter_mut().for_each(|message| drop(message.parts.pop()));
        }
        Ok(vec![ask])
    }

    fn read(&self, said: &[Said]) -> Result<Answer, TaskError> {
        let (text, thought) = only(said)?.answer()?;
        Ok(Answer { text, thought })
    }
}
