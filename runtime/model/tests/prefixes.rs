//! What was computed once is not computed again: not for the next turn, not for another client, and
//! not after a restart. And what is not computed again says the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "support/demo.rs"]
mod demo;

use std::fs;
use std::path::{Path, PathBuf};

use gemma_runtime::{
    EngineKind, Fast, Model, OptimizeOptions, Options, PrefixOrigin, PrefixReport, ReplyOptions,
    Sampling, optimize,
};
use gemma_types::{Message, Part, Piece, Role, ToolSpec, Usage};
use serde_json::json;
use tempfile::TempDir;

/// The demo model with its fast graph, and a folder for prefixes.
struct House {
    folder: TempDir,
    fast: Fast,
    engine: EngineKind,
}

impl House {
    fn new(engine: EngineKind, fast: Fast) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&demo::demo_model(), &folder.path().join("model"));
        let house = Self { folder, fast, engine };
        if fast == Fast::Required {
            let options = OptimizeOptions {
                engine,
                library: Some(demo::library()),
                threads: 1,
                ..OptimizeOptions::default()
            };
            optimize(&house.model(), &options).unwrap();
        }
        house
    }

    fn model(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    fn prefixes(&self) -> PathBuf {
        self.folder.path().join("prefixes")
    }

    fn open(&self) -> Model {
        let options = Options {
            fast: self.fast,
            prefill_block_tokens: 64,
            prefix_folder: Some(self.prefixes()),
            ..demo::options(self.engine)
        };
        Model::open(&self.model(), &options).unwrap()
    }

    /// The files of saved prefixes.
    fn saved(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.prefixes()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(path, to).unwrap()),
        }
    }
}

fn says(role: Role, words: &str) -> Message {
    let parts = vec![Part::Text(words.into())];
    Message { role, parts, tool_calls: Vec::new(), tool_results: Vec::new() }
}

/// Longer than the window of the sliding layers.
fn system() -> Message {
    let rules: Vec<String> =
        (1..40).map(|rule| format!("Rule {rule}: say what you did in room {rule}.")).collect();
    says(Role::System, &rules.join(" "))
}

fn tools() -> Vec<ToolSpec> {
    let parameters = json!({"type": "object", "properties": {"room": {"type": "string"}}});
    vec![ToolSpec { name: "light_on".into(), description: "Turns a light on".into(), parameters }]
}

/// A whole reply: what it says, and what it took.
fn ask(model: &mut Model, messages: &[Message]) -> (String, Usage) {
    let options = ReplyOptions {
        sampling: Sampling::greedy(),
        reply_tokens_max: 6,
        ..ReplyOptions::default()
    };
    let mut said = String::new();
    for piece in model.reply(messages, &tools(), &options).unwrap() {
        match piece.unwrap() {
            Piece::Text(text) | Piece::Thought(text) => said.push_str(&text),
            Piece::ToolCall(call) => said.push_str(&call.name),
            Piece::Progress { .. } => {}
            Piece::End { usage, .. } => return (said, usage),
        }
    }
    panic!("a reply ends with Piece::End")
}

fn keep(model: &mut Model) -> PrefixReport {
    model.keep_prefix(&[system()], &tools(), false, &mut || true).unwrap()
}

/// Asks somebody who remembers nothing.
fn ask_anew(house: &House, messages: &[Message]) -> (String, Usage) {
    ask(&mut house.open(), messages)
}

fn check_clients(house: &House) {
    let mut model = house.open();
    let mut talks = [vec![system()], vec![system()]];
    let mut asked = [0, 0];
    let words = [["turn on the light", "hello"], ["and in the hall", "who?"], ["thanks", "why?"]];
    for (turn, said_by) in words.into_iter().enumerate() {
        for (client, words) in said_by.into_iter().enumerate() {
            talks[client].push(says(Role::User, words));
            let (said, usage) = ask(&mut model, &talks[client]);
            let (expected, anew) = ask_anew(house, &talks[client]);
            assert_eq!((said.as_str(), anew.cached_tokens), (expected.as_str(), 0));
            match (turn, client) {
                (0, 0) => assert_eq!(usage.cached_tokens, 0),
                // The other client's sliding layers may have gone on too far to be gone back to.
                (0, _) => {}
                // All but the few tokens that open an answer and are not repeated.
                _ => assert!(usage.cached_tokens + 8 >= asked[client], "{usage:?} {asked:?}"),
            }
            asked[client] = usage.prompt_tokens;
            talks[client].push(says(Role::Assistant, &said));
        }
    }
}

#[test]
fn two_clients_go_on_where_they_were_with_the_fast_graph() {
    check_clients(&House::new(EngineKind::Ort, Fast::Required));
    check_clients(&House::new(EngineKind::Tract, Fast::Required));
}

