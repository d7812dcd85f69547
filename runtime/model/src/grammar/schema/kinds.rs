//! JSON types: of values, of what keywords speak of, and of what fits a shape.

use serde_json::{Map, Value};

use super::Shape;

/// The type that keywords speak of where none is named.
pub(super) fn told_kinds(schema: &Map<String, Value>) -> Vec<&'static str> {
    const TELLING: [(&str, &str); 13] = [
        ("properties", "object"),
        ("required", "object"),
        ("additionalProperties", "object"),
        ("items", "array"),
        ("minItems", "array"),
        ("maxItems", "array"),
        ("pattern", "string"),
        ("minLength", "string"),
        ("maxLength", "string"),
        ("minimum", "number"),
        ("maximum", "number"),
        ("exclusiveMinimum", "number"),
        ("exclusiveMaximum", "number"),
    ];
    let told = TELLING.iter().find(|(keyword, _)| schema.contains_key(*keyword));
    told.map(|(_, kind)| *kind).into_iter().collect()
}

/// Whether a value is of a type.
pub(super) fn is_kind(value: &Value, kind: &str) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => {
            let whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
            kind == "number" || (kind == "integer" && whole)
        }
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    }
}

/// Whether no value fits two of these shapes, as far as their types tell, or their lists of values.
pub(super) fn disjoint(shapes: &[Shape]) -> bool {
    let apart = |one: &Shape, other: &Shape| match (one, other) {
        (Shape::Literals(one), Shape::Literals(other)) => {
            !one.iter().any(|value| other.contains(value))
        }
        (one, other) => {
            let kinds = kinds_of(other);
            !kinds_of(one).iter().any(|kind| kinds.contains(kind))
        }
    };
    let mut shapes = shapes.iter();
    while let Some(one) = shapes.next() {
        if !shapes.clone().all(|other| apart(one, other)) {
            return false;
        }
    }
    true
}

/// Types of the values that fit a shape; whole numbers count as numbers.
fn kinds_of(shape: &Shape) -> Vec<&'static str> {
    match shape {
        Shape::Any => vec!["null", "boolean", "number", "string", "array", "object"],
        Shape::Literals(values) => {
            let all = ["null", "boolean", "number", "string", "array", "object"];
            all.into_iter().filter(|kind| values.iter().any(|value| is_kind(value, kind))).collect()
        }
        Shape::Boolean => vec!["boolean"],
        Shape::Integer(_) | Shape::Number(_) => vec!["number"],
        Shape::Text { .. } => vec!["string"],
        Shape::Array { .. } => vec!["array"],
        Shape::Object(_) | Shape::Map { .. } => vec!["object"],
        Shape::OneOf(shapes) => shapes.iter().flat_map(kinds_of).collect(),
    }
}
