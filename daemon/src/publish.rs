//! The two doors of the daemon: [`dbus`] for programs on this machine, [`mqtt`] for the network.
//! Both take events and send commands; each translates them to its own wire and owns its own
//! reconnecting. The daemon goes on without a bus and without a broker.

pub mod dbus; // signals, properties and methods
pub mod mqtt; // topics, the outbox and questions from the network

mod backoff; // how long to wait before the next attempt
mod media; // encoded pictures and sound from outside to what the model takes, with limits
mod turns; // whose turn is whose
