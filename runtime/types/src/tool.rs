//! Tools: what they are called with, and what comes back.

use std::time::Duration;

use serde_json::{Map, Value};

/// Arguments of a call: a JSON object.
pub type Arguments = Map<String, Value>;

/// A tool as it is declared to the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Name, `[A-Za-z0-9_.-]{1,64}`.
    pub name: String,
    /// What it does, in one sentence; the model reads it.
    pub description: String,
    /// JSON schema of the arguments; its `type` is `object`.
    pub parameters: Value,
}

/// A call that the model issued.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// Name of the tool, as the model wrote it.
    pub name: String,
    /// Arguments, as the model wrote them; not yet checked against the tool's schema.
    pub arguments: Arguments,
}

/// What a call led to. The model always reads one, whatever happened.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// Name of the tool that was called.
    pub name: String,
    /// What came back.
    pub outcome: Outcome,
    /// What the call took.
    pub cost: Cost,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The tool ran and returned this JSON value.
    Done(Value),
    /// The tool was not run, or was not let do something: no such tool, wrong arguments, no grant.
    Refused(String),
    /// The tool ran and failed, or was stopped at a limit.
    Failed(String),
}

/// What a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Wall-clock time, waiting included.
    pub wall: Duration,
    /// WebAssembly fuel consumed; about one unit an instruction.
    pub fuel: u64,
    /// Most linear memory in use at a time, in bytes.
    pub memory_bytes: u64,
}
