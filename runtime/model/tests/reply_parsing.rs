//! What the parser makes of replies: a corpus with the expected pieces, and random replies that must
//! read the same however they are cut into tokens.
//!
//! `make fuzz` runs a million random replies; `GEMMAD_FUZZ_RUNS` and `GEMMAD_FUZZ_SEED` say how many
//! and which. A failure names the run, and `GEMMAD_FUZZ_SEED` with that number repeats it first.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gemma_runtime::reply::{ReplyParser, ReplyPart};
use gemma_runtime::tokens::Tokenizer;
use gemma_types::{ToolCall, ToolSpec};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Random replies of a test run; a fuzzing run has more.
const RUNS: u64 = 20_000;

/// Most pieces of a random reply.
const PIECES_MAX: usize = 40;

/// What random replies consist of: everything that can go wrong is common.
const PIECES: [&str; 48] = [
    "<|tool_call>",
    "<|tool_call>",
    "<|tool_call>call:f{",
    "<|tool_call>call:f{",
    "<tool_call|>",
    "<tool_call|>",
    "<|\"|>",
    "<|\"|>",
    "<|\"|>",
    "<|channel>",
    "<|channel>thought\n",
    "<channel|>",
    "<channel|>",
    "<|tool_response>",
    "<turn|>",
    "<eos>",
    "<bos>",
    "<|image|>",
    "thought",
    "\n",
    "call:",
    "call:f{",
    "{",
    "}",
    "[",
    "]",
    ",",
    ",",
    ":",
    ":",
    "a:",
    "\"",
    "\\",
    " ",
    "a",
    "key",
    "12",
    "-1.5e3",
    "1e999",
    "null",
    "None",
    "true",
    "é",
    "🚀",
    "👩‍👩‍👧",
    "\u{0}\u{7f}\u{fffd}",
    "<|",
    "a long run of words, with commas",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A tokenizer that can also cut text into small tokens.
struct Cutter {
    tokenizer: Tokenizer,
    /// Ids of the tokens that stand for one byte.
    bytes: Vec<u32>,
    /// Texts of control tokens, the longest first.
    control: Vec<String>,
}

/// How text is cut into tokens.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// As the tokenizer does.
    Whole,
    /// Each character by itself.
    Characters,
    /// Each byte by itself.
    Bytes,
}

impl Cutter {
    fn open() -> Self {
        let folder = fixtures().join("conversations");
        let json = std::fs::read_to_string(folder.join("tokenizer.json")).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        let id = |byte| json["model"]["vocab"][format!("<0x{byte:02X}>")].as_u64().unwrap();
        let bytes = (0..256).map(|byte| u32::try_from(id(byte)).unwrap()).collect();
        let content = |token: &Value| token["content"].as_str().unwrap().to_owned();
        let mut control: Vec<_> =
            json["added_tokens"].as_array().unwrap().iter().map(content).collect();
        control.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self { tokenizer: Tokenizer::open(&folder).unwrap(), bytes, control }
    }

