//! A library that cannot be loaded is said with the places and the remedy. In a program of its own,
//! since a process loads the library only once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use gemma_runtime::{Model, Options};

#[test]
fn a_missing_library_is_said_with_the_remedy() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-model");
    let check = |library: &Path| {
        let options = Options { library: Some(library.to_owned()), ..Options::default() };
        let error = Model::open(&demo, &options).err().unwrap().to_string();
        let place = library.display().to_string();
        assert!(error.starts_with("cannot load the ONNX Runtime library from "), "{error}");
        assert!(error.contains(&place) && error.contains("GEMMAD_ONNXRUNTIME"), "{error}");
    };
    check(Path::new("/nowhere/libonnxruntime.so"));
    // A file that is no library.
    check(&demo.join("config.json"));
}
