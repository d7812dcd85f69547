//! How fast a reply is made that calls a tool, beside one of free text behind the same prompt. What a
//! call must say is appended without being chosen, and read by the decoder in one step.

use gemma_runtime::{Constraint, Model, ReplyOptions, Sampling, ToolChoice};
use gemma_types::{Role, ToolSpec};
use serde_json::json;

use super::report::ToolCall;
use super::runs::{Made, answer, says};
use super::spread::Spread;

/// Replies of each kind in a round.
const REPLIES: u64 = 4;
/// Tokens of a free reply; a call ends by itself.
const FREE_TOKENS: usize = 24;
/// More than any of the calls takes.
const CALL_TOKENS: usize = 128;

/// Measures in so many rounds; or says why it cannot.
///
/// # Errors
/// When the model fails.
pub(super) fn measure(model: &mut Model, rounds: u16) -> anyhow::Result<Result<ToolCall, String>> {
    let tools = [light()];
    let talk = [says(Role::User, "Switch on the light in the kitchen, please.")];
    let required = Constraint::Tools(ToolChoice::Required);
    model.prepare_grammars();
    let (mut free, mut called) = (Vec::new(), Vec::new());
    // One round more than asked for: the first one reads the prompt.
    for round in 0..=rounds {
        let (mut words, mut calls) = (Made::default(), Made::default());
        for number in 0..REPLIES {
            let seed = Some(u64::from(round) * REPLIES + number);
            let sampling = Sampling { seed, ..model.info().sampling };
            let options = |constraint, reply_tokens_max| ReplyOptions {
                sampling,
                reply_tokens_max,
                constraint,
                ..ReplyOptions::default()
            };
            words.add(&answer(model, &talk, &tools, &options(Constraint::Free, FREE_TOKENS))?.0);
            calls.add(&answer(model, &talk, &tools, &options(required.clone(), CALL_TOKENS))?.0);
        }
        if round > 0 {
            free.extend(words.decode_rate());
            called.extend(calls.decode_rate());
        }
    }
    let spreads = Spread::of(free).zip(Spread::of(called));
    let found = spreads.map(|(free_tokens_per_s, tokens_per_s)| ToolCall {
        tokens_per_s,
        free_tokens_per_s,
        ratio: tokens_per_s.median / free_tokens_per_s.median.max(f64::MIN_POSITIVE),
    });
    Ok(found.ok_or_else(|| "the model says nothing".to_owned()))
}

/// A tool as a home declares it: what its arguments may be is listed.
fn light() -> ToolSpec {
    let rooms = ["kitchen", "living room", "bedroom", "bathroom", "hall", "garden"];
    ToolSpec {
        name: "set_light".to_owned(),
        description: "Switches the light of a room on or off, or dims it.".to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {
                "room": {"type": "string", "enum": rooms, "description": "Name of the room"},
                "state": {"type": "string", "enum": ["on", "off", "dim"]},
            },
            "required": ["room", "state"],
        }),
    }
}
