//! Where things are on a picture.

use gemma_types::{Frame, Part};

use super::{Ask, Boxes, Reading, Said, Task, TaskError, boxes, exact, excerpt, only};
use crate::gemma::generate::ReplyOptions;
use crate::grammar::Constraint;

/// Soft tokens with which things of a usual size are found.
const IMAGE_BUDGET: usize = 560;

/// Tokens of the list at most: about a hundred boxes.
const REPLY_TOKENS_MAX: usize = 4096;

/// Names in one question at most.
const LABELS_MAX: usize = 32;

/// Letters of a name at most.
const LABEL_LETTERS_MAX: usize = 64;

/// Finds things on a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Detect {
    /// The picture.
    pub picture: Frame,
    /// What to look for, in words: `person`, `red car`, `the save button`.
    pub labels: Vec<String>,
    /// How exact the answer must be.
    pub reading: Reading,
}

impl Detect {
    /// `detect a, b and c`, as the model was trained.
    fn words(&self) -> Result<String, TaskError> {
        let labels: Vec<&str> = self.labels.iter().map(|label| label.trim()).collect();
        if let Some(wrong) = labels.iter().find(|label| !fits(label)) {
            return Err(TaskError::Label(excerpt(wrong)));
        }
        let list = match labels.as_slice() {
            [] => return Err(TaskError::Label(String::new())),
            all if all.len() > LABELS_MAX => {
                return Err(TaskError::Label(excerpt(&all.join(", "))));
            }
            [one] => (*one).to_owned(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        };
        Ok(format!("detect {list}, output only ```json"))
    }
}

fn fits(label: &str) -> bool {
    let letters = label.chars().count();
    (1..=LABEL_LETTERS_MAX).contains(&letters) && !label.chars().any(char::is_control)
}

impl Task for Detect {
    type Answer = Boxes;

    fn asks(&self) -> Result<Vec<Ask>, TaskError> {
        let options = ReplyOptions {
            image_budget: Some(IMAGE_BUDGET),
            constraint: Constraint::Regex(boxes::pattern()),
            ..exact(REPLY_TOKENS_MAX)
        };
        Ok(vec![Ask::of(vec![Part::Image(self.picture.clone())], self.words()?, options)])
    }

    fn read(&self, said: &[Said]) -> Result<Boxes, TaskError> {
        let said = only(said)?;
        let text = match self.reading {
            // A list that was cut still holds whole boxes.
            Reading::Forgiving => said.text.trim(),
            Reading::Strict => said.whole_text()?,
        };
        let Frame { width, height, .. } = self.picture;
        let mut boxes = Boxes::read(text, width, height, self.reading)?;
        if let [label] = self.labels.as_slice() {
            let unnamed = boxes.found.iter_mut().filter(|found| found.label.is_empty());
            unnamed.for_each(|found| label.trim().clone_into(&mut found.label));
        }
        if !said.whole {
            boxes.passed_over.push(format!("all after token {}: the list was cut", said.tokens));
        }
        Ok(boxes)
    }
}
