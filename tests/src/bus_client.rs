//! A program that asks over D-Bus: it writes down every signal that the bus delivers to it, asks,
//! cancels and reads properties.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;

use anyhow::{Context as _, anyhow};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::task::JoinHandle;
use zbus::wire::{Structure, Variant};
use zbus::{Connection, MatchRule, Message, MessageStream};

use crate::record::Record;

mod json;

/// The daemon's well-known name, and its main interface.
pub const NAME: &str = "org.gemmad.Gemmad1";
/// The daemon's main object.
pub const PATH: &str = "/org/gemmad/Gemmad1";

/// A signal as the client received it.
#[derive(Clone, Debug)]
pub struct Signal {
    /// The object that sent it.
    pub path: String,
    /// Its name.
    pub member: String,
    /// Its arguments, as JSON.
    pub body: Vec<Value>,
}

impl Signal {
    /// The argument at `index`; null when there is none.
    #[must_use]
    pub fn argument(&self, index: usize) -> Value {
        self.body.get(index).cloned().unwrap_or_default()
    }

    /// The argument at `index` as text; empty when it is none.
    #[must_use]
    pub fn text(&self, index: usize) -> String {
        self.argument(index).as_str().unwrap_or_default().to_owned()
    }

    /// The argument at `index`, a text that holds JSON; null when it does not.
    #[must_use]
    pub fn json(&self, index: usize) -> Value {
        serde_json::from_str(&self.text(index)).unwrap_or_default()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: Vec<String> = self.body.iter().map(Value::to_string).collect();
        write!(formatter, "{} {} {}", self.path, self.member, body.join(" "))
    }
}

/// A request that was accepted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its object path.
    pub path: String,
    /// The first signal that can belong to it.
    mark: usize,
}

/// A client on the bus that hears everything that the daemon says.
#[derive(Debug)]
pub struct BusClient {
    connection: Connection,
    signals: Record<Signal>,
    tasks: Vec<JoinHandle<()>>,
}

