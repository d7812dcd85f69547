//! What happens in a film.

use gemma_types::{Clip, Part};

use super::{Answer, Ask, Question, Said, Task, TaskError};

/// What is asked where nobody asks.
const WORDS: &str = "Describe what happens in this video.";

/// Says what happens in a film.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeVideo {
    /// The film; its frames have a budget of their own.
    pub clip: Clip,
    /// A question about it; what happens, without one.
    pub question: Option<String>,
    /// Whether the model thinks first.
    pub thinking: bool,
}

impl DescribeVideo {
    fn question(&self) -> Question {
        Question {
            media: vec![Part::Video(self.clip.clone())],
            words: self.question.clone().unwrap_or_else(|| WORDS.to_owned()),
            thinking: self.thinking,
        }
    }
}

impl Task for DescribeVideo {
    type Answer = Answer;

    fn asks(&self) -> Result<Vec<Ask>, TaskError> {
        match self.clip.frames.is_empty() {
            true => Err(TaskError::NoQuestion),
            false => self.question().asks(),
        }
    }

    fn read(&self, said: &[Said]) -> Result<Answer, TaskError> {
        self.question().read(said)
    }
}
