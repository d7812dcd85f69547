//! Pictures that are asked about more than once, by different people.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/demo.rs"]
mod demo;

use std::time::Duration;

use demo::{demo_model, options};
use gemma_runtime::{EngineKind, Model, ReplyOptions, Sampling};
use gemma_types::{Frame, Message, Part, Piece, Role};

/// A conversation that begins with words of its own and asks about a picture.
fn conversation(instruction: &str, shade: u8) -> [Message; 2] {
    let rgb = vec![shade; 320 * 240 * 3].into();
    let picture = Frame { width: 320, height: 240, rgb, captured_at: Duration::ZERO };
    let message = |role, parts| {
        let (tool_calls, tool_results) = (Vec::new(), Vec::new());
        Message { role, parts, tool_calls, tool_results }
    };
    let question = Part::Text("What do you see?".into());
    [
        message(Role::System, vec![Part::Text(instruction.into())]),
        message(Role::User, vec![Part::Image(picture), question]),
    ]
}

/// Whether the first step did nothing but encode, and what was said.
fn ask(model: &mut Model, instruction: &str, shade: u8) -> (bool, String) {
    let options = ReplyOptions {
        sampling: Sampling::greedy(),
        reply_tokens_max: 6,
        ..ReplyOptions::default()
    };
    let (mut first, mut said) = (None, String::new());
    for piece in model.reply(&conversation(instruction, shade), &[], &options).unwrap() {
        match piece.unwrap() {
            Piece::Progress { prompt_tokens_done, .. } => {
                first.get_or_insert(prompt_tokens_done);
            }
            Piece::End { usage, .. } => return (first == Some(usage.cached_tokens), said),
            Piece::Thought(text) | Piece::Text(text) => said.push_str(&text),
            Piece::ToolCall(call) => said.push_str(&call.name),
        }
    }
    panic!("a reply without an end");
}

fn check(engine: EngineKind) {
    let open = || Model::open(&demo_model(), &options(engine)).unwrap();
    let mut model = open();
    let (encodes, _) = ask(&mut model, "Be brief.", 40);
    assert!(encodes, "a picture that was never seen is encoded");
    let (encodes, said) = ask(&mut model, "Someone else asks.", 40);
    assert!(!encodes, "a picture is not encoded again");
    assert_eq!((true, said), ask(&mut open(), "Someone else asks.", 40));
    let (encodes, _) = ask(&mut model, "Someone else asks.", 200);
    assert!(encodes, "another picture is encoded");
}

#[test]
fn a_picture_is_encoded_once_for_everybody_on_ort() {
    check(EngineKind::Ort);
}

#[test]
fn a_picture_is_encoded_once_for_everybody_on_tract() {
    check(EngineKind::Tract);
}
