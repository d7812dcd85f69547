//! One question: streamed to the terminal as the answer comes, cancelled by Ctrl-C.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use gemma_runtime::video::sampled;
use serde_json::{Value, json};
use zbus::names::{MemberName, UniqueName};
use zbus::proxy::CacheProperties;
use zbus::{Connection, Message, OwnedVariant, Variant, fdo};

use super::model::file::{FOLDER_RATE_HZ, pictures_of};
use super::proxy::{GemmadProxy, RequestProxy, explain};
use super::{CANCELLED, FAILED, aside, harmless};
use crate::cli::Ask;
use crate::config::Bus;
use crate::publish::dbus::{NAME, request_path};

/// Longest time to wait for the end of a cancelled question.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// Asks and prints; gives the exit code.
pub(super) async fn run(ask: &Ask, bus: &Bus) -> anyhow::Result<u8> {
    let options = options(ask)?;
    let connection = super::connect(bus).await?;
    let caller = connection.unique_name().context("the bus gave us no name")?;
    let (token, request) = place(caller, &connection).await?;
    let mut signals = request.inner().receive_all_signals().await?;
    let bus = fdo::DBusProxy::new(&connection).await?;
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, NAME)]).await?;

    let mut options = options;
    options.insert("handle_token", token.into());
    GemmadProxy::new(&connection).await?.ask(options).await.map_err(explain)?;

    let mut screen = Screen {
        json: ask.json,
        reads: ask.task.name.is_some(),
        open_line: false,
        open_thought: false,
        stopped: false,
    };
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Some(signal) => if let Some(code) = screen.show(&signal)? {
                    return Ok(code);
                },
                None => return screen.fail("the bus closed the connection"),
            },
            Some(_) = owners.next() => return screen.fail("the daemon went away"),
            stopped = tokio::signal::ctrl_c() => break stopped?,
        }
    }
    screen.stopped = true;
    request.cancel().await.map_err(explain)?;
    let end = async {
        while let Some(signal) = signals.next().await {
            if let Some(code) = screen.show(&signal)? {
                return Ok(code);
            }
        }
        Ok(CANCELLED)
    };
    tokio::time::timeout(CANCEL_PATIENCE, end).await.unwrap_or(Ok(CANCELLED))
}

/// Picks the request's path beforehand, so that no signal is missed.
async fn place(
    caller: &UniqueName<'_>,
    connection: &Connection,
) -> anyhow::Result<(String, RequestProxy<'static>)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let token = format!("ask_{}_{now}", std::process::id());
    let path = request_path(caller, &token).map_err(anyhow::Error::msg)?;
    let request = RequestProxy::builder(connection)
        .path(path)
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    Ok((token, request))
}

/// The options of `Ask`, by name.
type Options = HashMap<&'static str, Variant<'static>>;

fn options(ask: &Ask) -> anyhow::Result<Options> {
    let mut options = HashMap::from([("text", Variant::from(ask.text.join(" ")))]);
    if let Some(session) = &ask.session {
        options.insert("session", session.clone().into());
    }
    for (name, wanted) in [("look", ask.look), ("thinking", ask.thinking)] {
        if wanted {
            options.insert(name, true.into());
        }
    }
    for (name, files) in [("images", &ask.image), ("audio", &ask.audio)] {
        if !files.is_empty() {
            options.insert(name, read_all(files)?.into());
        }
    }
    if let Some(order) = ask.task.order() {
        options.insert("task", serde_json::to_string(&order)?.into());
    }
    if let Some(path) = &ask.film {
        add_film(&mut options, path, ask.fps)?;
    }
    Ok(options)
}

/// Adds a film: a file as it is, of a folder those pictures that the model would be shown.
fn add_film(options: &mut Options, path: &Path, fps: Option<f64>) -> anyhow::Result<()> {
    if !path.is_dir() {
        options.insert("film", read(path)?.into());
        if let Some(fps) = fps {
            options.insert("fps", fps.into());
        }
        return Ok(());
    }
    let rate_hz = fps.unwrap_or(FOLDER_RATE_HZ);
    ensure!(rate_hz.is_finite() && rate_hz > 0.0, "--fps: {rate_hz}; expected more than 0");
    let files = pictures_of(path).with_context(|| format!("{}", path.display()))?;
    ensure!(!files.is_empty(), "{}: no picture in it", path.display());
    let frame = |at: usize| Ok((at as f64 / rate_hz, read(&files[at])?));
    let frames = sampled(files.len()).into_iter().map(frame);
    options.insert("frames", frames.collect::<anyhow::Result<Vec<(f64, Vec<u8>)>>>()?.into());
    Ok(())
}

