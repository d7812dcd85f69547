//! The object of one question: it says piece by piece what comes of it, ends with `Response`, and
//! is gone after that.

use std::collections::HashMap;

use zbus::message::Header;
use zbus::names::OwnedUniqueName;
use zbus::object_server::SignalEmitter;
use zbus::{Variant, interface};

use super::error::Error;
use super::wire::{figures, json, plain};
use crate::channels::CommandSender;
use crate::event::{Command, Event, TurnId};

/// How a request ended, as `Response` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Code {
    Answered = 0,
    Cancelled = 1,
    Failed = 2,
}

/// The object of one question.
pub(super) struct Request {
    pub(super) turn: TurnId,
    /// Who may cancel it; anybody if there is nobody.
    pub(super) owner: Option<OwnedUniqueName>,
    pub(super) commands: CommandSender,
}

#[interface(name = "org.gemmad.Gemmad1.Request")]
impl Request {
    /// Cancels the question; `Response` follows.
    async fn cancel(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let stranger = self.owner.as_deref().is_some_and(|owner| header.sender() != Some(owner));
        if stranger {
            return Err(Error::NotYours("only the caller of Ask can cancel its request".into()));
        }
        self.commands.send(Command::Cancel(self.turn)).await.map_err(|_| Error::stopping())
    }

    /// Number of the turn, as in the signals of the main object.
    #[zbus(property(emits_changed_signal = "const"))]
    fn turn(&self) -> u64 {
        self.turn
    }

    /// A piece of the answer.
    #[zbus(signal)]
    async fn text(emitter: &SignalEmitter<'_>, text: &str) -> zbus::Result<()>;

    /// A piece of the model's thinking.
    #[zbus(signal)]
    async fn thought(emitter: &SignalEmitter<'_>, text: &str) -> zbus::Result<()>;

    /// The model calls a tool with these arguments, a JSON object.
    #[zbus(signal)]
    async fn tool_called(
        emitter: &SignalEmitter<'_>,
        name: &str,
        arguments: &str,
    ) -> zbus::Result<()>;

    /// The call ended: `done`, `refused` or `failed`, and the value or the reason as JSON.
    #[zbus(signal)]
    async fn tool_answered(
        emitter: &SignalEmitter<'_>,
        name: &str,
        outcome: &str,
        value: &str,
    ) -> zbus::Result<()>;

    /// The end: 0 answered, 1 cancelled, 2 failed. Results of an answer: turn (t), session (s),
    /// text (s), receipts (s, JSON), finish (s), figures (a{sd}), and result (s, JSON) of a
    /// ready-made task; of the others: turn (t) and error (s).
    #[zbus(signal)]
    async fn response(
        emitter: &SignalEmitter<'_>,
        code: u32,
        results: HashMap<&str, Variant<'_>>,
    ) -> zbus::Result<()>;
}

/// Tells an event of the request's turn on the request's object.
pub(super) async fn tell(
    emitter: &SignalEmitter<'_>,
    event: &Event,
    session: &str,
) -> zbus::Result<()> {
    match event {
        Event::Text { text, .. } => Request::text(emitter, &plain(text)).await,
        Event::Thought { text, .. } => Request::thought(emitter, &plain(text)).await,
        Event::ToolCalled { name, arguments, .. } => {
            Request::tool_called(emitter, &plain(name), &json(arguments)).await
        }
        Event::ToolAnswered { receipt, .. } => {
            let outcome = receipt.outcome.name();
            Request::tool_answered(emitter, &plain(&receipt.name), outcome, &json(&receipt.value))
                .await
        }
        Event::Answered { turn, text, result, receipts, finish, figures: taken } => {
            let mut results = HashMap::from([
                ("turn", Variant::from(*turn)),
                ("session", plain(session).into_owned().into()),
                ("text", plain(text).into_owned().into()),
                ("receipts", json(receipts).into()),
                ("finish", finish.name().into()),
                ("figures", figures(taken).into()),
            ]);
            if let Some(result) = result {
                results.insert("result", json(result).into());
            }
            Request::response(emitter, Code::Answered as u32, results).await
        }
        Event::Failed { turn, error } => end(emitter, Code::Failed, *turn, error).await,
        Event::Cancelled { turn } => end(emitter, Code::Cancelled, *turn, "cancelled").await,
        Event::State { .. }
        | Event::Part { .. }
        | Event::Accepted { .. }
        | Event::Heard { .. }
        | Event::Seen { .. }
        | Event::Watched { .. } => Ok(()),
    }
}

/// Ends a request without an answer.
pub(super) async fn end(
    emitter: &SignalEmitter<'_>,
    code: Code,
    turn: TurnId,
    error: &str,
) -> zbus::Result<()> {
    let error = plain(error).into_owned();
    let results = HashMap::from([("turn", Variant::from(turn)), ("error", error.into())]);
    Request::response(emitter, code as u32, results).await
}
