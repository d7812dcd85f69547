//! Every channel of the daemon: its name, its capacity and what happens when it is full.
//!
//! | channel      | capacity       | when full                                                      |
//! |--------------|----------------|----------------------------------------------------------------|
//! | audio        | 64 x 20 ms     | the new chunk is dropped and counted                           |
//! | frame        | watch 1        | the older picture leaves                                       |
//! | utterance    | 4              | listening waits; the audio channel then drops                  |
//! | command      | 32             | the publisher waits; its client sees a slow answer             |
//! | turn         | 16             | the asker is refused: busy, retry after                        |
//! | request      | 1              | the assistant has one reply open at a time                     |
//! | piece        | 4              | an unread reply stops the model within a few steps             |
//! | publication  | 16             | the plugin waits, under its deadline                           |
//! | event        | broadcast 256  | a slow publisher loses the oldest, says how many, sends state  |
//! | status       | watch 1        | a reader sees the latest state                                 |
//! | mute         | watch 1        | a reader sees the latest wish                                  |

use tokio::sync::{broadcast, mpsc, watch};

use crate::event::{Command, Event};
use crate::status::Status;

/// Chunks of 20 ms between the microphone and listening.
pub const AUDIO_CHUNKS: usize = 64;
/// Utterances between listening and the assistant.
pub const UTTERANCES: usize = 4;
/// Commands between the publishers and the assistant.
pub const COMMANDS: usize = 32;
/// Turns that wait for the model.
pub const TURNS: usize = 16;
/// Requests between the assistant and the inference thread.
pub const REQUESTS: usize = 1;
/// Pieces between the inference thread and the assistant.
pub const PIECES: usize = 4;
/// Publications between the plugins and the broker's publisher.
pub const PUBLICATIONS: usize = 16;
/// Events kept for a slow publisher.
pub const EVENTS: usize = 256;

/// Where publishers put commands.
pub type CommandSender = mpsc::Sender<Command>;
/// Where the assistant takes commands.
pub type CommandReceiver = mpsc::Receiver<Command>;
/// Where events are told.
pub type EventSender = broadcast::Sender<Event>;
/// Where publishers hear of events.
pub type EventReceiver = broadcast::Receiver<Event>;
/// Where publishers look up the daemon's state.
pub type StatusReceiver = watch::Receiver<Status>;