fn read_all(files: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// The terminal.
struct Screen {
    json: bool,
    /// Whether the answer is read into a type, and shown when it is whole.
    reads: bool,
    /// Whether the last line of the result has no end yet.
    open_line: bool,
    /// Whether the last thought has no end yet.
    open_thought: bool,
    /// Whether Ctrl-C was pressed.
    stopped: bool,
}

impl Screen {
    /// Shows a signal of the request; gives the exit code if it is the last one.
    fn show(&mut self, signal: &Message) -> anyhow::Result<Option<u8>> {
        let header = signal.header();
        let body = signal.body();
        match header.member().map(MemberName::as_str) {
            Some("Text") => self.text(body.deserialize()?)?,
            Some("Thought") => self.thought(body.deserialize()?)?,
            Some("ToolCalled") => {
                self.end_line()?;
                let (name, arguments): (&str, &str) = body.deserialize()?;
                aside(&harmless(&format!("call {name} {arguments}")));
            }
            Some("ToolAnswered") => {
                let (name, outcome, value): (&str, &str, &str) = body.deserialize()?;
                aside(&harmless(&format!("{outcome} {name} {value}")));
            }
            Some("Response") => {
                let (code, results): (u32, HashMap<String, OwnedVariant>) = body.deserialize()?;
                return self.end(code, &results).map(Some);
            }
            _ => {}
        }
        Ok(None)
    }

    fn thought(&mut self, piece: &str) -> anyhow::Result<()> {
        let mut error = std::io::stderr();
        match error.is_terminal() {
            true => write!(error, "\x1b[2m{}\x1b[0m", harmless(piece))?,
            false => write!(error, "{}", harmless(piece))?,
        }
        self.open_thought = true;
        Ok(())
    }

    fn text(&mut self, piece: &str) -> anyhow::Result<()> {
        self.end_thought()?;
        if !self.json && !self.reads && !piece.is_empty() {
            let mut out = std::io::stdout();
            out.write_all(harmless(piece).as_bytes())?;
            out.flush()?;
            self.open_line = !piece.ends_with('\n');
        }
        Ok(())
    }

    /// Ends the line of the result, so that something else can be said.
    fn end_line(&mut self) -> anyhow::Result<()> {
        self.end_thought()?;
        if std::mem::take(&mut self.open_line) {
            writeln!(std::io::stdout())?;
        }
        Ok(())
    }

    fn end_thought(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.open_thought) {
            writeln!(std::io::stderr())?;
        }
        Ok(())
    }

    /// Ends with an error; gives the exit code.
    fn fail(&mut self, error: &str) -> anyhow::Result<u8> {
        self.end_line()?;
        writeln!(std::io::stderr(), "gemmad: {}", harmless(error))?;
        Ok(FAILED)
    }

    /// Shows the answer of a task, and what could not be made out in it.
    fn show_result(&self, results: &HashMap<String, OwnedVariant>) -> anyhow::Result<()> {
        if !self.reads {
            return Ok(());
        }
        let result = results.get("result").and_then(from_json).unwrap_or_default();
        for what in result["passed_over"].as_array().into_iter().flatten() {
            aside(&harmless(&format!("passed over: {}", what.as_str().unwrap_or_default())));
        }
        let answer = results.get("text").and_then(text).unwrap_or_default();
        writeln!(std::io::stdout(), "{}", harmless(answer))?;
        Ok(())
    }

    fn end(&mut self, code: u32, results: &HashMap<String, OwnedVariant>) -> anyhow::Result<u8> {
        self.end_line()?;
        if self.json {
            writeln!(std::io::stdout(), "{}", as_json(code, results))?;
        }
        let error = results.get("error").and_then(text).unwrap_or_default();
        match code {
            0 => {
                if !self.json {
                    self.show_result(results)?;
                    receipts(results);
                }
                Ok(0)
            }
            1 if self.stopped => {
                aside(&harmless(error));
                Ok(CANCELLED)
            }
            _ => self.fail(error),
        }
    }
}

/// Prints what was really done.
fn receipts(results: &HashMap<String, OwnedVariant>) {
    let Some(Value::Array(receipts)) = results.get("receipts").and_then(from_json) else { return };
    for receipt in receipts {
        let name = receipt["name"].as_str().unwrap_or_default();
        let outcome = receipt["outcome"].as_str().unwrap_or_default();
        let wall_ms = receipt["wall_ms"].as_f64().unwrap_or_default();
        let fuel = receipt["fuel"].as_u64().unwrap_or_default();
        let memory_kib = receipt["memory_bytes"].as_u64().unwrap_or_default() >> 10;
        let line =
            format!("receipt: {name} {outcome} in {wall_ms:.1} ms, {fuel} fuel, {memory_kib} KiB");
        aside(&harmless(&line));
    }
}

fn as_json(code: u32, results: &HashMap<String, OwnedVariant>) -> Value {
    let number = |name: &str| results.get(name).and_then(|value| u64::try_from(&**value).ok());
    let figures = results.get("figures").and_then(|value| value.try_clone().ok());
    let figures = figures.and_then(|value| HashMap::<String, f64>::try_from(value).ok());
    json!({
        "code": match code { 0 => "answered", 1 => "cancelled", _ => "failed" },
        "turn": number("turn"),
        "session": results.get("session").and_then(text),
        "text": results.get("text").and_then(text),
        "error": results.get("error").and_then(text),
        "finish": results.get("finish").and_then(text),
        "result": results.get("result").and_then(from_json),
        "receipts": results.get("receipts").and_then(from_json),
        "figures": figures,
    })
}

fn text(value: &OwnedVariant) -> Option<&str> {
    <&str>::try_from(&**value).ok()
}

fn from_json(value: &OwnedVariant) -> Option<Value> {
    serde_json::from_str(text(value)?).ok()
}
