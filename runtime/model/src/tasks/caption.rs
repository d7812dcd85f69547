//! A picture in a sentence or two.

use gemma_types::{Frame, Part};
use serde::Serialize;

use super::{Ask, Said, Task, TaskError, only, speech};
use crate::gemma::generate::ReplyOptions;

/// Soft tokens that are enough to see what a picture is about.
const IMAGE_BUDGET: usize = 140;

/// Tokens of a caption at most.
const REPLY_TOKENS_MAX: usize = 256;

/// Says what is on a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Captioning {
    /// The picture.
    pub picture: Frame,
    /// English name of the language of the caption; English without it.
    pub language: Option<String>,
    /// Whether the model thinks first.
    pub thinking: bool,
}

/// What is on a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caption {
    /// A sentence or two.
    pub text: String,
    /// What the model thought before, where it was asked to.
    pub thought: Option<String>,
}

impl Task for Captioning {
    type Answer = Caption;

    fn asks(&self) -> Result<Vec<Ask>, TaskError> {
        let language = self.language.as_deref().map(speech::language).transpose()?;
        let language = language.map(|name| format!(" in {name}")).unwrap_or_default();
        let options = ReplyOptions {
            // A thought is longer than what comes of it.
            reply_tokens_max: REPLY_TOKENS_MAX * if self.thinking { 8 } else { 1 },
            thinking: self.thinking,
            image_budget: Some(IMAGE_BUDGET),
            ..ReplyOptions::default()
        };
        let words =
            format!("Write a short caption for this image{language}. Only output the caption.");
        Ok(vec![Ask::of(vec![Part::Image(self.picture.clone())], words, options)])
    }

    fn read(&self, said: &[Said]) -> Result<Caption, TaskError> {
        let (text, thought) = only(said)?.answer()?;
        Ok(Caption { text, thought })
    }
}
