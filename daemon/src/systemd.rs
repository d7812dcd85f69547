//! What systemd is told: ready, what is going on, stopping, and a sign of life for as long as the
//! assistant makes progress. Without `$NOTIFY_SOCKET` nobody is told anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::capture::Clock;
use crate::channels::StatusReceiver;
use crate::event::State;
use crate::status::{OFF, PartStatus, Status};

/// While the model is loading, systemd is asked this often for more time.
const LOADING: Duration = Duration::from_secs(5);
/// Time that is asked for, in microseconds.
const EXTENSION_US: u32 = 30_000_000;

/// When the assistant last got on with something.
#[derive(Clone, Debug)]
pub struct Progress {
    clock: Clock,
    last_ms: Arc<AtomicU64>,
}

impl Progress {
    /// The assistant got on just now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let progress = Self { clock, last_ms: Arc::default() };
        progress.mark();
        progress
    }

    /// The assistant gets on: it looks around while idle, or a step of the model or a tool is done.
    pub fn mark(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Time since the assistant last got on.
    #[must_use]
    pub fn age(&self) -> Duration {
        let age_ms = self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed));
        Duration::from_millis(age_ms)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Tells systemd until the stop.
///
/// # Errors
/// If the notify socket is lost.
pub async fn run(
    mut status: StatusReceiver,
    progress: Progress,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
        stop.cancelled().await;
        return Ok(());
    }
    let watchdog = sd_notify::watchdog_enabled();
    let mut tick =
        tokio::time::interval(watchdog.map_or(LOADING, |limit| (limit / 3).min(LOADING)));
    let mut told = Told::default();
    loop {
        let now = status.borrow_and_update().clone();
        told.tell(&now)?;
        tokio::select! {
            () = stop.cancelled() => {
                sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("stopping")])?;
                return Ok(());
            }
            changed = status.changed() => if changed.is_err() { return Ok(()) },
            _ = tick.tick() => {
                if matches!(now.state, State::Starting | State::Loading) {
                    sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(EXTENSION_US)])?;
                }
                if watchdog.is_some_and(|limit| progress.age() < limit) {
                    sd_notify::notify(&[NotifyState::Watchdog])?;
                }
            }
        }
    }
}

/// What was told last: the same is not told twice.
#[derive(Debug, Default)]
struct Told {
    ready: bool,
    line: String,
}

impl Told {
    fn tell(&mut self, status: &Status) -> anyhow::Result<()> {
        let line = line(status);
        if line != self.line {
            sd_notify::notify(&[NotifyState::Status(&line)])?;
            self.line = line;
        }
        if !self.ready && !matches!(status.state, State::Starting | State::Loading) {
            sd_notify::notify(&[NotifyState::Ready])?;
            self.ready = true;
        }
        Ok(())
    }
}

/// The state in one line, with what is missing.
fn line(status: &Status) -> String {
    let mut line = status.state.name().to_owned();
    if let Some(detail) = &status.detail {
        line.push_str(": ");
        line.push_str(&detail.replace('\n', " "));
    }
    // A part that is the very reason of the state has been told already.
    let is_told = |part: &PartStatus| status.detail.as_ref() == Some(&part.detail);
    let is_missing =
        |part: &PartStatus| !part.working && !part.detail.starts_with(OFF) && !is_told(part);
    let parts = status.parts.iter().filter(|(_, part)| is_missing(part));
    let missing: Vec<&str> = parts.map(|(name, _)| name.name()).collect();
    if !missing.is_empty() {
        line.push_str(" (missing: ");
        line.push_str(&missing.join(", "));
        line.push(')');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PartName;

    #[test]
    fn the_line_says_the_state_and_what_is_missing() {
        let part = |working: bool| PartStatus { working, detail: String::new() };
        let off = PartStatus { working: false, detail: format!("{OFF}not configured") };
        let mut status = Status { state: State::Ready, ..Status::default() };
        assert_eq!(line(&status), "ready");
        status.parts.insert(PartName::Bus, part(true));
        status.parts.insert(PartName::Microphone, off);
        status.parts.insert(PartName::Camera, part(false));
        status.parts.insert(PartName::Broker, part(false));
        assert_eq!(line(&status), "ready (missing: camera, broker)");
        status.state = State::Degraded;
        status.detail = Some("no\nmodel".to_owned());
        let model = PartStatus { working: false, detail: "no\nmodel".to_owned() };
        status.parts.insert(PartName::Model, model);
        assert_eq!(line(&status), "degraded: no model (missing: camera, broker)");
    }

    #[test]
    fn progress_is_fresh_after_a_mark() {
        let progress = Progress::new(Clock::start());
        assert!(progress.age() < Duration::from_secs(5));
    }
}
