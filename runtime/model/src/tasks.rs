//! Ready-made tasks: what the model is asked, with the picture sizes and, where there are any, in the
//! words that its publisher recommends, and how its answer is read.
//!
//! A task is a value. It tells what to ask, one question or one for each window of long sound, and
//! reads what was said to them. Whoever has the model asks: [`run`] here, or a thread that makes
//! replies step by step and gathers each with [`Said::gather`].

mod any;
mod boxes;
mod caption;
mod detect;
mod order;
mod question;
mod read_text;
mod speech;
mod transcribe;
mod translate;
mod video;

use gemma_types::{Finish, Message, Part, Piece, Role};

use crate::error::Error;
use crate::gemma::generate::ReplyOptions;
use crate::gemma::image;
use crate::model::{Model, ModelInfo};
use crate::sample::Sampling;

pub use any::{AnyAnswer, AnyTask};
pub use boxes::{Boxes, DetectedBox, Reading};
pub use caption::{Caption, Captioning};
pub use detect::Detect;
pub use order::{Order, Subject, TaskName};
pub use question::{Answer, Question};
pub use read_text::{ReadText, TextInPicture};
pub use transcribe::{Segment, Transcribe, Transcript};
pub use translate::{Translate, Translation};
pub use video::DescribeVideo;

/// A ready-made task.
pub trait Task {
    /// What it is done for.
    type Answer;

    /// What the model is asked, in order.
    ///
    /// # Errors
    /// When the task itself makes no sense: a language without a name, sound that is too short.
    fn asks(&self) -> Result<Vec<Ask>, TaskError>;

    /// Reads what was said, one for each question of [`asks`](Self::asks).
    ///
    /// # Errors
    /// When a reply was cut, or is not in the form that was asked for.
    fn read(&self, said: &[Said]) -> Result<Self::Answer, TaskError>;
}

/// One question of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The conversation.
    pub messages: Vec<Message>,
    /// How the reply is to be made.
    pub options: ReplyOptions,
}

/// What the model said to one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its thoughts, where it was asked to think.
    pub thought: String,
    /// The answer.
    pub text: String,
    /// Tokens that it made.
    pub tokens: usize,
    /// Whether it came to its own end.
    pub whole: bool,
}

/// Why a task was not done.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The model failed.
    #[error(transparent)]
    Model(#[from] Error),
    /// The model failed on a picture larger than those it was converted for.
    #[error(
        "{error}; this conversion may be made for smaller pictures, try an image budget of {usual}"
    )]
    LargePicture {
        /// How it failed.
        error: Error,
        /// Soft tokens of the pictures that it was converted for.
        usual: usize,
    },
    /// A language that cannot be written into the question.
    #[error(
        "{0:?} is no name of a language; expected its English name, such as French or Brazilian \
         Portuguese"
    )]
    Language(String),
    /// What is to be looked for cannot be written into the question.
    #[error("cannot look for {0:?}; expected 1 to 32 names of 1 to 64 characters on one line")]
    Label(String),
    /// Options and media that do not make this task.
    #[error("the task {name}: {reason}")]
    Order {
        /// The task.
        name: TaskName,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// There is no sound to listen to.
    #[error("{samples} samples of sound; expected at least 320 (20 ms)")]
    NoSound {
        /// Samples given, 16 kHz.
        samples: usize,
    },
    /// There is nothing to answer.
    #[error("the question is empty; expected words, a picture, a clip or sound")]
    NoQuestion,
    /// The reply reached its limit before its end.
    #[error("the answer was cut after {tokens} tokens; allow more, or ask for less: {begun:?} ...")]
    Cut {
        /// Tokens made.
        tokens: usize,
        /// What was said until then.
        begun: String,
    },
    /// The reply is not in the form that was asked for.
    #[error("the answer holds no {expected}: {reason}; it says {answer:?}")]
    Unreadable {
        /// What was asked for.
        expected: &'static str,
        /// What is wrong.
        reason: String,
        /// The answer, or its beginning.
        answer: String,
    },
}

impl TaskError {
    /// The error without what the model said, for a log.
    #[must_use]
    pub fn unquoted(&self) -> String {
        match self {
            Self::Cut { tokens, .. } => format!("the answer was cut after {tokens} tokens"),
            Self::Unreadable { expected, .. } => format!("the answer holds no {expected}"),
            Self::Model(_)
            | Self::LargePicture { .. }
            | Self::Language(_)
            | Self::Label(_)
            | Self::Order { .. }
            | Self::NoSound { .. }
            | Self::NoQuestion => self.to_string(),
        }
    }
}

