//! The prompt of a folder that brings no template: what Google's template of July 2026 writes.
//!
//! Reads what templates read, and writes it the same way, character by character: a system turn with
//! the declared tools, then turns in which a thought, calls, their results and words follow each
//! other. Texts come with stand-ins, as they do for templates.

mod declaration;
mod value;

use serde_json::{Map, Value};

use super::PromptError;
use super::jinja::trimmed;
use value::{is_true, member, text};

/// How a prompt is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// For the models with embeddings in every layer (E2B, E4B).
    Small,
    /// For the others; they are told by an empty thought that they are not to think.
    Large,
}

/// Writes a prompt. `context` is what a template reads: `messages`, `tools`, `enable_thinking`,
/// `preserve_thinking`, `add_generation_prompt` and `bos_token`.
pub(super) fn render(
    flavour: Flavour,
    context: &Map<String, Value>,
) -> Result<String, PromptError> {
    let list =
        |key: &str| context.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let flag = |key: &str| context.get(key).is_some_and(is_true);
    let (messages, tools, thinking) = (list("messages"), list("tools"), flag("enable_thinking"));
    let mut out = context.get("bos_token").map(text).unwrap_or_default();
    let system = messages.first().filter(|first| is_role(first, &["system", "developer"]));
    if thinking || !tools.is_empty() || system.is_some() {
        write_system(&mut out, system, tools, thinking);
    }
    let messages = if system.is_some() { &messages[1..] } else { messages };
    let keep_thoughts = flag("preserve_thinking");
    let mut turns = Turns { messages, keep_thoughts, out, last: Last::Words };
    turns.write()?;
    let Turns { mut out, last, .. } = turns;
    if flag("add_generation_prompt") {
        out.push_str(match (last, thinking, flavour) {
            (Last::Words, false, Flavour::Large) => "<|turn>model\n<|channel>thought\n<channel|>",
            (Last::Words, _, _) => "<|turn>model\n",
            (Last::Responses, true, _) => "<|channel>thought\n",
            (Last::Responses, false, _) | (Last::Calls, _, _) => "",
        });
    }
    Ok(out)
}

fn is_role(message: &Value, roles: &[&str]) -> bool {
    member(message, "role").as_str().is_some_and(|role| roles.contains(&role))
}

fn write_system(out: &mut String, system: Option<&Value>, tools: &[Value], thinking: bool) {
    out.push_str("<|turn>system\n");
    if thinking {
        out.push_str("<|think|>\n");
    }
    match system.map(|system| member(system, "content")) {
        Some(Value::String(words)) => out.push_str(trimmed(words)),
        Some(Value::Array(parts)) => {
            for part in parts {
                out.push_str(trimmed(&text(member(part, "text"))));
                out.push(' ');
            }
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {}
    }
    for tool in tools {
        out.push_str("<|tool>");
        out.push_str(trimmed(&declaration::write(tool)));
        out.push_str("<tool|>");
    }
    out.push_str("<turn|>\n");
}

/// What the prompt ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Words, or nothing.
    Words,
    /// Calls that nobody has answered.
    Calls,
    /// Results of calls.
    Responses,
}

/// The turns of a conversation in the making.
struct Turns<'messages> {
    messages: &'messages [Value],
    /// Whether thoughts before a call stay although a question followed.
    keep_thoughts: bool,
    out: String,
    last: Last,
}

