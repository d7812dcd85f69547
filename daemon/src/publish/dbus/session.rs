//! One connection to the bus, from owning the name to losing the bus: tells every event to
//! everybody and to the request that it belongs to, and keeps the properties up to date.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zbus::names::{BusName, InterfaceName, OwnedUniqueName};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant, fdo};

use super::open::{Claim, Desk, Place, REQUESTS_MAX};
use super::path::{NAME, PATH};
use super::request::{self, Code, Request};
use super::service::Service;
use super::wire::{figures, json, parts, plain};
use crate::channels::{CommandSender, EventReceiver, StatusReceiver};
use crate::config::Bus;
use crate::event::{Command, Event, Origin};
use crate::publish::turns::Turns;
use crate::status::{Status, StatusBoard};

/// Longest time to connect, and to wait for an answer of the bus itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a connection ended.
pub(super) enum End {
    /// We were asked to stop.
    Stopped,
    /// The bus went away.
    Lost(String),
}

/// One connection to the bus.
pub(super) struct Session {
    connection: Connection,
    main: SignalEmitter<'static>,
    desk: Desk,
    claims: mpsc::Receiver<Claim>,
    events: EventReceiver,
    status: StatusReceiver,
    departures: fdo::NameOwnerChangedStream,
    turns: Turns<Asker>,
    shown: Properties,
}

/// Who waits for a turn.
struct Asker {
    place: Place,
    owner: Option<OwnedUniqueName>,
    session: String,
}

/// The properties that change, by name.
type Properties = BTreeMap<&'static str, Variant<'static>>;

impl Session {
    /// Connects, serves the main object and owns the name.
    pub(super) async fn open(
        config: &Bus,
        board: &StatusBoard,
        events: EventReceiver,
        commands: &CommandSender,
    ) -> anyhow::Result<Self> {
        let (claim_sender, claims) = mpsc::channel(REQUESTS_MAX);
        let desk = Desk::new(commands.clone(), board.subscribe(), claim_sender);
        // Before anybody can look a property up: what changes after that is told.
        let mut status = board.subscribe();
        let shown = properties(&status.borrow_and_update());
        let connect = super::builder(config)?
            .serve_at(PATH, Service { desk: desk.clone() })
            .serve_at("/org/gemmad", fdo::ObjectManager)
            .name(NAME)
            .allow_name_replacements(false)
            .replace_existing_names(false)
            .method_timeout(PATIENCE)
            .build();
        let connection = tokio::time::timeout(PATIENCE, connect)
            .await
            .context("no answer")?
            .map_err(|error| explain(&error))?;
        let departures =
            fdo::DBusProxy::new(&connection).await?.receive_name_owner_changed().await?;
        let main = SignalEmitter::new(&connection, PATH)?;
        let turns = Turns::new(Origin::Bus);
        Ok(Self { connection, main, desk, claims, events, status, departures, turns, shown })
    }

    /// Serves until `stop` or until the bus is lost.
    pub(super) async fn serve(mut self, stop: &CancellationToken) -> End {
        let ended = self.tell_all(stop).await;
        match ended {
            Ok(()) => {
                self.close().await;
                End::Stopped
            }
            Err(error) => {
                self.cancel(|_| true).await;
                End::Lost(format!("{error:#}"))
            }
        }
    }

