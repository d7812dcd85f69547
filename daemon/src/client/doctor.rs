//! Everything the daemon needs, checked one by one without a running daemon: one line each, what
//! was found or what is missing and how to mend it.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::Duration;

use gemma_runtime::{EngineKind, Error, Model};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zbus::fdo;
use zbus::names::{BusName, InterfaceName};

use super::{FAILED, harmless};
use crate::capture::{self, Clock, Open, Wanted};
use crate::cli::Output;
use crate::config::{Bus, Config};
use crate::inference::{describe, model_options};
use crate::publish::dbus::{self, NAME, PATH};
use crate::publish::mqtt;

/// Longest time that one check may take, opening the model aside.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// It works.
    Ok(String),
    /// It is wanted and does not work.
    Missing(String),
    /// The configuration says that there is none.
    Off(&'static str),
}

/// The parts of a running daemon, by name: whether each works, and what it is.
type Parts = HashMap<String, (bool, String)>;

/// One check: what was looked at, and what was found.
type Check = (&'static str, Found);

/// Checks and prints; gives the exit code.
pub(super) async fn run(output: Output, config: &Config) -> anyhow::Result<u8> {
    let mut checks = vec![("config", configuration(config))];
    checks.extend(model(config).await);
    let (bus, held) = bus(&config.bus).await;
    checks.push(("microphone", microphone(config, &held).await));
    checks.push(("camera", camera(config, &held).await));
    checks.push(("bus", bus));
    checks.push(("broker", broker(config).await));
    checks.push(("plugins", plugins(config).await));
    let mut out = std::io::stdout();
    match output.json {
        true => writeln!(out, "{}", as_json(&checks))?,
        false => out.write_all(harmless(&as_text(&checks)).as_bytes())?,
    }
    let broken = checks.iter().any(|(_, found)| matches!(found, Found::Missing(_)));
    Ok(if broken { FAILED } else { 0 })
}

fn configuration(config: &Config) -> Found {
    Found::Ok(match &config.file {
        Some(file) => file.display().to_string(),
        None => "no file, everything has its default".to_owned(),
    })
}

/// Opens the model as the daemon does. The engine's library comes after the folder's own files, so
/// that a broken folder leaves it untried.
async fn model(config: &Config) -> [Check; 2] {
    let (folder, options) = (config.model.folder.clone(), model_options(&config.model));
    let engine = options.engine;
    let open = move || Model::open(&folder, &options).map(|model| describe(model.info()));
    let loaded = Found::Ok(match engine {
        EngineKind::Ort => "ONNX Runtime was loaded".to_owned(),
        EngineKind::Tract => "none is needed, tract is built in".to_owned(),
    });
    let (library, model) = match tokio::task::spawn_blocking(open).await {
        Ok(Ok(detail)) => (loaded, Found::Ok(detail)),
        Ok(Err(Error::Library(reason))) => {
            (Found::Missing(reason), Found::Off("not opened without the library"))
        }
        Ok(Err(error)) => {
            let untried = Found::Off("not tried, the model comes first");
            let library = if engine == EngineKind::Tract { loaded } else { untried };
            (library, Found::Missing(error.to_string()))
        }
        Err(_) => (Found::Off("not tried"), Found::Missing("opening it failed badly".to_owned())),
    };
    [("library", library), ("model", model)]
}

async fn microphone(config: &Config, held: &Parts) -> Found {
    match capture::microphone(&config.microphone, Clock::start()) {
        Some(open) => device("microphone", open, held).await,
        None => Found::Off("the configuration names none ([microphone] source)"),
    }
}

async fn camera(config: &Config, held: &Parts) -> Found {
    match capture::camera(&config.camera, Clock::start()) {
        Some(open) => device("camera", open, held).await,
        None => Found::Off("the configuration names none ([camera] source)"),
    }
}

/// Tries a device, unless a running daemon has it: a device serves one program at a time.
async fn device<T: 'static>(part: &str, open: Open<T>, held: &Parts) -> Found {
    match held.get(part) {
        Some((true, detail)) => Found::Ok(format!("{detail}; the running daemon has it")),
        Some((false, _)) | None => first(open).await,
    }
}

