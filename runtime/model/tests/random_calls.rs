//! Calls made by random weights: whatever the logits are, under a grammar every call fits its schema.
//!
//! `make calls` makes ten thousand; `GEMMAD_CALLS` says how many, `GEMMAD_TEST_TOKENIZER` names a model
//! folder with another vocabulary, and `GEMMAD_CALLS_FILE` a file that gets every call with its
//! schema, one JSON object a line, for other validators.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gemma_runtime::grammar::{Guide, Thinking};
use gemma_runtime::reply::{ReplyParser, ReplyPart};
use gemma_runtime::sample::Sampler;
use gemma_runtime::tokens::Tokenizer;
use gemma_runtime::{Constraint, Sampling, ToolChoice};
use gemma_types::{ToolCall, ToolSpec};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// Calls of a test run.
const CALLS: usize = 300;

/// A reply longer than this has no end.
const TOKENS_MAX: usize = 4000;

fn tokenizer() -> Tokenizer {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-model");
    let folder = std::env::var_os("GEMMAD_TEST_TOKENIZER").map_or(demo, PathBuf::from);
    Tokenizer::open(&folder).unwrap()
}

/// Tools with everything that schemas of tools have. Texts are bounded, because random weights close
/// a text only by chance.
fn tools() -> Vec<ToolSpec> {
    let text = |most: u32| json!({"type": "string", "maxLength": most});
    let schemas = [
        ("now", json!({})),
        (
            "light",
            json!({"type": "object", "required": ["room", "level"], "properties": {
                "room": {"type": "string", "enum": ["kitchen", "bed room", "", "say \"hi\", {ok}"]},
                "level": {"type": "integer", "minimum": 0, "maximum": 100},
                "warm": {"type": "boolean"},
            }}),
        ),
        (
            "search",
            json!({"type": "object", "required": ["query"], "properties": {
                "query": {"type": "string", "minLength": 3, "maxLength": 20},
                "limit": {"type": ["integer", "null"], "exclusiveMinimum": 0, "maximum": 50},
                "Sort": {"enum": ["new", "old", 3, null, true, [1, "a"], {"by": "x"}]},
                "score": {"type": "number", "minimum": -1.5, "exclusiveMaximum": 2},
            }}),
        ),
        (
            "route",
            json!({"type": "object", "required": ["stops", "options"], "properties": {
                "stops": {"type": "array", "minItems": 2, "maxItems": 4, "items": {
                    "type": "object", "required": ["lat", "lon"], "additionalProperties": false,
                    "properties": {
                        "lat": {"type": "number", "minimum": -90, "maximum": 90},
                        "lon": {"type": "number", "minimum": -180, "maximum": 180},
                        "name": text(8),
                    }}},
                "options": {"type": "object", "properties": {
                    "avoid": {"type": "array", "maxItems": 3, "items": {"enum": ["tolls", "ferries"]}},
                    "when": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/time"}]},
                }},
            }, "$defs": {"time": {"type": "object", "required": ["h"], "properties": {
                "h": {"type": "integer", "minimum": 0, "maximum": 23},
                "m": {"type": "integer", "multipleOf": 15, "minimum": 0, "maximum": 45},
            }}}}),
        ),
        (
            "numbers",
            json!({"type": "object", "properties": {
                "a": {"type": "integer"}, "b": {"type": "number"}, "c": {"type": "integer", "minimum": 7},
                "d": {"type": "integer", "maximum": -7}, "e": {"type": "number", "exclusiveMinimum": 0},
                "f": {"type": "array", "items": {"type": "integer", "minimum": -5, "maximum": 5}, "maxItems": 5},
            }}),
        ),
        (
            "tags",
            json!({"type": "object", "required": ["map", "odd:key"], "properties": {
                "map": {"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 3},
                "odd:key": {"type": "string", "const": "fixed"},
                "type": {"type": "string", "enum": ["a"]},
                "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,3}$"},
                "matrix": {"type": "array", "maxItems": 2, "items":
                    {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "number"}}},
            }}),
        ),
        (
            "choice",
            json!({"type": "object", "required": ["value"], "properties": {
                "value": {"oneOf": [text(5), {"type": "boolean"}, {"type": "integer", "minimum": 1, "maximum": 3},
                    {"type": "array", "items": {"type": "null"}, "maxItems": 2}]},
                "both": {"allOf": [{"properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}}},
                    {"properties": {"y": {"type": "boolean"}}, "required": ["y"]}]},
            }}),
        ),
    ];
    let tool = |(name, parameters): (&str, Value)| ToolSpec {
        name: name.into(),
        description: String::new(),
        parameters,
    };
    schemas.into_iter().map(tool).collect()
}

