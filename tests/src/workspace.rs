//! Where the things under test lie: the daemon's binary, the engine's library, the demo model, the
//! bundled plugins and the fixtures. Each has one place and a clear word when it is not there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The repository's root folder.
#[must_use]
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The daemon: `$GEMMAD_BIN`, or `gemmad` in the folder that this program was built into.
///
/// # Errors
/// When it is not there.
pub fn daemon() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("GEMMAD_BIN") {
        return existing(path.into(), "the daemon named by GEMMAD_BIN");
    }
    let own = std::env::current_exe().context("no path to this program")?;
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("gemmad"));
    for candidate in beside {
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("no daemon beside {}: run `make test`, or set GEMMAD_BIN", own.display())
}

/// The engine's shared library: `$GEMMAD_ONNXRUNTIME`, or the one that set-up fetched.
///
/// # Errors
/// When it is not there.
pub fn onnxruntime() -> anyhow::Result<PathBuf> {
    set_up("GEMMAD_ONNXRUNTIME", ".setup/onnxruntime/libonnxruntime.so", "the ONNX Runtime library")
}

/// The folder of the bundled plugins: `$GEMMAD_PLUGINS`, or the one that set-up built.
///
/// # Errors
/// When it is not there.
pub fn plugins() -> anyhow::Result<PathBuf> {
    set_up("GEMMAD_PLUGINS", ".setup/plugins", "the bundled plugins")
}

/// The demo model's folder.
///
/// # Errors
/// When it is not there.
pub fn demo_model() -> anyhow::Result<PathBuf> {
    existing(root().join("runtime/demo-model"), "the demo model")
}

/// A recording, a picture or a reference of the demo model.
///
/// # Errors
/// When it is not there.
pub fn fixture(name: &str) -> anyhow::Result<PathBuf> {
    existing(root().join("tests/fixtures/demo").join(name), "the fixture")
}

/// A picture of the demo's front door, or what they show.
///
/// # Errors
/// When it is not there.
pub fn door(name: &str) -> anyhow::Result<PathBuf> {
    existing(root().join("tests/fixtures/door").join(name), "the fixture")
}

/// The held-out set of the demo model.
///
/// # Errors
/// When it is not there.
pub fn held_out() -> anyhow::Result<PathBuf> {
    existing(root().join("runtime/held-out"), "the held-out set")
}

/// The configuration of a private message bus.
///
/// # Errors
/// When it is not there.
pub fn bus_config() -> anyhow::Result<PathBuf> {
    existing(root().join("tests/fixtures/bus.conf"), "the configuration of the bus")
}

/// The demo's pictures, in the order of their names.
///
/// # Errors
/// When they are not there.
pub fn pictures() -> anyhow::Result<Vec<PathBuf>> {
    let folder = existing(root().join("tests/fixtures/demo"), "the folder of fixtures")?;
    let mut pictures = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "png" || ending == "jpg") {
            pictures.push(path);
        }
    }
    pictures.sort();
    Ok(pictures)
}

fn set_up(variable: &str, fallback: &str, what: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os(variable).map_or_else(|| root().join(fallback), PathBuf::from);
    existing(path, what)
}

fn existing(path: PathBuf, what: &str) -> anyhow::Result<PathBuf> {
    if !path.exists() {
        bail!("{what} is missing: {} does not exist; run `make test`", path.display());
    }
    Ok(path)
}
