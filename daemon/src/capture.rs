//! Microphones and cameras. A source is an iterator of results, one file for each kind; the pump
//! here owns what they share: opening again after a loss, closing on mute, and saying so once.

pub mod alsa; // a microphone of the machine
pub mod pixels; // any picture format of a camera to RGB
pub mod replay; // files instead of devices
pub mod v4l2; // a camera of the machine

use std::time::{Duration, Instant};

use gemma_types::{AudioChunk, Frame};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::event::PartName;
use crate::status::StatusBoard;

/// Longest time that a source waits for its device before it looks whether it is still wanted.
pub const PATIENCE: Duration = Duration::from_millis(100);
/// Time without anything from an open device after which it counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Pause before a lost device is opened again; doubles from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Dropped chunks are reported at most this often.
const DROP_REPORT: Duration = Duration::from_secs(1);

/// A device or file that was opened.
pub struct Opened<T> {
    /// What was found, in words.
    pub detail: String,
    /// What comes out of it; an error is its last item.
    pub items: Box<dyn Iterator<Item = anyhow::Result<T>> + Send>,
}

/// Opens a device or file, again and again.
pub type Open<T> = Box<dyn FnMut(Wanted) -> anyhow::Result<Opened<T>> + Send>;

/// The daemon's monotonic clock; its zero is the start of the daemon.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the daemon started.
    #[must_use]
    pub fn now(self) -> Duration {
        self.0.elapsed()
    }
}

/// Says whether a source is still wanted. A source asks at least every [`PATIENCE`] and ends when
/// it is not, so that its device is closed.
#[derive(Clone, Debug)]
pub struct Wanted {
    stop: CancellationToken,
    muted: Option<watch::Receiver<bool>>,
}

impl Wanted {
    /// Wanted until `stop`, and while not `muted` where that is given.
    #[must_use]
    pub const fn new(stop: CancellationToken, muted: Option<watch::Receiver<bool>>) -> Self {
        Self { stop, muted }
    }

    /// Whether the source is wanted now.
    #[must_use]
    pub fn now(&self) -> bool {
        !self.stop.is_cancelled() && !self.muted()
    }

    /// Waits for `time`, or until the source is not wanted; says whether it is.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        let start = Instant::now();
        while self.now() {
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(PATIENCE));
        }
        false
    }

    fn muted(&self) -> bool {
        self.muted.as_ref().is_some_and(|muted| *muted.borrow())
    }
}

/// Runs the microphone until it is not wanted any more: chunks go to `audio`; a chunk that finds no
/// room is dropped and counted. Blocks its thread.
pub fn run_microphone(
    open: &mut Open<AudioChunk>,
    wanted: Wanted,
    board: &StatusBoard,
    audio: &mpsc::Sender<AudioChunk>,
) {
    let mut drops = Drops::new(board);
    let deliver = |chunk| match audio.try_send(chunk) {
        Ok(()) | Err(TrySendError::Closed(_)) => {}
        Err(TrySendError::Full(_)) => drops.count(),
    };
    Pump { part: PartName::Microphone, board, wanted }.run(open, deliver, || {});
}

/// Runs the camera until it is not wanted any more: `newest` holds its latest picture, and none
/// while the camera is lost. Blocks its thread.
pub fn run_camera(
    open: &mut Open<Frame>,
    wanted: Wanted,
    board: &StatusBoard,
    newest: &watch::Sender<Option<Frame>>,
) {
    let deliver = |frame| {
        newest.send_replace(Some(frame));
    };
    let lost = || {
        newest.send_replace(None);
    };
    Pump { part: PartName::Camera, board, wanted }.run(open, deliver, lost);
}

/// Makes the way to open the microphone that is configured; `None` if there is none.
#[must_use]
pub fn microphone(config: &config::Microphone, clock: Clock) -> Option<Open<AudioChunk>> {
    match config.clone() {
        config::Microphone::None => None,
        config::Microphone::Alsa { device } => {
            Some(Box::new(move |wanted| alsa::open(&device, clock, wanted)))
        }
        config::Microphone::Replay { path } => {
            let started = replay::FilesStarted::default();
            Some(Box::new(move |wanted| replay::open_sound(&path, started.clone(), clock, wanted)))
        }
    }
}

/// Makes the way to open the camera that is configured; `None` if there is none.
#[must_use]
pub fn camera(config: &config::Camera, clock: Clock) -> Option<Open<Frame>> {
    match config.clone() {
        config::Camera::None => None,
        config::Camera::V4l2 { device, width, height, interval } => Some(Box::new(move |wanted| {
            v4l2::open(&device, (width, height), interval, clock, wanted)
        })),
        config::Camera::Replay { path, interval } => {
            Some(Box::new(move |wanted| replay::open_pictures(&path, interval, clock, wanted)))
        }
    }
}

/// Keeps one part of the outside world open while it is wanted.
struct Pump<'a> {
    part: PartName,
    board: &'a StatusBoard,
    wanted: Wanted,
}

impl Pump<'_> {
    fn run<T>(&self, open: &mut Open<T>, mut deliver: impl FnMut(T), mut lost: impl FnMut()) {
        let mut pause = RETRY.0;
        while self.until_wanted() {
            let mut delivered = false;
            let end = open(self.wanted.clone()).and_then(|source| {
                for item in source.items {
                    deliver(item?);
                    if !delivered {
                        delivered = true;
                        self.board.set_part(self.part, true, source.detail.clone());
                    }
                }
                Ok(())
            });
            lost();
            if delivered {
                pause = RETRY.0;
            }
            match end {
                Err(error) => self.board.set_part(self.part, false, format!("{error:#}")),
                Ok(()) if !self.wanted.now() => continue,
                Ok(()) => self.board.set_part(self.part, false, "the device ended by itself"),
            }
            let _ = self.wanted.wait(pause);
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Waits while muted; false at the stop.
    fn until_wanted(&self) -> bool {
        if self.wanted.muted() {
            self.board.set_part(self.part, true, "muted: the device is closed");
        }
        while !self.wanted.stop.is_cancelled() && self.wanted.muted() {
            std::thread::sleep(PATIENCE);
        }
        !self.wanted.stop.is_cancelled()
    }
}

/// Counts dropped chunks and says so at most once a second.
struct Drops<'a> {
    board: &'a StatusBoard,
    unreported: u64,
    reported_at: Option<Instant>,
}

impl<'a> Drops<'a> {
    const fn new(board: &'a StatusBoard) -> Self {
        Self { board, unreported: 0, reported_at: None }
    }

    fn count(&mut self) {
        self.unreported += 1;
        if self.reported_at.is_some_and(|at| at.elapsed() < DROP_REPORT) {
            return;
        }
        let dropped = std::mem::take(&mut self.unreported);
        self.reported_at = Some(Instant::now());
        self.board.update(|status| status.audio_chunks_dropped += dropped);
        tracing::warn!(chunks = dropped, "sound dropped: listening is too slow");
    }
}

#[cfg(test)]
mod tests;
