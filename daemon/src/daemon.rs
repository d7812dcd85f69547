//! The daemon as a whole: `build` opens everything and runs nothing, `run` starts the tasks, waits
//! for the stop and drains them under the deadline.
//!
//! Stopping flows like the data: first what hears, sees and answers, then, when every turn has its
//! end, the publishers that tell of it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use gemma_plugins::{Host, Limits, Publication};
use gemma_types::Frame;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::assistant::{self, Assistant, Desk, Inbox, Worker};
use crate::capture::{self, Clock, Wanted};
use crate::channels::{AUDIO_CHUNKS, COMMANDS, EVENTS, PUBLICATIONS, UTTERANCES};
use crate::channels::{CommandReceiver, CommandSender, EventSender};
use crate::config::{self, Config};
use crate::event::PartName;
use crate::inference::{Inference, Prefix};
use crate::status::{OFF, StatusBoard};
use crate::systemd::{self, Progress};
use crate::tasks::{TaskName, Tasks, on_thread};
use crate::{listening, process, publish};

pub use crate::resources::peak_rss_bytes;

/// Exit code when the stop deadline passed with something still running (`EX_TEMPFAIL`).
const EXIT_DEADLINE: u8 = 75;
/// Exit code when a second signal ended the stop.
const EXIT_AT_ONCE: u8 = 130;
/// A signal so soon after the first is the same wish: a terminal and a supervisor may both send it.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// Share of the stop deadline that is left to the publishers at least.
const PUBLISHERS_SHARE: u32 = 3;

/// The daemon before it runs.
pub struct Daemon {
    config: Config,
    clock: Clock,
    events: EventSender,
    board: StatusBoard,
    commands: (CommandSender, CommandReceiver),
    publications: (mpsc::Sender<Publication>, Option<mpsc::Receiver<Publication>>),
    muted: watch::Sender<bool>,
    newest_frame: watch::Sender<Option<Frame>>,
    /// Stops what hears, sees and answers.
    stop: CancellationToken,
    /// Stops the publishers.
    hush: CancellationToken,
    tasks: Tasks,
    signals: Signals,
}

impl Daemon {
    /// Makes the channels and takes the signals; runs nothing. Must be called within the async
    /// runtime.
    ///
    /// # Errors
    /// If the signals cannot be taken.
    pub fn build(config: Config) -> anyhow::Result<Self> {
        let events = broadcast::Sender::new(EVENTS);
        let (publications, published) = mpsc::channel(PUBLICATIONS);
        Ok(Self {
            config,
            clock: Clock::start(),
            board: StatusBoard::new(events.clone()),
            events,
            commands: mpsc::channel(COMMANDS),
            publications: (publications, Some(published)),
            muted: watch::Sender::new(false),
            newest_frame: watch::Sender::new(None),
            stop: CancellationToken::new(),
            hush: CancellationToken::new(),
            tasks: Tasks::default(),
            signals: Signals::new()?,
        })
    }

    /// Runs until a signal or until a task ends by itself; then stops everything.
    ///
    /// # Errors
    /// If a task ended by itself, or could not be started.
    pub async fn run(mut self) -> anyhow::Result<ExitCode> {
        let ended = match self.start().await {
            Ok(true) => self.wait().await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        let code = self.stop().await;
        ended.map(|()| code)
    }

    /// Starts everything, the doors first: they answer while the model is loading. False if a
    /// signal came in the meantime.
    async fn start(&mut self) -> anyhow::Result<bool> {
        let file = self.config.file.as_deref().map_or("defaults".into(), Path::to_string_lossy);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %file, "starting");
        let progress = Progress::new(self.clock);
        self.start_publishers(&progress);
        let inference = self.start_inference()?;
        let opening = open_plugins(&self.config.plugins, self.publications.0.clone());
        let host = tokio::select! {
            host = opening => host?,
            () = self.signals.next() => return Ok(false),
        };
        show_plugins(&host, &self.board);
        let utterances = self.start_senses()?;
        let (board, clock) = (self.board.clone(), self.clock);
        let host = Arc::new(host);
        let camera = self.newest_frame.subscribe();
        let desk = Desk::new(board.clone(), clock, host.clone(), camera, self.muted.clone())
            .look_on_speech(self.config.assistant.look_on_speech);
        let (_, closed) = mpsc::channel(1);
        let commands = std::mem::replace(&mut self.commands.1, closed);
        let status = board.subscribe();
        let inbox = Inbox::new(commands, utterances, &inference, status, self.stop.clone());
        let assistant = self.config.assistant.clone();
        let tools = host.tools().into();
        inference.keep_ready(Prefix { messages: assistant::opening(&assistant), tools }).await;
        let worker = Worker::new(assistant, inference, host, board, progress);
        self.tasks.task(TaskName::Assistant, Assistant { desk, worker }.run(inbox));
        Ok(true)
    }

