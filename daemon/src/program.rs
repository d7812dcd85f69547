//! The program: arguments, configuration, log, run, exit code. It stands in the library, so that
//! what the daemon awaits is compiled once and not again for the executable.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::cli::{Arguments, Command};
use crate::config::{Config, Log};
use crate::daemon::Daemon;
use crate::{client, process};

/// Does what the command line asks for; gives the exit code. To be called first thing in the
/// process, before any thread is started.
#[must_use]
pub fn main() -> ExitCode {
    process::refuse_telemetry();
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gemmad: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Command::Model(model) = &arguments.command {
        return client::model::run(model);
    }
    if let Command::Bench(bench) = &arguments.command {
        return client::bench::run(bench);
    }
    if let Command::Selftest(selftest) = &arguments.command {
        return client::selftest::run(selftest, arguments.config.as_deref());
    }
    let mut config = Config::load(arguments.config.as_deref())?;
    arguments.apply(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the async runtime does not start")?;
    let code = match &arguments.command {
        Command::Run => {
            start_log(&config.log)?;
            runtime.block_on(async { Daemon::build(config)?.run().await })
        }
        Command::Ask(_)
        | Command::Status(_)
        | Command::Doctor(_)
        | Command::Plugin(_)
        | Command::Model(_)
        | Command::Bench(_)
        | Command::Selftest(_) => runtime.block_on(client::run(arguments, config)),
    };
    // What hangs beyond the stop deadline ends with the process.
    runtime.shutdown_background();
    code
}

/// Sends the log to standard error, where systemd takes it.
fn start_log(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter)
        .with_context(|| format!("[log] filter: \"{}\" is not a filter", log.filter))?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let started = if log.json { builder.json().try_init() } else { builder.try_init() };
    started.map_err(|error| anyhow::anyhow!("the log does not start: {error}"))
}
