//! Arguments against a schema: every mismatch in words that let the model call again correctly.

use serde_json::{Map, Value};

use super::{Bounds, Kind, Others, Schema};

/// Mismatches that are told; a model does not read a longer list.
const MISMATCHES_MAX: usize = 5;
/// Characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 40;

/// Checks the arguments of a call.
pub(super) fn arguments(schema: &Schema, arguments: &Map<String, Value>) -> Result<(), String> {
    let mut mismatches = Vec::new();
    object(schema, "", arguments, &mut mismatches);
    if mismatches.is_empty() {
        return Ok(());
    }
    mismatches.truncate(MISMATCHES_MAX);
    Err(mismatches.join("; "))
}

fn value(schema: &Schema, place: &str, value: &Value, mismatches: &mut Vec<String>) {
    if !schema.kinds.is_empty() && !schema.kinds.iter().any(|kind| is(*kind, value)) {
        let kinds: Vec<&str> = schema.kinds.iter().map(|kind| in_words(*kind)).collect();
        mismatches.push(format!("{place} must be {}, not {}", kinds.join(" or "), short(value)));
        return;
    }
    if let Some(only) = &schema.only
        && !only.iter().any(|choice| same(choice, value))
    {
        let choices: Vec<String> = only.iter().map(short).collect();
        mismatches.push(format!("{place} must be {}, not {}", choices.join(" or "), short(value)));
    }
    match value {
        Value::Number(given) => number(schema, place, given.as_f64(), mismatches),
        Value::String(text) => {
            bounds(schema.length, place, text.chars().count(), "characters", mismatches);
        }
        Value::Array(items) => array(schema, place, items, mismatches),
        Value::Object(properties) => object(schema, place, properties, mismatches),
        Value::Null | Value::Bool(_) => {}
    }
}

fn object(schema: &Schema, place: &str, given: &Map<String, Value>, mismatches: &mut Vec<String>) {
    for name in schema.required.iter().filter(|name| !given.contains_key(*name)) {
        mismatches.push(format!("{} is missing", inside(place, name)));
    }
    for (name, given) in given {
        let place = inside(place, name);
        let declared = schema.properties.iter().find(|(known, _)| known == name);
        match (declared, &schema.others) {
            (Some((_, schema)), _) => value(schema, &place, given, mismatches),
            (None, Others::Fit(schema)) => value(schema, &place, given, mismatches),
            (None, Others::Accepted) => {}
            (None, Others::Refused) => mismatches.push(unknown(&place, schema)),
        }
    }
}

fn unknown(place: &str, schema: &Schema) -> String {
    let names: Vec<&str> = schema.properties.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return format!("{place} is unknown; there are no arguments");
    }
    format!("{place} is unknown; there are {}", names.join(", "))
}

fn array(schema: &Schema, place: &str, items: &[Value], mismatches: &mut Vec<String>) {
    bounds(schema.count, place, items.len(), "elements", mismatches);
    let Some(schema) = &schema.items else { return };
    for (index, item) in items.iter().enumerate() {
        if mismatches.len() >= MISMATCHES_MAX {
            return;
        }
        value(schema, &format!("{place}[{index}]"), item, mismatches);
    }
}

fn number(schema: &Schema, place: &str, given: Option<f64>, mismatches: &mut Vec<String>) {
    let Some(given) = given else { return };
    let mut expect = |fits: bool, relation: &str, bound: f64| {
        if !fits {
            mismatches.push(format!("{place} must be {relation} {bound}, not {given}"));
        }
    };
    if let Some(bound) = schema.at_least {
        expect(given >= bound, "at least", bound);
    }
    if let Some(bound) = schema.at_most {
        expect(given <= bound, "at most", bound);
    }
    if let Some(bound) = schema.above {
        expect(given > bound, "above", bound);
    }
    if let Some(bound) = schema.below {
        expect(given < bound, "below", bound);
    }
}

fn bounds(bounds: Bounds, place: &str, given: usize, what: &str, mismatches: &mut Vec<String>) {
    let given = u64::try_from(given).unwrap_or(u64::MAX);
    if let Some(least) = bounds.least.filter(|least| given < *least) {
        mismatches.push(format!("{place} must have at least {least} {what}, not {given}"));
    }
    if let Some(most) = bounds.most.filter(|most| given > *most) {
        mismatches.push(format!("{place} must have at most {most} {what}, not {given}"));
    }
}

fn is(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Null => value.is_null(),
        Kind::Boolean => value.is_boolean(),
        Kind::Integer => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        Kind::Number => value.is_number(),
        Kind::String => value.is_string(),
        Kind::Array => value.is_array(),
        Kind::Object => value.is_object(),
    }
}