    fn start_publishers(&mut self, progress: &Progress) {
        let (config, board) = (&self.config, &self.board);
        self.tasks.task(
            TaskName::Systemd,
            systemd::run(board.subscribe(), progress.clone(), self.stop.clone()),
        );
        if config.bus == config::Bus::None {
            board.set_part(PartName::Bus, false, off("[bus] address"));
        } else {
            let (events, commands) = (self.events.subscribe(), self.commands.0.clone());
            let (bus, hush) = (config.bus.clone(), self.hush.clone());
            self.tasks.task(
                TaskName::Bus,
                publish::dbus::run(bus, board.clone(), events, commands, hush),
            );
        }
        if config.broker.server.is_none() {
            board.set_part(PartName::Broker, false, off("[broker] url"));
        }
        if let Some(published) = self.publications.1.take() {
            let (events, commands) = (self.events.subscribe(), self.commands.0.clone());
            let (broker, hush) = (config.broker.clone(), self.hush.clone());
            self.tasks.task(
                TaskName::Broker,
                publish::mqtt::run(broker, board.clone(), events, commands, published, hush),
            );
        }
    }

    fn start_inference(&mut self) -> anyhow::Result<Inference> {
        let (inference, worker) = Inference::new();
        let (model, board) = (self.config.model.clone(), self.board.clone());
        self.tasks.thread(TaskName::Inference, move || worker.run(&model, &board))?;
        Ok(inference)
    }

    /// Starts the microphone, the camera and listening, where they are configured.
    fn start_senses(&mut self) -> anyhow::Result<mpsc::Receiver<gemma_types::Utterance>> {
        let (utterances, heard) = mpsc::channel(UTTERANCES);
        if let Some(mut open) = capture::microphone(&self.config.microphone, self.clock) {
            let (audio, chunks) = mpsc::channel(AUDIO_CHUNKS);
            let wanted = Wanted::new(self.stop.clone(), Some(self.muted.subscribe()));
            let board = self.board.clone();
            self.tasks.thread(TaskName::Microphone, move || {
                capture::run_microphone(&mut open, wanted, &board, &audio);
            })?;
            let (config, muted) = (self.config.listening.clone(), self.muted.subscribe());
            let listening = listening::run(config, chunks, muted, utterances);
            self.tasks.task(TaskName::Listening, listening);
        } else {
            self.board.set_part(PartName::Microphone, false, off("[microphone] source"));
        }
        if let Some(mut open) = capture::camera(&self.config.camera, self.clock) {
            let wanted = Wanted::new(self.stop.clone(), None);
            let (board, newest) = (self.board.clone(), self.newest_frame.clone());
            self.tasks.thread(TaskName::Camera, move || {
                capture::run_camera(&mut open, wanted, &board, &newest);
            })?;
        } else {
            self.board.set_part(PartName::Camera, false, off("[camera] source"));
        }
        Ok(heard)
    }