    /// Ids of a text in which the text of a control token is that token.
    fn ids(&self, text: &str, cut: Cut) -> Vec<u32> {
        let mut ids = Vec::new();
        let (mut rest, mut plain) = (text, String::new());
        while let Some(next) = rest.chars().next() {
            match self.control.iter().find(|control| rest.starts_with(control.as_str())) {
                Some(control) => {
                    ids.extend(self.typed(&std::mem::take(&mut plain), cut));
                    ids.extend(self.tokenizer.encode_template(control).unwrap());
                    rest = &rest[control.len()..];
                }
                None => {
                    plain.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        ids.extend(self.typed(&plain, cut));
        ids
    }

    /// Ids of a text in which nothing is a control token.
    fn typed(&self, text: &str, cut: Cut) -> Vec<u32> {
        let encode = |text: &str| self.tokenizer.encode_text(text).unwrap();
        match cut {
            Cut::Whole => encode(text),
            Cut::Characters => {
                text.chars().flat_map(|c| encode(c.encode_utf8(&mut [0; 4]))).collect()
            }
            Cut::Bytes => text.bytes().map(|byte| self.bytes[usize::from(byte)]).collect(),
        }
    }

    /// Everything that a parser makes of these ids, neighbouring texts joined.
    fn parts(&self, ids: &[u32], thought_open: bool, tools: &[ToolSpec]) -> Vec<ReplyPart> {
        let stream = self.tokenizer.stream();
        let parser = ReplyParser::new(self.tokenizer.ids(), stream, thought_open);
        let mut parser = parser.with_tools(tools);
        let mut parts = Vec::new();
        for id in ids {
            parts.extend(parser.push(*id));
        }
        parts.extend(parser.finish());
        joined(parts)
    }
}

fn joined(parts: Vec<ReplyPart>) -> Vec<ReplyPart> {
    let mut joined: Vec<ReplyPart> = Vec::new();
    for part in parts {
        match (joined.last_mut(), &part) {
            (Some(ReplyPart::Text(text)), ReplyPart::Text(more))
            | (Some(ReplyPart::Thought(text)), ReplyPart::Thought(more)) => text.push_str(more),
            _ => joined.push(part),
        }
    }
    joined
}

/// One line of the corpus.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The reply; control tokens are written as their text.
    reply: Reply,
    /// What the parser makes of it.
    pieces: Vec<ExpectedPiece>,
    /// Whether the prompt ended inside a thought.
    #[serde(default)]
    thought_open: bool,
    /// Tools that are declared.
    #[serde(default)]
    tools: Vec<Tool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reply {
    Text(String),
    Stretches(Vec<Stretch>),
}

/// A stretch of a reply.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stretch {
    Text(String),
    /// Ordinary tokens, whatever the text looks like.
    Typed {
        typed: String,
    },
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum ExpectedPiece {
    Text { text: String },
    Thought { thought: String },
    Call { call: String, arguments: Map<String, Value> },
}

#[derive(Deserialize)]
struct Tool {
    name: String,
    parameters: Value,
}

impl Case {
    fn ids(&self, cutter: &Cutter, cut: Cut) -> Vec<u32> {
        match &self.reply {
            Reply::Text(text) => cutter.ids(text, cut),
            Reply::Stretches(stretches) => stretches
                .iter()
                .flat_map(|stretch| match stretch {
                    Stretch::Text(text) => cutter.ids(text, cut),
                    Stretch::Typed { typed } => cutter.typed(typed, cut),
                })
                .collect(),
        }
    }

    fn expected(&self) -> Vec<ReplyPart> {
        let part = |piece: &ExpectedPiece| match piece {
            ExpectedPiece::Text { text } => ReplyPart::Text(text.clone()),
            ExpectedPiece::Thought { thought } => ReplyPart::Thought(thought.clone()),
            ExpectedPiece::Call { call, arguments } => {
                ReplyPart::ToolCall(ToolCall { name: call.clone(), arguments: arguments.clone() })
            }
        };
        self.pieces.iter().map(part).collect()
    }

    fn tools(&self) -> Vec<ToolSpec> {
        let spec = |tool: &Tool| ToolSpec {
            name: tool.name.clone(),
            description: String::new(),
            parameters: tool.parameters.clone(),
        };
        self.tools.iter().map(spec).collect()
    }
}

fn corpus() -> Vec<(String, Case)> {
    let text = std::fs::read_to_string(fixtures().join("conversations/replies.jsonl")).unwrap();
    text.lines().map(|line| (line.to_owned(), serde_json::from_str(line).unwrap())).collect()
}

#[test]
fn every_reply_of_the_corpus_reads_as_expected() {
    let (cutter, corpus) = (Cutter::open(), corpus());
    assert!(corpus.len() >= 200, "{} cases", corpus.len());
    let mut wrong = Vec::new();
    for (line, case) in &corpus {
        for cut in [Cut::Whole, Cut::Characters, Cut::Bytes] {
            let parts = cutter.parts(&case.ids(&cutter, cut), case.thought_open, &case.tools());
            if parts != case.expected() {
                wrong.push(format!("{line}\n  {cut:?}: {parts:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} readings differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// A random reply: pieces, or a line of the corpus that was damaged.
fn reply(random: &mut Xoshiro256PlusPlus, lines: &[String]) -> String {
    if random.random_range(0..4) > 0 {
        let count = random.random_range(0..PIECES_MAX);
        return (0..count).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect();
    }
    let mut text: Vec<char> = lines[random.random_range(0..lines.len())].chars().collect();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=text.len());
        let end = (at + random.random_range(0..8)).min(text.len());
        let piece = PIECES[random.random_range(0..PIECES.len())];
        let cut: Vec<char> = text.splice(at..end, piece.chars()).collect();
        if random.random_range(0..4) == 0 {
            let at = random.random_range(0..=text.len());
            text.splice(at..at, cut);
        }
    }
    text.into_iter().collect()
}

/// Tools whose schemas change how bare words are read.
fn tools() -> Vec<ToolSpec> {
    let text = HashMap::from([("type", "string")]);
    let parameters = serde_json::json!({"properties": {"a": text, "key": {"items": text}}});
    vec![ToolSpec { name: "f".into(), description: String::new(), parameters }]
}

#[test]
fn random_replies_read_the_same_however_they_are_cut() {
    let (runs, first) = (number("GEMMAD_FUZZ_RUNS", RUNS), number("GEMMAD_FUZZ_SEED", 0));
    let (cutter, tools) = (Cutter::open(), tools());
    let plain = |(_, case): &(String, Case)| match &case.reply {
        Reply::Text(text) if !text.is_empty() => Some(text.clone()),
        Reply::Text(_) | Reply::Stretches(_) => None,
    };
    let lines: Vec<String> = corpus().iter().filter_map(plain).collect();
    let (started, mut tokens, mut calls) = (Instant::now(), 0, 0);
    for run in first..first + runs {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(run);
        let text = reply(&mut random, &lines);
        let thought_open = random.random();
        let tools = if random.random() { &tools[..] } else { &[] };
        let whole = cutter.ids(&text, Cut::Whole);
        let expected = cutter.parts(&whole, thought_open, tools);
        for cut in [Cut::Characters, Cut::Bytes] {
            let parts = cutter.parts(&cutter.ids(&text, cut), thought_open, tools);
            assert_eq!(parts, expected, "run {run}, {cut:?}: {text:?}");
        }
        // Any ids at all: nothing to compare, but nothing may panic.
        let any = whole
            .iter()
            .map(|&id| if random.random_range(0..8) == 0 { random.random() } else { id });
        cutter.parts(&any.collect::<Vec<u32>>(), thought_open, tools);
        tokens += whole.len();
        calls += expected.iter().filter(|part| matches!(part, ReplyPart::ToolCall(_))).count();
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{runs} random replies ({tokens} tokens, {calls} calls) in {seconds:.0} s: no panic, no difference"
    );
}
