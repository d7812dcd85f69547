//! Boxes out of an answer that is nearly what was asked for: words around the list, several lists, a
//! list that was cut, other names for the edges, single quotes, a comma too many.

use serde_json::{Deserializer, Value};

use super::{GRID, GridBox, Members};

/// Names that models give to the edges of a box.
const EDGES: [&str; 6] = ["box_2d", "bbox_2d", "box2d", "bbox", "box", "bounding_box"];

/// Names that models give to what a box is around.
const LABELS: [&str; 3] = ["label", "name", "class"];

/// Objects that are looked at; an answer with more is no list of things on a picture.
const OBJECTS_MAX: usize = 1000;

/// Reads what can be read, and says what cannot.
pub(super) fn read(answer: &str) -> Result<(Vec<GridBox>, Vec<String>), String> {
    let (mut boxes, mut problems) = (Vec::new(), Vec::new());
    let mut rest = answer;
    let mut objects = 0;
    while let Some(start) = rest.find('{').filter(|_| objects < OBJECTS_MAX) {
        objects += 1;
        rest = &rest[start..];
        match object(rest) {
            Ok((value, length)) => {
                let before = boxes.len() + problems.len();
                collect(&value, &mut boxes, &mut problems);
                if boxes.len() + problems.len() == before {
                    problems.push(format!("{}: it has no box", shown(&value.to_string())));
                }
                rest = &rest[length..];
            }
            Err(reason) => {
                problems.push(reason);
                rest = &rest[1..];
            }
        }
    }
    let empty_list = || answer.split_whitespace().collect::<String>().contains("[]");
    match (boxes.is_empty(), problems.first()) {
        (true, Some(reason)) => Err(reason.clone()),
        (true, None) if !empty_list() => Err("there is no JSON in it".to_owned()),
        _ => Ok((boxes, problems)),
    }
}

/// The object that a text begins with, and its length; one that is not quite JSON is mended.
fn object(text: &str) -> Result<(Value, usize), String> {
    let mut values = Deserializer::from_str(text).into_iter::<Value>();
    let error = match values.next() {
        Some(Ok(value)) => return Ok((value, values.byte_offset())),
        Some(Err(error)) => error.to_string(),
        None => "it is empty".to_owned(),
    };
    let Some(length) = text.find('}').map(|end| end + 1) else {
        return Err(format!("{}: it was cut", shown(text)));
    };
    match serde_json::from_str(&mended(&text[..length])) {
        Ok(value) => Ok((value, length)),
        Err(_) => Err(format!("{}: {error}", shown(&text[..length]))),
    }
}

/// A text with double quotes for single ones and without a comma before a closing bracket.
fn mended(text: &str) -> String {
    let mut mended = String::new();
    for letter in text.chars() {
        match letter {
            '\'' if !text.contains('"') => mended.push('"'),
            ']' | '}' => {
                let kept = mended.trim_end().trim_end_matches(',').len();
                mended.truncate(kept);
                mended.push(letter);
            }
            other => mended.push(other),
        }
    }
    mended
}

/// Collects the boxes of a value, however deep they lie; the depth of JSON is limited.
fn collect(value: &Value, boxes: &mut Vec<GridBox>, problems: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, boxes, problems)),
        Value::Object(members) => match EDGES.iter().find_map(|name| members.get(*name)) {
            Some(edges) => match edges_of(edges) {
                Ok(edges) => boxes.push(GridBox { label: label(members), edges }),
                Err(reason) => problems.push(format!("{}: {reason}", shown(&value.to_string()))),
            },
            None => members.values().for_each(|member| collect(member, boxes, problems)),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn label(members: &Members) -> String {
    let label = LABELS.iter().find_map(|name| members.get(*name)?.as_str());
    label.unwrap_or_default().trim().to_owned()
}

/// Four numbers, put in order and brought onto the grid.
fn edges_of(value: &Value) -> Result<[f64; 4], String> {
    let numbers = value.as_array().map(|list| list.iter().map(Value::as_f64));
    let numbers: Option<Vec<f64>> = numbers.and_then(Iterator::collect);
    let Some(&[top, left, bottom, right]) = numbers.as_deref() else {
        return Err(format!("{} are not four numbers", shown(&value.to_string())));
    };
    let ordered = [top.min(bottom), left.min(right), top.max(bottom), left.max(right)];
    let [top, left, bottom, right] = ordered.map(|edge| edge.clamp(0.0, GRID));
    match top < bottom && left < right {
        true => Ok([top, left, bottom, right]),
        false => Err("a side has no length".to_owned()),
    }
}

/// The beginning of a text, short enough for a list of problems.
fn shown(text: &str) -> String {
    const LETTERS_MAX: usize = 80;
    let mut shown: String = text.chars().take(LETTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str(" ...");
    }
    shown.replace('\n', " ")
}