    async fn tell_all(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let connection = self.connection.clone();
        let closed = connection.closed();
        tokio::pin!(closed);
        loop {
            tokio::select! {
                biased;
                () = &mut closed => anyhow::bail!("the bus closed the connection"),
                event = self.events.recv() => match event {
                    Ok(event) => self.tell(&event).await?,
                    Err(RecvError::Lagged(count)) => self.catch_up(count).await?,
                    Err(RecvError::Closed) => return Ok(()),
                },
                Some(claim) = self.claims.recv() => self.take(claim).await?,
                Some(change) = self.departures.next() => self.watch(&change).await,
                Ok(()) = self.status.changed() => self.show().await?,
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Tells an event to everybody, then to the request that it belongs to.
    async fn tell(&mut self, event: &Event) -> zbus::Result<()> {
        announce(&self.main, event).await?;
        if let Some(asker) = self.turns.hear(event) {
            tell_request(&self.connection, asker, event).await?;
            self.finish_if_ended(event).await;
        }
        Ok(())
    }

    async fn take(&mut self, claim: Claim) -> zbus::Result<()> {
        match claim {
            Claim::Left(caller) => self.cancel(|asker| asker.owner.as_ref() == Some(&caller)).await,
            Claim::Turn { turn, place, owner, reply } => {
                let commands = self.desk.commands.clone();
                let request = Request { turn, owner: owner.clone(), commands };
                self.connection.object_server().at(place.path(), request).await?;
                let asker = Asker { place, owner, session: String::new() };
                let early = self.turns.claim(turn, asker);
                let _ = reply.send(());
                for event in &early {
                    if let Some(asker) = self.turns.asker(turn) {
                        tell_request(&self.connection, asker, event).await?;
                        self.finish_if_ended(event).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the request object after its last signal.
    async fn finish_if_ended(&mut self, event: &Event) {
        let Some(turn) = event.turn().filter(|_| event.ends_turn()) else { return };
        if let Some(asker) = self.turns.close(turn) {
            let server = self.connection.object_server();
            let _ = server.remove::<Request, _>(asker.place.path()).await;
        }
    }

    /// Cancels the requests of a caller that left the bus.
    async fn watch(&mut self, change: &fdo::NameOwnerChanged) {
        let Ok(change) = change.args() else { return };
        if change.new_owner.is_none() {
            let name = change.name.as_str();
            self.cancel(|asker| asker.owner.as_ref().is_some_and(|owner| owner.as_str() == name))
                .await;
        }
    }

    async fn cancel(&self, wanted: impl Fn(&Asker) -> bool) {
        let wanted = |asker: &Asker| asker.owner.is_some() && wanted(asker);
        for turn in self.turns.find(wanted) {
            let _ = self.desk.commands.send(Command::Cancel(turn)).await;
        }
    }

    /// Tells the properties that changed since they were told last.
    async fn show(&mut self) -> zbus::Result<()> {
        let now = properties(&self.status.borrow_and_update());
        let changed: HashMap<&str, Variant<'_>> = now
            .iter()
            .filter(|(name, value)| self.shown.get(*name) != Some(value))
            .map(|(name, value)| (*name, value.clone()))
            .collect();
        self.shown = now;
        if changed.is_empty() {
            return Ok(());
        }
        let interface = InterfaceName::from_static_str(NAME)?;
        fdo::Properties::properties_changed(&self.main, interface, changed, (&[]).into()).await
    }

    /// Goes on after events were lost: tells the whole state, and ends the open requests, because
    /// the end of their turns may be among what was lost.
    async fn catch_up(&mut self, lost: u64) -> zbus::Result<()> {
        tracing::warn!(events = lost, "the bus was too slow, events were lost");
        self.shown.clear();
        self.show().await?;
        self.cancel(|_| true).await;
        self.end_requests(Code::Failed, "the bus was too slow: signals were lost, ask again").await;
        Ok(())
    }

    /// Tells what is left to tell, ends the open requests and leaves the bus.
    async fn close(mut self) {
        loop {
            match self.events.try_recv() {
                Ok(event) => drop(self.tell(&event).await),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let _ = self.show().await;
        self.end_requests(Code::Cancelled, "the daemon is going down").await;
        let _ = self.connection.release_name(NAME).await;
        let _ = self.connection.close().await;
    }

    async fn end_requests(&mut self, code: Code, error: &str) {
        for turn in self.turns.find(|_| true) {
            let Some(asker) = self.turns.asker(turn) else { continue };
            if let Ok(emitter) = emitter(&self.connection, asker) {
                let _ = request::end(&emitter, code, turn, error).await;
            }
            self.finish_if_ended(&Event::Cancelled { turn }).await;
        }
    }
}

/// Tells an event to everybody on the main object.
async fn announce(main: &SignalEmitter<'_>, event: &Event) -> zbus::Result<()> {
    match event {
        Event::Accepted { turn, origin, session } => {
            Service::accepted(main, *turn, origin.name(), &plain(session)).await
        }
        Event::Heard { turn, seconds, caption } => {
            let caption = plain(caption.as_deref().unwrap_or_default());
            Service::heard(main, *turn, f64::from(*seconds), &caption).await
        }
        Event::Seen { turn, width, height, age_ms } => {
            Service::seen(main, *turn, *width, *height, *age_ms).await
        }
        Event::ToolCalled { turn, call, name, arguments } => {
            Service::tool_called(main, *turn, *call, &plain(name), &json(arguments)).await
        }
        Event::ToolAnswered { turn, call, receipt } => {
            let (name, outcome) = (plain(&receipt.name), receipt.outcome.name());
            let value = json(&receipt.value);
            Service::tool_answered(main, *turn, *call, &name, outcome, &value).await
        }
        Event::Watched { turn, frames, seconds } => {
            let frames = u32::try_from(*frames).unwrap_or(u32::MAX);
            Service::watched(main, *turn, frames, *seconds).await
        }
        Event::Answered { turn, text, result, receipts, figures: taken, .. } => {
            let result = result.as_ref().map(json).unwrap_or_default();
            let (text, receipts) = (plain(text), json(receipts));
            Service::answered(main, *turn, &text, &receipts, figures(taken), &result).await
        }
        Event::Failed { turn, error } => Service::failed(main, *turn, &plain(error)).await,
        Event::Cancelled { turn } => Service::cancelled(main, *turn).await,
        // The state and the parts are properties; pieces of text belong to their request.
        Event::State { .. } | Event::Part { .. } | Event::Thought { .. } | Event::Text { .. } => {
            Ok(())
        }
    }
}

/// Tells an event on the object of its request.
async fn tell_request(
    connection: &Connection,
    asker: &mut Asker,
    event: &Event,
) -> zbus::Result<()> {
    if let Event::Accepted { session, .. } = event {
        asker.session.clone_from(session);
    }
    request::tell(&emitter(connection, asker)?, event, &asker.session).await
}

fn emitter<'a>(connection: &Connection, asker: &'a Asker) -> zbus::Result<SignalEmitter<'a>> {
    let emitter = SignalEmitter::new(connection, asker.place.path())?;
    Ok(match &asker.owner {
        Some(owner) => emitter.set_destination(BusName::from(owner.as_ref())),
        None => emitter,
    })
}

/// Every property that changes, as it is now.
fn properties(status: &Status) -> Properties {
    let waiting = u32::try_from(status.waiting).unwrap_or(u32::MAX);
    let text = |text: &str| Variant::from(plain(text).into_owned());
    Properties::from([
        ("State", status.state.name().into()),
        ("Detail", text(status.detail.as_deref().unwrap_or_default())),
        ("Muted", status.muted.into()),
        ("Model", text(&status.model)),
        ("Engine", text(&status.engine)),
        ("Waiting", waiting.into()),
        ("AnsweredCount", status.answered.into()),
        ("LastAnswer", text(&status.last_answer)),
        ("LastFigures", status.last.as_ref().map(figures).unwrap_or_default().into()),
        ("Parts", parts(status).into()),
        ("Tools", status.tools.clone().into()),
    ])
}

/// What the owner of the machine can do about a refusal of the bus.
fn explain(error: &zbus::Error) -> anyhow::Error {
    let denied = matches!(error, zbus::Error::MethodError(name, ..)
        if name.as_str() == "org.freedesktop.DBus.Error.AccessDenied");
    if matches!(error, zbus::Error::NameTaken) {
        anyhow::anyhow!("{NAME} is taken: another daemon runs there")
    } else if denied {
        anyhow::anyhow!("{NAME} may not be owned: install the D-Bus policy file ({error})")
    } else {
        // The text of a connection error already holds its source.
        anyhow::Error::msg(error.to_string())
    }
}
