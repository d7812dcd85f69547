//! What every scene begins with: the daemon started with what the scene needs, and ready.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::screen::Screen;
use super::words;
use crate::bus_client::Signal;
use crate::house::{House, SETTLED};

/// Where a scene is played.
#[derive(Debug)]
pub(super) struct Stage {
    /// Where it is told.
    pub(super) screen: Screen,
    /// Whether the daemon's log is printed in the end.
    pub(super) shows_log: bool,
}

impl Stage {
    /// Tells one event.
    pub(super) fn line(&self, label: &str, text: &str) {
        self.screen.line(label, text);
    }

    /// Starts the daemon with the settings of the house, the one that runs being stopped; how long it
    /// took until it was ready.
    pub(super) async fn start(&self, house: &mut House) -> anyhow::Result<Duration> {
        if house.daemon().is_ok() {
            house.stop().await?;
            self.line("daemon", "stopped");
        }
        let started = house.launch()?;
        house.daemon()?.shows_log = self.shows_log;
        let pid = house.daemon()?.process().id();
        self.line("daemon", &format!("started, process {pid}"));
        let settled = house.reaches(&[&SETTLED[..], &["degraded"]].concat()).await;
        let settled = settled.map_err(|error| with_log(house, error))?;
        let ready = started.elapsed();
        if settled == "degraded" {
            let detail = house.bus_client.property("Detail").await?;
            return Err(with_log(house, anyhow::anyhow!("no model: {detail}")));
        }
        let model = house.bus_client.property("Model").await?;
        let line = format!("{settled} after {} ms: {}", ready.as_millis(), words(&model));
        self.line("daemon", &line);
        Ok(ready)
    }
}

/// Waits until a turn is answered, as the broker and the bus tell it.
pub(super) async fn answered(house: &House, turn: &Value) -> anyhow::Result<Value> {
    let event = house.event_that(0, "answered", |event| event["turn"] == *turn).await;
    let event = event.with_context(|| format!("turn {turn}"))?;
    let told = |signal: &Signal| {
        (signal.member == "Answered" && signal.argument(0) == *turn).then_some(())
    };
    house.bus_client.signals().wait(0, "signal Answered", told).await?;
    Ok(event)
}

/// The error, and below it what the daemon said last.
pub(super) fn with_log(house: &mut House, error: anyhow::Error) -> anyhow::Error {
    let log = house.daemon().map(|daemon| daemon.process().lines().tail(0)).unwrap_or_default();
    error.context(format!("the daemon said:\n{log}\n"))
}
