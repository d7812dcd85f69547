#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use serde_json::json;

use super::*;

/// The shape of one property.
fn shape(property: &Value) -> Result<Shape, GrammarError> {
    let schema = json!({
        "type": "object",
        "properties": {"p": property},
        "$defs": {
            "unit": {"enum": ["c", "f"]},
            "self": {"properties": {"again": {"$ref": "#/$defs/self"}}},
        },
    });
    Ok(arguments("f", &schema)?.swap_remove(0).shape)
}

fn check(property: &Value, expected: &Shape) {
    assert_eq!(&shape(property).unwrap(), expected, "{property}");
}

fn text() -> Shape {
    Shape::Text { length: Count::default(), pattern: None }
}

#[test]
fn a_schema_becomes_a_shape() {
    let whole = Shape::Integer(Range::default());
    let null = Shape::Literals(vec![Value::Null]);
    check(&json!({}), &Shape::Any);
    check(&json!(true), &Shape::Any);
    check(&json!({"type": "string", "format": "date", "x-y": 1}), &text());
    check(&json!({"type": "boolean"}), &Shape::Boolean);
    check(&json!({"type": ["integer", "null"]}), &Shape::OneOf(vec![whole.clone(), null.clone()]));
    check(&json!({"type": ["integer", "number"]}), &Shape::Number(Range::default()));
    check(
        &json!({"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "t"}),
        &Shape::OneOf(vec![whole.clone(), null]),
    );
    check(&json!({"enum": [1, "a"], "type": "string"}), &Shape::Literals(vec![json!("a")]));
    check(&json!({"enum": [1, 5, 9], "maximum": 5}), &Shape::Literals(vec![json!(1), json!(5)]));
    check(&json!({"const": {"a": 1}}), &Shape::Literals(vec![json!({"a": 1})]));
    check(
        &json!({"$ref": "#/$defs/unit", "description": "d"}),
        &Shape::Literals(vec![json!("c"), json!("f")]),
    );
    check(
        &json!({"minLength": 2}),
        &Shape::Text { length: Count { least: 2, most: None }, pattern: None },
    );
    let count = Count { least: 1, most: Some(3) };
    check(
        &json!({"items": {"type": "integer"}, "minItems": 1, "maxItems": 3}),
        &Shape::Array { items: Box::new(whole.clone()), count },
    );
    check(
        &json!({"additionalProperties": {"type": "integer"}}),
        &Shape::Map { values: Box::new(whole.clone()), count: Count::default() },
    );
    check(&json!({"type": "object", "additionalProperties": false}), &Shape::Object(vec![]));
    let member =
        |name: &str, required| Member { name: name.into(), required, shape: whole.clone() };
    let properties = json!({"b": {"type": "integer"}, "A": {"type": "integer"}});
    check(
        &json!({"allOf": [{"properties": properties}, {"required": ["b"]}]}),
        &Shape::Object(vec![member("A", false), member("b", true)]),
    );
    check(
        &json!({"required": ["z"], "properties": {}}),
        &Shape::Object(vec![Member { name: "z".into(), required: true, shape: Shape::Any }]),
    );
}

#[test]
fn a_tool_may_take_no_arguments() {
    for schema in [
        json!(null),
        json!({}),
        json!({"type": "object"}),
        json!({"type": "object", "properties": {}}),
    ] {
        assert_eq!(arguments("f", &schema), Ok(vec![]), "{schema}");
    }
}

#[test]
fn what_a_grammar_cannot_keep_is_refused_with_its_place() {
    let refused = |property: &Value, expected: &str| {
        let error = shape(property).unwrap_err().to_string();
        assert!(error.starts_with("the schema of the tool \"f\", at \"/properties/p"), "{error}");
        assert!(error.contains(expected), "{error}");
    };
    refused(&json!({"not": {}}), "cannot keep not");
    refused(&json!({"items": {"if": {}}}), "/properties/p/items\": a grammar cannot keep if");
    refused(&json!({"uniqueItems": true, "type": "array"}), "uniqueItems");
    refused(&json!({"type": "thing"}), "its type is none of null");
    refused(&json!({"type": 3}), "its type is none of null");
    refused(&json!(false), "no value fits");
    refused(&json!(3), "no schema");
    refused(&json!({"$ref": "#/$defs/self"}), "leads to itself");
    refused(&json!({"$ref": "#/nowhere"}), "is not found");
    refused(&json!({"$ref": "https://example.org"}), "is not found");
    refused(&json!({"enum": []}), "at least one");
    refused(&json!({"enum": ["a"], "type": "integer"}), "none of the values");
    refused(&json!({"minItems": 5, "maxItems": 2}), "minItems");
    refused(&json!({"minLength": -1}), "minLength");
    refused(&json!({"minimum": "a"}), "minimum");
    refused(&json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "several of oneOf");
    refused(&json!({"required": "a"}), "no list of names");
    refused(&json!({"properties": {"a": {}}, "minProperties": 1}), "minProperties");
    refused(&json!({"type": "object", "minProperties": 2}), "minProperties");
    refused(&json!({"allOf": [{"minimum": 1}, {"minimum": 2}]}), "two different minimum");
    refused(&json!({"required": ["z"], "additionalProperties": false}), "no value fits");
    let mut deep = json!({"type": "string"});
    for _ in 0..40 {
        deep = json!({"items": {"properties": {"a": deep}}});
    }
    refused(&deep, "nested deeper");
    let mut lists = json!({"type": "string"});
    for _ in 0..35 {
        lists = json!({"items": lists});
    }
    refused(&lists, "nested deeper");
}

#[test]
fn references_without_end_are_refused() {
    let mut definitions = Map::new();
    for level in 0..5000 {
        let next = json!({"allOf": [{"$ref": format!("#/$defs/d{}", level + 1)}]});
        definitions.insert(format!("d{level}"), next);
    }
    let schema = json!({"$ref": "#/$defs/d0", "$defs": definitions});
    let error = arguments("f", &schema).unwrap_err().to_string();
    assert!(error.contains("too many in a row"), "{error}");
}

#[test]
fn a_schema_that_doubles_at_every_step_is_refused() {
    let mut definitions = Map::new();
    for level in 0..20 {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        definitions.insert(format!("d{level}"), json!({"properties": {"a": next, "b": next}}));
    }
    definitions.insert("d20".into(), json!({"type": "string"}));
    let schema = json!({"$ref": "#/$defs/d0", "$defs": definitions});
    let error = arguments("f", &schema).unwrap_err().to_string();
    assert!(error.contains("too large"), "{error}");
}
