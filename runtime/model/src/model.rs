//! One open model, whatever engine runs it.

use std::path::{Path, PathBuf};

use gemma_types::{Message, ToolSpec};

use crate::engine::EngineKind;
use crate::engine::ort::Ort;
use crate::engine::tract::Tract;
use crate::error::Error;
use crate::folder::Folder;
use crate::gemma::Gemma;
use crate::gemma::config::Config;
use crate::gemma::generate::{Limits, Reply, ReplyOptions, Request};
use crate::gemma::image;
use crate::prompt::{self, Template};
use crate::sample::Sampling;
use crate::tokens::Tokenizer;

/// How a model is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What runs the graphs.
    pub engine: EngineKind,
    /// The ONNX Runtime library. Without it: `$GEMMAD_ONNXRUNTIME`, then beside the executable,
    /// then where the system's loader looks.
    pub library: Option<PathBuf>,
    /// Threads of ONNX Runtime; 0 for one per core. tract takes one.
    pub threads: usize,
    /// Most soft tokens of a picture: 70, 140, 280, 560 or 1120. Without it: what the folder says.
    pub image_budget: Option<usize>,
    /// Precision of the graphs to prefer where the folder has several: `fp32`, `fp16`, `q8`, `q4`,
    /// `q4f16` and so on. Without it: `q4`, `q4f16`, `q8`, `fp16`, `fp32` for the text graphs and
    /// `fp16`, `q8`, `q4f16`, `q4`, `fp32` for the encoders, whichever is there first.
    pub dtype: Option<String>,
    /// Tokens of prompt and reply together; never more than the model was trained for.
    pub context_tokens: usize,
    /// Tokens of the prompt that are processed in one step; a reply can be cancelled between two.
    pub prefill_block_tokens: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: EngineKind::Ort,
            library: None,
            threads: 0,
            image_budget: None,
            dtype: None,
            context_tokens: 8192,
            prefill_block_tokens: 256,
        }
    }
}

/// What is known about an open model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Name of its folder.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// What runs it.
    pub engine: EngineKind,
    /// Precision of each graph, by the role of the graph.
    pub dtypes: Vec<(&'static str, &'static str)>,
    /// Tokens of prompt and reply together.
    pub context_tokens: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Layers of the decoder.
    pub layers: usize,
    /// Whether it takes pictures.
    pub has_vision: bool,
    /// Whether it takes sound.
    pub has_audio: bool,
    /// Bytes of its graphs on disk.
    pub bytes: u64,
    /// Sampling that its publisher recommends.
    pub sampling: Sampling,
}

/// One open model.
pub struct Model {
    loaded: Loaded,
    tokenizer: Tokenizer,
    template: Template,
    limits: Limits,
    info: ModelInfo,
}

enum Loaded {
    Ort(Box<Gemma<Ort>>),
    Tract(Box<Gemma<Tract>>),
}

impl Model {
    /// Opens the model in a folder. Reads all of its files; takes seconds.
    ///
    /// # Errors
    /// When a file is missing, damaged or not what it should be, when the engine cannot be loaded,
    /// or when an option is out of range.
    pub fn open(folder: &Path, options: &Options) -> Result<Self, Error> {
        check(options)?;
        let folder = Folder::find(folder, options.dtype.as_deref())?;
        let config = Config::open(&folder)?;
        let tokenizer = Tokenizer::open(&folder.path)?;
        let template = Template::open(&folder.path)?;
        let (loaded, bytes) = match options.engine {
            EngineKind::Ort => {
                let engine = Ort::open(options.library.as_deref(), options.threads)?;
                let (gemma, bytes) = Gemma::open(engine, &folder, config.clone())?;
                (Loaded::Ort(Box::new(gemma)), bytes)
            }
            EngineKind::Tract => {
                let (gemma, bytes) = Gemma::open(Tract, &folder, config.clone())?;
                (Loaded::Tract(Box::new(gemma)), bytes)
            }
        };
        let (has_vision, has_audio) = match &loaded {
            Loaded::Ort(gemma) => gemma.encodes(),
            Loaded::Tract(gemma) => gemma.encodes(),
        };
        let limits = Limits {
            context_tokens: options.context_tokens.min(config.context_tokens),
            block_tokens: options.prefill_block_tokens,
            image_budget: match options.image_budget {
                Some(budget) => budget,
                None => image::folder_budget(&folder.path)?,
            },
        };
        let info = ModelInfo {
            name: name(&folder.path),
            engine: options.engine,
            dtypes: dtypes(&folder),
            context_tokens: limits.context_tokens,
            vocabulary: config.vocabulary,
            layers: config.layers,
            has_vision,
            has_audio,
            bytes,
            sampling: config.sampling,
            folder: folder.path,
        };
        Ok(Self { loaded, tokenizer, template, limits, info })
    }

    /// What is known about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Begins a reply to a conversation. The engine has not run when this returns; dropping the
    /// reply cancels it. What the conversation shares with the last one is not computed again.
    ///
    /// # Errors
    /// When the conversation cannot be written as a prompt, holds a medium that the model cannot
    /// take, or does not fit into the context.
    pub fn reply<'a>(
        &'a mut self,
        messages: &[Message],
        tools: &[ToolSpec],
        options: &ReplyOptions,
    ) -> Result<Reply<'a>, Error> {
        let (template, tokenizer) = (&self.template, &self.tokenizer);
        let prompt = prompt::render(template, tokenizer, messages, tools, options.thinking)?;
        let request = Request { prompt: &prompt, tools, options };
        match &mut self.loaded {
            Loaded::Ort(gemma) => Reply::begin(gemma, tokenizer, self.limits, &request),
            Loaded::Tract(gemma) => Reply::begin(gemma, tokenizer, self.limits, &request),
        }
    }
}

fn check(options: &Options) -> Result<(), Error> {
    let at_least_one = |name, value: usize| match value {
        0 => Err(Error::Option { name, reason: "0 is too few; at least 1 is needed".into() }),
        _ => Ok(()),
    };
    at_least_one("context_tokens", options.context_tokens)?;
    at_least_one("prefill_block_tokens", options.prefill_block_tokens)?;
    match options.image_budget {
        Some(budget) if !image::BUDGETS.contains(&budget) => Err(Error::Option {
            name: "image_budget",
            reason: format!("{budget} soft tokens are none of {:?}", image::BUDGETS),
        }),
        Some(_) | None => Ok(()),
    }
}

fn name(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

fn dtypes(folder: &Folder) -> Vec<(&'static str, &'static str)> {
    let text = [("embedding", &folder.embed), ("decoder", &folder.decoder)];
    let encoders = [("vision", &folder.vision), ("audio", &folder.audio)];
    let encoders = encoders.into_iter().filter_map(|(role, file)| Some((role, file.as_ref()?)));
    text.into_iter().chain(encoders).map(|(role, file)| (role, file.dtype)).collect()
}
