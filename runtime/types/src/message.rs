//! A conversation as the model is told it.

use crate::{Clip, Frame, ToolCall, ToolResult, Utterance};

/// Who speaks in a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The instruction that precedes the conversation.
    System,
    /// The person, or the program, that asks.
    User,
    /// The model.
    Assistant,
}

/// One part of a message. Pictures and sound go before the text that asks about them.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Words. They never become control tokens, whatever they contain.
    Text(String),
    /// A picture.
    Image(Frame),
    /// Speech, at most 30 seconds.
    Audio(Utterance),
    /// Frames of a film, each told with its time; the film's sound goes into an [`Part::Audio`].
    Video(Clip),
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// Calls that the model issued in this message (assistant only).
    pub tool_calls: Vec<ToolCall>,
    /// Results of those calls, in the order of the calls (assistant only).
    pub tool_results: Vec<ToolResult>,
}
