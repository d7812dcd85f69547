//! The state of the daemon as one value: what every client can look up at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use crate::channels::EventSender;
use crate::event::{Event, Figures, PartName, State};

/// How the detail of a part begins that does not work because the configuration leaves it out.
pub const OFF: &str = "off: ";

/// The whole state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// What the daemon does right now.
    pub state: State,
    /// Why, where there is something to say.
    pub detail: Option<String>,
    /// Whether the microphone is muted.
    pub muted: bool,
    /// Name of the model, empty while there is none.
    pub model: String,
    /// Engine that runs it: `ort` or `tract`.
    pub engine: String,
    /// The parts of the outside world, and how each is.
    pub parts: BTreeMap<PartName, PartStatus>,
    /// Questions that wait.
    pub waiting: usize,
    /// Turns answered since the start.
    pub answered: u64,
    /// What the last turn took.
    pub last: Option<Figures>,
    /// The last answer.
    pub last_answer: String,
    /// Names of the tools that the model can call.
    pub tools: Vec<String>,
    /// Chunks of sound dropped since the start, because listening was too slow.
    pub audio_chunks_dropped: u64,
}

/// How one part of the outside world is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartStatus {
    /// Whether it works.
    pub working: bool,
    /// What is missing and how to mend it, or what was found.
    pub detail: String,
}

/// The one place where the state changes: every change is seen by lookers-up and told as an event.
#[derive(Clone, Debug)]
pub struct StatusBoard {
    status: Arc<watch::Sender<Status>>,
    events: EventSender,
}

impl StatusBoard {
    /// Makes a board in [`State::Starting`] that tells its changes to `events`.
    #[must_use]
    pub fn new(events: EventSender) -> Self {
        Self { status: Arc::new(watch::Sender::new(Status::default())), events }
    }

    /// Subscribes to the state.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// A copy of the state as it is now.
    #[must_use]
    pub fn now(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Sets the state and tells it, if it differs from the present one.
    pub fn set_state(&self, state: State, detail: Option<String>) {
        let changed = self.status.send_if_modified(|status| {
            let changed = status.state != state || status.detail != detail;
            status.state = state;
            status.detail.clone_from(&detail);
            changed
        });
        if changed {
            self.tell(Event::State { state, detail });
        }
    }

    /// Sets how a part is and tells it, if that differs from what was known.
    pub fn set_part(&self, part: PartName, working: bool, detail: impl Into<String>) {
        let now = PartStatus { working, detail: detail.into() };
        let changed = self.status.send_if_modified(|status| {
            let changed = status.parts.get(&part) != Some(&now);
            status.parts.insert(part, now.clone());
            changed
        });
        if changed {
            let detail = now.detail;
            if working || detail.starts_with(OFF) {
                tracing::info!(part = part.name(), working, detail, "part");
            } else {
                tracing::warn!(part = part.name(), working, detail, "part");
            }
            self.tell(Event::Part { part, working, detail });
        }
    }

    /// Changes the remaining fields, which have no event of their own.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    /// Tells an event to every publisher; nobody listening is fine.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
