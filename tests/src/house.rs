//! The house of a story: a private bus, a private broker, two clients that listen, and the daemon
//! with a configuration that names nothing outside.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::broker::Broker;
use crate::bus::Bus;
use crate::bus_client::{BusClient, Request, Signal};
use crate::daemon::{Daemon, Said, command};
use crate::mqtt_client::{Message, MqttClient};
use crate::settings::Settings;
use crate::workspace;

/// First two parts of every topic of the daemon in a story.
pub const TOPICS: &str = "gemmad/test";

/// States in which the daemon has settled and could answer.
pub const SETTLED: [&str; 3] = ["ready", "listening", "muted"];

/// A house, and what is in it.
#[derive(Debug)]
pub struct House {
    // In the order in which they go: the daemon first, its files last.
    daemon: Option<Daemon>,
    /// The client on the bus.
    pub bus_client: BusClient,
    /// The client of the broker.
    pub mqtt_client: MqttClient,
    /// The message bus.
    pub bus: Bus,
    /// The broker.
    pub broker: Broker,
    /// What the daemon will be told at its next start.
    pub settings: Settings,
    folder: TempDir,
}

impl House {
    /// Builds a house: bus, broker and clients run, the daemon does not yet. Its settings name the
    /// demo model on `engine` (`ort` or `tract`), which always picks the likeliest token, the
    /// bundled plugins, and neither microphone nor camera.
    ///
    /// # Errors
    /// When a program or a file is missing; the error says which.
    pub async fn build(engine: &str) -> anyhow::Result<Self> {
        let folder = private_folder()?;
        let bus = Bus::start(folder.path()).await?;
        let broker = Broker::start(folder.path()).await?;
        Self::around(engine, bus, broker, folder).await
    }

    /// Builds a house around a bus and a broker, with `folder` for its files.
    ///
    /// # Errors
    /// When a program or a file is missing; the error says which.
    pub async fn around(
        engine: &str,
        bus: Bus,
        broker: Broker,
        folder: TempDir,
    ) -> anyhow::Result<Self> {
        let bus_client = BusClient::connect(&bus.address()).await?;
        let mqtt_client = MqttClient::connect(broker.host(), broker.port()).await?;
        let settings = plain_settings(engine, &bus, &broker, folder.path())?;
        Ok(Self { daemon: None, bus_client, mqtt_client, bus, broker, settings, folder })
    }

    /// Builds a house and starts its daemon.
    ///
    /// # Errors
    /// When something is missing, or the daemon does not get ready.
    pub async fn open(engine: &str) -> anyhow::Result<Self> {
        let mut house = Self::build(engine).await?;
        house.start().await?;
        Ok(house)
    }

    /// Builds a house whose model never gets to the point: any token is about as likely to it as
    /// any other, so that a reply is long.
    ///
    /// # Errors
    /// When a program or a file is missing; the error says which.
    pub async fn build_talkative(engine: &str) -> anyhow::Result<Self> {
        let mut house = Self::build(engine).await?;
        house.settings.set("assistant.temperature", 10.0);
        house.settings.set("assistant.top_p", 1.0);
        house.settings.set("assistant.top_k", 1_000_000);
        house.settings.set("assistant.seed", 7);
        house.settings.set("assistant.reply_tokens_max", 1_000_000);
        house.settings.set("plugins.folders", Vec::<String>::new());
        Ok(house)
    }

    /// Builds a house whose model never gets to the point, and starts its daemon.
    ///
    /// # Errors
    /// When something is missing, or the daemon does not get ready.
    pub async fn open_talkative(engine: &str) -> anyhow::Result<Self> {
        let mut house = Self::build_talkative(engine).await?;
        house.start().await?;
        Ok(house)
    }

    /// Starts the daemon with the present settings and waits until it could answer.
    ///
    /// # Errors
    /// When the daemon does not get ready.
    pub async fn start(&mut self) -> anyhow::Result<Duration> {
        let started = self.launch()?;
        self.reaches(&SETTLED).await?;
        Ok(started.elapsed())
    }

