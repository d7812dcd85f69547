//! The text on a picture: signs, documents, screens.

use gemma_types::{Frame, Part};
use serde::Serialize;

use super::{Ask, Said, Task, TaskError, exact, only};
use crate::gemma::generate::ReplyOptions;

/// Soft tokens for small letters: the most there are.
const IMAGE_BUDGET: usize = 1120;

/// Tokens of the text at most: two dense pages.
const REPLY_TOKENS_MAX: usize = 4096;

/// Reads the text on a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadText {
    /// The picture.
    pub picture: Frame,
}

/// The text on a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextInPicture {
    /// The text, its lines kept; empty where there is none.
    pub text: String,
}

impl Task for ReadText {
    type Answer = TextInPicture;

    fn asks(&self) -> Result<Vec<Ask>, TaskError> {
        let options = ReplyOptions { image_budget: Some(IMAGE_BUDGET), ..exact(REPLY_TOKENS_MAX) };
        let words = "Read all the text in this image, from top to bottom. Only output the text, \
                     keep its line breaks, and add nothing.";
        Ok(vec![Ask::of(vec![Part::Image(self.picture.clone())], words.to_owned(), options)])
    }

    fn read(&self, said: &[Said]) -> Result<TextInPicture, TaskError> {
        let text = unfenced(only(said)?.whole_text()?).to_owned();
        Ok(TextInPicture { text })
    }
}

/// A text without the fence that some answers put around all of it.
fn unfenced(text: &str) -> &str {
    let inside = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inside.and_then(|inside| inside.split_once('\n')) {
        Some((_, lines)) if !lines.contains("```") => lines.trim_end(),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_around_the_text_is_not_part_of_it() {
        let check = |text: &str, expected: &str| assert_eq!(unfenced(text), expected);
        check("EXIT\nNo smoking", "EXIT\nNo smoking");
        check("```text\nEXIT\nNo smoking\n```", "EXIT\nNo smoking");
        check("```\nEXIT\n```", "EXIT");
        check("``` and ```", "``` and ```");
        check("```\na\n``` and ```\nb\n```", "```\na\n``` and ```\nb\n```");
        check("", "");
    }
}