/// What making calls took.
#[derive(Default)]
struct Cost {
    /// Of each reply: to make its grammar.
    compile: Vec<Duration>,
    /// Of each sampled token: to make impossible what may not come.
    restrict: Vec<Duration>,
    /// Of each sampled token: to take it and to know what must follow.
    accept: Vec<Duration>,
    forced: usize,
}

/// Lets random logits make one reply; the calls in it.
fn reply(
    tokenizer: &Tokenizer,
    tools: &[ToolSpec],
    choice: ToolChoice,
    random: &mut Xoshiro256PlusPlus,
    cost: &mut Cost,
) -> Vec<ToolCall> {
    let ids = tokenizer.ids();
    let lazy = choice == ToolChoice::Auto;
    let started = Instant::now();
    let constraint = Constraint::Tools(choice);
    let mut guide = Guide::new(tokenizer, &constraint, tools, Thinking::Off).unwrap();
    cost.compile.push(started.elapsed());
    let sampling = Sampling { seed: Some(random.random()), ..Sampling::default() };
    let mut sampler = Sampler::new(&sampling).suppressing(ids.suppressed.iter().copied());
    let mut parser = ReplyParser::new(ids, tokenizer.stream(), false).with_tools(tools);
    let (mut calls, mut all) = (Vec::new(), Vec::new());
    let mut logits = vec![0.0; tokenizer.vocabulary()];
    let mut coming = if lazy { ids.tool_call_open.into_iter().collect() } else { Vec::new() };
    while all.len() < TOKENS_MAX {
        if coming.is_empty() {
            logits.fill_with(|| random.random_range(-4.0..4.0));
            let started = Instant::now();
            guide.restrict(&mut logits).unwrap();
            cost.restrict.push(started.elapsed());
            coming.push(sampler.pick(&mut logits).unwrap());
        } else {
            cost.forced += coming.len();
        }
        let started = Instant::now();
        for &id in &coming {
            guide.accept(id).unwrap();
        }
        let next = guide.forced().unwrap();
        cost.accept.push(started.elapsed());
        for id in std::mem::replace(&mut coming, next) {
            all.push(id);
            for part in parser.push(id) {
                match part {
                    ReplyPart::ToolCall(call) => calls.push(call),
                    other @ (ReplyPart::Text(_) | ReplyPart::Thought(_)) => {
                        panic!("{other:?} beside calls")
                    }
                }
            }
            if ids.stop.contains(&id) || (lazy && Some(id) == ids.tool_call_close) {
                return calls;
            }
        }
    }
    panic!("a reply without end: {all:?}");
}

