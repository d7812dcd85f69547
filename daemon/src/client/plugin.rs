//! Plugins, listed and called by hand.

use std::collections::HashMap;
use std::io::Write as _;

use anyhow::Context as _;
use gemma_plugins::{Host, PluginInfo, Publication};
use gemma_types::{Arguments, Outcome, ToolCall};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use zbus::OwnedVariant;

use super::proxy::{GemmadProxy, explain};
use super::{FAILED, NoDaemon, aside, harmless};
use crate::cli::{Output, Plugin};
use crate::config::Config;

/// Runs the command; gives the exit code.
pub(super) async fn run(plugin: Plugin, config: &Config) -> anyhow::Result<u8> {
    match plugin {
        Plugin::List(output) => list(output, config).await,
        Plugin::Call { name, arguments } => call(name, &arguments, config).await,
    }
}

/// Loads the configured plugins; what they publish goes to `publications`.
pub(super) async fn open(
    config: &Config,
    publications: mpsc::Sender<Publication>,
) -> anyhow::Result<Host> {
    let options = crate::daemon::plugin_options(&config.plugins);
    Ok(tokio::task::spawn_blocking(move || Host::open(&options, publications)).await??)
}

async fn list(output: Output, config: &Config) -> anyhow::Result<u8> {
    let host = open(config, mpsc::channel(1).0).await?;
    let mut out = std::io::stdout();
    if output.json {
        let plugins: Vec<Value> = host.plugins().iter().map(as_json).collect();
        let problems: Vec<String> = host.problems().iter().map(ToString::to_string).collect();
        writeln!(out, "{}", json!({"plugins": plugins, "problems": problems}))?;
    } else {
        for plugin in host.plugins() {
            out.write_all(harmless(&as_text(plugin)).as_bytes())?;
        }
        for problem in host.problems() {
            writeln!(std::io::stderr(), "gemmad: {}", harmless(&problem.to_string()))?;
        }
    }
    Ok(if host.problems().is_empty() { 0 } else { FAILED })
}

fn as_text(plugin: &PluginInfo) -> String {
    let PluginInfo { name, version, description, tools, grants, limits, path } = plugin;
    let mut lines = vec![format!("{name} {version}: {description}")];
    for tool in tools {
        lines.push(format!("  tool   {}: {}", tool.spec.name, tool.spec.description));
    }
    for grant in grants {
        lines.push(format!("  may    {grant}"));
    }
    let limits: Vec<String> =
        limits.entries().map(|(name, value)| format!("{name} {value}")).collect();
    lines.push(format!("  limits {}", limits.join(", ")));
    lines.push(format!("  folder {}\n", path.display()));
    lines.join("\n")
}

fn as_json(plugin: &PluginInfo) -> Value {
    let PluginInfo { name, version, description, tools, grants, limits, path } = plugin;
    let tools: Vec<Value> = tools
        .iter()
        .map(|tool| {
            let spec = &tool.spec;
            json!({
                "name": spec.name,
                "description": spec.description,
                "parameters": spec.parameters,
                "risk": format!("{:?}", tool.risk).to_lowercase(),
            })
        })
        .collect();
    json!({
        "name": name,
        "version": version,
        "description": description,
        "tools": tools,
        "grants": grants,
        "limits": limits.entries().collect::<HashMap<_, _>>(),
        "path": path,
    })
}

async fn call(name: String, arguments: &str, config: &Config) -> anyhow::Result<u8> {
    let parsed: Arguments = serde_json::from_str(arguments)
        .with_context(|| format!("the arguments {arguments:?} are no JSON object"))?;
    let (outcome, value, cost) = match super::connect(&config.bus).await {
        Ok(connection) => {
            let daemon = GemmadProxy::new(&connection).await?;
            let (outcome, value, cost) =
                daemon.call_tool(&name, arguments).await.map_err(explain)?;
            (outcome, value, took(&cost))
        }
        Err(error) => {
            let reason = match error.downcast_ref::<NoDaemon>() {
                Some(_) => "no daemon runs".to_owned(),
                None => format!("{error:#}"),
            };
            aside(&format!("{reason}: the tool is called here, what it publishes is only printed"));
            call_here(ToolCall { name, arguments: parsed }, config).await?
        }
    };
    writeln!(std::io::stdout(), "{}", harmless(&value))?;
    aside(&format!("{outcome}{cost}"));
    Ok(if outcome == "done" { 0 } else { FAILED })
}

/// Calls a tool without a daemon: a message that it publishes is printed and counts as accepted.
async fn call_here(call: ToolCall, config: &Config) -> anyhow::Result<(String, String, String)> {
    let (sender, mut publications) = mpsc::channel::<Publication>(1);
    let host = open(config, sender).await?;
    for problem in host.problems() {
        aside(&harmless(&problem.to_string()));
    }
    let called = host.call(&call);
    tokio::pin!(called);
    let result = loop {
        tokio::select! {
            result = &mut called => break result,
            Some(publication) = publications.recv() => {
                let payload = String::from_utf8_lossy(&publication.payload);
                aside(&harmless(&format!("publishes {} {payload}", publication.topic)));
                let _ = publication.receipt.send(Ok(()));
            }
        }
    };
    let (outcome, value) = match result.outcome {
        Outcome::Done(value) => ("done", value),
        Outcome::Refused(reason) => ("refused", reason.into()),
        Outcome::Failed(reason) => ("failed", reason.into()),
    };
    let cost = result.cost;
    let wall_ms = cost.wall.as_secs_f64() * 1e3;
    let took = describe(wall_ms, cost.fuel, cost.memory_bytes);
    Ok((outcome.to_owned(), value.to_string(), took))
}

fn took(cost: &HashMap<String, OwnedVariant>) -> String {
    let number = |name: &str| cost.get(name).and_then(|value| u64::try_from(&**value).ok());
    let wall_ms = cost.get("wall_ms").and_then(|value| f64::try_from(&**value).ok());
    let (fuel, memory_bytes) = (number("fuel"), number("memory_bytes"));
    describe(
        wall_ms.unwrap_or_default(),
        fuel.unwrap_or_default(),
        memory_bytes.unwrap_or_default(),
    )
}

fn describe(wall_ms: f64, fuel: u64, memory_bytes: u64) -> String {
    format!(" in {wall_ms:.1} ms, {fuel} fuel, {} KiB", memory_bytes >> 10)
}
