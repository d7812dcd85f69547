//! Tool declarations in the form that chat templates read.
//!
//! Templates know a small part of JSON Schema and print malformed declarations for the rest, so a
//! schema is brought into that part first: every type one word, nothing where a list was expected.

use gemma_types::ToolSpec;
use serde_json::{Map, Value, json};

/// Writes one declaration.
pub(super) fn write(tool: &ToolSpec) -> Value {
    let mut function = Map::new();
    function.insert("name".into(), json!(tool.name));
    function.insert("description".into(), json!(tool.description));
    if tool.parameters.as_object().is_some_and(|schema| !schema.is_empty()) {
        let mut parameters = normal(&tool.parameters);
        parameters.insert("type".into(), json!("object"));
        function.insert("parameters".into(), Value::Object(parameters));
    }
    json!({"type": "function", "function": function})
}

/// Marks the properties that are named like keywords of a schema, for templates that leave those out.
pub(super) fn mark_names(tool: &mut Value, mark: char) {
    if let Some(parameters) = tool.pointer_mut("/function/parameters") {
        mark_properties(parameters, mark);
    }
}

fn mark_properties(schema: &mut Value, mark: char) {
    const KEYWORDS: [&str; 5] = ["description", "type", "properties", "required", "nullable"];
    if let Some(items) = schema.get_mut("items") {
        mark_properties(items, mark);
    }
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    let marked = std::mem::take(properties).into_iter().map(|(mut name, mut property)| {
        mark_properties(&mut property, mark);
        if KEYWORDS.contains(&name.as_str()) {
            name.push(mark);
        }
        (name, property)
    });
    *properties = marked.collect();
}

/// A schema with one type and only well-formed members.
fn normal(schema: &Value) -> Map<String, Value> {
    let mut schema = schema.as_object().cloned().unwrap_or_default();
    choose_alternative(&mut schema);
    choose_type(&mut schema);
    keep_if(&mut schema, "description", Value::is_string);
    keep_if(&mut schema, "enum", Value::is_array);
    keep_if(&mut schema, "required", Value::is_array);
    keep_if(&mut schema, "items", Value::is_object);
    keep_if(&mut schema, "properties", Value::is_object);
    if let Some(items) = schema.get_mut("items") {
        *items = Value::Object(normal(items));
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            *property = Value::Object(normal(property));
        }
    } else if is_type(&schema, "object") {
        // Without properties, a template takes the other members of the schema for properties.
        schema.insert("properties".into(), json!({}));
    }
    schema
}

/// Takes the first alternative that is not null, and remembers that null was one.
fn choose_alternative(schema: &mut Map<String, Value>) {
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(alternatives)) = schema.remove(key) else { continue };
        let (null, other): (Vec<_>, Vec<_>) =
            alternatives.into_iter().partition(|alternative| alternative["type"] == "null");
        if !null.is_empty() {
            schema.insert("nullable".into(), json!(true));
        }
        let Some(Value::Object(chosen)) = other.into_iter().next() else { continue };
        for (key, value) in chosen {
            schema.entry(key).or_insert(value);
        }
    }
}

/// Makes the type one word; without one, tells it from the other members.
fn choose_type(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get("type") {
        let nullable = types.iter().any(|one| one == "null");
        let chosen = types.iter().find(|one| *one != "null").cloned();
        schema.insert("type".into(), chosen.unwrap_or_else(|| json!("string")));
        if nullable {
            schema.insert("nullable".into(), json!(true));
        }
    }
    if let Some(constant @ Value::String(_)) = schema.remove("const") {
        schema.entry("enum").or_insert_with(|| json!([constant]));
    }
    if !schema.get("type").is_some_and(Value::is_string) {
        let told = if schema.contains_key("properties") {
            "object"
        } else if schema.contains_key("items") {
            "array"
        } else {
            "string"
        };
        schema.insert("type".into(), json!(told));
    }
}

fn is_type(schema: &Map<String, Value>, name: &str) -> bool {
    let found = schema.get("type").and_then(Value::as_str);
    found.is_some_and(|found| found.eq_ignore_ascii_case(name))
}

fn keep_if(schema: &mut Map<String, Value>, key: &str, well_formed: fn(&Value) -> bool) {
    if schema.get(key).is_some_and(|value| !well_formed(value)) {
        schema.shift_remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &Value, expected: &Value) {
        assert_eq!(&Value::Object(normal(schema)), expected, "{schema}");
    }

    #[test]
    fn a_schema_becomes_one_that_templates_understand() {
        check(&json!({"type": "integer"}), &json!({"type": "integer"}));
        check(&json!({}), &json!({"type": "string"}));
        check(&json!(true), &json!({"type": "string"}));
        check(&json!({"type": ["null", "integer"]}), &json!({"type": "integer", "nullable": true}));
        check(
            &json!({"anyOf": [{"type": "null"}, {"type": "number"}], "description": "d"}),
            &json!({"description": "d", "nullable": true, "type": "number"}),
        );
        check(&json!({"const": "a"}), &json!({"enum": ["a"], "type": "string"}));
        check(&json!({"type": "object"}), &json!({"type": "object", "properties": {}}));
        check(&json!({"type": "array", "items": true}), &json!({"type": "array"}));
        check(
            &json!({"items": {"type": ["string", "null"]}, "required": "x", "description": 3}),
            &json!({"items": {"type": "string", "nullable": true}, "type": "array"}),
        );
        check(
            &json!({"properties": {"type": {"enum": ["a"]}}}),
            &json!({"properties": {"type": {"enum": ["a"], "type": "string"}}, "type": "object"}),
        );
    }

    #[test]
    fn a_tool_without_parameters_declares_none() {
        let tool = |parameters| ToolSpec { name: "n".into(), description: "d".into(), parameters };
        let bare = json!({"type": "function", "function": {"name": "n", "description": "d"}});
        assert_eq!(write(&tool(Value::Null)), bare);
        assert_eq!(write(&tool(json!({}))), bare);
    }
}