#[test]
fn two_clients_go_on_where_they_were_with_the_published_graph() {
    check_clients(&House::new(EngineKind::Ort, Fast::Off));
    check_clients(&House::new(EngineKind::Tract, Fast::Off));
}

#[test]
fn a_prefix_outlives_a_restart() {
    let house = House::new(EngineKind::Ort, Fast::Required);
    let question = [system(), says(Role::User, "turn on the light")];
    let (expected, _) = ask_anew(&house, &question);
    let mut first = house.open();
    let report = keep(&mut first);
    assert_eq!((report.origin, &report.unsaved), (PrefixOrigin::Computed, &None));
    assert!(report.tokens > 300, "{report:?}");
    assert_eq!(keep(&mut first).origin, PrefixOrigin::Memory);
    let kept = first.kv_bytes();
    let check = |model: &mut Model| {
        let (said, usage) = ask(model, &question);
        assert_eq!((said.as_str(), usage.cached_tokens), (expected.as_str(), report.tokens));
        assert!(usage.prompt_tokens < report.tokens + 20, "{usage:?}");
    };
    check(&mut first);
    let mut second = house.open();
    assert_eq!(keep(&mut second), PrefixReport { origin: PrefixOrigin::File, ..report.clone() });
    // What lies in a file takes no memory of its own.
    assert_eq!((kept, second.kv_bytes()), (0, 0));
    check(&mut second);
    assert_eq!(house.saved().len(), 1);
    // Another engine computes its own.
    let other = House { folder: house.folder, engine: EngineKind::Tract, ..house };
    let mut third = other.open();
    assert_eq!(keep(&mut third).origin, PrefixOrigin::Computed);
    assert_eq!(other.saved().len(), 2);
}

#[test]
fn a_damaged_file_is_computed_again() {
    let house = House::new(EngineKind::Ort, Fast::Required);
    keep(&mut house.open());
    let file = house.saved().remove(0);
    let whole = fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    // As a new file: the old one may still be mapped.
    fs::remove_file(&file).unwrap();
    fs::write(&file, &bytes).unwrap();
    let mut model = house.open();
    assert_eq!(keep(&mut model).origin, PrefixOrigin::Computed);
    assert!(fs::read(&file).unwrap() == whole);
    assert_eq!(keep(&mut house.open()).origin, PrefixOrigin::File);
}

#[test]
fn whatever_is_asked_begins_with_the_prefix() {
    let house = House::new(EngineKind::Ort, Fast::Required);
    let mut model = house.open();
    let report = keep(&mut model);
    for words in ["what time is it", "\n\nhello", " 8", "\u{e9}t\u{e9}", "<turn|>", "?"] {
        let (_, usage) = ask(&mut model, &[system(), says(Role::User, words)]);
        assert!(usage.cached_tokens + 1 >= report.tokens, "{words:?}: {usage:?}");
    }
    assert_eq!(house.saved().len(), 1);
}

#[test]
fn a_stopped_prefix_is_gone_on_with() {
    let house = House::new(EngineKind::Ort, Fast::Required);
    let question = [system(), says(Role::User, "turn on the light")];
    let (expected, _) = ask_anew(&house, &question);
    let mut model = house.open();
    let mut steps = 3;
    let mut go_on = || {
        steps -= 1;
        steps > 0
    };
    let report = model.keep_prefix(&[system()], &tools(), false, &mut go_on).unwrap();
    assert_eq!(report.origin, PrefixOrigin::Stopped);
    let (said, usage) = ask(&mut model, &question);
    assert_eq!((said.as_str(), usage.cached_tokens), (expected.as_str(), 128));
    // The question has left all but its last token; then another one waits.
    let mut steps = 2;
    let mut go_on = || {
        steps -= 1;
        steps > 0
    };
    let report = model.keep_prefix(&[system()], &tools(), false, &mut go_on).unwrap();
    assert_eq!(report.origin, PrefixOrigin::Computed);
    assert!(report.unsaved.is_some(), "a question may wait");
    let report = keep(&mut model);
    assert_eq!((report.origin, report.unsaved), (PrefixOrigin::Memory, None));
}

#[test]
fn the_published_graph_keeps_a_prefix_in_memory() {
    let house = House::new(EngineKind::Ort, Fast::Off);
    let mut model = house.open();
    let report = keep(&mut model);
    assert_eq!(report.origin, PrefixOrigin::Computed);
    assert!(report.unsaved.unwrap().contains("gemmad model optimize"));
    let (_, usage) = ask(&mut model, &[system(), says(Role::User, "turn on the light")]);
    assert_eq!(usage.cached_tokens, report.tokens);
    assert!(!house.prefixes().exists());
}
