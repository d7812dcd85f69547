//! A JSON schema, checked, in the form from which a grammar is written.
//!
//! What a grammar cannot keep is refused, so that a call that comes out fits its schema. Words that
//! only describe (`title`, `format`, `default` ...) are passed over. Properties that a schema does
//! not name are never written where it names some.

mod bounds;
mod kinds;

use serde_json::{Map, Value};

use super::GrammarError;
pub(super) use bounds::{Count, Range};
use bounds::{count, fits_bounds};
use kinds::{disjoint, is_kind, told_kinds};

/// Values nested deeper than this are not read back from a call.
const DEPTH_MAX: usize = 30;

/// References that may lead from one to the next, and steps that may lead into a schema.
const STEPS_MAX: usize = 90;

/// Schemas that one tool may consist of, each as often as it is referred to.
const SHAPES_MAX: usize = 5_000;

/// Keywords that say something about values which a grammar cannot keep.
const REFUSED: [&str; 18] = [
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "prefixItems",
    "additionalItems",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
];

/// Keywords that describe, beside `$defs`.
const DESCRIPTIVE: [&str; 8] =
    ["title", "description", "default", "examples", "$comment", "$defs", "definitions", "$schema"];

/// What a value looks like.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Anything.
    Any,
    /// One of these values.
    Literals(Vec<Value>),
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer(Range),
    /// A number.
    Number(Range),
    /// A text.
    Text { length: Count, pattern: Option<String> },
    /// A list.
    Array { items: Box<Shape>, count: Count },
    /// An object with these members, in the order in which they are written.
    Object(Vec<Member>),
    /// An object with any keys.
    Map { values: Box<Shape>, count: Count },
    /// One of several.
    OneOf(Vec<Shape>),
}

/// One member of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    /// Its key.
    pub(super) name: String,
    /// Whether it is always there.
    pub(super) required: bool,
    /// Its value.
    pub(super) shape: Shape,
}

/// Reads the schema of a tool's arguments; `null` and `{}` stand for no arguments.
pub(super) fn arguments(tool: &str, schema: &Value) -> Result<Vec<Member>, GrammarError> {
    if schema.is_null() || schema.as_object().is_some_and(Map::is_empty) {
        return Ok(Vec::new());
    }
    let mut reader =
        Reader { tool, root: schema, place: Vec::new(), refs: Vec::new(), depth: 0, shapes: 0 };
    let shape = reader.shape(schema)?;
    if let Shape::Object(members) = shape {
        return Ok(members);
    }
    // A tool that names no argument and forbids none is called with none.
    if matches!(shape, Shape::Any | Shape::Map { count: Count { least: 0, .. }, .. }) {
        return Ok(Vec::new());
    }
    Err(reader.wrong("it is not that of an object with named properties"))
}

/// Reads a schema with all that it refers to.
struct Reader<'schema> {
    tool: &'schema str,
    root: &'schema Value,
    /// Where in the schema the reader is.
    place: Vec<String>,
    /// References that led here.
    refs: Vec<String>,
    /// How deep the values are nested here.
    depth: usize,
    shapes: usize,
}

