//! Fetches a model from a hub, because somebody asks for it: nothing here runs by itself. The folder
//! appears under its name when it is complete and every file has been checked; until then it is
//! beside it, and what was interrupted goes on where it stopped.

mod checksum;
mod choice;
mod download;
mod hub;
mod staging;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::model::Pull;
use crate::client::aside;
use choice::Choice;
use hub::{Hub, RemoteFile};
use staging::{Staged, Staging};

/// Fetches and prints where the model is.
pub(super) fn run(pull: &Pull) -> anyhow::Result<()> {
    let hub = Hub::with(&pull.repository)?;
    let files = hub.list(&pull.revision)?;
    let choice = Choice::of(&files, pull.dtype.as_deref())
        .with_context(|| format!("{} cannot be used", pull.repository))?;
    let target = target(pull)?;
    if staging::holds(&target, &choice.files) {
        aside(&format!("{} is complete already", target.display()));
    } else {
        fetch(&hub, &choice, Staging::open(&target)?)?;
    }
    writeln!(std::io::stdout(), "{}", target.display())?;
    Ok(())
}

/// The folder that was asked for, else one named after the repository.
fn target(pull: &Pull) -> anyhow::Result<PathBuf> {
    let name = pull.repository.rsplit('/').next().unwrap_or(&pull.repository);
    let target = pull.to.clone().unwrap_or_else(|| PathBuf::from(name));
    std::path::absolute(&target)
        .with_context(|| format!("{} is no path for a folder", target.display()))
}

fn fetch(hub: &Hub, choice: &Choice, staging: Staging) -> anyhow::Result<()> {
    let files = choice.files.iter().map(|file| hub.described(file));
    let files = files.collect::<anyhow::Result<Vec<RemoteFile>>>()?;
    let total = files.iter().filter_map(|file| file.bytes).sum();
    staging.check_room(&files)?;
    for graph in &choice.graphs {
        aside(&graph.to_string());
    }
    let bar = bar(total);
    for file in &files {
        bar.set_message(file.path.clone());
        if bar.is_hidden() {
            aside(&format!("{} ({} bytes)", file.path, file.bytes.unwrap_or_default()));
        }
        match staging.staged(file)? {
            Staged::Whole => bar.inc(file.bytes.unwrap_or_default()),
            Staged::Part(part) => download::fetch(hub, file, &part, &bar)?,
        }
        staging.keep(file)?;
    }
    bar.finish_and_clear();
    staging.publish()
}

/// The progress on standard error; hidden where that is no terminal.
fn bar(total: u64) -> ProgressBar {
    const FORM: &str = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template(FORM) {
        bar.set_style(style);
    }
    bar
}
