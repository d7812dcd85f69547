//! Guesses of what comes next change how many runs a reply takes, and nothing that it says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "other tests use all of it")]
#[path = "support/demo.rs"]
mod demo;
#[allow(dead_code, reason = "the conformity table uses all of it")]
#[path = "conformity/fixture.rs"]
mod fixture;

use std::io::Read as _;
use std::path::Path;

use fixture::{Decoder, Layout};
use flate2::read::GzDecoder;
use gemma_runtime::{
    EngineKind, Fast, Guesses, Model, OptimizeOptions, Options, ReplyOptions, Sampling, optimize,
};
use gemma_types::{Finish, Message, Part, Piece, Role};
use tempfile::TempDir;

const TOKENS: usize = 96;

fn open(folder: &Path, guesses: Guesses) -> Model {
    let options = Options { guesses, fast: Fast::Required, ..demo::options(EngineKind::Ort) };
    Model::open(folder, &options).unwrap()
}

/// What a reply says, how it ends with how many tokens, and how many calls of `next` it took.
#[derive(Debug)]
struct Told {
    text: String,
    end: (Finish, usize),
    steps: usize,
}

fn tell(model: &mut Model, words: &str, sampling: &Sampling) -> Told {
    let parts = vec![Part::Text(words.into())];
    let question =
        Message { role: Role::User, parts, tool_calls: Vec::new(), tool_results: Vec::new() };
    let sampling = *sampling;
    let options = ReplyOptions { sampling, reply_tokens_max: TOKENS, ..ReplyOptions::default() };
    let (mut text, mut end, mut steps) = (String::new(), None, 0);
    for piece in model.reply(&[question], &[], &options).unwrap() {
        steps += 1;
        match piece.unwrap() {
            Piece::Text(words) | Piece::Thought(words) => text.push_str(&words),
            Piece::End { finish, usage } => end = Some((finish, usage.reply_tokens)),
            Piece::Progress { .. } => {}
            // Random weights may call what nobody has offered.
            Piece::ToolCall(call) => text.push_str(&format!("{call:?}")),
        }
    }
    Told { text, end: end.unwrap(), steps }
}

/// What both say to some words is the same; how many runs the guesses save.
fn compare(mut guessing: Model, mut plain: Model) -> usize {
    let mut saved = 0;
    for words in ["a b a b a b a b", "What is it?", "on off on off on off on"] {
        for seed in [None, Some(1), Some(2)] {
            let drawn = Sampling { seed, temperature: 0.7, ..Sampling::default() };
            let sampling = if seed.is_some() { drawn } else { Sampling::greedy() };
            let expected = tell(&mut plain, words, &sampling);
            let told = tell(&mut guessing, words, &sampling);
            assert_eq!((&told.text, told.end), (&expected.text, expected.end), "{words} {seed:?}");
            saved += expected.end.1.saturating_sub(told.steps);
        }
    }
    saved
}

/// The smallest size with a fast graph.
fn folder() -> TempDir {
    let all = fixture::of_variant("e2b").into_iter();
    let mut fast = all.filter(|one| one.decoder == Decoder::Fast && one.layout == Layout::A);
    let folder = fast.find(|one| one.dtype == "fp32").unwrap().assemble();
    let library = Some(demo::library());
    optimize(folder.path(), &OptimizeOptions { library, threads: 1, ..OptimizeOptions::default() })
        .unwrap();
    folder
}

#[test]
fn a_reply_with_guesses_says_the_same_in_fewer_runs() {
    let folder = folder();
    let [guessing, plain] =
        [Guesses::Always, Guesses::Never].map(|guesses| open(folder.path(), guesses));
    assert!(compare(guessing, plain) > 0, "no guess came true");
}

#[test]
fn a_reply_with_a_drafter_says_the_same() {
    let folder = folder();
    let plain = open(folder.path(), Guesses::Never);
    let packed = std::fs::File::open(fixture::folder().join("e2b/assistant.onnx.gz")).unwrap();
    let mut graph = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut graph).unwrap();
    std::fs::create_dir(folder.path().join("assistant")).unwrap();
    std::fs::write(folder.path().join("assistant/model.onnx"), graph).unwrap();
    let drafting = open(folder.path(), Guesses::Always);
    assert!(drafting.info().graphs.iter().any(|graph| graph.role == "assistant"));
    assert_eq!(drafting.info().refusals, []);
    compare(drafting, plain);
}