impl Reader<'_> {
    fn wrong(&self, reason: impl Into<String>) -> GrammarError {
        let escaped = |step: &String| format!("/{}", step.replace('~', "~0").replace('/', "~1"));
        let place = self.place.iter().map(escaped).collect();
        GrammarError::Schema { tool: self.tool.to_owned(), place, reason: reason.into() }
    }

    /// Reads a schema one step further in.
    fn shape_at(&mut self, steps: &[&str], schema: &Value) -> Result<Shape, GrammarError> {
        self.place.extend(steps.iter().map(|&step| step.to_owned()));
        let shape = self.shape(schema)?;
        self.place.truncate(self.place.len() - steps.len());
        Ok(shape)
    }

    /// Reads the schema of values inside others.
    fn inside(&mut self, steps: &[&str], schema: &Value) -> Result<Shape, GrammarError> {
        self.depth += 1;
        let shape = self.shape_at(steps, schema)?;
        self.depth -= 1;
        Ok(shape)
    }

    fn shape(&mut self, schema: &Value) -> Result<Shape, GrammarError> {
        self.shapes += 1;
        if self.shapes > SHAPES_MAX {
            return Err(self.wrong(format!("it is too large; at most {SHAPES_MAX} schemas")));
        }
        match schema {
            Value::Bool(true) => Ok(Shape::Any),
            Value::Bool(false) => Err(self.wrong("no value fits `false`")),
            Value::Object(schema) => {
                let refs = self.refs.len();
                let schema = self.resolved(schema)?;
                let shape = self.object_schema(&schema);
                self.refs.truncate(refs);
                shape
            }
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(self.wrong("it is no schema; expected an object"))
            }
        }
    }

    /// A schema with everything in it that `$ref` and `allOf` point to.
    fn resolved(
        &mut self,
        schema: &Map<String, Value>,
    ) -> Result<Map<String, Value>, GrammarError> {
        let mut schema = schema.clone();
        while let Some(target) = schema.shift_remove("$ref") {
            let target = self.referred(&target)?;
            schema = self.merged(target, &schema)?;
        }
        if let Some(all) = schema.shift_remove("allOf") {
            for part in self.list("allOf", &all)? {
                let Value::Object(part) = part else {
                    return Err(self.wrong("allOf holds something that is no schema"));
                };
                let part = self.resolved(part)?;
                schema = self.merged(schema, &part)?;
            }
        }
        Ok(schema)
    }

    /// What a `$ref` points to. A schema in itself would have no end, and is refused.
    fn referred(&mut self, target: &Value) -> Result<Map<String, Value>, GrammarError> {
        let pointer = target.as_str().and_then(|target| target.strip_prefix('#'));
        let found = pointer.and_then(|pointer| self.root.pointer(pointer)?.as_object());
        let (Some(pointer), Some(found)) = (pointer, found) else {
            return Err(self.wrong(format!("$ref {target} is not found; expected #/$defs/NAME")));
        };
        if self.refs.iter().any(|seen| seen == pointer) {
            return Err(self.wrong(format!("$ref {target} leads to itself")));
        }
        if self.refs.len() >= STEPS_MAX {
            return Err(self.wrong(format!("$ref {target} is one of too many in a row")));
        }
        self.refs.push(pointer.to_owned());
        Ok(found.clone())
    }

    /// Both schemas in one.
    fn merged(
        &self,
        mut one: Map<String, Value>,
        other: &Map<String, Value>,
    ) -> Result<Map<String, Value>, GrammarError> {
        for (key, value) in other {
            match (one.get_mut(key), value) {
                (None, _) => {
                    one.insert(key.clone(), value.clone());
                }
                (Some(Value::Object(into)), Value::Object(from)) if key == "properties" => {
                    if let Some(twice) = from.keys().find(|name| into.contains_key(*name)) {
                        return Err(self.wrong(format!("{twice:?} is described twice")));
                    }
                    into.extend(from.clone());
                }
                (Some(Value::Array(into)), Value::Array(from)) if key == "required" => {
                    into.extend(from.iter().cloned());
                }
                (Some(same), _) if same == value || DESCRIPTIVE.contains(&key.as_str()) => {}
                (Some(_), _) => {
                    return Err(self.wrong(format!("two different {key} cannot both be kept")));
                }
            }
        }
        Ok(one)
    }

    fn object_schema(&mut self, schema: &Map<String, Value>) -> Result<Shape, GrammarError> {
        if let Some(keyword) = REFUSED.iter().find(|keyword| schema.contains_key(**keyword)) {
            return Err(self.wrong(format!("a grammar cannot keep {keyword}; leave it out")));
        }
        if self.depth > DEPTH_MAX || self.place.len() > STEPS_MAX {
            return Err(self.wrong(format!("it is nested deeper than {DEPTH_MAX}")));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(alternatives) = schema.get(key) {
                return self.alternatives(key, alternatives, schema);
            }
        }
        let kinds = self.kinds(schema)?;
        if let Some(values) = self.literals(schema)? {
            if schema.contains_key("pattern") || schema.contains_key("multipleOf") {
                return Err(self.wrong("an enum or const needs no pattern or multipleOf beside it"));
            }
            let fits = |value: &Value| kinds.iter().any(|kind| is_kind(value, kind));
            let values = values
                .iter()
                .filter(|&value| (kinds.is_empty() || fits(value)) && fits_bounds(value, schema));
            let values: Vec<Value> = values.cloned().collect();
            if values.is_empty() {
                return Err(self.wrong("none of the values of its enum fits the rest of it"));
            }
            return Ok(Shape::Literals(values));
        }
        let mut shapes = Vec::new();
        for kind in &kinds {
            shapes.push(self.shape_of_kind(kind, schema)?);
        }
        Ok(match shapes.len() {
            0 => Shape::Any,
            1 => shapes.swap_remove(0),
            _ => Shape::OneOf(shapes),
        })
    }

    /// One schema for each alternative, with what stands beside them.
    fn alternatives(
        &mut self,
        key: &str,
        alternatives: &Value,
        schema: &Map<String, Value>,
    ) -> Result<Shape, GrammarError> {
        let mut beside = schema.clone();
        beside.shift_remove(key);
        let mut shapes = Vec::new();
        for (index, alternative) in self.list(key, alternatives)?.iter().enumerate() {
            let (index, refs) = (index.to_string(), self.refs.len());
            let whole = match alternative {
                Value::Object(alternative) => {
                    let alternative = self.resolved(alternative)?;
                    Value::Object(self.merged(alternative, &beside)?)
                }
                Value::Bool(true) => Value::Object(beside.clone()),
                Value::Null
                | Value::Bool(false)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => alternative.clone(),
            };
            shapes.push(self.shape_at(&[key, &index], &whole)?);
            self.refs.truncate(refs);
        }
        if key == "oneOf" && !disjoint(&shapes) {
            let reason = "a value could fit several of oneOf; use anyOf, or other types";
            return Err(self.wrong(reason));
        }
        Ok(Shape::OneOf(shapes))
    }

    /// The types that a schema names, or that its other keywords tell.
    fn kinds(&self, schema: &Map<String, Value>) -> Result<Vec<String>, GrammarError> {
        let named = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind.clone()],
            Some(Value::Array(kinds)) => {
                kinds.iter().map(|kind| kind.as_str().unwrap_or_default().to_owned()).collect()
            }
            Some(_) => vec![String::new()],
            None => told_kinds(schema).into_iter().map(str::to_owned).collect(),
        };
        const KNOWN: [&str; 7] =
            ["null", "boolean", "integer", "number", "string", "array", "object"];
        match named.iter().find(|kind| !KNOWN.contains(&kind.as_str())) {
            Some(_) => Err(self.wrong(format!("its type is none of {}", KNOWN.join(", ")))),
            // A whole number is a number.
            None if named.iter().any(|kind| kind == "number") => {
                Ok(named.into_iter().filter(|kind| kind != "integer").collect())
            }
            None => Ok(named),
        }
    }

    fn literals(&self, schema: &Map<String, Value>) -> Result<Option<Vec<Value>>, GrammarError> {
        match (schema.get("const"), schema.get("enum")) {
            (Some(one), None) => Ok(Some(vec![one.clone()])),
            (Some(one), Some(Value::Array(values))) if values.contains(one) => {
                Ok(Some(vec![one.clone()]))
            }
            (None, Some(values)) => Ok(Some(self.list("enum", values)?.clone())),
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(self.wrong("its const is not in its enum")),
        }
    }

    fn shape_of_kind(
        &mut self,
        kind: &str,
        schema: &Map<String, Value>,
    ) -> Result<Shape, GrammarError> {
        Ok(match kind {
            "null" => Shape::Literals(vec![Value::Null]),
            "boolean" => Shape::Boolean,
            "integer" => Shape::Integer(self.range(schema)?),
            "number" => Shape::Number(self.range(schema)?),
            "string" => Shape::Text {
                length: self.count(schema, "minLength", "maxLength")?,
                pattern: match schema.get("pattern") {
                    None => None,
                    Some(Value::String(pattern)) => Some(pattern.clone()),
                    Some(_) => return Err(self.wrong("its pattern is no string")),
                },
            },
            "array" => self.array(schema)?,
            _ => self.object(schema)?,
        })
    }

    fn array(&mut self, schema: &Map<String, Value>) -> Result<Shape, GrammarError> {
        let count = self.count(schema, "minItems", "maxItems")?;
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) && count.most.is_none_or(|n| n > 1)
        {
            return Err(self.wrong("a grammar cannot keep uniqueItems; leave it out"));
        }
        let items = match schema.get("items") {
            Some(items) => self.inside(&["items"], items)?,
            None => Shape::Any,
        };
        Ok(Shape::Array { items: Box::new(items), count })
    }

    fn object(&mut self, schema: &Map<String, Value>) -> Result<Shape, GrammarError> {
        let count = self.count(schema, "minProperties", "maxProperties")?;
        let others = schema.get("additionalProperties").cloned().unwrap_or(Value::Bool(true));
        let required = self.required(schema)?;
        let mut members = Vec::new();
        match schema.get("properties") {
            Some(Value::Object(properties)) => {
                for (name, property) in properties {
                    let shape = self.inside(&["properties", name], property)?;
                    members.push(Member {
                        required: required.contains(name),
                        shape,
                        name: name.clone(),
                    });
                }
            }
            Some(_) => return Err(self.wrong("its properties are no object")),
            None => {}
        }
        for name in required {
            if !members.iter().any(|member| member.name == name) {
                let shape = self.inside(&["additionalProperties"], &others)?;
                members.push(Member { name, required: true, shape });
            }
        }
        if members.is_empty() && others != Value::Bool(false) {
            if count.least > 1 {
                // Of two equal keys, one would be lost.
                return Err(self.wrong("a grammar cannot keep minProperties above 1"));
            }
            let values = Box::new(self.inside(&["additionalProperties"], &others)?);
            return Ok(Shape::Map { values, count });
        }
        let always = members.iter().filter(|member| member.required).count();
        if always < count.least || count.most.is_some_and(|most| members.len() > most) {
            return Err(self.wrong("a grammar cannot keep its minProperties or maxProperties"));
        }
        // The order in which templates write members, and so the one that the model has learnt.
        members.sort_by_key(|member| member.name.to_lowercase());
        Ok(Shape::Object(members))
    }

    fn required(&self, schema: &Map<String, Value>) -> Result<Vec<String>, GrammarError> {
        let Some(required) = schema.get("required") else { return Ok(Vec::new()) };
        let names = required.as_array().and_then(|names| {
            names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        names.ok_or_else(|| self.wrong("its required is no list of names"))
    }

    fn range(&self, schema: &Map<String, Value>) -> Result<Range, GrammarError> {
        Range::read(schema).map_err(|reason| self.wrong(reason))
    }

    fn count(
        &self,
        schema: &Map<String, Value>,
        least: &str,
        most: &str,
    ) -> Result<Count, GrammarError> {
        count(schema, least, most).map_err(|reason| self.wrong(reason))
    }

    fn list<'value>(
        &self,
        key: &str,
        value: &'value Value,
    ) -> Result<&'value Vec<Value>, GrammarError> {
        let list = value.as_array().filter(|list| !list.is_empty());
        list.ok_or_else(|| self.wrong(format!("its {key} is no list of at least one entry")))
    }
}

#[cfg(test)]
mod tests;
