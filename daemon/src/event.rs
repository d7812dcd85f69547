//! The public vocabulary of the daemon: [`Event`] goes out, [`Command`] comes in. Publishers
//! translate both to their wire (D-Bus signals, MQTT payloads) and add nothing of their own.

use gemma_runtime::tasks::{AnyAnswer, Order};
use gemma_types::{Arguments, Clip, Frame, ToolCall, ToolResult, Utterance};
use serde::Serialize;
use tokio::sync::oneshot;

/// Version of the vocabulary; it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// Number of a turn; counts up from 1 while the daemon runs.
pub type TurnId = u64;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The daemon's state changed.
    State {
        /// The new state.
        state: State,
        /// Why, where there is something to say.
        detail: Option<String>,
    },
    /// A device, a bus, the broker or a plugin came or went.
    Part {
        /// Which one.
        part: PartName,
        /// Whether it works now.
        working: bool,
        /// What is missing and how to mend it, or what was found.
        detail: String,
    },
    /// A turn was accepted and waits for the model.
    Accepted {
        /// The turn.
        turn: TurnId,
        /// Where it came from.
        origin: Origin,
        /// The conversation that it belongs to.
        session: String,
    },
    /// Speech was heard and belongs to this turn.
    Heard {
        /// The turn.
        turn: TurnId,
        /// Length of the speech.
        seconds: f32,
        /// Its text, where a replayed file brought it along.
        caption: Option<String>,
    },
    /// A picture was taken along for this turn.
    Seen {
        /// The turn.
        turn: TurnId,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Age of the picture when the turn took it along, in milliseconds.
        age_ms: u64,
    },
    /// A film came along for this turn.
    Watched {
        /// The turn.
        turn: TurnId,
        /// Frames that the model is shown.
        frames: usize,
        /// When the last of them is to be seen, in seconds since the film began.
        seconds: f64,
    },
    /// A piece of the model's thinking, on request only.
    Thought {
        /// The turn.
        turn: TurnId,
        /// The piece.
        text: String,
    },
    /// A piece of the answer.
    Text {
        /// The turn.
        turn: TurnId,
        /// The piece.
        text: String,
    },
    /// The model called a tool.
    ToolCalled {
        /// The turn.
        turn: TurnId,
        /// Number of the call within the turn, from 1.
        call: u32,
        /// Name of the tool.
        name: String,
        /// Arguments as the model wrote them.
        arguments: Arguments,
    },
    /// The call ended; the model reads this result.
    ToolAnswered {
        /// The turn.
        turn: TurnId,
        /// Number of the call within the turn, from 1.
        call: u32,
        /// What really happened.
        receipt: Receipt,
    },
    /// The turn is answered.
    Answered {
        /// The turn.
        turn: TurnId,
        /// The whole answer.
        text: String,
        /// The answer of a ready-made task, read into its type; nothing for a conversation.
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<AnyAnswer>,
        /// Receipts of all calls of the turn, in order.
        receipts: Vec<Receipt>,
        /// Why it ended.
        finish: FinishReason,
        /// What it took.
        figures: Figures,
    },
    /// The turn ended without an answer.
    Failed {
        /// The turn.
        turn: TurnId,
        /// What went wrong.
        error: String,
    },
    /// The turn was cancelled.
    Cancelled {
        /// The turn.
        turn: TurnId,
    },
}

