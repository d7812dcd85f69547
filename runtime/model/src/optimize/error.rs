//! Why a model could not be made fast.

use std::path::{Path, PathBuf};

use super::notes::Checked;
use crate::error::Error;

/// Why a model could not be made fast.
#[derive(Debug, thiserror::Error)]
pub enum OptimizeError {
    /// The folder, its configuration or its graphs are not what they should be.
    #[error(transparent)]
    Model(#[from] Error),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}; the folder must be writable and have room")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another run writes the same file.
    #[error("{path} is being written by another gemmad; wait for it to end")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The fast graph does not give the published graph's numbers. It is not kept.
    #[error(
        "the fast graph of {folder} gives other numbers than the published one: a logit differs by \
         {} ({} is allowed), {} of {} greedy tokens are the same; it was not kept", checked.difference,
        checked.tolerance, checked.same, checked.tokens
    )]
    Differs {
        /// The model's folder.
        folder: PathBuf,
        /// How they compare.
        checked: Checked,
    },
    /// The graph is built in a way that is not known here.
    #[error("{path} cannot be made fast: {reason}")]
    Graph {
        /// The graph file.
        path: PathBuf,
        /// What is not known.
        reason: String,
    },
}

impl OptimizeError {
    /// A graph that is built in a way that is not known.
    pub(super) fn graph(path: &Path, reason: impl Into<String>) -> Self {
        Self::Graph { path: path.to_owned(), reason: reason.into() }
    }
}
