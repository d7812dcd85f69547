//! What a reply may consist of: nothing but calls that fit the declared tools, nothing but JSON of a
//! schema, one of several answers, or anything.
//!
//! A grammar decides before every token which tokens may come. Where only one may, it is not sampled
//! but appended. The engine of the grammars is llguidance; what is ours is the grammar of calls,
//! which Gemma writes in a form of its own, and when a grammar begins and ends.

mod calls;
mod guide;
mod schema;
mod vocabulary;

use serde_json::Value;

pub use guide::{Guide, Thinking};
pub(crate) use vocabulary::Vocabulary;

/// What a reply may consist of.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Constraint {
    /// Whatever the model says.
    #[default]
    Free,
    /// Calls of the declared tools fit their schemas; the choice says whether there are any.
    Tools(ToolChoice),
    /// One JSON value that this schema accepts.
    JsonSchema(Value),
    /// A text that matches this regular expression as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
}

/// Whether a reply calls tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides; until it begins a call, it is free.
    #[default]
    Auto,
    /// It calls none.
    Forbidden,
    /// It calls at least one, and says nothing else.
    Required,
    /// It calls this one, once, and says nothing else.
    Named(String),
}

/// Why a reply cannot be held to a constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// A call is asked for where there is nothing to call.
    #[error("a call is required, but no tool is declared")]
    NoTools,
    /// The tool to be called is not among the declared ones.
    #[error("the tool {name:?} is to be called, but only {declared} are declared")]
    UnknownTool {
        /// The tool that was asked for.
        name: String,
        /// The declared tools, by name.
        declared: String,
    },
    /// The name of a tool cannot be written in a call.
    #[error("a tool is named {0:?}; accepted: letters, digits, _ . -, at most 64")]
    ToolName(String),
    /// A schema that is malformed, or asks for what a grammar cannot keep.
    #[error("the schema of the tool {tool:?}, at {place:?}: {reason}")]
    Schema {
        /// The tool.
        tool: String,
        /// Where in its schema, as a JSON pointer.
        place: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A schema, a regular expression or a list of answers that is no grammar.
    #[error("the constraint is no {kind}: {reason}")]
    Invalid {
        /// What it should be.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The vocabulary lacks a control token that the grammar needs.
    #[error("the vocabulary has no token {0}, without which there are no calls")]
    MissingToken(&'static str),
    /// The grammar grew beyond what it may take, while a reply was made.
    #[error("the grammar of the reply failed: {0}")]
    Failed(String),
}
