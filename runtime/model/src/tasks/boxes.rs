//! Boxes around things on a picture, read from an answer: a JSON list of objects with `box_2d`, the
//! top, left, bottom and right edge on a grid of 1000 by 1000, and `label`.

mod forgiving;

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{TaskError, excerpt};

/// Steps of the grid along each side of the picture.
const GRID: f64 = 1000.0;

/// How exact an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// Takes every box that can be made out, and says what was passed over.
    #[default]
    Forgiving,
    /// Refuses an answer that is not exactly the list that was asked for.
    Strict,
}

/// Things on a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Boxes {
    /// The things, in the order of the answer.
    #[serde(rename = "boxes")]
    pub found: Vec<DetectedBox>,
    /// What could not be made out in the answer, and why; empty for a strict reading.
    pub passed_over: Vec<String>,
}

/// One thing and where it is, in pixels of the picture as it was given; the origin is its top left
/// corner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DetectedBox {
    /// What it is.
    pub label: String,
    /// Left edge.
    pub x_min_px: u32,
    /// Top edge.
    pub y_min_px: u32,
    /// Right edge.
    pub x_max_px: u32,
    /// Bottom edge.
    pub y_max_px: u32,
}

/// A thing and its edges on the grid: top, left, bottom, right.
#[derive(Clone, Debug, PartialEq)]
struct GridBox {
    label: String,
    edges: [f64; 4],
}

impl Boxes {
    /// Reads an answer about a picture of `width` by `height` pixels.
    ///
    /// # Errors
    /// When the answer holds no list of boxes and, for a strict reading, when anything in it is not
    /// as it was asked for.
    pub fn read(answer: &str, width: u32, height: u32, how: Reading) -> Result<Self, TaskError> {
        let read = match how {
            Reading::Strict => strict(answer).map(|boxes| (boxes, Vec::new())),
            Reading::Forgiving => forgiving::read(answer),
        };
        let (boxes, passed_over) = read.map_err(|reason| TaskError::Unreadable {
            expected: "list of boxes",
            reason,
            answer: excerpt(answer),
        })?;
        let found = boxes.into_iter().map(|found| found.scaled(width, height)).collect();
        Ok(Self { found, passed_over })
    }
}

/// A regular expression of the list that is asked for, in a fence or without one.
pub(super) fn pattern() -> String {
    // Blanks are bounded, so that nothing is filled with them.
    let blank = "[ \\n]{0,12}";
    let edge = "(0|[1-9][0-9]{0,2}|1000)";
    let edges = format!("\"box_2d\": ?\\[{blank}{edge}(,{blank}{edge}){{3}}{blank}\\]");
    let label = r#""label": ?"[^"\\\x00-\x1f]{1,64}""#;
    let either = format!("({edges},{blank}{label}|{label},{blank}{edges})");
    let one = format!("\\{{{blank}{either}{blank}\\}}");
    let list = format!("\\[{blank}({one}(,{blank}{one})*{blank})?\\]");
    format!("(```json\\n{list}\\n```|{list})")
}

impl fmt::Display for Boxes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.found.iter().map(DetectedBox::to_string).collect();
        formatter.write_str(if lines.is_empty() { "nothing found" } else { "" })?;
        formatter.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for DetectedBox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, x_min_px, y_min_px, x_max_px, y_max_px } = self;
        write!(formatter, "{label}: x {x_min_px} to {x_max_px}, y {y_min_px} to {y_max_px}")
    }
}

impl GridBox {
    fn scaled(self, width: u32, height: u32) -> DetectedBox {
        let pixels = |edge: f64, side: u32| (edge / GRID * f64::from(side)).round() as u32;
        let [top, left, bottom, right] = self.edges;
        DetectedBox {
            label: self.label,
            x_min_px: pixels(left, width),
            y_min_px: pixels(top, height),
            x_max_px: pixels(right, width),
            y_max_px: pixels(bottom, height),
        }
    }
}

/// Exactly a JSON list, in a fence or without one.
fn strict(answer: &str) -> Result<Vec<GridBox>, String> {
    let answer = answer.trim();
    let fenced = answer.strip_prefix("```json").and_then(|rest| rest.strip_suffix("```"));
    let list: Vec<Value> = serde_json::from_str(fenced.unwrap_or(answer))
        .map_err(|error| format!("it is no JSON list: {error}"))?;
    let one = |(at, value): (usize, &Value)| {
        strict_box(value).map_err(|reason| format!("object {}: {reason}", at + 1))
    };
    list.iter().enumerate().map(one).collect()
}

fn strict_box(value: &Value) -> Result<GridBox, String> {
    let object = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
    if let Some(key) = object.keys().find(|key| !["box_2d", "label"].contains(&key.as_str())) {
        return Err(format!("it has {key:?}; expected box_2d and label"));
    }
    let label = match object.get("label") {
        Some(Value::String(label)) if !label.trim().is_empty() => label.trim().to_owned(),
        Some(other) => return Err(format!("its label is {other}; expected words")),
        None => return Err("it has no label".to_owned()),
    };
    let edges = object.get("box_2d").ok_or_else(|| "it has no box_2d".to_owned())?;
    let numbers = edges.as_array().map(|list| list.iter().map(Value::as_u64));
    let numbers: Option<Vec<u64>> = numbers.and_then(Iterator::collect);
    let Some(&[top, left, bottom, right]) = numbers.as_deref() else {
        return Err(format!("its box_2d is {edges}; expected four whole numbers from 0 to 1000"));
    };
    if top >= bottom || left >= right || bottom.max(right) > 1000 {
        return Err(format!(
            "its box_2d is {edges}; expected top, left, bottom, right from 0 to 1000, each side \
             longer than 0"
        ));
    }
    let edges = [top, left, bottom, right].map(|edge| edge as f64);
    Ok(GridBox { label, edges })
}

/// The members of an object that may be a box.
type Members = Map<String, Value>;

#[cfg(test)]
mod tests;
