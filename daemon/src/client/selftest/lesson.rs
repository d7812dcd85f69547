//! One conversation of a held-out set: what `gemmad model run` takes, and nothing else, with what is
//! right to answer.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use gemma_runtime::tasks::{Ask, Order, Subject, Task as _};
use gemma_runtime::{Constraint, Error, Model, ReplyOptions, Sampling};
use gemma_types::{Message, Part, Piece, ToolSpec};
use serde_json::{Map, Value};

use super::judge::{Expected, Given};
use super::place;
use crate::client::model::conversation::Conversation;
use crate::config;
use crate::inference::reply_options;

/// Fields of a conversation, of a message and of a part.
const FIELDS: [&str; 6] = ["messages", "tools", "thinking", "response_format", "order", "expected"];
const MESSAGE_FIELDS: [&str; 4] = ["role", "content", "tool_calls", "tool_responses"];
const PART_FIELDS: [&str; 3] = ["type", "text", "path"];

/// A conversation with what is right to answer.
#[derive(Debug)]
pub(super) struct Lesson {
    messages: Vec<Message>,
    tools: Vec<ToolSpec>,
    thinking: bool,
    constraint: Constraint,
    /// The question of a ready-made task, where it is one.
    ask: Option<Ask>,
    /// What is right to answer.
    pub(super) expected: Expected,
}

impl Lesson {
    /// Reads a conversation and its media; all of them lie in the folder.
    ///
    /// # Errors
    /// When a file is missing, too large or not in the format; the error names the field.
    pub(super) fn read(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let text = place::text(folder, name)?;
        let mut fields: Map<String, Value> = serde_json::from_str(&text)?;
        known(&fields, &FIELDS, "")?;
        let Some(expected) = fields.remove("expected") else {
            bail!("it has no field \"expected\"");
        };
        let expected = serde_json::from_value(expected).context("expected")?;
        let order: Option<Order> = match fields.remove("order") {
            Some(order) => Some(serde_json::from_value(order).context("order")?),
            None => None,
        };
        check_messages(folder, fields.get("messages").unwrap_or(&Value::Null))?;
        let conversation = Conversation::from_json(Value::Object(fields), folder)?;
        let messages = conversation.messages()?;
        let ask = order.map(|order| ordered(order, &messages)).transpose().context("order")?;
        Ok(Self {
            messages,
            thinking: conversation.thinks(),
            tools: conversation.tools,
            constraint: conversation.constraint,
            ask,
            expected,
        })
    }

    /// Lets a model answer, as the daemon would, but with the likeliest token always.
    ///
    /// # Errors
    /// When the model cannot take the conversation, or fails.
    pub(super) fn answer(
        &self,
        model: &mut Model,
        config: &config::Assistant,
    ) -> Result<Given, Error> {
        let options = self.options(model, config);
        let mut given = Given::default();
        for piece in model.reply(&self.messages, &self.tools, &options)? {
            match piece? {
                Piece::Thought(text) if self.thinking => given.thought.push_str(&text),
                Piece::Text(text) => given.text.push_str(&text),
                Piece::ToolCall(call) => given.calls.push(call),
                Piece::Thought(_) | Piece::Progress { .. } | Piece::End { .. } => {}
            }
        }
        Ok(given)
    }

    fn options(&self, model: &Model, config: &config::Assistant) -> ReplyOptions {
        let mut options = match &self.ask {
            Some(ask) => {
                let most = config.task_tokens_max;
                let reply_tokens_max = ask.options.reply_tokens_max.min(most);
                ReplyOptions { reply_tokens_max, ..ask.options.clone() }
            }
            None => reply_options(config, model.info(), self.thinking),
        };
        if self.constraint != Constraint::Free {
            options.constraint = self.constraint.clone();
        }
        // As large as the folder was made for, whatever a task would like.
        ReplyOptions { sampling: Sampling::greedy(), image_budget: None, ..options }
    }
}

/// The question that a task asks about the media of a conversation: the same that the conversation
/// holds.
fn ordered(order: Order, messages: &[Message]) -> anyhow::Result<Ask> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    let media = parts.filter(|part| !matches!(part, Part::Text(_))).cloned().collect();
    let asks = order.about(Subject { words: String::new(), media })?.asks()?;
    let [ask] = <[Ask; 1]>::try_from(asks)
        .map_err(|asks| anyhow::anyhow!("it asks {} questions; expected one", asks.len()))?;
    ensure!(
        ask.messages == messages,
        "the task asks {:?}, which the conversation does not",
        words(&ask.messages)
    );
    Ok(ask)
}

fn words(messages: &[Message]) -> String {
    let parts = messages.iter().flat_map(|message| &message.parts);
    let words = parts.filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Image(_) | Part::Audio(_) | Part::Video(_) => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Refuses fields that are not known, and media that do not lie in the folder.
fn check_messages(folder: &Path, messages: &Value) -> anyhow::Result<()> {
    for (at, message) in messages.as_array().into_iter().flatten().enumerate() {
        let place = format!("messages[{at}].");
        let Some(message) = message.as_object() else { continue };
        known(message, &MESSAGE_FIELDS, &place)?;
        let parts = message.get("content").and_then(Value::as_array);
        for (at, part) in parts.into_iter().flatten().enumerate() {
            let place = format!("{place}content[{at}].");
            let Some(part) = part.as_object() else { continue };
            known(part, &PART_FIELDS, &place)?;
            if let Some(path) = part.get("path") {
                let Some(name) = path.as_str() else {
                    bail!("{place}path is {path}; expected the name of a file");
                };
                place::medium(folder, name).with_context(|| format!("{place}path"))?;
            }
        }
    }
    Ok(())
}

fn known(fields: &Map<String, Value>, known: &[&str], place: &str) -> anyhow::Result<()> {
    match fields.keys().find(|field| !known.contains(&field.as_str())) {
        Some(field) => bail!("{place}{field} is not known; expected {}", known.join(", ")),
        None => Ok(()),
    }
}
