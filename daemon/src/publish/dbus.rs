//! The daemon on D-Bus: owns the name before the model is loaded, serves the main object and the
//! request objects, and comes back with the name when the bus went away.

mod error; // names of refusals
mod open; // open requests and their paths
mod options; // what comes in with Ask
mod path; // names and paths
mod request; // the object of one question
mod service; // the main object
mod session; // one connection, from the name to its loss
mod wire; // our values on the bus

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;
use zbus::connection::Builder;

pub use path::{NAME, PATH, REQUEST_INTERFACE, request_path};

use self::session::{End, Session};
use super::backoff::Backoff;
use crate::channels::{CommandSender, EventReceiver};
use crate::config::Bus;
use crate::event::PartName;
use crate::status::StatusBoard;

/// Serves the bus until `stop`, whatever happens to the bus.
///
/// # Errors
/// None at present: a bus that is away is a state of the part `bus`, not an error.
///
/// # Cancel safety
/// Dropping it leaves the bus at once, without the last signals.
pub async fn run(
    config: Bus,
    board: StatusBoard,
    events: EventReceiver,
    commands: CommandSender,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if config == Bus::None {
        stop.cancelled().await;
        return Ok(());
    }
    let mut backoff = Backoff::new();
    loop {
        let connected = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            connected = Session::open(&config, &board, events.resubscribe(), &commands) => connected,
        };
        let lost = match connected {
            Ok(session) => {
                backoff.reset();
                board.set_part(PartName::Bus, true, format!("{NAME} on {}", describe(&config)));
                match session.serve(&stop).await {
                    End::Stopped => return Ok(()),
                    End::Lost(reason) => reason,
                }
            }
            Err(error) => format!("{error:#}"),
        };
        let missing = format!("{}: {lost}; tried again and again", describe(&config));
        board.set_part(PartName::Bus, false, missing);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(backoff.wait()) => {}
        }
    }
}

/// Starts a connection to the configured bus.
///
/// # Errors
/// If the configuration says that there is no bus, or its address is none.
pub fn builder(config: &Bus) -> anyhow::Result<Builder<'static>> {
    match config {
        Bus::None => bail!("the configuration says that there is no bus ([bus] address)"),
        Bus::System => Ok(Builder::system()),
        Bus::Session => Ok(Builder::session()),
        Bus::Address(address) => {
            let parsed: zbus::Address =
                address.parse().with_context(|| format!("{address:?} is no D-Bus address"))?;
            Ok(Builder::address(parsed))
        }
    }
}

/// The bus in words.
#[must_use]
pub fn describe(config: &Bus) -> String {
    match config {
        Bus::None => "no bus".to_owned(),
        Bus::System => "the system bus".to_owned(),
        Bus::Session => "the session bus".to_owned(),
        Bus::Address(address) => format!("the bus at {address}"),
    }
}