impl Event {
    /// The event's name as it is seen on MQTT; the same as its tag in JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::State { .. } => "state",
            Self::Part { .. } => "part",
            Self::Accepted { .. } => "accepted",
            Self::Heard { .. } => "heard",
            Self::Seen { .. } => "seen",
            Self::Watched { .. } => "watched",
            Self::Thought { .. } => "thought",
            Self::Text { .. } => "text",
            Self::ToolCalled { .. } => "tool_called",
            Self::ToolAnswered { .. } => "tool_answered",
            Self::Answered { .. } => "answered",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// The turn that the event belongs to, if it belongs to one.
    #[must_use]
    pub const fn turn(&self) -> Option<TurnId> {
        match self {
            Self::State { .. } | Self::Part { .. } => None,
            Self::Accepted { turn, .. }
            | Self::Heard { turn, .. }
            | Self::Seen { turn, .. }
            | Self::Watched { turn, .. }
            | Self::Thought { turn, .. }
            | Self::Text { turn, .. }
            | Self::ToolCalled { turn, .. }
            | Self::ToolAnswered { turn, .. }
            | Self::Answered { turn, .. }
            | Self::Failed { turn, .. }
            | Self::Cancelled { turn } => Some(*turn),
        }
    }

    /// Whether the event is the last one of its turn.
    #[must_use]
    pub const fn ends_turn(&self) -> bool {
        matches!(self, Self::Answered { .. } | Self::Failed { .. } | Self::Cancelled { .. })
    }
}

/// What the daemon does right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Opening configuration, buses and devices.
    #[default]
    Starting,
    /// Loading the model.
    Loading,
    /// Waiting for a question; the microphone is closed or absent.
    Ready,
    /// Waiting for a question, with an open microphone.
    Listening,
    /// Working on a turn.
    Thinking,
    /// Waiting for a question, with the microphone muted.
    Muted,
    /// Running, but unable to answer: the model is missing or broken.
    Degraded,
    /// Going down.
    Stopping,
}

impl State {
    /// The state's name as it is seen on D-Bus, MQTT and in the status line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Listening => "listening",
            Self::Thinking => "thinking",
            Self::Muted => "muted",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
        }
    }
}

/// A part of the outside world that can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartName {
    /// The model folder and the engine's library.
    Model,
    /// The microphone.
    Microphone,
    /// The camera.
    Camera,
    /// The message bus.
    Bus,
    /// The MQTT broker.
    Broker,
    /// The plugins.
    Plugins,
}

impl PartName {
    /// The part's name as it is seen on D-Bus, MQTT and in the status line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Microphone => "microphone",
            Self::Camera => "camera",
            Self::Bus => "bus",
            Self::Broker => "broker",
            Self::Plugins => "plugins",
        }
    }
}

/// Where a turn came from. Speech goes before local programs, those before the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The microphone.
    Speech,
    /// A program on this machine, through D-Bus.
    Bus,
    /// The network, through MQTT.
    Broker,
}

impl Origin {
    /// The origin's name as it is seen on D-Bus and MQTT.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Speech => "speech",
            Self::Bus => "bus",
            Self::Broker => "broker",
        }
    }
}

/// Proof of what a tool call really did, published beside the model's own words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Receipt {
    /// Name of the tool.
    pub name: String,
    /// `done`, `refused` or `failed`.
    pub outcome: OutcomeName,
    /// The returned value, or the reason of the refusal or failure as a string.
    pub value: serde_json::Value,
    /// Wall-clock time in milliseconds.
    pub wall_ms: f64,
    /// WebAssembly fuel consumed.
    pub fuel: u64,
    /// Most linear memory in use at a time, in bytes.
    pub memory_bytes: u64,
}

/// How a call ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeName {
    /// The tool ran and returned a value.
    Done,
    /// The tool was not run, or was not let do something.
    Refused,
    /// The tool ran and failed.
    Failed,
}

impl OutcomeName {
    /// The outcome's name as it is seen on D-Bus and MQTT.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// The limit of tokens was reached.
    Length,
    /// The limit of tool rounds was reached.
    Steps,
}

impl FinishReason {
    /// The reason's name as it is seen on D-Bus and MQTT.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Steps => "steps",
        }
    }
}

