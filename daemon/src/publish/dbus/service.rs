//! The main object: what can be asked of the daemon, what can be looked up, and what it tells
//! everybody who listens.

use std::collections::HashMap;
use std::time::Duration;

use gemma_types::{Outcome, ToolCall};
use tokio::sync::oneshot;
use zbus::message::Header;
use zbus::names::OwnedUniqueName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, Variant, fdo, interface};

use super::error::Error;
use super::open::{Claim, Desk};
use super::options::{Checked, Options};
use super::path::request_path;
use super::wire::{figures, json, parts, plain};
use crate::event::{Ask, Command, Origin, OutcomeName};
use crate::publish::media::Media;

/// Longest time until the microphone is closed or open.
const MUTE_PATIENCE: Duration = Duration::from_secs(5);

/// The main object.
pub(super) struct Service {
    pub(super) desk: Desk,
}

#[interface(name = "org.gemmad.Gemmad1")]
impl Service {
    /// Asks the model. Pieces of the answer and its end are signals of the returned request
    /// object. Options: text (s), session (s), look (b), thinking (b), images (aay, encoded
    /// picture files), audio (aay, sound files of at most 30 s), film (ay, an animated or
    /// uncompressed film file) with fps (d) where it does not say, or frames (a(day), its pictures
    /// with their times in seconds), task (s, the name of a ready-made task or a JSON object with
    /// name and options), handle_token (s, last part of the path), detach (b, go on when the
    /// caller leaves the bus, and tell everybody).
    #[zbus(out_args("request"))]
    async fn ask(
        &self,
        options: Checked,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let options = options.0.map_err(Error::Invalid)?;
        let caller = header.sender().ok_or_else(|| Error::Invalid("no sender".into()))?;
        let place = self.desk.reserve(|number| match &*options.handle_token {
            "" => request_path(caller, &format!("r{number}")),
            token => request_path(caller, token),
        })?;
        let path = OwnedObjectPath::from(place.path().clone());
        let caller = OwnedUniqueName::from(caller.to_owned());
        let detach = options.detach;
        let turn = self.accept(options).await?;
        let (reply, claimed) = oneshot::channel();
        let owner = (!detach).then(|| caller.clone());
        let claim = Claim::Turn { turn, place, owner, reply };
        self.desk.claims.send(claim).await.map_err(|_| Error::stopping())?;
        claimed.await.map_err(|_| Error::stopping())?;
        if !detach {
            self.leave_if_gone(connection, caller).await;
        }
        Ok(path)
    }

    /// Calls a tool by hand with arguments from a JSON object. Gives the outcome (`done`,
    /// `refused` or `failed`), the value or the reason as JSON, and what it took.
    #[zbus(out_args("outcome", "value", "cost"))]
    async fn call_tool(
        &self,
        name: String,
        arguments: &str,
    ) -> Result<(&'static str, String, HashMap<&'static str, Variant<'static>>), Error> {
        let arguments = serde_json::from_str(arguments).map_err(|error| {
            Error::Invalid(format!("arguments: expected a JSON object: {error}"))
        })?;
        let (reply, answer) = oneshot::channel();
        let command = Command::CallTool(ToolCall { name, arguments }, reply);
        self.desk.commands.send(command).await.map_err(|_| Error::stopping())?;
        let result = answer.await.map_err(|_| Error::stopping())?;
        let (outcome, value) = match result.outcome {
            Outcome::Done(value) => (OutcomeName::Done, json(&value)),
            Outcome::Refused(reason) => (OutcomeName::Refused, json(&reason)),
            Outcome::Failed(reason) => (OutcomeName::Failed, json(&reason)),
        };
        let cost = HashMap::from([
            ("wall_ms", Variant::from(result.cost.wall.as_secs_f64() * 1e3)),
            ("fuel", result.cost.fuel.into()),
            ("memory_bytes", result.cost.memory_bytes.into()),
        ]);
        Ok((outcome.name(), value, cost))
    }

    /// Closes the microphone.
    async fn mute(&self) -> Result<(), Error> {
        self.set_mute(true).await
    }

    /// Opens the microphone again.
    async fn unmute(&self) -> Result<(), Error> {
        self.set_mute(false).await
    }