    /// Waits for a signal; a task that ends before is an error.
    async fn wait(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            () = self.signals.next() => Ok(()),
            Some(ended) = self.tasks.next_end() => {
                let error = ended.outcome.err().unwrap_or_else(|| anyhow!("ended by itself"));
                Err(error.context(format!("task {}", ended.name)))
            }
        }
    }

    /// Stops everything under the deadline.
    async fn stop(&mut self) -> ExitCode {
        let deadline = self.config.stop_deadline;
        tracing::info!(deadline_ms = deadline.as_millis(), "stopping");
        let stopping = Instant::now();
        let at_once = async {
            self.signals.next().await;
            while stopping.elapsed() < SAME_SIGNAL {
                self.signals.next().await;
            }
        };
        let drain = drain(&mut self.tasks, &self.stop, &self.hush, deadline);
        let left = tokio::select! {
            left = drain => left,
            () = at_once => {
                tracing::warn!("a second signal: stopping at once");
                process::leave(EXIT_AT_ONCE);
            }
        };
        if left.is_empty() {
            tracing::info!("stopped");
            return ExitCode::SUCCESS;
        }
        let left: Vec<String> = left.iter().map(ToString::to_string).collect();
        tracing::error!(still_running = left.join(", "), "the stop deadline has passed");
        process::leave(EXIT_DEADLINE)
    }
}

/// Opens the plugins on a thread of their own: compiling them takes seconds on a small board.
async fn open_plugins(
    config: &config::Plugins,
    publications: mpsc::Sender<Publication>,
) -> anyhow::Result<Host> {
    let options = plugin_options(config);
    let open = move || Host::open(&options, publications);
    on_thread(TaskName::Plugins, open).await?.context("no plugin can run")
}

/// Stops what hears, sees and answers, then the publishers; gives those that still run when the
/// deadline has passed. A task that hangs does not keep the publishers from saying goodbye.
async fn drain(
    tasks: &mut Tasks,
    stop: &CancellationToken,
    hush: &CancellationToken,
    deadline: Duration,
) -> Vec<TaskName> {
    let end = Instant::now() + deadline;
    let is_publisher = |name: &TaskName| matches!(name, TaskName::Bus | TaskName::Broker);
    stop.cancel();
    let all_but_publishers = drain_until(tasks, end - deadline / PUBLISHERS_SHARE, |running| {
        running.iter().all(is_publisher)
    });
    all_but_publishers.await;
    hush.cancel();
    drain_until(tasks, end, <[TaskName]>::is_empty).await;
    tasks.running()
}

/// Waits until `enough` of the tasks have ended, or until the time is up.
async fn drain_until(tasks: &mut Tasks, end: Instant, enough: impl Fn(&[TaskName]) -> bool) {
    while !enough(&tasks.running()) {
        match tokio::time::timeout_at(end, tasks.next_end()).await {
            Ok(Some(ended)) => match ended.outcome {
                Ok(()) => tracing::debug!(task = %ended.name, "ended"),
                Err(error) => tracing::warn!(task = %ended.name, "ended badly: {error:#}"),
            },
            Ok(None) | Err(_) => return,
        }
    }
}

/// How the plugins are to be opened.
#[must_use]
pub fn plugin_options(config: &config::Plugins) -> gemma_plugins::Options {
    let wall_ms = u64::try_from(config.call_max.as_millis()).unwrap_or(u64::MAX);
    gemma_plugins::Options {
        folders: config.folders.clone(),
        cache: config.cache_folder.clone(),
        limits: Limits { wall_ms, ..Limits::default() },
    }
}

/// What is said of a part that the configuration leaves out.
fn off(key: &str) -> String {
    format!("{OFF}{key} is \"none\"")
}

/// Shows which tools there are, and what is wrong with plugins.
fn show_plugins(host: &Host, board: &StatusBoard) {
    let tools: Vec<String> = host.tools().into_iter().map(|tool| tool.name).collect();
    let problems: Vec<String> = host
        .problems()
        .iter()
        .map(|problem| format!("{}: {}", problem.path.display(), problem.reason))
        .collect();
    for problem in &problems {
        tracing::warn!(%problem, "plugin left out");
    }
    let mut detail = format!("{} plugins, {} tools", host.plugins().len(), tools.len());
    for problem in &problems {
        detail.push_str("; ");
        detail.push_str(problem);
    }
    board.update(|status| status.tools = tools);
    board.set_part(PartName::Plugins, problems.is_empty(), detail);
}

/// The signals that mean stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("signals cannot be taken");
        let (terminate, interrupt) =
            (take(SignalKind::terminate())?, take(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
