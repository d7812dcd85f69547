//! Everything that can come in while the assistant waits or works, in one place.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use gemma_types::Utterance;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::channels::{CommandReceiver, StatusReceiver};
use crate::event::Command;
use crate::inference::{Inference, ModelState};

/// The idle assistant looks around this often.
const TICK: Duration = Duration::from_secs(1);

/// Something that came in.
#[derive(Debug)]
pub(super) enum Letter {
    /// A publisher wants something.
    Command(Command),
    /// Somebody said something.
    Utterance(Utterance),
    /// The model is ready, or broken.
    Model(ModelState),
    /// A part of the outside world came or went.
    Parts,
    /// A second went by.
    Tick,
    /// The daemon stops. Said once.
    Stop,
}

/// Where everything comes in.
pub struct Inbox {
    commands: CommandReceiver,
    utterances: mpsc::Receiver<Utterance>,
    model: watch::Receiver<ModelState>,
    status: StatusReceiver,
    stop: CancellationToken,
    stopped: bool,
    tick: Interval,
}

impl Inbox {
    /// Makes an inbox. Must be called within the async runtime.
    #[must_use]
    pub fn new(
        commands: CommandReceiver,
        utterances: mpsc::Receiver<Utterance>,
        inference: &Inference,
        status: StatusReceiver,
        stop: CancellationToken,
    ) -> Self {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut model = inference.state();
        model.mark_changed();
        Self { commands, utterances, model, status, stop, stopped: false, tick }
    }

    /// Waits for the next letter.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self, calls: &mut HandCalls) -> Letter {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if !self.stopped => {
                    self.stopped = true;
                    return Letter::Stop;
                }
                Ok(()) = self.model.changed() => {
                    return Letter::Model(self.model.borrow_and_update().clone());
                }
                Some(command) = self.commands.recv() => return Letter::Command(command),
                Some(utterance) = self.utterances.recv() => return Letter::Utterance(utterance),
                Ok(()) = self.status.changed() => {
                    self.status.mark_unchanged();
                    return Letter::Parts;
                }
                Some(()) = calls.next() => {}
                _ = self.tick.tick() => return Letter::Tick,
            }
        }
    }
}

/// Calls of tools by hand that are under way.
pub(super) type HandCalls = FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>;
