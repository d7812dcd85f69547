//! Films on their way through template, layout and vision encoder of the demo model.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/demo.rs"]
mod demo;

use std::time::Duration;

use demo::{demo_model, options};
use gemma_runtime::{EngineKind, Model, Options, ReplyOptions, Sampling, image, video};
use gemma_types::{Clip, Frame, Message, Part, Piece, Role};

fn open(block_tokens: usize) -> Model {
    let options = Options { prefill_block_tokens: block_tokens, ..options(EngineKind::Ort) };
    Model::open(&demo_model(), &options).unwrap()
}

/// A film of so many plain frames, one a second, and a question about it.
fn question(frames: u8) -> Message {
    let frame = |shade: u8| {
        let rgb = vec![shade.wrapping_mul(60); 320 * 240 * 3].into();
        Frame { width: 320, height: 240, rgb, captured_at: Duration::ZERO }
    };
    let clip = Clip {
        frames: (0..frames).map(frame).collect(),
        seconds: (0..frames).map(f64::from).collect(),
    };
    let parts = vec![Part::Video(clip), Part::Text("What happens?".into())];
    Message { role: Role::User, parts, tool_calls: Vec::new(), tool_results: Vec::new() }
}

/// Tokens of the prompt, and what is said.
fn ask(model: &mut Model, frames: u8) -> (usize, String) {
    let options = ReplyOptions {
        sampling: Sampling::greedy(),
        reply_tokens_max: 6,
        ..ReplyOptions::default()
    };
    let mut said = String::new();
    for piece in model.reply(&[question(frames)], &[], &options).unwrap() {
        match piece.unwrap() {
            Piece::Progress { .. } => {}
            Piece::End { usage, .. } => return (usage.prompt_tokens, said),
            Piece::Thought(text) | Piece::Text(text) => said.push_str(&text),
            Piece::ToolCall(call) => said.push_str(&call.name),
        }
    }
    panic!("a reply without an end");
}

#[test]
fn every_frame_takes_the_tokens_of_a_small_picture() {
    let mut model = open(256);
    let each = image::soft_tokens(320, 240, video::FRAME_BUDGET).unwrap();
    assert_eq!(each, 63);
    let tokens = [1, 2, 3].map(|frames| ask(&mut model, frames).0);
    assert_eq!(tokens[2] - tokens[1], tokens[1] - tokens[0]);
    // Beside its soft tokens, a frame has a token before and after it, and its time.
    let beside = tokens[1] - tokens[0] - each;
    assert!((4..=12).contains(&beside), "{beside} tokens");
}

#[test]
fn a_film_is_told_the_same_however_its_prompt_is_cut() {
    let whole = ask(&mut open(4_096), 3);
    for block_tokens in [7, 64] {
        assert_eq!(ask(&mut open(block_tokens), 3), whole, "blocks of {block_tokens}");
    }
}
