//! How many tokens things take, about: enough to keep a conversation within the context. Where the
//! guess is too low the model says so, and the oldest exchange leaves then.

use gemma_runtime::video::FRAME_BUDGET;
use gemma_types::{Message, Outcome, Part, SAMPLE_RATE_HZ, ToolSpec};

use crate::config;

/// Bytes of ordinary text for each token.
const BYTES_PER_TOKEN: usize = 3;
/// Tokens around a message, a call or a result.
const FRAME_TOKENS: usize = 8;
/// Tokens of a picture at the usual budget.
const IMAGE_TOKENS: usize = 282;
/// Tokens of a second of speech.
const AUDIO_TOKENS_PER_SECOND: usize = 25;

/// Tokens that the history may take, so that the question and an answer fit too.
pub(super) fn history_room(
    config: &config::Assistant,
    context_tokens: usize,
    tools: &[ToolSpec],
    exchange: &[Message],
) -> usize {
    let answer = config.reply_tokens_max.min(context_tokens / 2);
    let declared: usize = tools.iter().map(tokens_of_tool).sum();
    let taken = answer + declared + tokens_of_text(config.system.len()) + tokens_of(exchange);
    context_tokens.saturating_sub(taken)
}

/// Tokens of some messages.
pub(super) fn tokens_of(messages: &[Message]) -> usize {
    messages.iter().map(tokens_of_message).sum()
}

fn tokens_of_message(message: &Message) -> usize {
    let parts: usize = message.parts.iter().map(tokens_of_part).sum();
    let calls: usize = message
        .tool_calls
        .iter()
        .map(|call| tokens_of_text(call.name.len()) + tokens_of_object(&call.arguments))
        .sum();
    let results: usize = message
        .tool_results
        .iter()
        .map(|result| match &result.outcome {
            Outcome::Done(value) => tokens_of_text(value.to_string().len()),
            Outcome::Refused(reason) | Outcome::Failed(reason) => tokens_of_text(reason.len()),
        })
        .sum();
    FRAME_TOKENS + parts + calls + results
}

fn tokens_of_part(part: &Part) -> usize {
    match part {
        Part::Text(text) => tokens_of_text(text.len()),
        Part::Image(_) => IMAGE_TOKENS,
        Part::Video(clip) => clip.frames.len() * (FRAME_BUDGET + FRAME_TOKENS),
        Part::Audio(utterance) => {
            let seconds = utterance.samples.len().div_ceil(SAMPLE_RATE_HZ as usize);
            FRAME_TOKENS + seconds * AUDIO_TOKENS_PER_SECOND
        }
    }
}

fn tokens_of_tool(tool: &ToolSpec) -> usize {
    let bytes = tool.name.len() + tool.description.len() + tool.parameters.to_string().len();
    tokens_of_text(bytes)
}

fn tokens_of_object(object: &gemma_types::Arguments) -> usize {
    object.iter().map(|(key, value)| tokens_of_text(key.len() + value.to_string().len())).sum()
}

const fn tokens_of_text(bytes: usize) -> usize {
    FRAME_TOKENS + bytes / BYTES_PER_TOKEN
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use gemma_types::{Role, Utterance};

    use super::*;

    fn message(parts: Vec<Part>) -> Message {
        Message { role: Role::User, parts, tool_calls: Vec::new(), tool_results: Vec::new() }
    }

    #[test]
    fn words_and_speech_are_counted() {
        let check = |part: Part, expected: usize| {
            let tokens = tokens_of(&[message(vec![part])]);
            assert_eq!(tokens, expected + FRAME_TOKENS);
        };
        check(Part::Text("a".repeat(300)), 100 + FRAME_TOKENS);
        let samples: Arc<[i16]> = vec![0; 32_000].into();
        let utterance = Utterance { samples, started_at: Duration::ZERO, caption: None };
        check(Part::Audio(utterance), 50 + FRAME_TOKENS);
    }

    #[test]
    fn the_room_for_history_shrinks_with_the_question() {
        let config = config::Config::default().assistant;
        let room = |bytes: usize| {
            let question = message(vec![Part::Text("a".repeat(bytes))]);
            history_room(&config, 4_096, &[], &[question])
        };
        assert!(room(30) > room(3_000));
        assert_eq!(room(300_000), 0);
    }
}
