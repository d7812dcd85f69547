//! What can go wrong between a model folder and a reply, each with the file and what would be right.

use std::path::{Path, PathBuf};

use crate::gemma::audio::AudioError;
use crate::gemma::image::ImageError;
use crate::grammar::GrammarError;
use crate::prompt::PromptError;
use crate::sample::SampleError;
use crate::tokens::TokensError;

/// Why a model could not be opened, or a reply not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder itself cannot be read.
    #[error("model folder {path}: {source}; give the path of a downloaded model")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that every model folder has is not there.
    #[error("model folder {folder} lacks {what}; expected {expected}")]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// What is missing, in words.
        what: &'static str,
        /// The file names that would do.
        expected: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A JSON file is malformed, or says something impossible.
    #[error("{path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A graph file is not a whole ONNX file.
    #[error("{path} is not a whole ONNX file: {reason}; download it again")]
    Truncated {
        /// The graph file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The weights beside a graph are missing or shorter than the graph says.
    #[error("{graph} needs {needed} bytes in {data}, which {found}; download it again")]
    Weights {
        /// The graph file.
        graph: PathBuf,
        /// The file with its weights.
        data: PathBuf,
        /// Bytes that the graph refers to.
        needed: u64,
        /// What is there instead.
        found: String,
    },
    /// A graph has other inputs or outputs than a Gemma 4 graph of its role.
    #[error("{path} is not a Gemma 4 {role} graph: {reason}")]
    Graph {
        /// The graph file.
        path: PathBuf,
        /// What the graph was opened as.
        role: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// An input or output of a graph holds numbers that the engines cannot compute with here.
    #[error(
        "{path}: {port} holds {element}, which processors do not compute with; use a conversion to \
         fp32, fp16, q8 or q4"
    )]
    Element {
        /// The graph file.
        path: PathBuf,
        /// Name of the input or output.
        port: String,
        /// Element type.
        element: String,
    },
    /// The ONNX Runtime library cannot be loaded.
    #[error("{0}")]
    Library(String),
    /// The engine refused a graph, or failed while it ran.
    #[error("{engine}: {context}: {reason}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// What it was doing.
        context: String,
        /// What it said.
        reason: String,
    },
    /// The model has no encoder for what was sent to it.
    #[error("the model cannot take {what}: {reason}")]
    Unsupported {
        /// What was sent, in words.
        what: &'static str,
        /// Why it cannot be taken, and what would help.
        reason: String,
    },
    /// The prompt does not fit.
    #[error("the prompt has {tokens} tokens, the context holds {limit} with room for an answer")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of the context.
        limit: usize,
    },
    /// An option is out of range.
    #[error("option {name}: {reason}")]
    Option {
        /// The option.
        name: &'static str,
        /// What is wrong, and the accepted range.
        reason: String,
    },
    /// The tokenizer of the folder cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The conversation cannot be written as a prompt.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The reply cannot be held to its constraint.
    #[error(transparent)]
    Grammar(#[from] GrammarError),
    /// No token can be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// A picture cannot be prepared for the model.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Sound cannot be prepared for the model.
    #[error(transparent)]
    Audio(#[from] AudioError),
}

impl Error {
    /// A file that cannot be read.
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    /// A JSON file that says something impossible.
    pub(crate) fn config(path: &Path, reason: impl Into<String>) -> Self {
        Self::Config { path: path.to_owned(), reason: reason.into() }
    }

    /// An engine that refused or failed.
    pub(crate) fn engine(
        engine: &'static str,
        context: impl Into<String>,
        reason: impl std::fmt::Display,
    ) -> Self {
        Self::Engine { engine, context: context.into(), reason: reason.to_string() }
    }
}