fn in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Boolean => "true or false",
        Kind::Integer => "a whole number",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Array => "an array",
        Kind::Object => "an object",
    }
}

/// Equality of JSON Schema: 1 and 1.0 are the same number.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

fn inside(place: &str, name: &str) -> String {
    let name: String = name.chars().take(VALUE_CHARS_MAX).collect();
    if place.is_empty() { name } else { format!("{place}.{name}") }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    format!("{}...", text.chars().take(VALUE_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn light() -> Schema {
        Schema::parse(&json!({
            "type": "object",
            "properties": {
                "room": {"type": "string", "minLength": 1, "maxLength": 20},
                "state": {"type": "string", "enum": ["on", "off"]},
                "brightness": {"type": "integer", "minimum": 0, "maximum": 100},
                "colours": {"type": "array", "maxItems": 2, "items": {"type": "number"}},
                "fade": {"type": "object", "properties": {"ms": {"type": ["integer", "null"]}}},
            },
            "required": ["room", "state"],
        }))
        .unwrap()
    }

    fn check(schema: &Schema, given: Value, expected: Result<(), &str>) {
        let Value::Object(given) = given else { unreachable!("arguments are objects") };
        assert_eq!(schema.check(&given), expected.map_err(str::to_owned), "{given:?}");
    }

    #[test]
    fn arguments_that_fit_are_accepted() {
        check(&light(), json!({"room": "hall", "state": "on"}), Ok(()));
        check(&light(), json!({"room": "hall", "state": "on", "brightness": 40.0}), Ok(()));
        check(&light(), json!({"room": "ä", "state": "off", "fade": {"ms": null}}), Ok(()));
        check(&light(), json!({"room": "x", "state": "off", "colours": [1, 2.5]}), Ok(()));
    }

    #[test]
    fn each_mismatch_is_told_with_what_would_be_right() {
        let check = |given, expected| check(&light(), given, Err(expected));
        check(json!({}), "room is missing; state is missing");
        check(json!({"room": 3, "state": "on"}), "room must be a string, not 3");
        check(json!({"room": "x", "state": "dim"}), r#"state must be "on" or "off", not "dim""#);
        check(
            json!({"room": "x", "state": "on", "brightness": 40.5}),
            "brightness must be a whole number, not 40.5",
        );
        check(
            json!({"room": "x", "state": "on", "brightness": 101}),
            "brightness must be at most 100, not 101",
        );
        check(json!({"room": "", "state": "on"}), "room must have at least 1 characters, not 0");
        check(
            json!({"room": "x", "state": "on", "color": "red"}),
            "color is unknown; there are room, state, brightness, colours, fade",
        );
        check(
            json!({"room": "x", "state": "on", "colours": [1, "b"]}),
            r#"colours[1] must be a number, not "b""#,
        );
        check(
            json!({"room": "x", "state": "on", "fade": {"ms": "long"}}),
            r#"fade.ms must be a whole number or null, not "long""#,
        );
    }

    #[test]
    fn other_properties_follow_the_schema() {
        let open = Schema::parse(&json!({"type": "object", "additionalProperties": true})).unwrap();
        check(&open, json!({"a": [1]}), Ok(()));
        let typed = json!({"type": "object", "additionalProperties": {"type": "integer"}});
        let typed = Schema::parse(&typed).unwrap();
        check(&typed, json!({"a": 1}), Ok(()));
        check(&typed, json!({"a": "b"}), Err(r#"a must be a whole number, not "b""#));
        let none = Schema::parse(&json!({"type": "object", "properties": {}})).unwrap();
        check(&none, json!({"a": 1}), Err("a is unknown; there are no arguments"));
    }

    #[test]
    fn a_constant_compares_numbers_by_value() {
        let one = json!({"type": "object", "properties": {"n": {"const": 1}}});
        let one = Schema::parse(&one).unwrap();
        check(&one, json!({"n": 1.0}), Ok(()));
        check(&one, json!({"n": 2}), Err("n must be 1, not 2"));
    }

    proptest! {
        #[test]
        fn a_refusal_stays_short(name in ".{0,200}", text in ".{0,200}") {
            let given = json!({"room": [text], "state": name.clone(), name: 1});
            let Value::Object(given) = given else { unreachable!("arguments are objects") };
            if let Err(refusal) = light().check(&given) {
                prop_assert!(refusal.len() < 1_500, "{refusal}");
            }
        }
    }
}
