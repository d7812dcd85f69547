//! Declarations of tools: `declaration:NAME{description:...,parameters:{...}}`.
//!
//! Of a schema, the model learns descriptions, types, choices, items and what is required. Other
//! keywords are left out, but for those of the items of a list.

use serde_json::{Map, Value};

use super::value::{is_true, member, sorted, text, written};

/// Keywords of a schema that are no names of properties, where the two share a place.
const KEYWORDS: [&str; 5] = ["description", "type", "properties", "required", "nullable"];

/// Writes one declaration.
pub(super) fn write(tool: &Value) -> String {
    let function = member(tool, "function");
    let name = text(member(function, "name"));
    let mut out = format!("declaration:{name}{{{}", described(function));
    let parameters = member(function, "parameters");
    if is_true(parameters) {
        out.push_str(",parameters:{");
        if let Value::Object(properties) = member(parameters, "properties")
            && !properties.is_empty()
        {
            out.push_str(&format!("properties:{{{}}},", written_properties(properties, &[])));
        }
        if is_true(member(parameters, "required")) {
            out.push_str(&format!("required:{},", names(member(parameters, "required"))));
        }
        if is_true(member(parameters, "type")) {
            out.push_str(&format!("{}}}", written_type(parameters)));
        }
    }
    if let Some(response) = function.get("response") {
        out.push_str(",response:{");
        if is_true(member(response, "description")) {
            out.push_str(&format!("{},", described(response)));
        }
        if is_type(response, "OBJECT") {
            out.push_str(&format!("{}}}", written_type(response)));
        }
    }
    out.push('}');
    out
}

/// The properties of an object, but for those that `left_out` names.
fn written_properties(properties: &Map<String, Value>, left_out: &[&str]) -> String {
    let shown = sorted(properties).into_iter().filter(|(key, _)| !left_out.contains(&key.as_str()));
    let written = shown.map(|(key, schema)| format!("{key}:{{{}}}", property(schema).join(",")));
    written.collect::<Vec<_>>().join(",")
}

/// What is told of one property.
fn property(schema: &Value) -> Vec<String> {
    let mut told = Vec::new();
    if is_true(member(schema, "description")) {
        told.push(described(schema));
    }
    if is_type(schema, "STRING") && is_true(member(schema, "enum")) {
        told.push(format!("enum:{}", written(member(schema, "enum"), true)));
    }
    if is_type(schema, "ARRAY")
        && let Value::Object(items) = member(schema, "items")
        && !items.is_empty()
    {
        told.push(format!("items:{{{}}}", written_items(items)));
    }
    if is_true(member(schema, "nullable")) {
        told.push("nullable:true".to_owned());
    }
    if is_type(schema, "OBJECT") {
        match (schema.get("properties"), schema) {
            (Some(Value::Object(properties)), _) => {
                told.push(format!("properties:{{{}}}", written_properties(properties, &[])));
            }
            (_, Value::Object(properties)) => {
                told.push(format!("properties:{{{}}}", written_properties(properties, &KEYWORDS)));
            }
            _ => {}
        }
        if is_true(member(schema, "required")) {
            told.push(format!("required:{}", names(member(schema, "required"))));
        }
    }
    told.push(written_type(schema));
    told
}

/// What is told of the items of a list.
fn written_items(items: &Map<String, Value>) -> String {
    let told = sorted(items).into_iter().filter(|(_, value)| !value.is_null());
    let told = told.map(|(key, value)| match (key.as_str(), value) {
        ("properties", Value::Object(properties)) => {
            format!("properties:{{{}}}", written_properties(properties, &[]))
        }
        ("properties", _) => "properties:{}".to_owned(),
        ("required", names_of) => format!("required:{}", names(names_of)),
        ("type", Value::Array(types)) => {
            let types = types.iter().map(|one| Value::String(text(one).to_uppercase())).collect();
            format!("type:{}", written(&types, true))
        }
        ("type", one) => format!("type:<|\"|>{}<|\"|>", text(one).to_uppercase()),
        (_, other) => format!("{key}:{}", written(other, true)),
    });
    told.collect::<Vec<_>>().join(",")
}

fn described(schema: &Value) -> String {
    format!("description:<|\"|>{}<|\"|>", text(member(schema, "description")))
}

fn written_type(schema: &Value) -> String {
    format!("type:<|\"|>{}<|\"|>", text(member(schema, "type")).to_uppercase())
}

fn is_type(schema: &Value, name: &str) -> bool {
    text(member(schema, "type")).to_uppercase() == name
}

fn names(names: &Value) -> String {
    let names = names.as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<String> =
        names.iter().map(|name| format!("<|\"|>{}<|\"|>", text(name))).collect();
    format!("[{}]", names.join(","))
}
