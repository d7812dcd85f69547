//! The commands that talk to a running daemon over D-Bus, and those that look at its surroundings
//! without one. What they print on standard output is the result; the rest goes to standard error.

mod ask; // one question, streamed to the terminal
pub mod bench; // how fast a model is, without daemon and configuration
mod doctor; // everything the daemon needs, checked one by one
pub mod model; // a model's folder, without daemon and configuration
mod plugin; // plugins, listed and called by hand
mod proxy; // the daemon as seen from the other side of the bus
pub mod selftest; // whether a model does what it must, without daemon
mod status; // what the daemon does

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use zbus::names::WellKnownName;
use zbus::{Connection, fdo};

use crate::cli::{Arguments, Command};
use crate::config::{Bus, Config};
use crate::publish::dbus::{self, NAME};

/// Longest time to reach the bus.
const PATIENCE: Duration = Duration::from_secs(10);
/// Exit code: it failed.
const FAILED: u8 = 1;
/// Exit code: there is no daemon.
const NO_DAEMON: u8 = 3;
/// Exit code: cancelled by Ctrl-C, as shells count it.
const CANCELLED: u8 = 130;

/// There is no daemon on the bus.
#[derive(Debug, thiserror::Error)]
#[error("no daemon on {bus}: start it with `systemctl start gemmad` or `gemmad run`")]
pub struct NoDaemon {
    bus: String,
}

/// Runs any command but `run`, and says on standard error why it failed.
///
/// # Errors
/// None but for a broken standard output: a failure of the command is its exit code.
pub async fn run(arguments: Arguments, config: Config) -> anyhow::Result<ExitCode> {
    let code = match arguments.command {
        Command::Run => anyhow::bail!("the daemon is not run by its client"),
        Command::Ask(ask) => ask::run(&ask, &config.bus).await,
        Command::Status(output) => status::run(output, &config.bus).await,
        Command::Doctor(output) => doctor::run(output, &config).await,
        Command::Plugin(plugin) => plugin::run(plugin, &config).await,
        Command::Model(model) => return model::run(&model),
        Command::Bench(bench) => return bench::run(&bench),
        Command::Selftest(wanted) => return selftest::run(&wanted, config.file.as_deref()),
    };
    let code = code.or_else(|error| {
        writeln!(std::io::stderr(), "gemmad: {error:#}")?;
        let no_daemon = error.downcast_ref::<NoDaemon>().is_some();
        anyhow::Ok(if no_daemon { NO_DAEMON } else { FAILED })
    })?;
    Ok(ExitCode::from(code))
}

/// Connects to the bus and makes sure that the daemon is there; the bus may start it.
async fn connect(bus: &Bus) -> anyhow::Result<Connection> {
    let place = dbus::describe(bus);
    let connect = tokio::time::timeout(PATIENCE, dbus::builder(bus)?.build());
    let connection = match connect.await {
        Ok(Ok(connection)) => connection,
        // The text of a connection error already holds its source.
        Ok(Err(error)) => anyhow::bail!("{place} cannot be reached: {error}"),
        Err(_) => anyhow::bail!("{place} cannot be reached: no answer"),
    };
    let daemon = fdo::DBusProxy::new(&connection).await?;
    let name = WellKnownName::try_from(NAME)?;
    if daemon.name_has_owner(name.clone().into()).await? {
        return Ok(connection);
    }
    match daemon.start_service_by_name(name, 0).await {
        Ok(_) => Ok(connection),
        Err(_) => Err(NoDaemon { bus: place }.into()),
    }
}

/// A line on standard error that stands back behind the result.
fn aside(line: &str) {
    let mut error = std::io::stderr();
    let _ = match error.is_terminal() {
        true => writeln!(error, "\x1b[2m{line}\x1b[0m"),
        false => writeln!(error, "{line}"),
    };
}

/// Text for a terminal: control characters, which could steer it, are replaced.
fn harmless(text: &str) -> String {
    let steers = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    text.chars().map(|letter| if steers(letter) { '\u{FFFD}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\n\tb\x1b[2Jc\r"), "a\n\tb\u{FFFD}[2Jc\u{FFFD}");
    }
}