/// Does a task: asks the model, one question after the other, and reads the answers.
///
/// # Errors
/// As [`Task::asks`] and [`Task::read`], and when the model fails.
pub fn run<T: Task>(model: &mut Model, task: &T) -> Result<T::Answer, TaskError> {
    let mut said = Vec::new();
    for ask in task.asks()? {
        let options = ask.options_for(model.info());
        let reply = model.reply(&ask.messages, &[], &options)?;
        said.push(Said::gather(reply).map_err(|error| ask.explain(error, model.info()))?);
    }
    task.read(&said)
}

impl Ask {
    /// One message of the user: media first, as the model was trained, then the words.
    fn of(media: Vec<Part>, words: String, options: ReplyOptions) -> Self {
        let mut parts = media;
        parts.push(Part::Text(words));
        let message =
            Message { role: Role::User, parts, tool_calls: Vec::new(), tool_results: Vec::new() };
        Self { messages: vec![message], options }
    }

    /// The options for a certain model: where the task leaves the choice of tokens open, it is as
    /// the model's publisher recommends.
    #[must_use]
    pub fn options_for(&self, info: &ModelInfo) -> ReplyOptions {
        let mut options = self.options.clone();
        if options.sampling == Sampling::default() {
            options.sampling = info.sampling;
        }
        options
    }

    /// An error of the model, with what may help where pictures were larger than those that its
    /// folder was made for.
    #[must_use]
    pub fn explain(&self, error: Error, info: &ModelInfo) -> TaskError {
        let usual = image::folder_budget(&info.folder).ok();
        let budget = self.options.image_budget;
        match usual.filter(|usual| budget.is_some_and(|budget| budget > *usual)) {
            Some(usual) if matches!(error, Error::Engine { .. }) => {
                TaskError::LargePicture { error, usual }
            }
            Some(_) | None => error.into(),
        }
    }
}

/// Options of a reply that is to be right rather than varied.
fn exact(reply_tokens_max: usize) -> ReplyOptions {
    ReplyOptions { sampling: Sampling::greedy(), reply_tokens_max, ..ReplyOptions::default() }
}

impl Said {
    /// Gathers the pieces of a reply.
    ///
    /// # Errors
    /// When the model fails on the way.
    pub fn gather(pieces: impl IntoIterator<Item = Result<Piece, Error>>) -> Result<Self, Error> {
        let mut said = Self::default();
        for piece in pieces {
            said.hear(&piece?);
        }
        Ok(said)
    }

    /// Takes one piece of a reply.
    pub fn hear(&mut self, piece: &Piece) {
        match piece {
            Piece::Thought(text) => self.thought.push_str(text),
            Piece::Text(text) => self.text.push_str(text),
            Piece::End { finish, usage } => {
                self.tokens = usage.reply_tokens;
                self.whole = *finish != Finish::Length;
            }
            // No tool was offered, so a call is a slip of the model that says nothing.
            Piece::Progress { .. } | Piece::ToolCall(_) => {}
        }
    }

    /// The answer, if it is whole, and the thought before it, if there was one.
    fn answer(&self) -> Result<(String, Option<String>), TaskError> {
        let text = self.whole_text()?.to_owned();
        let thought = Some(self.thought.trim()).filter(|thought| !thought.is_empty());
        Ok((text, thought.map(str::to_owned)))
    }

    /// The answer, if it is whole.
    fn whole_text(&self) -> Result<&str, TaskError> {
        if self.whole {
            return Ok(self.text.trim());
        }
        Err(TaskError::Cut { tokens: self.tokens, begun: excerpt(&self.text) })
    }
}

/// The only answer of a task that asks once.
fn only(said: &[Said]) -> Result<&Said, TaskError> {
    match said {
        [one] => Ok(one),
        _ => Err(TaskError::Unreadable {
            expected: "answer to one question",
            reason: format!("{} replies were given", said.len()),
            answer: String::new(),
        }),
    }
}

/// The beginning of an answer, short enough for an error.
fn excerpt(text: &str) -> String {
    const LETTERS_MAX: usize = 200;
    text.trim().chars().take(LETTERS_MAX).collect()
}

#[cfg(test)]
mod tests;
