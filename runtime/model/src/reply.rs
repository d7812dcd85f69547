//! Reads the tokens of a reply as they come: thoughts, text, and calls of tools.
//!
//! The reader works on token ids, so that a quotation mark or a brace in a string can never be taken
//! for the end of a call, and text that merely looks like a call stays text.

mod call;
mod symbols;
mod thought;

use std::collections::HashMap;

use gemma_types::{ToolCall, ToolSpec};
use serde_json::Value;

use crate::tokens::{ControlTokens, TextStream};
use symbols::{Symbol, Symbols};
use thought::Thought;

/// One piece of what the model says.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyPart {
    /// Text of the thinking channel.
    Thought(String),
    /// Text of the answer.
    Text(String),
    /// A complete call.
    ToolCall(ToolCall),
}

/// Where in its reply the model is.
enum State {
    /// In the answer.
    Answer,
    /// In a thought.
    Thinking(Thought),
    /// In a call.
    Calling(Symbols),
    /// Past the token that ends the reply.
    Ended,
}

/// Reads one reply, token by token. Whatever the tokens are, it neither fails nor panics.
pub struct ReplyParser {
    ids: ControlTokens,
    stream: TextStream,
    state: State,
    schemas: HashMap<String, Value>,
}

impl ReplyParser {
    /// Begins to read a reply. `thought_open` says that the prompt ended inside a thought.
    pub fn new(ids: &ControlTokens, stream: TextStream, thought_open: bool) -> Self {
        let state = if thought_open { State::Thinking(Thought::begun()) } else { State::Answer };
        Self { ids: ids.clone(), stream, state, schemas: HashMap::new() }
    }

    /// Reads bare words of a call as text where the tool's schema asks for a string.
    #[must_use]
    pub fn with_tools(mut self, tools: &[ToolSpec]) -> Self {
        let schema = |tool: &ToolSpec| (tool.name.clone(), tool.parameters.clone());
        self.schemas = tools.iter().map(schema).collect();
        self
    }

    /// Takes one token, the one that ends the reply included, and returns what is complete now.
    ///
    /// Text comes as it is made. A call comes when it ends, be it by its own token, by the next call
    /// or by the end of the reply.
    pub fn push(&mut self, id: u32) -> Vec<ReplyPart> {
        let mut parts = Vec::new();
        if matches!(self.state, State::Ended) {
            return parts;
        }
        if !self.is_control(id) {
            let text = self.stream.push(id);
            self.take_text(text, &mut parts);
            return parts;
        }
        let rest = self.stream.finish();
        self.take_text(rest, &mut parts);
        self.take_control(id, &mut parts);
        parts
    }

    /// Returns what was held back when the tokens ran out before the reply ended.
    ///
    /// A call that was cut off by a limit is dropped: half a command is not the command.
    pub fn finish(&mut self) -> Vec<ReplyPart> {
        let mut parts = Vec::new();
        let rest = self.stream.finish();
        self.take_text(rest, &mut parts);
        if let State::Thinking(thought) = std::mem::replace(&mut self.state, State::Ended) {
            parts.extend(thought.end().map(ReplyPart::Thought));
        }
        parts
    }

    fn take_text(&mut self, text: Option<String>, parts: &mut Vec<ReplyPart>) {
        let Some(text) = text else { return };
        match &mut self.state {
            State::Answer => parts.push(ReplyPart::Text(text)),
            State::Thinking(thought) => parts.extend(thought.push(&text).map(ReplyPart::Thought)),
            State::Calling(symbols) => symbols.extend(text.chars().map(Symbol::Char)),
            State::Ended => {}
        }
    }

    fn take_control(&mut self, id: u32, parts: &mut Vec<ReplyPart>) {
        if self.ids.stop.contains(&id) {
            self.enter(State::Ended, parts);
        } else if Some(id) == self.ids.tool_call_open {
            self.enter(State::Calling(Symbols::new()), parts);
        } else if Some(id) == self.ids.channel_open {
            if !matches!(self.state, State::Calling(_)) {
                self.enter(State::Thinking(Thought::unlabelled()), parts);
            }
        } else if Some(id) == self.ids.channel_close {
            // Without an open thought, this closes nothing.
            if matches!(self.state, State::Thinking(_)) {
                self.enter(State::Answer, parts);
            }
        } else if let State::Calling(symbols) = &mut self.state {
            if Some(id) == self.ids.quote {
                symbols.push(Symbol::Quote);
            } else if Some(id) == self.ids.tool_call_close {
                self.enter(State::Answer, parts);
            }
        }
    }

    /// Leaves the present state with what it still holds.
    fn enter(&mut self, next: State, parts: &mut Vec<ReplyPart>) {
        match std::mem::replace(&mut self.state, next) {
            State::Thinking(thought) => parts.extend(thought.end().map(ReplyPart::Thought)),
            State::Calling(symbols) => {
                let call = call::read(&symbols, |name| self.schemas.get(name));
                parts.extend(call.map(ReplyPart::ToolCall));
            }
            State::Answer | State::Ended => {}
        }
    }

    fn is_control(&self, id: u32) -> bool {
        let ids = &self.ids;
        let known = [
            ids.channel_open,
            ids.channel_close,
            ids.tool_call_open,
            ids.tool_call_close,
            ids.quote,
        ];
        known.contains(&Some(id)) || ids.stop.contains(&id)
    }
}

#[cfg(test)]
mod tests;
