//! Any of the tasks and any of their answers, for whoever does not know beforehand which.

use std::fmt;

use serde::Serialize;

use super::order::Tuning;
use super::{
    Answer, Ask, Boxes, Caption, Captioning, DescribeVideo, Detect, Question, ReadText, Said, Task,
    TaskError, TextInPicture, Transcribe, Transcript, Translate, Translation,
};
use crate::sample::Sampling;

/// Any task; [`Order::about`](super::Order::about) makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct AnyTask {
    pub(super) kind: Kind,
    pub(super) tuning: Tuning,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Transcribe(Transcribe),
    Translate(Translate),
    Caption(Captioning),
    Ocr(ReadText),
    Detect(Detect),
    Video(DescribeVideo),
    Ask(Question),
}

/// The answer of any task. As JSON it is the answer's object with the task's name as `task`; as text
/// it is what a person reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum AnyAnswer {
    /// What was said.
    Transcribe(Transcript),
    /// What was said, in both languages.
    Translate(Translation),
    /// What is on a picture.
    Caption(Caption),
    /// The text on a picture.
    Ocr(TextInPicture),
    /// Things on a picture.
    Detect(Boxes),
    /// What happens in a film.
    Video(Answer),
    /// What the model answered.
    Ask(Answer),
}

impl Task for AnyTask {
    type Answer = AnyAnswer;

    fn asks(&self) -> Result<Vec<Ask>, TaskError> {
        let mut asks = match &self.kind {
            Kind::Transcribe(task) => task.asks(),
            Kind::Translate(task) => task.asks(),
            Kind::Caption(task) => task.asks(),
            Kind::Ocr(task) => task.asks(),
            Kind::Detect(task) => task.asks(),
            Kind::Video(task) => task.asks(),
            Kind::Ask(task) => task.asks(),
        }?;
        for ask in &mut asks {
            let options = &mut ask.options;
            options.image_budget = self.tuning.image_budget.or(options.image_budget);
            let reply_tokens_max = self.tuning.reply_tokens_max;
            options.reply_tokens_max = reply_tokens_max.unwrap_or(options.reply_tokens_max);
            if self.tuning.greedy {
                options.sampling = Sampling::greedy();
            }
        }
        Ok(asks)
    }

    fn read(&self, said: &[Said]) -> Result<AnyAnswer, TaskError> {
        Ok(match &self.kind {
            Kind::Transcribe(task) => AnyAnswer::Transcribe(task.read(said)?),
            Kind::Translate(task) => AnyAnswer::Translate(task.read(said)?),
            Kind::Caption(task) => AnyAnswer::Caption(task.read(said)?),
            Kind::Ocr(task) => AnyAnswer::Ocr(task.read(said)?),
            Kind::Detect(task) => AnyAnswer::Detect(task.read(said)?),
            Kind::Video(task) => AnyAnswer::Video(task.read(said)?),
            Kind::Ask(task) => AnyAnswer::Ask(task.read(said)?),
        })
    }
}

impl AnyAnswer {
    /// What stands back behind the answer: the model's thought, and what could not be made out.
    #[must_use]
    pub fn asides(&self) -> Vec<String> {
        match self {
            Self::Caption(Caption { thought, .. })
            | Self::Video(Answer { thought, .. })
            | Self::Ask(Answer { thought, .. }) => thought.clone().into_iter().collect(),
            Self::Detect(Boxes { passed_over, .. }) => {
                passed_over.iter().map(|what| format!("passed over: {what}")).collect()
            }
            Self::Transcribe(_) | Self::Translate(_) | Self::Ocr(_) => Vec::new(),
        }
    }
}

impl fmt::Display for AnyAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transcribe(Transcript { text, .. })
            | Self::Caption(Caption { text, .. })
            | Self::Ocr(TextInPicture { text })
            | Self::Video(Answer { text, .. })
            | Self::Ask(Answer { text, .. }) => formatter.write_str(text),
            Self::Translate(Translation { source, target }) => {
                write!(formatter, "{source}\n{target}")
            }
            Self::Detect(boxes) => boxes.fmt(formatter),
        }
    }
}
