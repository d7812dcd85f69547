//! Plain data that crosses the borders between the crates of gemmad: what was heard and seen, what
//! is said to the model, what the model says back, and what its tool calls lead to. No behaviour.

mod audio;
mod clip;
mod frame;
mod message;
mod piece;
mod tool;

pub use audio::{AudioChunk, SAMPLE_RATE_HZ, Utterance};
pub use clip::Clip;
pub use frame::Frame;
pub use message::{Message, Part, Role};
pub use piece::{Finish, Piece, Usage};
pub use tool::{Arguments, Cost, Outcome, ToolCall, ToolResult, ToolSpec};
