//! From what a person typed to what the daemon can rely on: ranges, choices and paths. Every
//! problem of a file is found before anything is said, each with its line.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::raw::Raw;
use super::{
    Assistant, Broker, Bus, Camera, Config, Credentials, Listening, Log, Microphone, Model,
    Plugins, Server,
};

/// Most that a time in the file may be: one day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// Checks `raw`, which was read from `text`; relative paths start at `base`.
///
/// # Errors
/// All problems of the file, one on each line.
pub(super) fn check(raw: &Raw, text: &str, base: &Path) -> Result<Config, Vec<String>> {
    let mut checker = Checker { text, base, problems: Vec::new() };
    let config = checker.config(raw);
    if checker.problems.is_empty() { Ok(config) } else { Err(checker.problems) }
}

struct Checker<'a> {
    text: &'a str,
    base: &'a Path,
    problems: Vec<String>,
}

impl Checker<'_> {
    fn config(&mut self, raw: &Raw) -> Config {
        Config {
            file: None,
            stop_deadline: self.milliseconds("stop_deadline_ms", raw.stop_deadline_ms, 100),
            model: self.model(raw),
            assistant: self.assistant(raw),
            microphone: self.microphone(&raw.microphone.source),
            listening: self.listening(raw),
            camera: self.camera(raw),
            bus: self.bus(&raw.bus.address),
            broker: self.broker(raw),
            plugins: Plugins {
                folders: raw.plugins.folders.iter().map(|folder| self.base.join(folder)).collect(),
                cache_folder: self
                    .path(raw.plugins.cache_folder.as_ref())
                    .or_else(|| systemd_folder("CACHE_DIRECTORY", "plugins")),
                call_max: self.milliseconds("plugins.call_max_ms", raw.plugins.call_max_ms, 1),
            },
            log: Log { filter: raw.log.filter.clone(), json: raw.log.json },
        }
    }

    fn model(&mut self, raw: &Raw) -> Model {
        let raw = &raw.model;
        let threads = self.number("model.threads", raw.threads, 0..=1_024);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let context = self.number("model.context_tokens", raw.context_tokens, 64..=1_048_576);
        let budgets = [70, 140, 280, 560, 1_120];
        if raw.image_budget.is_some_and(|budget| !budgets.contains(&budget)) {
            let found = raw.image_budget.unwrap_or_default();
            self.refuse("model.image_budget", found, "70, 140, 280, 560 or 1120");
        }
        let engine = raw.engine.parse().unwrap_or_else(|_| {
            self.refuse("model.engine", quoted(&raw.engine), "\"ort\" or \"tract\"");
            gemma_runtime::EngineKind::Ort
        });
        let mut device = raw.device.parse().unwrap_or_else(|_| {
            self.refuse("model.device", quoted(&raw.device), "\"auto\", \"cpu\" or \"cuda\"");
            gemma_runtime::Device::Auto
        });
        if (engine, device) == (gemma_runtime::EngineKind::Tract, gemma_runtime::Device::Cuda) {
            let accepted = "\"auto\" or \"cpu\" with the engine \"tract\"";
            self.refuse("model.device", quoted(&raw.device), accepted);
            device = gemma_runtime::Device::Auto;
        }
        let graph = raw.graph.parse().unwrap_or_else(|_| {
            let accepted = "\"auto\", \"published\" or \"fast\"";
            self.refuse("model.graph", quoted(&raw.graph), accepted);
            gemma_runtime::Fast::Auto
        });
        Model {
            folder: self.base.join(&raw.folder),
            engine,
            device,
            library: self.path(raw.library.as_ref()),
            dtype: raw.dtype.clone(),
            graph,
            threads: if threads == 0 { cores } else { threads },
            context_tokens: context,
            prefill_block_tokens: self.number(
                "model.prefill_block_tokens",
                raw.prefill_block_tokens,
                1..=65_536,
            ),
            image_budget: raw.image_budget.and_then(|budget| usize::try_from(budget).ok()),
            kept_bytes_max: raw.kept_megabytes_max.map(|found| {
                let megabytes: usize =
                    self.number("model.kept_megabytes_max", found, 0..=1_000_000);
                megabytes.saturating_mul(1_000_000)
            }),
            prefix_folder: self
                .path(raw.prefix_folder.as_ref())
                .or_else(|| systemd_folder("CACHE_DIRECTORY", "prefixes")),
        }
    }

    fn assistant(&mut self, raw: &Raw) -> Assistant {
        let raw = &raw.assistant;
        Assistant {
            system: raw.system.clone(),
            steps_max: self.number("assistant.steps_max", raw.steps_max, 0..=64),
            reply_tokens_max: self.number(
                "assistant.reply_tokens_max",
                raw.reply_tokens_max,
                1..=1_048_576,
            ),
            task_tokens_max: self.number(
                "assistant.task_tokens_max",
                raw.task_tokens_max,
                1..=1_048_576,
            ),
            look_on_speech: raw.look_on_speech,
            session_idle: Duration::from_secs(self.number(
                "assistant.session_idle_s",
                raw.session_idle_s,
                1..=31_536_000,
            )),
            temperature: raw
                .temperature
                .map(|found| self.fraction("assistant.temperature", found, 0.0..=10.0)),
            top_p: raw.top_p.map(|found| self.fraction("assistant.top_p", found, 0.0..=1.0)),
            top_k: raw.top_k.map(|found| self.number("assistant.top_k", found, 1..=1_048_576)),
            seed: raw.seed.map(|found| self.number("assistant.seed", found, 0..=i64::MAX)),
        }
    }

    fn listening(&mut self, raw: &Raw) -> Listening {
        let raw = &raw.listening;
        let maximum = self.number("listening.utterance_max_ms", raw.utterance_max_ms, 500..=30_000);
        let mut time = |key: &str, found: i64, least: i64, most: i64| {
            Duration::from_millis(self.number(key, found, least..=most))
        };
        Listening {
            pre_roll: time("listening.pre_roll_ms", raw.pre_roll_ms, 0, 2_000),
            hang_over: time("listening.hang_over_ms", raw.hang_over_ms, 50, 10_000),
            utterance_min: time("listening.utterance_min_ms", raw.utterance_min_ms, 20, 5_000),
            utterance_max: Duration::from_millis(maximum),
            threshold: self.fraction("listening.threshold", raw.threshold, 0.0..=1.0),
        }
    }

    fn microphone(&mut self, source: &str) -> Microphone {
        match source.split_once(':') {
            None if source == "none" => Microphone::None,
            Some(("alsa", device)) if !device.is_empty() => {
                Microphone::Alsa { device: device.to_owned() }
            }
            Some(("replay", path)) if !path.is_empty() => {
                Microphone::Replay { path: self.base.join(path) }
            }
            _ => {
                let accepted = "\"none\", \"alsa:NAME\" or \"replay:PATH\"";
                self.refuse("microphone.source", quoted(source), accepted);
                Microphone::None
            }
        }
    }

    fn camera(&mut self, raw: &Raw) -> Camera {
        let raw = &raw.camera;
        let width = self.number("camera.width", raw.width, 16..=8_192);
        let height = self.number("camera.height", raw.height, 16..=8_192);
        let interval = self.milliseconds("camera.interval_ms", raw.interval_ms, 10);
        match raw.source.split_once(':') {
            None if raw.source == "none" => Camera::None,
            Some(("v4l2", path)) if !path.is_empty() => {
                Camera::V4l2 { device: self.base.join(path), width, height, interval }
            }
            Some(("replay", path)) if !path.is_empty() => {
                Camera::Replay { path: self.base.join(path), interval }
            }
            _ => {
                let accepted = "\"none\", \"v4l2:PATH\" or \"replay:PATH\"";
                self.refuse("camera.source", quoted(&raw.source), accepted);
                Camera::None
            }
        }
    }

    fn bus(&mut self, address: &str) -> Bus {
        match address {
            "none" => Bus::None,
            "system" => Bus::System,
            "session" => Bus::Session,
            address if address.contains(':') && address.contains('=') => {
                Bus::Address(address.to_owned())
            }
            _ => {
                let accepted = "\"none\", \"system\", \"session\" or a D-Bus address such as \
                                \"unix:path=/run/bus\"";
                self.refuse("bus.address", quoted(address), accepted);
                Bus::None
            }
        }
    }

    fn broker(&mut self, raw: &Raw) -> Broker {
        let raw = &raw.broker;
        let ca_file = self.path(raw.ca_file.as_ref());
        let server = (raw.url != "none").then(|| self.server(&raw.url, ca_file)).flatten();
        Broker {
            server,
            prefix: self.topic("broker.prefix", &raw.prefix, "/"),
            node: raw
                .node
                .as_ref()
                .map_or_else(host_name, |node| self.topic("broker.node", node, "")),
            credentials: self.credentials(raw),
            outbox_folder: self
                .path(raw.outbox_folder.as_ref())
                .or_else(|| systemd_folder("STATE_DIRECTORY", "outbox")),
            outbox_messages_max: self.number(
                "broker.outbox_messages_max",
                raw.outbox_messages_max,
                1..=1_000_000,
            ),
        }
    }

    fn server(&mut self, url: &str, ca_file: Option<PathBuf>) -> Option<Server> {
        let server = parse_server(url, ca_file);
        if server.is_none() {
            let accepted = "\"none\", \"mqtt://HOST:PORT\" or \"mqtts://HOST:PORT\"";
            self.refuse("broker.url", quoted(url), accepted);
        }
        server
    }

    fn credentials(&mut self, raw: &super::raw::Broker) -> Option<Credentials> {
        let Some(user) = &raw.user else {
            if raw.password_file.is_some() {
                self.refuse("broker.password_file", "no broker.user", "a user beside the password");
            }
            return None;
        };
        let password_file = self.path(raw.password_file.as_ref()).or_else(systemd_credential);
        Some(Credentials { user: user.clone(), password_file })
    }

    /// A part of an MQTT topic: not empty, no wildcard, and no character of `refused` at its ends.
    fn topic(&mut self, key: &str, found: &str, inner: &str) -> String {
        let levels_fine = if inner == "/" {
            found.split('/').all(|level| !level.is_empty())
        } else {
            !found.is_empty() && !found.contains('/')
        };
        if !levels_fine || found.contains(['+', '#', '\0']) || found.starts_with('$') {
            let what = if inner == "/" { "topic levels" } else { "one topic level" };
            self.refuse(key, quoted(found), format!("{what} without + # and a leading $"));
        }
        found.to_owned()
    }

    fn path(&self, found: Option<&String>) -> Option<PathBuf> {
        found.map(|path| self.base.join(path))
    }

    fn milliseconds(&mut self, key: &str, found: i64, least: i64) -> Duration {
        Duration::from_millis(self.number(key, found, least..=DAY_MS))
    }

    fn number<T: TryFrom<i64> + Default>(
        &mut self,
        key: &str,
        found: i64,
        accepted: RangeInclusive<i64>,
    ) -> T {
        if !accepted.contains(&found) {
            self.refuse(key, found, format!("{} to {}", accepted.start(), accepted.end()));
            return T::default();
        }
        T::try_from(found).unwrap_or_default()
    }

    fn fraction(&mut self, key: &str, found: f64, accepted: RangeInclusive<f64>) -> f32 {
        if !accepted.contains(&found) {
            self.refuse(key, found, format!("{} to {}", accepted.start(), accepted.end()));
        }
        found as f32
    }

    fn refuse(&mut self, key: &str, found: impl Display, accepted: impl Display) {
        let line =
            line_of(self.text, key).map_or_else(String::new, |line| format!("line {line}: "));
        self.problems.push(format!("{line}{key}: found {found}, accepted is {accepted}"));
    }
}

