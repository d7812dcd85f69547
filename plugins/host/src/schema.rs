//! The JSON schema of a tool's arguments, and the check of arguments against it before a guest runs.
//!
//! It is the part of JSON Schema that tools use. A keyword outside it makes the manifest wrong, so
//! that nothing that an author wrote is silently not checked. One rule is stricter: an object with
//! `properties` takes no others unless `additionalProperties` says so.

use serde_json::{Map, Value};

mod check;

/// Keywords that are checked, and those that only describe.
const KEYWORDS: &str = "type, description, title, default, examples, format, properties, required, \
     additionalProperties, enum, const, minimum, maximum, exclusiveMinimum, exclusiveMaximum, \
     minLength, maxLength, items, minItems, maxItems";

/// A checked schema. The default accepts everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Schema {
    /// Types that are accepted; every type where empty.
    kinds: Vec<Kind>,
    /// The only values that are accepted (`enum`, `const`).
    only: Option<Vec<Value>>,
    at_least: Option<f64>,
    at_most: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
    /// Characters of a string.
    length: Bounds,
    /// Elements of an array.
    count: Bounds,
    items: Option<Box<Schema>>,
    properties: Vec<(String, Schema)>,
    required: Vec<String>,
    others: Others,
}

/// How many of something are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bounds {
    least: Option<u64>,
    most: Option<u64>,
}

/// What happens to properties that the schema does not name.
#[derive(Clone, Debug, Default, PartialEq)]
enum Others {
    #[default]
    Accepted,
    Refused,
    Fit(Box<Schema>),
}

/// A JSON type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// What is wrong with a schema, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is not JSON at all.
    #[error("is not JSON: {0}")]
    Json(String),
    /// The arguments of a tool are an object.
    #[error("describes no object; accepted: {{\"type\":\"object\",\"properties\":{{..}}}}")]
    NoObject,
    /// A keyword that is not checked.
    #[error("{place} has the unknown keyword {keyword}; accepted: {KEYWORDS}")]
    Keyword {
        /// Where in the schema.
        place: String,
        /// The keyword.
        keyword: String,
    },
    /// A keyword whose value is of a wrong form.
    #[error("{place}: {keyword} must be {accepted}")]
    Value {
        /// Where in the schema.
        place: String,
        /// The keyword.
        keyword: &'static str,
        /// What it must be.
        accepted: &'static str,
    },
    /// A required property that is not declared.
    #[error("{place} requires {name}, which is not among its properties")]
    Required {
        /// Where in the schema.
        place: String,
        /// The property.
        name: String,
    },
}

