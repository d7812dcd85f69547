//! Replies of the demo model that are held to a grammar.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use gemma_runtime::{
    Constraint, EngineKind, Error, Model, Options, ReplyOptions, Sampling, ToolChoice,
};
use gemma_types::{Finish, Message, Part, Piece, Role, ToolCall, ToolSpec, Usage};
use serde_json::{Value, json};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn open(engine: EngineKind, block_tokens: usize) -> Model {
    let named = std::env::var_os("GEMMAD_ONNXRUNTIME").map(PathBuf::from);
    let library = named.unwrap_or(workspace().join(".setup/onnxruntime/libonnxruntime.so"));
    let options = Options {
        engine,
        library: Some(library),
        threads: 1,
        prefill_block_tokens: block_tokens,
        ..Options::default()
    };
    Model::open(&workspace().join("runtime/demo-model"), &options).unwrap()
}

fn question() -> [Message; 1] {
    let parts = vec![Part::Text("turn on the light in the kitchen".into())];
    [Message { role: Role::User, parts, tool_calls: Vec::new(), tool_results: Vec::new() }]
}

fn lights() -> ToolSpec {
    let properties = json!({
        "level": {"type": "integer", "minimum": 1, "maximum": 9},
        "rooms": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"enum": ["attic", "cellar"]}},
    });
    ToolSpec {
        name: "dim".into(),
        description: "Dims lights.".into(),
        parameters: json!({"type": "object", "properties": properties, "required": ["level", "rooms"]}),
    }
}

/// What a reply says, calls and takes.
struct Told {
    text: String,
    calls: Vec<ToolCall>,
    finish: Finish,
    usage: Usage,
}

fn reply(model: &mut Model, constraint: Constraint, seed: Option<u64>) -> Result<Told, Error> {
    let sampling = match seed {
        None => Sampling::greedy(),
        Some(_) => Sampling { seed, ..Sampling::default() },
    };
    let options = ReplyOptions { sampling, constraint, ..ReplyOptions::default() };
    let (mut text, mut calls) = (String::new(), Vec::new());
    for piece in model.reply(&question(), &[lights()], &options)? {
        match piece? {
            Piece::Text(more) => text.push_str(&more),
            Piece::ToolCall(call) => calls.push(call),
            Piece::End { finish, usage } => return Ok(Told { text, calls, finish, usage }),
            Piece::Thought(thought) => panic!("an unasked thought: {thought}"),
            Piece::Progress { .. } => {}
        }
    }
    panic!("a reply ends with Piece::End")
}

#[test]
fn an_answer_without_a_choice_takes_no_run() {
    let mut model = open(EngineKind::Tract, 256);
    let only = "The light in the kitchen is on.";
    let told = reply(&mut model, Constraint::Choice(vec![only.into()]), None).unwrap();
    assert_eq!((told.text.as_str(), told.finish), (only, Finish::Stop));
    assert!(told.usage.reply_tokens > 5, "{:?}", told.usage);
    assert_eq!(told.usage.decode, Duration::ZERO);
}

#[test]
fn a_required_call_is_made_and_fits() {
    let mut model = open(EngineKind::Tract, 256);
    for (choice, seed) in [(ToolChoice::Required, 1), (ToolChoice::Named("dim".into()), 2)] {
        let told = reply(&mut model, Constraint::Tools(choice), Some(seed)).unwrap();
        assert_eq!((told.text.as_str(), told.finish), ("", Finish::ToolCalls));
        for call in told.calls {
            assert_eq!(call.name, "dim");
            assert!((1..=9).contains(&call.arguments["level"].as_i64().unwrap()));
            assert_eq!(call.arguments["rooms"].as_array().unwrap().len(), 2);
        }
    }
}

#[test]
fn a_forbidden_call_is_not_made() {
    let mut model = open(EngineKind::Tract, 256);
    let forbidden = Constraint::Tools(ToolChoice::Forbidden);
    assert_eq!(reply(&mut model, forbidden, None).unwrap().calls, []);
}

#[test]
fn an_answer_is_json_of_its_schema() {
    let mut model = open(EngineKind::Tract, 256);
    let schema = json!({
        "type": "object",
        "properties": {"on": {"type": "boolean"}, "room": {"enum": ["kitchen", "hall"]}},
        "required": ["on", "room"],
        "additionalProperties": false,
    });
    let told = reply(&mut model, Constraint::JsonSchema(schema), Some(3)).unwrap();
    let answer: Value = serde_json::from_str(&told.text).unwrap();
    assert!(answer["on"].is_boolean() && answer["room"].is_string(), "{answer}");
    assert_eq!(told.finish, Finish::Stop);
}

#[test]
fn tokens_that_must_come_are_read_at_once_or_one_by_one_alike() {
    let pattern =
        "The light in the (kitchen|hall) is turned (on|off), and dimmed to [1-9]0 percent";
    let constraint = Constraint::Regex(pattern.into());
    let at_once = reply(&mut open(EngineKind::Ort, 256), constraint.clone(), None).unwrap();
    for (engine, block_tokens) in [(EngineKind::Ort, 1), (EngineKind::Tract, 256)] {
        let told = reply(&mut open(engine, block_tokens), constraint.clone(), None).unwrap();
        assert_eq!(told.text, at_once.text, "{engine}, blocks of {block_tokens}");
    }
    assert!(at_once.text.ends_with("0 percent"), "{}", at_once.text);
}

#[test]
fn the_limit_of_tokens_holds_for_tokens_that_must_come() {
    let mut model = open(EngineKind::Tract, 256);
    let constraint = Constraint::Choice(vec!["one two three four five six seven".into()]);
    let options = ReplyOptions { reply_tokens_max: 3, constraint, ..ReplyOptions::default() };
    let last = model.reply(&question(), &[], &options).unwrap().last().unwrap().unwrap();
    let Piece::End { finish, usage } = last else { panic!("{last:?}") };
    assert_eq!((finish, usage.reply_tokens), (Finish::Length, 3));
}

#[test]
fn a_constraint_that_is_none_is_refused_before_any_run() {
    let mut model = open(EngineKind::Tract, 256);
    for constraint in [
        Constraint::JsonSchema(json!({"type": "thing"})),
        Constraint::Regex("(".into()),
        Constraint::Tools(ToolChoice::Named("nobody".into())),
    ] {
        let refused = reply(&mut model, constraint, None).err().unwrap();
        assert!(matches!(refused, Error::Grammar(_)), "{refused}");
    }
}
