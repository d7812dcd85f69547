//! The demo model, and the library that runs it.

use std::path::{Path, PathBuf};

use gemma_runtime::{EngineKind, Options};

/// The folder of the whole project.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of the demo model.
pub(crate) fn demo_model() -> PathBuf {
    workspace().join("runtime/demo-model")
}

/// The ONNX Runtime library that was set up for tests.
pub(crate) fn library() -> PathBuf {
    let named = std::env::var_os("GEMMAD_ONNXRUNTIME").map(PathBuf::from);
    let path = named.unwrap_or(workspace().join(".setup/onnxruntime/libonnxruntime.so"));
    assert!(path.is_file(), "{} is missing; run `make setup`", path.display());
    path
}

/// One thread of an engine.
pub(crate) fn options(engine: EngineKind) -> Options {
    Options { engine, library: Some(library()), threads: 1, ..Options::default() }
}