impl Kind {
    fn parse(value: &Value) -> Option<Self> {
        Some(match value.as_str()? {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::String,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }
}

impl Schema {
    /// Reads the schema of a tool's arguments.
    pub(crate) fn parse(value: &Value) -> Result<Self, SchemaError> {
        let schema = Self::parse_at("the schema", value)?;
        if schema.kinds != [Kind::Object] {
            return Err(SchemaError::NoObject);
        }
        Ok(schema)
    }

    fn parse_at(place: &str, value: &Value) -> Result<Self, SchemaError> {
        let Value::Object(keywords) = value else {
            return Err(wrong(place, "a schema", "an object"));
        };
        let mut schema = Self::default();
        for (keyword, value) in keywords {
            schema.read_keyword(place, keyword, value)?;
        }
        if !keywords.contains_key("additionalProperties") && keywords.contains_key("properties") {
            schema.others = Others::Refused;
        }
        schema.check_required(place)?;
        Ok(schema)
    }

    fn read_keyword(&mut self, place: &str, key: &str, value: &Value) -> Result<(), SchemaError> {
        match key {
            "type" => self.kinds = kinds(place, value)?,
            "description" | "title" | "default" | "examples" | "format" => {}
            "properties" => self.properties = properties(place, value)?,
            "required" => self.required = names(place, value)?,
            "additionalProperties" => self.others = others(place, value)?,
            "enum" => self.only = Some(choices(place, value)?),
            "const" => self.only = Some(vec![value.clone()]),
            "minimum" => self.at_least = Some(number(place, "minimum", value)?),
            "maximum" => self.at_most = Some(number(place, "maximum", value)?),
            "exclusiveMinimum" => self.above = Some(number(place, "exclusiveMinimum", value)?),
            "exclusiveMaximum" => self.below = Some(number(place, "exclusiveMaximum", value)?),
            "minLength" => self.length.least = Some(count(place, "minLength", value)?),
            "maxLength" => self.length.most = Some(count(place, "maxLength", value)?),
            "minItems" => self.count.least = Some(count(place, "minItems", value)?),
            "maxItems" => self.count.most = Some(count(place, "maxItems", value)?),
            "items" => {
                self.items = Some(Box::new(Self::parse_at(&format!("{place}, items"), value)?));
            }
            _ => {
                let (place, keyword) = (place.to_owned(), key.to_owned());
                return Err(SchemaError::Keyword { place, keyword });
            }
        }
        Ok(())
    }

    fn check_required(&self, place: &str) -> Result<(), SchemaError> {
        let declared = |name: &String| self.properties.iter().any(|(known, _)| known == name);
        match self.required.iter().find(|name| !declared(name)) {
            Some(name) if self.others == Others::Refused => {
                Err(SchemaError::Required { place: place.to_owned(), name: name.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Checks arguments; the error says everything that is wrong with them, in words for the model.
    pub(crate) fn check(&self, arguments: &Map<String, Value>) -> Result<(), String> {
        check::arguments(self, arguments)
    }
}

fn wrong(place: &str, keyword: &'static str, accepted: &'static str) -> SchemaError {
    SchemaError::Value { place: place.to_owned(), keyword, accepted }
}

fn kinds(place: &str, value: &Value) -> Result<Vec<Kind>, SchemaError> {
    let kinds: Option<Vec<Kind>> = match value.as_array() {
        Some(kinds) => kinds.iter().map(Kind::parse).collect(),
        None => Kind::parse(value).map(|kind| vec![kind]),
    };
    let accepted = "one or more of null, boolean, integer, number, string, array, object";
    kinds.filter(|kinds| !kinds.is_empty()).ok_or_else(|| wrong(place, "type", accepted))
}

fn properties(place: &str, value: &Value) -> Result<Vec<(String, Schema)>, SchemaError> {
    let Value::Object(properties) = value else {
        return Err(wrong(place, "properties", "an object of schemas"));
    };
    let read = |(name, value): (&String, &Value)| {
        Ok((name.clone(), Schema::parse_at(&format!("{place}, {name}"), value)?))
    };
    properties.iter().map(read).collect()
}

fn names(place: &str, value: &Value) -> Result<Vec<String>, SchemaError> {
    let name = |value: &Value| value.as_str().map(str::to_owned);
    let names = value.as_array().and_then(|names| names.iter().map(name).collect());
    names.ok_or_else(|| wrong(place, "required", "an array of names"))
}

fn others(place: &str, value: &Value) -> Result<Others, SchemaError> {
    Ok(match value.as_bool() {
        Some(true) => Others::Accepted,
        Some(false) => Others::Refused,
        None => {
            let place = format!("{place}, additionalProperties");
            Others::Fit(Box::new(Schema::parse_at(&place, value)?))
        }
    })
}

fn choices(place: &str, value: &Value) -> Result<Vec<Value>, SchemaError> {
    let choices = value.as_array().filter(|choices| !choices.is_empty());
    choices.cloned().ok_or_else(|| wrong(place, "enum", "an array of at least one value"))
}

fn number(place: &str, keyword: &'static str, value: &Value) -> Result<f64, SchemaError> {
    value.as_f64().ok_or_else(|| wrong(place, keyword, "a number"))
}

fn count(place: &str, keyword: &'static str, value: &Value) -> Result<u64, SchemaError> {
    value.as_u64().ok_or_else(|| wrong(place, keyword, "a whole number, 0 or more"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn check(schema: &str, expected: &str) {
        let value: Value = serde_json::from_str(schema).unwrap();
        let text = Schema::parse(&value).unwrap_err().to_string();
        assert!(text.contains(expected), "{text:?} should contain {expected:?}");
    }

    #[test]
    fn a_schema_that_would_not_be_checked_is_refused() {
        check(r#"{"type":"string"}"#, "describes no object");
        check(r#"{"type":"object","oneOf":[]}"#, "unknown keyword oneOf; accepted: type,");
        check(r#"{"type":"object","properties":{"a":{"pattern":"x"}}}"#, "the schema, a has");
        check(r#"{"type":"thing"}"#, "type must be one or more of null");
        check(r#"{"type":"object","properties":{},"required":["x"]}"#, "requires x");
        check(r#"{"type":"object","properties":{"a":{"enum":[]}}}"#, "at least one value");
        check(r#"{"type":"object","properties":{"a":{"minLength":-1}}}"#, "0 or more");
        check(r#"{"type":"object","properties":[]}"#, "an object of schemas");
    }
}