/// The line, from 1, where `key` (such as `model.threads`) stands in `text`.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut names = key.split('.').peekable();
    loop {
        let name = names.next()?;
        let (found, value) = table.iter().find(|(known, _)| known.get_ref().as_ref() == name)?;
        if names.peek().is_none() {
            return Some(line_at(text, found.span().start));
        }
        table = value.get_ref().as_table()?;
    }
}

/// The line, from 1, that holds the byte at `offset`.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

fn parse_server(url: &str, ca_file: Option<PathBuf>) -> Option<Server> {
    let (scheme, rest) = url.split_once("://")?;
    let (tls, default_port) = match scheme {
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some(""))?)
        }
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    let port = if port.is_empty() { default_port } else { port.parse().ok()? };
    let fine = !host.is_empty() && port != 0 && !host.contains(['/', '@', ' ']);
    fine.then(|| Server { host: host.to_owned(), port, tls, ca_file })
}

/// A folder inside the one that systemd makes for the service and names in `variable`.
fn systemd_folder(variable: &str, name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os(variable)?;
    std::env::split_paths(&folders).next().map(|folder| folder.join(name))
}

/// The file of the broker's password, where systemd hands it to the service.
fn systemd_credential() -> Option<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    Some(Path::new(&folder).join("mqtt-password")).filter(|path| path.exists())
}

