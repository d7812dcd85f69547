//! The ONNX Runtime library that was set up for tests.

use std::path::{Path, PathBuf};

use super::Ort;
use crate::engine::Device;

/// The library's file.
pub(crate) fn library() -> PathBuf {
    let named = std::env::var_os("GEMMAD_ONNXRUNTIME").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = named.unwrap_or(workspace.join(".setup/onnxruntime/libonnxruntime.so"));
    assert!(path.is_file(), "{} is missing; run `make setup`", path.display());
    path
}

/// One thread of the processor.
pub(crate) fn ort() -> Ort {
    match Ort::open(Some(&library()), 1, Device::Processor) {
        Ok(ort) => ort,
        Err(error) => panic!("{error}"),
    }
}