/// What a turn took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Tokens of the last prompt of the turn.
    pub prompt_tokens: usize,
    /// Prompt tokens that came from the cache, over all rounds.
    pub cached_tokens: usize,
    /// Tokens that the model made, over all rounds.
    pub reply_tokens: usize,
    /// From the acceptance of the turn to the first piece of text, in milliseconds.
    pub first_text_ms: f64,
    /// From the acceptance of the turn to its end, in milliseconds.
    pub total_ms: f64,
    /// Speed of decoding in tokens per second.
    pub tokens_per_second: f64,
}

/// A wish from outside.
#[derive(Debug)]
pub enum Command {
    /// Ask the model. The answer is the turn's number, or why it is refused.
    Ask(Ask, oneshot::Sender<Result<TurnId, Refusal>>),
    /// Cancel a turn; nothing happens if it is over.
    Cancel(TurnId),
    /// Close the microphone (true) or open it again (false).
    Mute(bool),
    /// Call a tool by hand, without the model.
    CallTool(ToolCall, oneshot::Sender<ToolResult>),
}

/// A question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// A ready-made task to do, if it is one; it knows no conversation and no tools.
    pub task: Option<Box<Order>>,
    /// The words; may be empty if there is a picture, a film or speech.
    pub text: String,
    /// Pictures, before the text.
    pub images: Vec<Frame>,
    /// A film, before the text.
    pub film: Option<Clip>,
    /// Speech, before the text; each at most 30 seconds, or 10 minutes for a task that writes it down.
    pub audio: Vec<Utterance>,
    /// Whether to take the camera's latest picture along.
    pub look: bool,
    /// The conversation to go on with; empty for a fresh one.
    pub session: String,
    /// Whether to let the model think aloud first; its thoughts come as [`Event::Thought`].
    pub thinking: bool,
    /// Where it came from.
    pub origin: Origin,
}

/// Why a question was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue is full.
    #[error("busy: {waiting} questions are waiting, ask again in {retry_after_s} s")]
    Busy {
        /// Questions in the queue.
        waiting: usize,
        /// A guess of when there is room again, in seconds.
        retry_after_s: u32,
    },
    /// There is no model to ask.
    #[error("no model: {0}")]
    NoModel(String),
    /// The question itself cannot be asked.
    #[error("{0}")]
    Invalid(String),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    fn check(event: &Event, expected: &str) {
        let json = serde_json::to_value(event).unwrap();
        assert_eq!(json.get("event").and_then(Value::as_str), Some(event.name()));
        assert_eq!(json.to_string(), expected);
    }

    #[test]
    fn the_vocabulary_is_what_its_version_says() {
        let receipt = Receipt {
            name: "set_light".into(),
            outcome: OutcomeName::Done,
            value: serde_json::json!({"room": "kitchen"}),
            wall_ms: 1.5,
            fuel: 2,
            memory_bytes: 3,
        };
        check(
            &Event::State { state: State::Ready, detail: None },
            r#"{"event":"state","state":"ready","detail":null}"#,
        );
        check(
            &Event::Part { part: PartName::Bus, working: true, detail: "there".into() },
            r#"{"event":"part","part":"bus","working":true,"detail":"there"}"#,
        );
        check(
            &Event::Accepted { turn: 1, origin: Origin::Broker, session: "s".into() },
            r#"{"event":"accepted","turn":1,"origin":"broker","session":"s"}"#,
        );
        check(
            &Event::ToolAnswered { turn: 1, call: 1, receipt },
            r#"{"event":"tool_answered","turn":1,"call":1,"receipt":{"name":"set_light","outcome":"done","value":{"room":"kitchen"},"wall_ms":1.5,"fuel":2,"memory_bytes":3}}"#,
        );
        check(
            &Event::Watched { turn: 1, frames: 2, seconds: 0.5 },
            r#"{"event":"watched","turn":1,"frames":2,"seconds":0.5}"#,
        );
        check(&Event::Cancelled { turn: 1 }, r#"{"event":"cancelled","turn":1}"#);
        assert_eq!(VERSION, 1);
    }
}