impl Turns<'_> {
    fn write(&mut self) -> Result<(), PromptError> {
        let question = self.messages.iter().rposition(|message| is_role(message, &["user"]));
        let mut previous = None;
        for index in 0..self.messages.len() {
            let message = &self.messages[index];
            if is_role(message, &["tool"]) {
                continue;
            }
            let after_question = question.is_none_or(|question| index > question);
            self.message(index, previous, after_question)?;
            previous = Some(message);
        }
        Ok(())
    }

    fn message(
        &mut self,
        index: usize,
        previous: Option<&Value>,
        after_question: bool,
    ) -> Result<(), PromptError> {
        let message = &self.messages[index];
        let model = is_role(message, &["assistant"]);
        let previous_is_model = previous.is_some_and(|one| is_role(one, &["assistant"]));
        if !(model && previous_is_model) {
            let role = if model { "model".to_owned() } else { text(member(message, "role")) };
            self.out.push_str(&format!("<|turn>{role}\n"));
        }
        let calls = list(message, "tool_calls");
        let thought = ["reasoning", "reasoning_content"].map(|key| member(message, key));
        let thought = thought.into_iter().find(|thought| is_true(thought));
        if let Some(thought) = thought
            && (after_question || (self.keep_thoughts && !calls.is_empty()))
        {
            self.out.push_str(&format!("<|channel>thought\n{}\n<channel|>", text(thought)));
        }
        self.last = if calls.is_empty() { Last::Words } else { Last::Calls };
        for call in calls {
            self.out.push_str(&written_call(call)?);
        }
        if self.responses(index) {
            self.last = Last::Responses;
        }
        let content = content(member(message, "content"));
        self.out.push_str(&content);
        self.end_turn(index, trimmed(&content).is_empty());
        Ok(())
    }

    /// Results of the calls of a message: its own, or those of the messages that follow. Whether
    /// there are any.
    fn responses(&mut self, index: usize) -> bool {
        let message = &self.messages[index];
        let own = list(message, "tool_responses");
        for response in own {
            let name = name_or_unknown(member(response, "name"));
            self.out.push_str(&written_response(&name, member(response, "response")));
        }
        let calls = list(message, "tool_calls");
        if !own.is_empty() || calls.is_empty() {
            return !own.is_empty();
        }
        let messages = self.messages;
        let followers =
            messages[index + 1..].iter().take_while(|follower| is_role(follower, &["tool"]));
        let mut any = false;
        for follower in followers {
            let id = member(follower, "tool_call_id");
            let named = calls.iter().rfind(|call| member(call, "id") == id);
            let name = match named {
                Some(call) => text(member(member(call, "function"), "name")),
                None => name_or_unknown(member(follower, "name")),
            };
            self.out.push_str(&follower_response(&name, member(follower, "content")));
            any = true;
        }
        any
    }

    /// Ends the turn of a message, unless it goes on or waits.
    fn end_turn(&mut self, index: usize, silent: bool) {
        let mut rest = self.messages[index + 1..].iter();
        let next = rest.find(|message| !is_role(message, &["tool"]));
        let model = is_role(&self.messages[index], &["assistant"]);
        let goes_on = model && next.is_some_and(|next| is_role(next, &["assistant"]));
        let waits = self.last == Last::Responses && silent && next.is_none();
        match self.last {
            Last::Calls => self.out.push_str("<|tool_response>"),
            Last::Words | Last::Responses if goes_on || waits => {}
            Last::Words | Last::Responses => self.out.push_str("<turn|>\n"),
        }
    }
}

fn list<'value>(message: &'value Value, key: &str) -> &'value [Value] {
    member(message, key).as_array().map_or(&[], Vec::as_slice)
}

fn name_or_unknown(name: &Value) -> String {
    if is_true(name) { text(name) } else { "unknown".to_owned() }
}

fn written_call(call: &Value) -> Result<String, PromptError> {
    let function = member(call, "function");
    let arguments = match member(function, "arguments") {
        Value::Object(arguments) => value::members(arguments, false),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let reason = "the arguments of a call are no object".to_owned();
            return Err(PromptError::Refused(reason));
        }
    };
    let name = text(member(function, "name"));
    Ok(format!("<|tool_call>call:{name}{{{arguments}}}<tool_call|>"))
}

fn written_response(name: &str, response: &Value) -> String {
    let response = match response.as_object() {
        Some(members) => value::members(members, false),
        None => format!("value:{}", value::written(response, false)),
    };
    format!("<|tool_response>response:{name}{{{response}}}<tool_response|>")
}

/// The result that a message of its own holds: text, or parts with text first and media after.
fn follower_response(name: &str, content: &Value) -> String {
    let Value::Array(parts) = content else { return written_response(name, content) };
    let words: String = parts
        .iter()
        .filter(|part| member(part, "type") == "text")
        .map(|part| text(member(part, "text")))
        .collect();
    let media: String = parts.iter().filter_map(placeholder).collect();
    format!("{}{media}", written_response(name, &Value::String(words)))
}

fn content(content: &Value) -> String {
    match content {
        Value::String(words) => trimmed(words).to_owned(),
        Value::Array(parts) => parts
            .iter()
            .map(|part| match placeholder(part) {
                Some(placeholder) => placeholder.to_owned(),
                None if member(part, "type") == "text" => {
                    trimmed(&text(member(part, "text"))).to_owned()
                }
                None => String::new(),
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn placeholder(part: &Value) -> Option<&'static str> {
    match member(part, "type").as_str()? {
        "image" | "image_url" => Some("<|image|>"),
        "audio" | "input_audio" => Some("<|audio|>"),
        "video" => Some("<|video|>"),
        _ => None,
    }
}
