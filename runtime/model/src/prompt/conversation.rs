//! Messages in the form that chat templates read.

use gemma_types::{Clip, Frame, Message, Outcome, Part, Role, ToolCall, ToolResult, Utterance};
use serde_json::{Value, json};

use super::PromptError;

/// A conversation for a template, and the media it refers to.
pub(super) struct Conversation {
    /// The list of messages.
    pub(super) messages: Value,
    /// What the messages hold beside words.
    pub(super) media: Media,
}

/// The media of a conversation, each kind in the order in which the messages hold it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// Pictures.
    pub images: Vec<Frame>,
    /// Sound.
    pub audio: Vec<Utterance>,
    /// Films.
    pub clips: Vec<Clip>,
}

/// Writes messages. `joins_turns` says whether the template makes one turn of two assistant
/// messages in a row.
pub(super) fn write(messages: &[Message], joins_turns: bool) -> Result<Conversation, PromptError> {
    let mut written = Vec::new();
    let mut media = Media::default();
    for message in messages {
        match message.role {
            Role::System => written.push(json!({
                "role": "system",
                "content": system_text(&message.parts)?,
            })),
            Role::User => written.push(json!({
                "role": "user",
                "content": content(&message.parts, &mut media),
            })),
            Role::Assistant => {
                let said = content(&spoken(&message.parts), &mut media);
                assistant(message, &said, joins_turns, &mut written);
            }
        }
    }
    Ok(Conversation { messages: Value::Array(written), media })
}

/// An assistant message, in the order in which the model made it: words, then calls, then results.
///
/// Templates put the words of a message after its results, so words before a call need a message of
/// their own. Where the template would end the turn between the two, the words are left out: a model
/// that reads a finished turn takes the question for answered.
fn assistant(message: &Message, said: &Value, joins_turns: bool, written: &mut Vec<Value>) {
    if message.tool_calls.is_empty() && message.tool_results.is_empty() {
        written.push(json!({"role": "assistant", "content": said}));
        return;
    }
    if joins_turns && *said != "" {
        written.push(json!({"role": "assistant", "content": said}));
    }
    let mut calling = json!({
        "role": "assistant",
        "content": "",
        "tool_calls": message.tool_calls.iter().map(call).collect::<Value>(),
    });
    if !message.tool_results.is_empty() {
        calling["tool_responses"] = message.tool_results.iter().map(response).collect();
    }
    written.push(calling);
}

fn call(call: &ToolCall) -> Value {
    json!({
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    })
}

/// A result in the shape the model was trained on: always an object. A tool may have written its
/// object as text.
fn response(result: &ToolResult) -> Value {
    let response = match &result.outcome {
        Outcome::Done(object @ Value::Object(_)) => object.clone(),
        Outcome::Done(Value::String(text)) => match serde_json::from_str(text) {
            Ok(object @ Value::Object(_)) => object,
            Ok(_) | Err(_) => json!({"value": text}),
        },
        Outcome::Done(value) => json!({"value": value}),
        Outcome::Refused(reason) | Outcome::Failed(reason) => json!({"error": reason}),
    };
    json!({"name": result.name, "response": response})
}

/// The text of a system message; its parts are lines.
fn system_text(parts: &[Part]) -> Result<String, PromptError> {
    let line = |part: &'_ Part| match part {
        Part::Text(text) => Ok(text.clone()),
        Part::Image(_) => Err(PromptError::MediaInSystem("a picture")),
        Part::Audio(_) => Err(PromptError::MediaInSystem("sound")),
        Part::Video(_) => Err(PromptError::MediaInSystem("a film")),
    };
    let lines = parts.iter().map(line).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.join("\n"))
}

/// The parts of a message: plain text, or a list of typed parts.
fn content(parts: &[Part], media: &mut Media) -> Value {
    match parts {
        [] => return json!(""),
        [Part::Text(text)] => return json!(text),
        _ => {}
    }
    let mut part = |part: &Part| match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image(frame) => {
            media.images.push(frame.clone());
            json!({"type": "image"})
        }
        Part::Audio(utterance) => {
            media.audio.push(utterance.clone());
            json!({"type": "audio"})
        }
        Part::Video(clip) => {
            media.clips.push(clip.clone());
            json!({"type": "video"})
        }
    };
    parts.iter().map(&mut part).collect()
}

/// What the model said, without thoughts that somebody left in it: past thoughts are never repeated.
fn spoken(parts: &[Part]) -> Vec<Part> {
    let mut parts = merged(parts);
    for part in &mut parts {
        if let Part::Text(text) = part {
            *text = without_thoughts(text);
        }
    }
    parts
}

/// A text without what stands between the marks of a thought; templates cut it out the same way.
fn without_thoughts(text: &str) -> String {
    if !text.contains("<channel|>") && !text.contains("<|channel>") {
        return text.to_owned();
    }
    let outside = |part: &'_ str| part.split("<|channel>").next().unwrap_or_default().to_owned();
    text.split("<channel|>").map(outside).collect()
}

/// Joins neighbouring texts: what the model said came in pieces of one stream.
fn merged(parts: &[Part]) -> Vec<Part> {
    let mut merged: Vec<Part> = Vec::new();
    for part in parts {
        match (merged.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(text),
            _ => merged.push(part.clone()),
        }
    }
    merged
}