/// Opens a device and takes the first item from it.
async fn first<T: 'static>(mut open: Open<T>) -> Found {
    let stop = CancellationToken::new();
    let wanted = Wanted::new(stop.clone(), None);
    let _stop_at_the_end = stop.drop_guard();
    let work = move || {
        let mut opened = open(wanted)?;
        match opened.items.next() {
            Some(item) => item.map(|_| opened.detail),
            None => anyhow::bail!("{}: nothing comes from it", opened.detail),
        }
    };
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(Ok(detail))) => Found::Ok(detail),
        Ok(Ok(Err(error))) => Found::Missing(format!("{error:#}")),
        Ok(Err(_)) => Found::Missing("opening it failed badly".to_owned()),
        Err(_) => Found::Missing(format!("nothing came within {} s", PATIENCE.as_secs())),
    }
}

/// The bus, and the parts of the daemon that runs there.
async fn bus(config: &Bus) -> (Found, Parts) {
    if *config == Bus::None {
        return (Found::Off("the configuration names none ([bus] address)"), Parts::new());
    }
    let place = dbus::describe(config);
    let look = async {
        let connect = dbus::builder(config)?.build().await;
        // The text of a connection error already holds its source.
        let connection = connect.map_err(|error| anyhow::Error::msg(error.to_string()))?;
        let bus = fdo::DBusProxy::new(&connection).await?;
        if !bus.name_has_owner(BusName::try_from(NAME)?).await? {
            return anyhow::Ok(None);
        }
        let properties = fdo::PropertiesProxy::new(&connection, NAME, PATH).await?;
        let parts = properties.get(InterfaceName::from_static_str(NAME)?, "Parts").await?;
        Ok(Some(Parts::try_from(parts)?))
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(Ok(Some(parts))) => (Found::Ok(format!("{place}; a daemon runs there")), parts),
        Ok(Ok(None)) => (Found::Ok(format!("{place}; no daemon runs there")), Parts::new()),
        Ok(Err(error)) => (Found::Missing(format!("{place}: {error:#}")), Parts::new()),
        Err(_) => (Found::Missing(format!("{place}: no answer")), Parts::new()),
    }
}

async fn broker(config: &Config) -> Found {
    match tokio::time::timeout(PATIENCE, mqtt::probe(&config.broker)).await {
        Ok(Ok(Some(place))) => Found::Ok(place),
        Ok(Ok(None)) => Found::Off("the configuration names none ([broker] url)"),
        Ok(Err(error)) => Found::Missing(format!("{error:#}")),
        Err(_) => Found::Missing("no answer".to_owned()),
    }
}

async fn plugins(config: &Config) -> Found {
    let host = match super::plugin::open(config, mpsc::channel(1).0).await {
        Ok(host) => host,
        Err(error) => return Found::Missing(format!("{error:#}")),
    };
    let problems: Vec<String> = host.problems().iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        let tools: Vec<String> = host.tools().into_iter().map(|tool| tool.name).collect();
        return Found::Ok(format!("{} with the tools {}", host.plugins().len(), tools.join(", ")));
    }
    Found::Missing(problems.join("; "))
}

impl Found {
    fn word(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Missing(_) => "missing",
            Self::Off(_) => "-",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Ok(detail) | Self::Missing(detail) => detail,
            Self::Off(detail) => detail,
        }
    }
}

fn as_text(checks: &[Check]) -> String {
    let line = |(name, found): &Check| {
        format!("{name:<11} {:<8} {}\n", found.word(), found.detail().replace('\n', " "))
    };
    checks.iter().map(line).collect()
}

fn as_json(checks: &[Check]) -> Value {
    let check = |(name, found): &Check| {
        let ok = match found {
            Found::Ok(_) => Value::Bool(true),
            Found::Missing(_) => Value::Bool(false),
            Found::Off(_) => Value::Null,
        };
        json!({"name": name, "ok": ok, "detail": found.detail()})
    };
    checks.iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_one_line() {
        let checks = [
            ("model", Found::Missing("model folder /m:\nnot there".into())),
            ("bus", Found::Ok("the system bus".into())),
            ("camera", Found::Off("the configuration names none")),
        ];
        assert_eq!(
            as_text(&checks),
            "model       missing  model folder /m: not there\n\
             bus         ok       the system bus\n\
             camera      -        the configuration names none\n"
        );
        assert_eq!(as_json(&checks)[2]["ok"], Value::Null);
    }
}
