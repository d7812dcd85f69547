//! A conversation in a file, in the messages format of transformers' chat templates: what the
//! template reads, and the media that the file names.

mod constraint; // what the answer may consist of
mod messages; // the same conversation as the daemon keeps one
mod source; // where a part's medium is

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use gemma_runtime::Constraint;
use gemma_runtime::prompt::{Media, Prompt, Rendered, Template, render};
use gemma_runtime::tokens::Tokenizer;
use gemma_types::{Message, ToolSpec};
use serde_json::{Map, Value, json};

use super::file::{self, Medium};

/// Bytes of a conversation's file at most; media may be inside.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A conversation.
#[derive(Debug)]
pub(in crate::client) struct Conversation {
    /// What the template reads.
    pub(super) fields: Map<String, Value>,
    /// The tools, for reading calls.
    pub(in crate::client) tools: Vec<ToolSpec>,
    /// What the answer may consist of.
    pub(in crate::client) constraint: Constraint,
    /// The media, in the order of the messages, each with its place in the file; nothing where the
    /// file does not say where it is.
    media: Vec<(String, Option<Medium>)>,
}

impl Conversation {
    /// Reads a conversation and its media.
    ///
    /// # Errors
    /// When a file cannot be read, or is not in the format; the error names the place in it.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let named = || format!("{}", path.display());
        let length = fs::metadata(path).with_context(named)?.len();
        ensure!(length <= FILE_BYTES_MAX, "{}: more than 256 MiB", path.display());
        let text = fs::read(path).with_context(named)?;
        let root: Value = serde_json::from_slice(&text).with_context(named)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::from_json(root, folder).with_context(named)
    }

    /// Reads a conversation whose media lie in `folder`.
    ///
    /// # Errors
    /// When it is not in the format; the error names the place in it.
    pub(in crate::client) fn from_json(root: Value, folder: &Path) -> anyhow::Result<Self> {
        let mut fields = match root {
            Value::Object(fields) => fields,
            messages @ Value::Array(_) => Map::from_iter([("messages".to_owned(), messages)]),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                bail!("expected an object with \"messages\"")
            }
        };
        if let Some(thinking) = fields.remove("thinking") {
            fields.entry("enable_thinking").or_insert(thinking);
        }
        for name in ["enable_thinking", "add_generation_prompt"] {
            let fits = fields.get(name).is_none_or(|value| value.is_boolean() || value.is_null());
            ensure!(fits, "{name} is {}; expected true or false", fields[name]);
        }
        let mut media = Vec::new();
        let Some(Value::Array(messages)) = fields.get_mut("messages") else {
            bail!("it has no list \"messages\"");
        };
        ensure!(!messages.is_empty(), "messages is empty; expected at least one message");
        for (at, message) in messages.iter_mut().enumerate() {
            prepare(message, folder, &format!("messages[{at}]"), &mut media)?;
        }
        let tools = take_tools(&mut fields)?;
        let constraint = constraint::take(&mut fields)?;
        Ok(Self { fields, tools, constraint, media })
    }

    /// Asks for an answer, unless the file says whether it wants one.
    pub(super) fn ask_for_answer(&mut self) {
        let asked = self.fields.entry("add_generation_prompt").or_insert(Value::Null);
        if asked.is_null() {
            *asked = json!(true);
        }
    }

    /// The first medium that the file does not give, by its place.
    pub(super) fn missing(&self) -> Option<&str> {
        let missing = self.media.iter().find(|(_, medium)| medium.is_none());
        missing.map(|(place, _)| place.as_str())
    }

    /// The prompt that a template made of the fields, with the media in it.
    ///
    /// # Errors
    /// When a medium is not given, or the template left one out.
    pub(super) fn prompt(&self, rendered: &Rendered) -> anyhow::Result<Prompt> {
        let mut media = Media::default();
        for (place, medium) in &self.media {
            match medium {
                Some(Medium::Picture(frame)) => media.images.push(frame.clone()),
                Some(Medium::Sound(samples)) => {
                    media.audio.push(file::utterance(samples.clone()));
                }
                Some(Medium::Film(clip)) => media.clips.push(clip.clone()),
                None => bail!("{place} does not say where the medium is; expected path or url"),
            }
        }
        Ok(rendered.prompt(media)?)
    }

    /// The messages as the daemon keeps them.
    ///
    /// # Errors
    /// When the conversation is none that the daemon could have.
    pub(in crate::client) fn messages(&self) -> anyhow::Result<Vec<Message>> {
        messages::read(&self.fields, &self.media)
    }

    /// The prompt as the daemon writes it.
    ///
    /// # Errors
    /// When the conversation is none that the daemon could have.
    pub(super) fn normal_prompt(
        &self,
        template: &Template,
        tokenizer: &Tokenizer,
    ) -> anyhow::Result<Prompt> {
        let messages = self.messages()?;
        Ok(render(template, tokenizer, &messages, &self.tools, self.thinks())?)
    }

    /// Whether the model is asked to think first.
    pub(in crate::client) fn thinks(&self) -> bool {
        self.fields.get("enable_thinking") == Some(&json!(true))
    }
}

/// Checks a message, and brings its parts into the form that every template reads.
fn prepare(
    message: &mut Value,
    folder: &Path,
    place: &str,
    media: &mut Vec<(String, Option<Medium>)>,
) -> anyhow::Result<()> {
    let Some(message) = message.as_object_mut() else {
        bail!("{place} is {message}; expected an object");
    };
    match message.get("role").and_then(Value::as_str) {
        Some("system" | "developer" | "user" | "assistant" | "model" | "tool") => {}
        _ => bail!("{place}.role is none of system, developer, user, assistant, tool"),
    }
    let parts = match message.get_mut("content") {
        None | Some(Value::Null | Value::String(_) | Value::Object(_)) => return Ok(()),
        Some(Value::Array(parts)) => parts,
        Some(other) => bail!("{place}.content is {other}; expected text or a list of parts"),
    };
    for (at, part) in parts.iter_mut().enumerate() {
        let place = format!("{place}.content[{at}]");
        let Some(found) = source::of(part, folder).with_context(|| place.clone())? else {
            continue;
        };
        *part = json!({"type": found.kind});
        media.push((place, found.medium));
    }
    Ok(())
}

/// Brings the tools into the form that templates read, and reads them.
fn take_tools(fields: &mut Map<String, Value>) -> anyhow::Result<Vec<ToolSpec>> {
    let tools = match fields.get_mut("tools") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(tools)) => tools,
        Some(_) => bail!("tools is no list"),
    };
    let mut specs = Vec::new();
    for (at, tool) in tools.iter_mut().enumerate() {
        if tool.get("function").is_none() {
            *tool = json!({"type": "function", "function": tool.take()});
        }
        let function = &tool["function"];
        let Some(name) = function["name"].as_str() else {
            bail!(
                "tools[{at}] has no name; expected {{\"type\": \"function\", \"function\": ...}}"
            );
        };
        specs.push(ToolSpec {
            name: name.to_owned(),
            description: function["description"].as_str().unwrap_or_default().to_owned(),
            parameters: function["parameters"].clone(),
        });
    }
    Ok(specs)
}

#[cfg(test)]
mod tests;
