//! The ONNX Runtime library: where it is looked for, and the one environment that a process has.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::NAME;
use crate::error::Error;

/// Names under which the library lies beside an executable.
const BESIDE: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

/// Name under which the system's loader knows the library.
const SYSTEM: &str = "libonnxruntime.so.1";

/// Variable that names the library.
const VARIABLE: &str = "GEMMAD_ONNXRUNTIME";

/// The process's only environment: ONNX Runtime keeps global state, so a second one cannot be made.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// The environment; the library is loaded by the first who asks.
///
/// # Errors
/// When no library is found or it is too old; the message says where it was looked for.
pub(super) fn environment(library: Option<&Path>) -> Result<Environment, Error> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = slot.as_ref() {
        return Ok(environment.clone());
    }
    let builder = load_library(library)?;
    let environment = builder
        .with_name("gemmad")
        .with_telemetry(false)
        .with_logger(Arc::new(|level, _, _, place: &str, message: &str| match level {
            LogLevel::Fatal | LogLevel::Error => tracing::warn!(place, "onnxruntime: {message}"),
            LogLevel::Warning | LogLevel::Info | LogLevel::Verbose => {
                tracing::debug!(place, "onnxruntime: {message}");
            }
        }))
        .build()
        .map_err(|error| Error::engine(NAME, "cannot start", error.message()))?;
    Ok(slot.insert(environment).clone())
}

/// Loads the library from the first place that has it. A place that someone named is the only one.
fn load_library(named: Option<&Path>) -> Result<ort::environment::EnvironmentBuilder, Error> {
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = named.map(Path::to_owned).or(variable);
    let places = match &named {
        Some(path) => vec![path.clone()],
        None => beside_executable().chain([PathBuf::from(SYSTEM)]).collect(),
    };
    let mut tried = Vec::new();
    for place in places {
        match ort::init_from(&place) {
            Ok(builder) => return Ok(builder),
            Err(error) => tried.push(format!("{} ({error})", place.display())),
        }
    }
    Err(Error::Library(format!(
        "cannot load the ONNX Runtime library from {}; install version 1.{} or newer, or name the \
         file in the configuration or in {VARIABLE}",
        tried.join(", nor from "),
        ort::MINOR_VERSION
    )))
}

fn beside_executable() -> impl Iterator<Item = PathBuf> {
    let executable = std::env::current_exe().ok();
    let folder = executable.and_then(|path| path.parent().map(Path::to_owned));
    let files = folder.into_iter().flat_map(|folder| BESIDE.map(|name| folder.join(name)));
    files.filter(|path| path.is_file())
}