    /// Starts the daemon with the present settings and does not wait for anything.
    ///
    /// # Errors
    /// When its binary is missing.
    pub fn launch(&mut self) -> anyhow::Result<Instant> {
        let config = self.config()?;
        self.daemon = None;
        let daemon = Daemon::start(&config)?;
        let started = daemon.started();
        self.daemon = Some(daemon);
        Ok(started)
    }

    /// Waits until the launched daemon owns its name and its state is one of `states`.
    ///
    /// # Errors
    /// When it does not come to that, or the daemon ends before.
    pub async fn reaches(&mut self, states: &[&str]) -> anyhow::Result<String> {
        let daemon = self.daemon.as_ref().context("the daemon was not started")?;
        let settled = async {
            self.bus_client.owned().await?;
            self.bus_client.state(states).await
        };
        tokio::select! {
            state = settled => state,
            status = daemon.ended() => bail!("the daemon ended before it was ready: {}", status?),
        }
    }

    /// Stops the daemon as systemd does and waits until it is gone.
    ///
    /// # Errors
    /// When it was not started, or does not stop.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let daemon = self.daemon()?;
        daemon.terminate()?;
        daemon.ended().await?;
        Ok(())
    }

    /// The daemon.
    ///
    /// # Errors
    /// When it was not started.
    pub fn daemon(&mut self) -> anyhow::Result<&mut Daemon> {
        self.daemon.as_mut().context("the daemon was not started")
    }

    /// The private folder of the house.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The home of who starts the daemon; it is not there until somebody writes into it.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Writes the present settings to the configuration file and returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn config(&self) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join("config.toml");
        std::fs::write(&path, self.settings.render())?;
        Ok(path)
    }

    /// Runs a subcommand with the configuration of the house.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn command(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        command(&self.config()?, arguments).await
    }

    /// Waits for the event `kind` that the daemon publishes over MQTT, since `mark`.
    ///
    /// # Errors
    /// When none came in time.
    pub async fn event(&self, mark: usize, kind: &str) -> anyhow::Result<Value> {
        self.event_that(mark, kind, |_| true).await
    }

    /// Waits for the event `kind` since `mark`, for at most `patience`.
    ///
    /// # Errors
    /// When none came in time.
    pub async fn event_within(
        &self,
        patience: Duration,
        mark: usize,
        kind: &str,
    ) -> anyhow::Result<Value> {
        let pick = |message: &Message| event_of(message, kind);
        let messages = self.mqtt_client.messages();
        messages.wait_within(patience, mark, &format!("event {kind}"), pick).await
    }

    /// Waits for an event `kind` that `fits`, since `mark`.
    ///
    /// # Errors
    /// When none came in time.
    pub async fn event_that(
        &self,
        mark: usize,
        kind: &str,
        mut fits: impl FnMut(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let pick = |message: &Message| event_of(message, kind).filter(&mut fits);
        self.mqtt_client.messages().wait(mark, &format!("event {kind}"), pick).await
    }

    /// Waits until `pick` picks something from the daemon's parts, as D-Bus tells them: by name,
    /// whether each works and what is said about it.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn parts_that<R>(
        &self,
        mut pick: impl FnMut(&Value) -> Option<R>,
    ) -> anyhow::Result<R> {
        let mark = self.bus_client.signals().mark();
        if let Some(picked) = pick(&self.bus_client.property("Parts").await?) {
            return Ok(picked);
        }
        let changed = |signal: &Signal| {
            let is_change = signal.member == "PropertiesChanged";
            is_change.then(|| pick(&signal.argument(1)["Parts"])).flatten()
        };
        self.bus_client.signals().wait(mark, "parts as expected", changed).await
    }

    /// Waits until `part` works, or does not.
    ///
    /// # Errors
    /// When it does not come so in time.
    pub async fn part(&self, part: &str, working: bool) -> anyhow::Result<()> {
        self.parts_that(|parts| (parts[part][0] == working).then_some(())).await
    }

    /// Waits until the daemon's retained status is `online` or `offline`, since `mark`.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn status(&self, mark: usize, wanted: &str) -> anyhow::Result<Message> {
        let topic = format!("{TOPICS}/status");
        let pick = |message: &Message| {
            (message.topic == topic && message.text() == wanted).then(|| message.clone())
        };
        self.mqtt_client.messages().wait(mark, &format!("status {wanted}"), pick).await
    }

    /// Asks over D-Bus and waits for the final sentence.
    ///
    /// # Errors
    /// When the question is refused, or not answered.
    pub async fn answer_to(&self, text: &str) -> anyhow::Result<String> {
        let request = self.bus_client.ask(text).await?;
        self.answer_of(&request).await
    }

    /// Waits for the final sentence of a request.
    ///
    /// # Errors
    /// When it ended otherwise.
    pub async fn answer_of(&self, request: &Request) -> anyhow::Result<String> {
        let response = self.bus_client.signal_of(request, "Response").await?;
        if response.argument(0) != 0 {
            bail!("the request was not answered: {response}");
        }
        Ok(response.argument(1)["text"].as_str().context("a response without text")?.to_owned())
    }

    /// Asks `text` and says how many tokens the whole prompt had.
    ///
    /// # Errors
    /// When it is not answered.
    pub async fn prompt_tokens_of(&self, text: &str) -> anyhow::Result<f64> {
        let request = self.bus_client.ask(text).await?;
        let response = self.bus_client.signal_of(&request, "Response").await?;
        let tokens = response.argument(1)["figures"]["prompt_tokens"].as_f64();
        tokens.with_context(|| format!("no number of prompt tokens in {response}"))
    }

    /// A folder with the demo's pictures.
    ///
    /// # Errors
    /// When there is none.
    pub fn pictures(&self) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path().join("pictures");
        std::fs::create_dir_all(&folder)?;
        for picture in workspace::pictures()? {
            let name = picture.file_name().context("a picture without a name")?;
            std::fs::copy(&picture, folder.join(name))?;
        }
        Ok(folder)
    }

    /// One of the demo's pictures.
    ///
    /// # Errors
    /// When there is none.
    pub fn picture(&self) -> anyhow::Result<PathBuf> {
        workspace::pictures()?.into_iter().next().context("no picture")
    }
}