impl BusClient {
    /// Connects to the bus at `address`; the daemon need not be there yet.
    ///
    /// # Errors
    /// When the bus does not let it.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let builder = match address {
            "system" => zbus::connection::Builder::system(),
            address => zbus::connection::Builder::address(address),
        };
        let connection = builder.build().await?;
        let signals = Record::default();
        let said = MatchRule::builder().msg_type(zbus::message::Type::Signal).path_namespace(PATH);
        let owned = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .add_arg(NAME);
        let mut tasks = Vec::new();
        for rule in [said.build()?, owned.build()?] {
            let room = NonZeroUsize::new(4096);
            let stream = MessageStream::for_match_rule(rule, &connection, room).await?;
            tasks.push(tokio::spawn(pump(stream, signals.clone())));
        }
        Ok(Self { connection, signals, tasks })
    }

    /// Every signal that came.
    #[must_use]
    pub fn signals(&self) -> &Record<Signal> {
        &self.signals
    }

    /// Asks `text`.
    ///
    /// # Errors
    /// When the question is refused; the error begins with the name of the D-Bus error.
    pub async fn ask(&self, text: &str) -> anyhow::Result<Request> {
        self.ask_with(&[("text", Variant::from(text))]).await
    }

    /// Asks with these options.
    ///
    /// # Errors
    /// When the question is refused; the error begins with the name of the D-Bus error.
    pub async fn ask_with(&self, options: &[(&str, Variant<'_>)]) -> anyhow::Result<Request> {
        let mark = self.signals.mark();
        let options: HashMap<&str, &Variant<'_>> =
            options.iter().map(|(name, value)| (*name, value)).collect();
        let reply = self.call(PATH, NAME, "Ask", &(options,)).await?;
        let path = reply.first().and_then(Value::as_str).context("no path from Ask")?.to_owned();
        Ok(Request { path, mark })
    }

    /// Cancels a request.
    ///
    /// # Errors
    /// When it is over, or the daemon is gone.
    pub async fn cancel(&self, request: &Request) -> anyhow::Result<()> {
        let interface = format!("{NAME}.Request");
        self.call(&request.path, &interface, "Cancel", &()).await.map(|_| ())
    }

    /// Waits for the signal `member` of a request.
    ///
    /// # Errors
    /// When none came in time.
    pub async fn signal_of(&self, request: &Request, member: &str) -> anyhow::Result<Signal> {
        let fits = |signal: &Signal| {
            (signal.path == request.path && signal.member == member).then(|| signal.clone())
        };
        let what = format!("signal {member} of {}", request.path);
        self.signals.wait(request.mark, &what, fits).await
    }

    /// Waits for the signal `member` of the daemon's main object since `mark`.
    ///
    /// # Errors
    /// When none came in time.
    pub async fn signal(&self, mark: usize, member: &str) -> anyhow::Result<Signal> {
        let fits = |signal: &Signal| {
            (signal.path == PATH && signal.member == member).then(|| signal.clone())
        };
        self.signals.wait(mark, &format!("signal {member}"), fits).await
    }

    /// All signals `member` of a request so far.
    #[must_use]
    pub fn signals_of(&self, request: &Request, member: &str) -> Vec<Signal> {
        let signals = self.signals.since(request.mark);
        let fitting = signals.iter().filter(|s| s.path == request.path && s.member == member);
        fitting.map(|signal| signal.as_ref().clone()).collect()
    }

    /// Waits until the daemon owns its name.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn owned(&self) -> anyhow::Result<()> {
        let mark = self.signals.mark();
        if self.bus("NameHasOwner", NAME).await?.first() == Some(&Value::Bool(true)) {
            return Ok(());
        }
        let owned = |signal: &Signal| {
            let has_owner = signal.argument(2).as_str().is_some_and(|owner| !owner.is_empty());
            (signal.member == "NameOwnerChanged" && has_owner).then_some(())
        };
        self.signals.wait(mark, "owner of the daemon's name", owned).await
    }

    /// Waits until the daemon's state is one of `states`, and says which.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn state(&self, states: &[&str]) -> anyhow::Result<String> {
        let wanted = |value: &Value| {
            value.as_str().filter(|state| states.contains(state)).map(str::to_owned)
        };
        let mark = self.signals.mark();
        if let Some(state) = wanted(&self.property("State").await?) {
            return Ok(state);
        }
        let changed = |signal: &Signal| match signal.member.as_str() {
            "PropertiesChanged" => wanted(&signal.argument(1)["State"]),
            _ => None,
        };
        self.signals.wait(mark, &format!("state {}", states.join(" or ")), changed).await
    }

    /// Reads a property of the main object.
    ///
    /// # Errors
    /// When there is none of that name, or the daemon is gone.
    pub async fn property(&self, name: &str) -> anyhow::Result<Value> {
        let interface = "org.freedesktop.DBus.Properties";
        let mut reply = self.call(PATH, interface, "Get", &(NAME, name)).await?;
        reply.pop().with_context(|| format!("no value of {name}"))
    }

    /// Closes the microphone or opens it again.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn set_muted(&self, muted: bool) -> anyhow::Result<()> {
        let interface = "org.freedesktop.DBus.Properties";
        let value = Variant::from(muted);
        self.call(PATH, interface, "Set", &(NAME, "Muted", value)).await.map(|_| ())
    }

    /// Leaves the bus.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn leave(self) -> anyhow::Result<()> {
        let connection = self.connection.clone();
        drop(self);
        connection.close().await.context("cannot leave the bus")
    }

    async fn bus(&self, method: &str, name: &str) -> anyhow::Result<Vec<Value>> {
        let bus = "org.freedesktop.DBus";
        let body = (name,);
        let reply = self.connection.call_method(
            Some(bus),
            "/org/freedesktop/DBus",
            Some(bus),
            method,
            &body,
        );
        arguments(&reply.await?)
    }

    async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> anyhow::Result<Vec<Value>>
    where
        B: zbus::export::serde::Serialize + zbus::wire::DynamicType,
    {
        let reply =
            self.connection.call_method(Some(NAME), path, Some(interface), method, body).await;
        match reply {
            Ok(reply) => arguments(&reply),
            Err(zbus::Error::MethodError(name, text, _)) => {
                Err(anyhow!("{}: {}", name.as_str(), text.unwrap_or_default()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for BusClient {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn pump(mut stream: MessageStream, signals: Record<Signal>) {
    while let Some(Ok(message)) = stream.next().await {
        let header = message.header();
        let path = header.path().map(ToString::to_string).unwrap_or_default();
        let member = header.member().map(ToString::to_string).unwrap_or_default();
        let body = arguments(&message).unwrap_or_default();
        signals.push(Signal { path, member, body });
    }
}

fn arguments(message: &Message) -> anyhow::Result<Vec<Value>> {
    let body = message.body();
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let structure: Structure<'_> = body.deserialize()?;
    Ok(structure.fields().iter().map(json::from_variant).collect())
}
