//! How an answer compares with what is right: word by word, box by box, or as a whole.

mod overlap; // boxes
mod words; // sentences

use gemma_runtime::tasks::{Boxes, Reading};
use gemma_types::{Arguments, ToolCall};
use serde::Deserialize;
use serde_json::Value;

use overlap::{Edges, edges, mean_overlap};
use words::{errors, spoken};

/// Sides of the grid on which boxes are judged.
const GRID: u32 = 1000;

/// What is right to answer, as a held-out conversation says it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "judged", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Expected {
    /// Exactly these thoughts, calls and words.
    Exact {
        #[serde(default)]
        thought: String,
        #[serde(default)]
        calls: Vec<Call>,
        #[serde(default)]
        text: String,
    },
    /// These words; a part of them may be wrong.
    Words { text: String },
    /// This JSON value.
    Json { value: Value },
    /// A list of these boxes.
    Boxes { boxes: Vec<Edges> },
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    name: String,
    arguments: Arguments,
}

/// What the model said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Given {
    pub(super) thought: String,
    pub(super) calls: Vec<ToolCall>,
    pub(super) text: String,
}

/// What is measured of the answers to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Measure {
    /// Answers that are right in every character.
    Exact,
    /// Wrong words over words that were said.
    WordErrors,
    /// Answers that can be read at all.
    Valid,
    /// JSON that says what is right.
    Right,
    /// Overlap of boxes with the right ones.
    Overlap,
}

impl Measure {
    /// All of them.
    pub(super) const ALL: [Self; 5] =
        [Self::Exact, Self::WordErrors, Self::Valid, Self::Right, Self::Overlap];

    /// The name in files.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::WordErrors => "word_errors",
            Self::Valid => "valid",
            Self::Right => "right",
            Self::Overlap => "overlap",
        }
    }

    /// The words in the table, with the unit.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Exact => "exact, %",
            Self::WordErrors => "wrong words, %",
            Self::Valid => "valid, %",
            Self::Right => "right, %",
            Self::Overlap => "mean overlap (IoU)",
        }
    }

    /// Whether less is better.
    pub(super) const fn counts_errors(self) -> bool {
        matches!(self, Self::WordErrors)
    }

    /// What a share is multiplied by.
    pub(super) const fn scale(self) -> f64 {
        match self {
            Self::Exact | Self::WordErrors | Self::Valid | Self::Right => 100.0,
            Self::Overlap => 1.0,
        }
    }
}

/// So much of so much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) part: f64,
    pub(super) whole: f64,
}

impl Share {
    /// The share of a number; of nothing it is all, as nothing was wrong.
    pub(super) fn times(self, scale: f64) -> f64 {
        let Self { part, whole } = self;
        if whole > 0.0 { scale * part / whole } else { scale * part.min(1.0) }
    }
}

impl Expected {
    /// What is measured of an answer that is judged like this.
    pub(super) const fn measures(&self) -> &'static [Measure] {
        match self {
            Self::Exact { .. } => &[Measure::Exact],
            Self::Words { .. } => &[Measure::WordErrors],
            Self::Json { .. } => &[Measure::Valid, Measure::Right],
            Self::Boxes { .. } => &[Measure::Valid, Measure::Overlap],
        }
    }

    /// Judges an answer: a share for each measure. No answer is judged like an empty one.
    pub(super) fn judge(&self, given: &Given) -> Vec<(Measure, Share)> {
        let one = |part: f64| Share { part, whole: 1.0 };
        let whether = |is_so: bool| one(if is_so { 1.0 } else { 0.0 });
        match self {
            Self::Exact { .. } => vec![(Measure::Exact, whether(self.equals(given)))],
            Self::Words { text } => {
                let (said, heard) = (spoken(text), spoken(&given.text));
                let part = errors(&heard, &said) as f64;
                vec![(Measure::WordErrors, Share { part, whole: said.len() as f64 })]
            }
            Self::Json { value } => {
                let found = json(&given.text);
                let is_right = found.as_ref() == Some(value);
                vec![
                    (Measure::Valid, whether(found.is_some())),
                    (Measure::Right, whether(is_right)),
                ]
            }
            Self::Boxes { boxes } => {
                let found = Boxes::read(&given.text, GRID, GRID, Reading::Strict).ok();
                let is_valid = whether(found.is_some());
                let overlap = found.map_or(0.0, |found| mean_overlap(boxes, &edges(&found)));
                vec![(Measure::Valid, is_valid), (Measure::Overlap, one(overlap))]
            }
        }
    }

    /// Whether nothing is wrong with an answer.
    pub(super) fn is_right(&self, given: &Given) -> bool {
        match self {
            Self::Exact { .. } => self.equals(given),
            Self::Words { text } => spoken(text) == spoken(&given.text),
            Self::Json { value } => json(&given.text).as_ref() == Some(value),
            Self::Boxes { boxes } => Boxes::read(&given.text, GRID, GRID, Reading::Strict)
                .is_ok_and(|found| mean_overlap(boxes, &edges(&found)) > 0.99),
        }
    }

    fn equals(&self, given: &Given) -> bool {
        let Self::Exact { thought, calls, text } = self else { return false };
        let same = |(call, other): (&Call, &ToolCall)| {
            call.name == other.name && call.arguments == other.arguments
        };
        thought.trim() == given.thought.trim()
            && text.trim() == given.text.trim()
            && calls.len() == given.calls.len()
            && calls.iter().zip(&given.calls).all(same)
    }

    /// What is right, in one line.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Exact { thought, calls, text } => {
                let calls = calls.iter().map(|call| shown_call(&call.name, &call.arguments));
                shown(thought, calls, text)
            }
            Self::Words { text } => text.clone(),
            Self::Json { value } => value.to_string(),
            Self::Boxes { boxes } => boxes.iter().map(Edges::shown).collect::<Vec<_>>().join("; "),
        }
    }
}

impl Given {
    /// The answer in one line.
    pub(super) fn shown(&self) -> String {
        let calls = self.calls.iter().map(|call| shown_call(&call.name, &call.arguments));
        shown(&self.thought, calls, &self.text)
    }
}

fn shown_call(name: &str, arguments: &Arguments) -> String {
    format!("{name} {}", Value::Object(arguments.clone()))
}

fn shown(thought: &str, calls: impl Iterator<Item = String>, text: &str) -> String {
    let thought = thought.trim();
    let thought = (!thought.is_empty()).then(|| format!("({thought})"));
    let parts: Vec<String> =
        thought.into_iter().chain(calls).chain([text.trim().to_owned()]).collect();
    parts.join(" ").trim().to_owned()
}

/// The JSON in an answer, fenced or not.
fn json(text: &str) -> Option<Value> {
    let text = text.trim();
    let fenced = text.strip_prefix("```json").and_then(|rest| rest.strip_suffix("```"));
    serde_json::from_str(fenced.unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests;
