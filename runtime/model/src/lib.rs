//! The Gemma 4 runtime: messages in, pieces out.
//!
//! A [`Model`] is opened from a folder in the layout of published ONNX conversions; a [`Reply`] is
//! an iterator that does one step of work at a time. Synchronous, single-threaded towards its
//! caller, and without any contact to the world but the model folder.

mod digest;
mod engine;
mod error;
#[cfg(test)]
#[allow(dead_code, clippy::panic, clippy::unwrap_used, reason = "other tests use all of it")]
#[path = "../tests/conformity/fixture.rs"]
mod fixture;
mod folder;
mod gemma;
pub mod grammar;
mod graph;
mod inspect;
mod mapped;
mod model;
mod optimize;
pub mod parity;
pub mod prompt;
pub mod reply;
pub mod sample;
mod sequence;
mod sequences;
pub mod tasks;
pub mod tokens;

/// Our own kernels, each with the name of the code that runs on this processor.
pub use gemma_kernels::cpu::paths as kernel_paths;

pub use engine::{Device, EngineKind};
pub use error::Error;
pub use folder::{FolderLayout, dtypes};
pub use gemma::fast::Fast;
pub use gemma::generate::{Reply, ReplyOptions};
pub use gemma::open::GraphInfo;
pub use gemma::prefix::{PrefixOrigin, PrefixReport};
pub use gemma::trace::Trace;
pub use gemma::variant::{Family, Variant};
pub use gemma::worth::Guesses;
pub use gemma::{audio, image, video};
pub use grammar::{Constraint, ToolChoice};
pub use inspect::Inspection;
pub use model::{KvInfo, Model, ModelInfo, Options};
pub use optimize::{
    Checked, Int8, KNOWN_LEVERS, Kv, Levers, OptimizeError, OptimizeOptions, Report, Stored,
    optimize, remove_fast,
};
pub use sample::Sampling;
