//! A conversation as the daemon keeps one: results of tools parsed and kept with their calls, the
//! system's words as plain text, thoughts of the past left out.

use anyhow::{Context as _, bail, ensure};
use gemma_types::{Arguments, Cost, Message, Outcome, Part, Role, ToolCall, ToolResult};
use serde_json::{Map, Value};

use crate::client::model::file::Medium;

/// A medium with its place in the file.
type Place = (String, Option<Medium>);

/// Reads the messages of a conversation whose parts have been prepared.
///
/// # Errors
/// When something in it has no place in a conversation of the daemon.
pub(super) fn read(fields: &Map<String, Value>, media: &[Place]) -> anyhow::Result<Vec<Message>> {
    ensure!(
        fields.get("add_generation_prompt") != Some(&Value::Bool(false)),
        "add_generation_prompt is false, but the daemon always asks for an answer"
    );
    let mut reader = Reader { media: media.iter(), messages: Vec::new(), calls: Vec::new() };
    for (at, message) in fields["messages"].as_array().into_iter().flatten().enumerate() {
        reader.take(message).with_context(|| format!("messages[{at}]"))?;
    }
    Ok(reader.messages)
}

struct Reader<'a> {
    media: std::slice::Iter<'a, Place>,
    messages: Vec<Message>,
    /// Calls of the last message, by their ids, that have no result yet.
    calls: Vec<(Option<String>, String)>,
}

impl Reader<'_> {
    fn take(&mut self, message: &Value) -> anyhow::Result<()> {
        let parts = self.parts(&message["content"])?;
        let role = match message["role"].as_str() {
            Some("tool") => return self.result(message, &parts),
            Some("system" | "developer") => Role::System,
            Some("user") => Role::User,
            _ => Role::Assistant,
        };
        let mut new = Message { role, parts, tool_calls: Vec::new(), tool_results: Vec::new() };
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        self.calls.clear();
        for call in calls {
            let function = call.get("function").unwrap_or(call);
            let name = function["name"].as_str().context("a call without a name")?.to_owned();
            self.calls.push((call["id"].as_str().map(str::to_owned), name.clone()));
            new.tool_calls.push(ToolCall { name, arguments: arguments(&function["arguments"])? });
        }
        for response in message["tool_responses"].as_array().into_iter().flatten() {
            let name = response["name"].as_str().unwrap_or("unknown");
            new.tool_results.push(result(name, response["response"].clone()));
            self.calls.clear();
        }
        // The daemon keeps words before their calls; a template writes those of one message after
        // its results.
        let words = std::mem::take(&mut new.parts);
        if new.tool_calls.is_empty() || words.is_empty() {
            self.messages.push(Message { parts: words, ..new });
            return Ok(());
        }
        self.messages.push(new.clone());
        let after = Message { tool_calls: Vec::new(), tool_results: Vec::new(), ..new };
        self.messages.push(Message { parts: words, ..after });
        Ok(())
    }

    /// A result goes to the message that holds its call.
    fn result(&mut self, message: &Value, parts: &[Part]) -> anyhow::Result<()> {
        let id = message["tool_call_id"].as_str();
        let place = match id {
            Some(id) => self.calls.iter().position(|(call, _)| call.as_deref() == Some(id)),
            None => (!self.calls.is_empty()).then_some(0),
        };
        let name = match place {
            Some(place) => self.calls.remove(place).1,
            None => message["name"].as_str().unwrap_or("unknown").to_owned(),
        };
        let value = match &message["content"] {
            Value::String(text) => {
                serde_json::from_str(text).unwrap_or(Value::String(text.clone()))
            }
            Value::Array(_) => {
                let text: String = parts.iter().filter_map(words).collect();
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                message["content"].clone()
            }
        };
        let calling = self.messages.iter_mut().rev().find(|one| !one.tool_calls.is_empty());
        let calling = calling.context("a result without a call before it")?;
        calling.tool_results.push(result(&name, value));
        Ok(())
    }

    fn parts(&mut self, content: &Value) -> anyhow::Result<Vec<Part>> {
        match content {
            Value::String(text) if text.is_empty() => Ok(Vec::new()),
            Value::String(text) => Ok(vec![Part::Text(text.clone())]),
            Value::Array(parts) => parts.iter().map(|part| self.part(part)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Ok(Vec::new()),
        }
    }

    fn part(&mut self, part: &Value) -> anyhow::Result<Part> {
        if let Some(text) = part["text"].as_str() {
            return Ok(Part::Text(text.to_owned()));
        }
        match self.media.next() {
            Some((_, Some(medium))) => Ok(medium.clone().part()),
            Some((place, None)) => {
                bail!("{place} does not say where the medium is; expected path or url")
            }
            None => bail!("{part} is neither text nor a medium"),
        }
    }
}

fn words(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) => Some(text),
        Part::Image(_) | Part::Audio(_) | Part::Video(_) => None,
    }
}

fn arguments(value: &Value) -> anyhow::Result<Arguments> {
    match value {
        Value::Object(arguments) => Ok(arguments.clone()),
        Value::Null => Ok(Arguments::new()),
        Value::String(text) => serde_json::from_str(text)
            .with_context(|| format!("the arguments {text:?} are no JSON object")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            bail!("the arguments {value} are no object")
        }
    }
}

fn result(name: &str, value: Value) -> ToolResult {
    ToolResult { name: name.to_owned(), outcome: Outcome::Done(value), cost: Cost::default() }
}
