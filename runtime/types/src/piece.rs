//! What the model says, piece by piece.

use std::time::Duration;

use crate::ToolCall;

/// One piece of a reply, in the order in which the model made it.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// One step of work that had nothing to show: a block of the prompt, or a token inside a call.
    Progress {
        /// Prompt tokens processed so far, including those taken from the cache.
        prompt_tokens_done: usize,
        /// Prompt tokens in all.
        prompt_tokens: usize,
        /// Reply tokens made so far.
        reply_tokens: usize,
    },
    /// Text of the model's thinking channel; shown on request only, never kept in the history.
    Thought(String),
    /// Text of the answer.
    Text(String),
    /// A complete call of a tool.
    ToolCall(ToolCall),
    /// The reply is over; always the last piece.
    End {
        /// Why it ended.
        finish: Finish,
        /// What it took.
        usage: Usage,
    },
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its turn.
    Stop,
    /// The model waits for the results of its calls.
    ToolCalls,
    /// The limit of reply tokens, or the context, was reached.
    Length,
}

/// What a reply took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt, soft tokens of pictures and sound included.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values were still in the cache.
    pub cached_tokens: usize,
    /// Tokens made by the model, stop token included.
    pub reply_tokens: usize,
    /// Time to process the prompt, encoders included.
    pub prefill: Duration,
    /// Time to make the reply's tokens after the first.
    pub decode: Duration,
    /// Part of `decode` spent inside the engine.
    pub decode_engine: Duration,
}
