//! Replies as a caller sees them: the same words however the prompt is cut, whatever was cached, and
//! whichever engine ran.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/demo.rs"]
mod demo;

use std::time::Duration;

use demo::demo_model;
use gemma_runtime::{EngineKind, Error, Model, Options, ReplyOptions, Sampling};
use gemma_types::{Finish, Message, Part, Piece, Role, Usage, Utterance};

fn open(engine: EngineKind, change: impl FnOnce(&mut Options)) -> Model {
    let mut options = demo::options(engine);
    change(&mut options);
    Model::open(&demo_model(), &options).unwrap()
}

fn says(role: Role, words: &str) -> Message {
    let parts = vec![Part::Text(words.into())];
    Message { role, parts, tool_calls: Vec::new(), tool_results: Vec::new() }
}

fn greedy(tokens: usize) -> ReplyOptions {
    ReplyOptions {
        sampling: Sampling::greedy(),
        reply_tokens_max: tokens,
        ..ReplyOptions::default()
    }
}

/// A whole reply: what it says, why it ended, what it took, and how many calls of `next`.
struct Told {
    pieces: Vec<Piece>,
    finish: Finish,
    usage: Usage,
    steps: usize,
}

fn tell(model: &mut Model, messages: &[Message], options: &ReplyOptions) -> Told {
    let mut told = Vec::new();
    for (step, piece) in model.reply(messages, &[], options).unwrap().enumerate() {
        match piece.unwrap() {
            Piece::Progress { prompt_tokens_done, prompt_tokens, reply_tokens } => {
                assert!(prompt_tokens_done <= prompt_tokens);
                assert!(reply_tokens <= options.reply_tokens_max);
            }
            Piece::End { finish, usage } => {
                return Told { pieces: joined(told), finish, usage, steps: step + 1 };
            }
            said @ (Piece::Thought(_) | Piece::Text(_) | Piece::ToolCall(_)) => told.push(said),
        }
    }
    panic!("a reply ends with Piece::End")
}

/// Pieces with neighbouring text in one: where it is cut depends on the steps.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

#[test]
fn all_ways_to_the_same_reply_agree() {
    let question = [says(Role::User, "turn on the light in the kitchen")];
    let mut plain = open(EngineKind::Ort, |_| {});
    let expected = tell(&mut plain, &question, &greedy(12));
    assert_eq!(expected.usage.cached_tokens, 0);
    assert!(expected.usage.reply_tokens > 0 && expected.usage.reply_tokens <= 12);
    let mut small = open(EngineKind::Ort, |options| options.prefill_block_tokens = 3);
    let mut pure = open(EngineKind::Tract, |_| {});
    for (name, model) in [("small blocks", &mut small), ("tract", &mut pure), ("again", &mut plain)]
    {
        let told = tell(model, &question, &greedy(12));
        assert_eq!(told.pieces, expected.pieces, "{name}");
        assert_eq!(told.finish, expected.finish, "{name}");
    }
}

#[test]
fn a_step_is_small() {
    let question = [says(Role::User, "What time is it?")];
    let mut model = open(EngineKind::Ort, |options| options.prefill_block_tokens = 4);
    let told = tell(&mut model, &question, &greedy(2));
    let blocks = told.usage.prompt_tokens.div_ceil(4);
    assert!(told.steps >= blocks, "{} steps for {blocks} blocks", told.steps);
}

#[test]
fn a_longer_conversation_keeps_its_beginning() {
    let mut model = open(EngineKind::Ort, |_| {});
    let first = says(Role::User, "What time is it?");
    let told = tell(&mut model, std::slice::from_ref(&first), &greedy(8));
    let next = [first, says(Role::Assistant, "It is noon."), says(Role::User, "Thanks!")];
    let longer = tell(&mut model, &next, &greedy(8));
    let prompt = told.usage.prompt_tokens;
    assert!(longer.usage.cached_tokens + 4 >= prompt, "{:?} after {prompt}", longer.usage);
    let mut fresh = open(EngineKind::Ort, |_| {});
    assert_eq!(tell(&mut fresh, &next, &greedy(8)).pieces, longer.pieces);
}

#[test]
fn a_dropped_reply_leaves_a_usable_model() {
    let mut model = open(EngineKind::Ort, |options| options.prefill_block_tokens = 4);
    let question = [says(Role::User, "Dim the bedroom lights to 40 percent, please.")];
    let mut fresh = open(EngineKind::Ort, |_| {});
    let expected = tell(&mut fresh, &question, &greedy(6));
    for steps in 0..6 {
        let other = [says(Role::User, "Dim the bedroom lights, and hurry up")];
        model.reply(&other, &[], &greedy(6)).unwrap().take(steps).for_each(drop);
        assert_eq!(tell(&mut model, &question, &greedy(6)).pieces, expected.pieces);
    }
}

#[test]
fn the_limit_of_tokens_holds() {
    let mut model = open(EngineKind::Ort, |_| {});
    let told = tell(&mut model, &[says(Role::User, "Hello!")], &greedy(1));
    assert_eq!(told.usage.reply_tokens, 1);
    assert_eq!(told.finish, Finish::Length);
    let none = model.reply(&[says(Role::User, "Hello!")], &[], &greedy(0));
    assert!(matches!(none.err(), Some(Error::Option { name: "reply_tokens_max", .. })));
}

#[test]
fn the_context_ends_a_reply_and_refuses_a_prompt() {
    let hello = [says(Role::User, "Hello!")];
    let prompt = tell(&mut open(EngineKind::Ort, |_| {}), &hello, &greedy(1)).usage.prompt_tokens;
    let mut full = open(EngineKind::Ort, |options| options.context_tokens = prompt);
    let refused = full.reply(&hello, &[], &greedy(9)).err();
    assert!(matches!(refused, Some(Error::PromptTooLong { limit, .. }) if limit == prompt));
    let mut tight = open(EngineKind::Ort, |options| options.context_tokens = prompt + 1);
    let told = tell(&mut tight, &hello, &greedy(9));
    assert!(told.usage.reply_tokens <= 2, "{:?}", told.usage);
}

#[test]
fn tract_hears_what_ort_hears() {
    for seconds in [1, 2] {
        let wave = |at: i32| (((at * at / 900) % 200 - 100) * 40) as i16;
        let samples = (0..seconds * 16_000).map(wave).collect();
        let clip = Utterance { samples, started_at: Duration::ZERO, caption: None };
        let parts = vec![Part::Audio(clip), Part::Text("What is this?".into())];
        let message = [Message { parts, ..says(Role::User, "") }];
        let mut engines = [EngineKind::Ort, EngineKind::Tract].map(|kind| open(kind, |_| {}));
        assert!(engines.iter().all(|model| model.info().has_audio));
        let [ort, tract] = engines.each_mut().map(|model| tell(model, &message, &greedy(12)));
        assert_eq!(tract.pieces, ort.pieces);
        assert_eq!(tract.finish, ort.finish);
    }
}
