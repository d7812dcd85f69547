//! What a fast graph says about itself, in its own file.

use serde::{Deserialize, Serialize};

use super::{Levers, OptimizeError};
use crate::error::Error;
use crate::graph::tensor::Entry;

/// Version of the fast graph; one with another version is written again.
pub(crate) const VERSION: u32 = 3;

/// What a fast graph says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Notes {
    /// Version of the fast graph.
    pub(crate) version: u32,
    /// The published graph that it was made of.
    pub(crate) source: SourceNote,
    /// The switches that it was made with.
    pub(crate) levers: Levers,
    /// Keys and values of the layers that have some of their own, in the order of the layers.
    pub(crate) kv: Vec<KvNote>,
    /// What became of the weights; nothing before it was written.
    pub(crate) made: MadeNote,
    /// How it compares with the published graph; `None` before it was compared.
    pub(crate) checked: Option<Checked>,
}

/// The published graph of a fast one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceNote {
    /// Name of its file.
    pub(crate) file: String,
    /// Bytes of its file.
    pub(crate) bytes: u64,
    /// SHA-256 of its file, in hexadecimal digits.
    pub(crate) sha256: String,
}

/// What became of the weights of a fast graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MadeNote {
    /// Its operators.
    pub(crate) operators: usize,
    /// Bytes of weights that stay where they are.
    pub(crate) in_place: u64,
    /// Bytes of weights that are in its own file.
    pub(crate) copied: u64,
    /// Scales that lie in a file of their own.
    pub(crate) scales: Option<ScalesNote>,
    /// Published files beside the graph whose numbers made a difference.
    pub(crate) read: Vec<ReadNote>,
}

/// A file whose numbers made a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadNote {
    /// Its name in the graph.
    pub(crate) file: String,
    /// Its bytes.
    pub(crate) bytes: u64,
    /// SHA-256 of a sample of it, in hexadecimal digits.
    pub(crate) sample: String,
}

/// Scales in a file of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScalesNote {
    /// Name of the file, which lies beside the fast graph.
    pub(crate) file: String,
    /// Its bytes.
    pub(crate) bytes: u64,
}

/// Keys and values of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KvNote {
    /// Heads.
    pub(crate) heads: usize,
    /// Width of a head.
    pub(crate) width: usize,
    /// Tokens that a token sees, itself included; `None` where all are kept.
    pub(crate) window: Option<usize>,
}

/// How a fast graph compares with the published one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// Largest absolute difference of a logit.
    pub difference: f32,
    /// The difference that is allowed.
    pub tolerance: f32,
    /// Of so many greedy tokens ...
    pub tokens: usize,
    /// ... so many are the same, before the first other.
    pub same: usize,
}

/// What notes of any version say.
#[derive(Deserialize)]
struct Numbered {
    version: u32,
}

impl Notes {
    /// The name of the notes in the file's metadata.
    pub(crate) const KEY: &str = "gemmad.fast";

    /// Reads notes as they stand in the file.
    ///
    /// # Errors
    /// When they are of another version, or damaged.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let damaged = |error: serde_json::Error| format!("its notes are damaged: {error}");
        // The version first: the fields of another one may be others.
        let Numbered { version } = serde_json::from_str(text).map_err(damaged)?;
        if version != VERSION {
            return Err(format!("it has version {version}; {VERSION} is understood"));
        }
        serde_json::from_str(text).map_err(damaged)
    }

    /// The notes as they stand in the file.
    pub(super) fn entry(&self) -> Result<Entry, OptimizeError> {
        let json = serde_json::to_string(self).map_err(|error| {
            let context = "its notes cannot be written";
            OptimizeError::Model(Error::engine("optimize", context, error))
        });
        Ok(Entry::new(Self::KEY, json?))
    }
}
