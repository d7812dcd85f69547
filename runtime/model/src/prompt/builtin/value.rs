//! Values as they stand in declarations, calls and results.

use serde_json::{Map, Value};

use crate::prompt::jinja::python_float;

/// What an object holds under a key; nothing counts as `null`.
pub(super) fn member<'value>(value: &'value Value, key: &str) -> &'value Value {
    value.get(key).unwrap_or(&Value::Null)
}

/// Whether a value counts as true in a condition.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(bool) => *bool,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// A value as it prints where words are expected; nothing where there is none.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            written(value, false)
        }
    }
}

/// A value of a call; `quoted_keys` is how declarations write the keys of theirs.
pub(super) fn written(value: &Value, quoted_keys: bool) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Number(number) => match (number.is_f64(), number.as_f64()) {
            (true, Some(fraction)) => python_float(fraction),
            _ => number.to_string(),
        },
        Value::String(text) => format!("<|\"|>{text}<|\"|>"),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| written(item, quoted_keys)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(object) => format!("{{{}}}", members(object, quoted_keys)),
    }
}

/// The members of an object, sorted.
pub(super) fn members(object: &Map<String, Value>, quoted_keys: bool) -> String {
    let member = |(key, value): (&String, &Value)| {
        let value = written(value, quoted_keys);
        if quoted_keys { format!("<|\"|>{key}<|\"|>:{value}") } else { format!("{key}:{value}") }
    };
    sorted(object).into_iter().map(member).collect::<Vec<_>>().join(",")
}

/// The members of an object in the order of their keys, whatever their case.
pub(super) fn sorted(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = object.iter().collect();
    members.sort_by_key(|(key, _)| key.to_lowercase());
    members
}