    /// What the daemon does: starting, loading, ready, listening, thinking, muted, degraded or
    /// stopping.
    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.desk.status.borrow().state.name()
    }

    /// Why it is in this state, where there is something to say.
    #[zbus(property)]
    fn detail(&self) -> String {
        plain(self.desk.status.borrow().detail.as_deref().unwrap_or_default()).into_owned()
    }

    /// Whether the microphone is muted; can be set.
    #[zbus(property)]
    fn muted(&self) -> bool {
        self.desk.status.borrow().muted
    }

    #[zbus(property)]
    async fn set_muted(&self, muted: bool) -> fdo::Result<()> {
        self.set_mute(muted).await.map_err(|error| fdo::Error::Failed(error.to_string()))
    }

    /// Name of the model; empty while there is none.
    #[zbus(property)]
    fn model(&self) -> String {
        plain(&self.desk.status.borrow().model).into_owned()
    }

    /// The engine that runs it.
    #[zbus(property)]
    fn engine(&self) -> String {
        plain(&self.desk.status.borrow().engine).into_owned()
    }

    /// Version of the daemon.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// Questions that wait for the model.
    #[zbus(property)]
    fn waiting(&self) -> u32 {
        u32::try_from(self.desk.status.borrow().waiting).unwrap_or(u32::MAX)
    }

    /// Questions answered since the start.
    #[zbus(property)]
    fn answered_count(&self) -> u64 {
        self.desk.status.borrow().answered
    }

    /// The last answer.
    #[zbus(property)]
    fn last_answer(&self) -> String {
        plain(&self.desk.status.borrow().last_answer).into_owned()
    }

    /// What the last answer took, by name; empty before the first.
    #[zbus(property)]
    fn last_figures(&self) -> HashMap<String, f64> {
        self.desk.status.borrow().last.as_ref().map(figures).unwrap_or_default()
    }

    /// The parts of the outside world: whether each works, and what is missing or was found.
    #[zbus(property)]
    fn parts(&self) -> HashMap<String, (bool, String)> {
        parts(&self.desk.status.borrow())
    }

    /// Names of the tools that the model can call.
    #[zbus(property)]
    fn tools(&self) -> Vec<String> {
        self.desk.status.borrow().tools.clone()
    }

    /// Most memory of the daemon in use at a time, in bytes.
    #[zbus(property(emits_changed_signal = "false"))]
    fn peak_rss(&self) -> u64 {
        self.desk.peak_rss_bytes()
    }

    /// A turn was accepted: its number, where it came from and its conversation.
    #[zbus(signal)]
    pub(super) async fn accepted(
        emitter: &SignalEmitter<'_>,
        turn: u64,
        origin: &str,
        session: &str,
    ) -> zbus::Result<()>;

    /// Speech was heard; the caption is empty for a real microphone.
    #[zbus(signal)]
    pub(super) async fn heard(
        emitter: &SignalEmitter<'_>,
        turn: u64,
        seconds: f64,
        caption: &str,
    ) -> zbus::Result<()>;

    /// A picture was taken along.
    #[zbus(signal)]
    pub(super) async fn seen(
        emitter: &SignalEmitter<'_>,
        turn: u64,
        width: u32,
        height: u32,
        age_ms: u64,
    ) -> zbus::Result<()>;

    /// The model calls a tool.
    #[zbus(signal)]
    pub(super) async fn tool_called(
        emitter: &SignalEmitter<'_>,
        turn: u64,
        call: u32,
        name: &str,
        arguments: &str,
    ) -> zbus::Result<()>;

    /// A call of a tool ended.
    #[zbus(signal)]
    pub(super) async fn tool_answered(
        emitter: &SignalEmitter<'_>,
        turn: u64,
        call: u32,
        name: &str,
        outcome: &str,
        value: &str,
    ) -> zbus::Result<()>;

    /// A film came along.
    #[zbus(signal)]
    pub(super) async fn watched(
        emitter: &SignalEmitter<'_>,
        turn: u64,
        frames: u32,
        seconds: f64,
    ) -> zbus::Result<()>;

    /// A turn is answered; receipts are JSON, and so is the result of a ready-made task (empty for a
    /// conversation).
    #[zbus(signal)]
    pub(super) async fn answered(
        emitter: &SignalEmitter<'_>,
        turn: u64,
        text: &str,
        receipts: &str,
        figures: HashMap<String, f64>,
        result: &str,
    ) -> zbus::Result<()>;

    /// A turn ended without an answer.
    #[zbus(signal)]
    pub(super) async fn failed(
        emitter: &SignalEmitter<'_>,
        turn: u64,
        error: &str,
    ) -> zbus::Result<()>;

    /// A turn was cancelled.
    #[zbus(signal)]
    pub(super) async fn cancelled(emitter: &SignalEmitter<'_>, turn: u64) -> zbus::Result<()>;
}

impl Service {
    /// Decodes what came along and has the question accepted.
    async fn accept(&self, options: Options) -> Result<u64, Error> {
        let Options { text, task, files, look, thinking, session, .. } = options;
        if text.trim().is_empty() && files.is_empty() && !look {
            return Err(Error::Invalid(
                "nothing is asked: give text, images, audio, film, frames or look".into(),
            ));
        }
        let Media { images, audio, film } =
            files.decode(task.as_ref()).await.map_err(Error::Invalid)?;
        let (origin, task) = (Origin::Bus, task.map(Box::new));
        let ask = Ask { task, text, images, film, audio, look, session, thinking, origin };
        let (reply, answer) = oneshot::channel();
        self.desk.commands.send(Command::Ask(ask, reply)).await.map_err(|_| Error::stopping())?;
        Ok(answer.await.map_err(|_| Error::stopping())??)
    }

    /// Tells that a caller left, if it did so before anybody watched it.
    async fn leave_if_gone(&self, connection: &Connection, caller: OwnedUniqueName) {
        let Ok(bus) = fdo::DBusProxy::new(connection).await else { return };
        let name = zbus::names::BusName::from(caller.as_ref());
        if matches!(bus.name_has_owner(name).await, Ok(false)) {
            let _ = self.desk.claims.send(Claim::Left(caller)).await;
        }
    }

    /// Mutes or unmutes, and waits until it is so.
    async fn set_mute(&self, muted: bool) -> Result<(), Error> {
        let mut status = self.desk.status.clone();
        let done = status.wait_for(|status| status.muted == muted);
        self.desk.commands.send(Command::Mute(muted)).await.map_err(|_| Error::stopping())?;
        match tokio::time::timeout(MUTE_PATIENCE, done).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::stopping()),
        }
    }
}
