//! How fast a reply is made that calls a tool, beside one of free text behind the same prompt. What a
//! call must say is appended without being chosen, and read by the decoder in one step.

use gemma_runtime::{Constraint, Model, ReplyOptions, Sampling, ToolChoice};
use gemma_types::{Message, Piece, Role, ToolSpec, Usage};
use serde_json::json;

use super::report::ToolCall;
use super::runs::says;
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
            let seed = u64::from(round) * REPLIES + number;
            words.take(reply(model, &talk, &tools, Constraint::Free, FREE_TOKENS, seed)?);
            calls.take(reply(model, &talk, &tools, required.clone(), CALL_TOKENS, seed)?);
        }
        if round > 0 {
            free.extend(words.rate());
            called.extend(calls.rate());
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

/// Tokens behind the first of several replies, and the seconds that they took.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    tokens: usize,
    seconds: f64,
}

impl Made {
    fn take(&mut self, usage: Usage) {
        self.tokens += usage.reply_tokens.saturating_sub(1);
        self.seconds += usage.decode.as_secs_f64();
    }

    fn rate(self) -> Option<f64> {
        (self.tokens > 0 && self.seconds > 0.0).then(|| self.tokens as f64 / self.seconds)
    }
}

fn reply(
    model: &mut Model,
    talk: &[Message],
    tools: &[ToolSpec],
    constraint: Constraint,
    tokens: usize,
    seed: u64,
) -> anyhow::Result<Usage> {
    let sampling = Sampling { seed: Some(seed), ..model.info().sampling };
    let options =
        ReplyOptions { sampling, reply_tokens_max: tokens, constraint, ..ReplyOptions::default() };
    for piece in model.reply(talk, tools, &options)? {
        if let Piece::End { usage, .. } = piece? {
            return Ok(usage);
        }
    }
    anyhow::bail!("a reply ended without its end")
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_token_of_a_reply_takes_no_step_of_its_own() {
        let mut made = Made::default();
        assert_eq!(made.rate(), None);
        let decode = Duration::from_secs(2);
        made.take(Usage { reply_tokens: 9, decode, ..Usage::default() });
        made.take(Usage { reply_tokens: 13, decode, ..Usage::default() });
        assert_eq!(made.rate(), Some(5.0));
    }
}
