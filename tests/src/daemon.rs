//! The daemon under test: the real binary with a configuration file, and its subcommands.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Process, Stream};
use crate::record::PATIENCE;
use crate::workspace;

/// A running daemon. When it goes, it leaves its log in the output of a failing story.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    started: Instant,
    /// Whether to print the log's end when the daemon goes.
    pub shows_log: bool,
}

impl Daemon {
    /// Starts the daemon with the configuration file `config`.
    ///
    /// # Errors
    /// When its binary is missing.
    pub fn start(config: &Path) -> anyhow::Result<Self> {
        let program = workspace::daemon()?.display().to_string();
        let home = home(config);
        let config = config.display().to_string();
        let started = Instant::now();
        let process = Process::start(&program, &["run", "--config", &config], &environment(&home))?;
        Ok(Self { process, started, shows_log: true })
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// When it was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Asks it to stop, as systemd does.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Kills it without any warning.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it has not.
    pub async fn ended(&self) -> anyhow::Result<ExitStatus> {
        self.process.ended(PATIENCE).await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill();
        if self.shows_log {
            eprintln!("-- the daemon's log --\n{}", self.process.lines().tail(0));
        }
    }
}

/// The environment of the daemon and its subcommands: no colours, and a panic with its place.
const PLAIN: [(&str, &str); 2] = [("NO_COLOR", "1"), ("RUST_BACKTRACE", "1")];

/// The same, with a home of its own.
fn environment(home: &str) -> [(&'static str, &str); 3] {
    let [colours, backtrace] = PLAIN;
    [colours, backtrace, ("HOME", home)]
}

/// The home of who starts the daemon and its subcommands; it is not there until somebody writes.
fn home(config: &Path) -> String {
    config.with_file_name("home").display().to_string()
}

/// What a subcommand said and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub error: String,
    /// Exit code; -1 when it was killed by a signal.
    pub code: i32,
}

/// Runs a subcommand with the configuration file `config` and waits for its end.
///
/// # Errors
/// When the binary is missing or does not end in time.
pub async fn command(config: &Path, arguments: &[&str]) -> anyhow::Result<Said> {
    let config = PathBuf::from(config).display().to_string();
    let all: Vec<&str> = arguments.iter().copied().chain(["--config", &config]).collect();
    let home = home(&PathBuf::from(&config));
    run_command(&all, &environment(&home), PATIENCE).await
}

/// Runs a subcommand that needs no configuration, with additional environment `variables`, and
/// waits for its end.
///
/// # Errors
/// When the binary is missing or does not end in time.
pub async fn bare_command(arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Said> {
    patient_command(PATIENCE, arguments, variables).await
}

/// The same for a subcommand that has much to do: waits for at most `patience`.
///
/// # Errors
/// When the binary is missing or does not end in time.
pub async fn patient_command(
    patience: Duration,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> anyhow::Result<Said> {
    run_command(arguments, &[&PLAIN, variables].concat(), patience).await
}

async fn run_command(
    arguments: &[&str],
    variables: &[(&str, &str)],
    patience: Duration,
) -> anyhow::Result<Said> {
    let program = workspace::daemon()?.display().to_string();
    let process = Process::start(&program, arguments, variables)?;
    let status = process.ended(patience).await?;
    let said = Said {
        out: process.text(Stream::Out),
        error: process.text(Stream::Error),
        code: status.code().unwrap_or(-1),
    };
    println!(
        "$ gemmad {}\n{}{}[exit code {}]",
        arguments.join(" "),
        said.out,
        said.error,
        said.code
    );
    Ok(said)
}