/// Why a value does not fit a schema; nothing if it does. Written from the JSON Schema specification,
/// without a look at the grammar.
fn misfit(value: &Value, schema: &Value, root: &Value) -> Option<String> {
    if let Some(target) = schema["$ref"].as_str() {
        return misfit(value, root.pointer(&target[1..]).unwrap(), root);
    }
    let number = |key: &str| schema[key].as_f64();
    let count = |key: &str| schema[key].as_u64().map(|count| usize::try_from(count).unwrap());
    let within = |size: usize, least: &str, most: &str| {
        count(least).is_none_or(|least| size >= least)
            && count(most).is_none_or(|most| size <= most)
    };
    let fits = |alternative: &&Value| misfit(value, alternative, root).is_none();
    let list = |key: &str| schema[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let types = list("type").iter().chain(Some(&schema["type"])).filter_map(Value::as_str);
    let types: Vec<&str> = types.collect();
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    let good = (types.is_empty() || types.iter().any(|name| is(name)))
        && schema.get("enum").is_none_or(|_| list("enum").contains(value))
        && schema.get("const").is_none_or(|only| only == value)
        && schema.get("anyOf").is_none_or(|_| list("anyOf").iter().any(|one| fits(&one)))
        && schema.get("oneOf").is_none_or(|_| list("oneOf").iter().filter(fits).count() == 1)
        && list("allOf").iter().all(|one| fits(&one))
        && value.as_f64().is_none_or(|value| {
            number("minimum").is_none_or(|bound| value >= bound)
                && number("maximum").is_none_or(|bound| value <= bound)
                && number("exclusiveMinimum").is_none_or(|bound| value > bound)
                && number("exclusiveMaximum").is_none_or(|bound| value < bound)
                && number("multipleOf").is_none_or(|step| value % step == 0.0)
        })
        && value.as_str().is_none_or(|text| within(text.chars().count(), "minLength", "maxLength"))
        && value.as_array().is_none_or(|items| within(items.len(), "minItems", "maxItems"))
        && value.as_object().is_none_or(|members| {
            within(members.len(), "minProperties", "maxProperties")
                && list("required").iter().all(|name| members.contains_key(name.as_str().unwrap()))
        });
    if !good {
        return Some(format!("{value} does not fit {schema}"));
    }
    if let (Value::Array(items), Some(inner)) = (value, schema.get("items")) {
        return items.iter().find_map(|item| misfit(item, inner, root));
    }
    let Value::Object(members) = value else { return None };
    members.iter().find_map(|(name, member)| match schema["properties"].get(name) {
        Some(inner) => misfit(member, inner, root),
        None => match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => Some(format!("{name} is not declared")),
            Some(inner) if inner.is_object() => misfit(member, inner, root),
            Some(_) | None => None,
        },
    })
}

#[test]
fn calls_by_random_weights_fit_their_schemas() {
    let wanted = std::env::var("GEMMAD_CALLS").map_or(CALLS, |text| text.parse().unwrap());
    let (tokenizer, tools) = (tokenizer(), tools());
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let (mut cost, mut lines, mut made) = (Cost::default(), String::new(), 0);
    let mut by_name = vec![0; tools.len()];
    for run in 0.. {
        let choice = match run % 3 {
            0 => ToolChoice::Auto,
            1 => ToolChoice::Required,
            _ => ToolChoice::Named(tools[run / 3 % tools.len()].name.clone()),
        };
        let calls = reply(&tokenizer, &tools, choice.clone(), &mut random, &mut cost);
        assert!(!calls.is_empty(), "{choice:?} without a call");
        for call in calls {
            let place = tools.iter().position(|tool| tool.name == call.name);
            let place = place.unwrap_or_else(|| panic!("there is no tool {}", call.name));
            let (schema, arguments) = (&tools[place].parameters, Value::Object(call.arguments));
            assert_eq!(misfit(&arguments, schema, schema), None, "{}", call.name);
            writeln!(lines, "{}", json!({"schema": schema, "arguments": arguments})).unwrap();
            by_name[place] += 1;
            made += 1;
        }
        if made >= wanted {
            break;
        }
    }
    assert!(wanted < CALLS || by_name.iter().all(|count| *count > 0), "{by_name:?}");
    if let Some(path) = std::env::var_os("GEMMAD_CALLS_FILE") {
        std::fs::write(path, lines).unwrap();
    }
    println!("{made} calls of {} tools fit their schemas", tools.len());
    println!("{} tokens sampled, {} forced", cost.restrict.len(), cost.forced);
    print_cost("grammar of a reply", &mut cost.compile);
    print_cost("mask of a token", &mut cost.restrict);
    print_cost("step of a token", &mut cost.accept);
}

/// Prints what something takes: the median, which other programs disturb least, and nearly the most.
fn print_cost(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let micros = |place: usize| times[place.min(times.len() - 1)].as_secs_f64() * 1e6;
    let (median, most) = (micros(times.len() / 2), micros(times.len() * 99 / 100));
    println!("{what:<20} {median:>8.1} us, one in a hundred above {most:.1} us");
}
