//! A model's folder by itself: what it holds, what it makes of a conversation, a medium or a task.
//! Neither daemon nor configuration is needed, and only `pull` uses the network.

pub(super) mod conversation; // a conversation in a file
pub(super) mod file; // a medium in a file
mod info; // what a folder holds, and what fits
mod media; // what the model gets of a medium
mod npy; // tensors as NumPy reads them
mod optimize; // making a model fast
mod pull; // fetching a model
mod render; // a conversation as a prompt
mod reply; // the reply to a conversation
mod task; // ready-made tasks

use std::io::Write as _;
use std::process::ExitCode;

use gemma_runtime::Options;

use super::FAILED;
use crate::cli::model::{Engine, Model};

/// Runs a command about a model's folder, and says on standard error why it failed.
///
/// # Errors
/// None but for a broken standard error: a failure of the command is its exit code.
pub fn run(model: &Model) -> anyhow::Result<ExitCode> {
    let done = match model {
        Model::Info(info) => info::run(info),
        Model::Pull(pull) => pull::run(pull),
        Model::Render(render) => render::run(render),
        Model::Run(run) => reply::run(run),
        Model::Media(media) => media::run(media),
        Model::Optimize(wanted) => optimize::run(wanted),
        Model::Task(task) => task::run(task),
    };
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            writeln!(std::io::stderr(), "gemmad: {error:#}")?;
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// How the model is to be opened.
fn options(engine: &Engine) -> Options {
    Options {
        engine: engine.engine,
        device: engine.graphs.device,
        library: engine.graphs.library.clone(),
        threads: engine.graphs.threads,
        dtype: engine.graphs.dtype.clone(),
        context_tokens: engine.context_tokens,
        ..Options::default()
    }
}