/// The name of this machine, made fit for a topic.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = name.replace(['+', '#', '/', '$'], "-");
    if name.is_empty() { "gemmad".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_urls_are_read() {
        let check = |url: &str, expected: Option<(&str, u16, bool)>| {
            let found = parse_server(url, None);
            let found = found.as_ref().map(|at| (at.host.as_str(), at.port, at.tls));
            assert_eq!(found, expected, "{url}");
        };
        check("mqtt://broker", Some(("broker", 1883, false)));
        check("mqtts://broker", Some(("broker", 8883, true)));
        check("mqtt://10.0.0.7:1999/", Some(("10.0.0.7", 1999, false)));
        check("mqtt://[::1]:1884", Some(("::1", 1884, false)));
        check("mqtts://[::1]", Some(("::1", 8883, true)));
        check("mqtt://user@broker", None);
        check("mqtt://broker:0", None);
        check("mqtt://broker:70000", None);
        check("mqtt://", None);
        check("http://broker", None);
        check("broker:1883", None);
    }

    #[test]
    fn a_key_is_found_at_its_line() {
        let text =
            "stop_deadline_ms = 1\n\n[model]\n# threads = 3\nthreads = 9\n[log]\njson = true\n";
        assert_eq!(line_of(text, "stop_deadline_ms"), Some(1));
        assert_eq!(line_of(text, "model.threads"), Some(5));
        assert_eq!(line_of(text, "log.json"), Some(7));
        assert_eq!(line_of(text, "log.filter"), None);
    }
}