/// A folder of its own for a house; it goes with the house.
///
/// # Errors
/// When it cannot be made.
pub fn private_folder() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("gemmad-house-").tempdir()?)
}

fn event_of(message: &Message, kind: &str) -> Option<Value> {
    let place = message.topic.strip_prefix(TOPICS)?.strip_prefix("/event/")?;
    (place == kind).then(|| message.json())
}

fn plain_settings(
    engine: &str,
    bus: &Bus,
    broker: &Broker,
    folder: &Path,
) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    settings.set_path("model.folder", &workspace::demo_model()?);
    settings.set_path("model.library", &workspace::onnxruntime()?);
    settings.set("model.engine", engine);
    settings.set("model.threads", 1);
    settings.set("assistant.temperature", 0.0);
    settings.set("microphone.source", "none");
    settings.set("camera.source", "none");
    settings.set("bus.address", bus.address());
    settings.set("broker.url", broker.url());
    settings.set("broker.prefix", "gemmad");
    settings.set("broker.node", "test");
    settings.set("plugins.folders", vec![workspace::plugins()?.display().to_string()]);
    settings.set_path("plugins.cache_folder", &folder.join("plugin-cache"));
    settings.set_path("broker.outbox_folder", &folder.join("outbox"));
    settings.set("log.filter", "info,gemmad=debug");
    Ok(settings)
}
