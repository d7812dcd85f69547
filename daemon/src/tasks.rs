//! The closed list of tasks and threads. Nothing else in the daemon spawns anything, and each of
//! these runs until it is told to stop: one that ends earlier ends the daemon.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context as _, anyhow};
use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};

/// Every task and thread that there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskName {
    /// Thread: the microphone's pump.
    Microphone,
    /// Thread: the camera's pump.
    Camera,
    /// Task: sound to utterances.
    Listening,
    /// Task: the loop.
    Assistant,
    /// Thread: the model.
    Inference,
    /// Thread: opens the plugins at the start, then ends.
    Plugins,
    /// Task: D-Bus.
    Bus,
    /// Task: MQTT.
    Broker,
    /// Task: what systemd is told.
    Systemd,
}

impl fmt::Display for TaskName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Microphone => "microphone",
            Self::Camera => "camera",
            Self::Listening => "listening",
            Self::Assistant => "assistant",
            Self::Inference => "inference",
            Self::Plugins => "plugins",
            Self::Bus => "dbus",
            Self::Broker => "mqtt",
            Self::Systemd => "systemd",
        })
    }
}

/// How a task ended.
#[derive(Debug)]
pub struct Ended {
    /// Which one.
    pub name: TaskName,
    /// Whether it went well; a panic is an error.
    pub outcome: anyhow::Result<()>,
}

/// The tasks and threads that run.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, TaskName>,
}

impl Tasks {
    /// Starts a task.
    pub fn task(
        &mut self,
        name: TaskName,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.running.spawn(work);
        self.names.insert(handle.id(), name);
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn thread(
        &mut self,
        name: TaskName,
        work: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<()> {
        let ended = start_thread(name, work)?;
        self.task(name, async move { ended.await.unwrap_or_else(|_| Err(anyhow!("vanished"))) });
        Ok(())
    }

    /// Those that run, in order.
    #[must_use]
    pub fn running(&self) -> Vec<TaskName> {
        let mut names: Vec<TaskName> = self.names.values().copied().collect();
        names.sort_unstable();
        names
    }

    /// Waits until one of them ends; `None` if none runs.
    ///
    /// # Cancel safety
    /// No end is lost if the future is dropped.
    pub async fn next_end(&mut self) -> Option<Ended> {
        let (id, outcome) = match self.running.join_next_with_id().await? {
            Ok((id, outcome)) => (id, outcome),
            Err(error) if error.is_panic() => {
                (error.id(), Err(panicked(error.into_panic().as_ref())))
            }
            Err(error) => (error.id(), Err(error.into())),
        };
        let name = self.names.remove(&id)?;
        Some(Ended { name, outcome })
    }
}

/// Runs `work` on a thread and waits for what it gives.
///
/// # Errors
/// If there is no thread for it, or it panics.
///
/// # Cancel safety
/// The thread goes on if the future is dropped; what it gives is lost.
pub async fn on_thread<T: Send + 'static>(
    name: TaskName,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let (give, take) = oneshot::channel();
    let ended = start_thread(name, move || {
        let _ = give.send(work());
    })?;
    ended.await.unwrap_or_else(|_| Err(anyhow!("vanished")))?;
    take.await.with_context(|| format!("the thread {name} gave nothing"))
}

fn start_thread(
    name: TaskName,
    work: impl FnOnce() + Send + 'static,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let (ended, end) = oneshot::channel();
    let body = move || {
        let outcome = catch_unwind(AssertUnwindSafe(work));
        let _ = ended.send(outcome.map_err(|payload| panicked(payload.as_ref())));
    };
    std::thread::Builder::new()
        .name(name.to_string())
        .spawn(body)
        .with_context(|| format!("the thread {name} cannot be started"))?;
    Ok(end)
}

/// What a panic said, as an error.
fn panicked(payload: &(dyn Any + Send)) -> anyhow::Error {
    let said = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word");
    anyhow!("panicked: {said}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn the_end_of_each_is_told_by_name() {
        let mut tasks = Tasks::default();
        tasks.task(TaskName::Bus, async { Ok(()) });
        tasks.task(TaskName::Broker, async { Err(anyhow!("no broker")) });
        tasks.task(TaskName::Listening, async { panic!("no ears") });
        tasks.thread(TaskName::Camera, || {}).unwrap();
        tasks.thread(TaskName::Microphone, || panic!("no {}", "sound")).unwrap();
        assert_eq!(tasks.running().len(), 5);
        let mut ends = Vec::new();
        while let Some(ended) = tasks.next_end().await {
            let said = ended.outcome.map_or_else(|error| format!("{error:#}"), |()| "well".into());
            ends.push(format!("{}: {said}", ended.name));
        }
        ends.sort_unstable();
        let expected = [
            "camera: well",
            "dbus: well",
            "listening: panicked: no ears",
            "microphone: panicked: no sound",
            "mqtt: no broker",
        ];
        assert_eq!(ends, expected);
    }

    #[tokio::test]
    async fn a_thread_gives_what_it_made() {
        assert_eq!(on_thread(TaskName::Plugins, || 7).await.unwrap(), 7);
        let failed = on_thread(TaskName::Plugins, || panic!("no plugins")).await;
        assert_eq!(failed.map(|(): ()| ()).unwrap_err().to_string(), "panicked: no plugins");
    }
}
