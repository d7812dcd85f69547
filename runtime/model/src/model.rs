//! One open model, whatever engine runs it.

use std::path::{Path, PathBuf};

use gemma_types::{Message, Part, Role, ToolSpec};
use serde_json::{Map, Value};

use crate::engine::ort::Ort;
use crate::engine::tract::Tract;
use crate::engine::{Device, Engine, EngineKind};
use crate::error::Error;
use crate::folder::{Dtypes, Folder, FolderLayout};
use crate::gemma::Gemma;
use crate::gemma::config::Config;
use crate::gemma::fast::Fast;
use crate::gemma::generate::{Limits, Reply, ReplyOptions, Request};
use crate::gemma::image;
use crate::gemma::open::{GraphInfo, Use};
use crate::gemma::prefix::{self, PrefixReport};
use crate::gemma::trace::Trace;
use crate::gemma::variant::{Family, Variant};
use crate::gemma::worth::Guesses;
use crate::prompt::{self, Prompt, Rendered, Segment, Template};
use crate::sample::Sampling;
use crate::tokens::Tokenizer;

/// How a model is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What runs the graphs.
    pub engine: EngineKind,
    /// Where they run.
    pub device: Device,
    /// The ONNX Runtime library. Without it: `$GEMMAD_ONNXRUNTIME`, then beside the executable,
    /// then where the system's loader looks.
    pub library: Option<PathBuf>,
    /// Threads of the engine; 0 for one per core.
    pub threads: usize,
    /// Most soft tokens of a picture: 70, 140, 280, 560 or 1120. Without it: what the folder says.
    pub image_budget: Option<usize>,
    /// Precision of the graphs to prefer where the folder has several: `fp32`, `fp16`, `q8`, `q4`,
    /// `q4f16` and so on; or what single graphs must have: `decoder=q4,vision=fp16`; or both:
    /// `q4,vision=fp16`. Without it: `q4`, `q4f16`, `q8`, `fp16`, `fp32` for the text graphs and
    /// `fp16`, `q8`, `q4f16`, `q4`, `fp32` for the encoders, whichever is there first.
    pub dtype: Option<String>,
    /// Tokens of prompt and reply together; never more than the model was trained for.
    pub context_tokens: usize,
    /// Tokens of the prompt that are processed in one step; a reply can be cancelled between two.
    pub prefill_block_tokens: usize,
    /// Whether a [`Trace`] holds the logits of every position of the prompt; a megabyte for each in
    /// the published sizes. A reply needs the last ones only.
    pub all_logits: bool,
    /// Whether the decoder is the fast graph that `gemmad model optimize` writes.
    pub fast: Fast,
    /// Whether the fast graph verifies guesses of what comes next, several tokens in one run.
    pub guesses: Guesses,
    /// Bytes that the keys and values of conversations may take that are kept beside the one that is
    /// answered, so that they can be gone on with. Without it: as many as two take that fill the
    /// context.
    pub kv_bytes_max: Option<usize>,
    /// The folder where prefixes are saved; without it they are kept in memory only.
    pub prefix_folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: EngineKind::Ort,
            device: Device::Auto,
            library: None,
            threads: 0,
            image_budget: None,
            dtype: None,
            context_tokens: 8192,
            prefill_block_tokens: 256,
            all_logits: false,
            fast: Fast::Auto,
            guesses: Guesses::Measured,
            kv_bytes_max: None,
            prefix_folder: None,
        }
    }
}

impl Options {
    /// The same on an engine; on the processor where the engine knows nothing else.
    #[must_use]
    pub fn on(&self, engine: EngineKind) -> Self {
        let device = match engine {
            EngineKind::Ort => self.device,
            EngineKind::Tract => Device::Processor,
        };
        Self { engine, device, ..self.clone() }
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
    /// Where it runs: on the processor, or on what accelerator.
    pub device: Device,
    /// Which of the published sizes it is, or is built like.
    pub variant: Variant,
    /// How the graphs of its folder are laid out.
    pub layout: FolderLayout,
    /// Its graphs, each with its precision and size.
    pub graphs: Vec<GraphInfo>,
    /// Tokens of prompt and reply together.
    pub context_tokens: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Layers of the decoder.
    pub layers: usize,
    /// Its keys and values.
    pub kv: KvInfo,
    /// Whether it takes pictures.
    pub has_vision: bool,
    /// Whether it takes sound.
    pub has_audio: bool,
    /// What it does not take or do, and why.
    pub refusals: Vec<(&'static str, String)>,
    /// Bytes of its graphs on disk.
    pub bytes: u64,
    /// Sampling that its publisher recommends.
    pub sampling: Sampling,
}

/// How much memory the keys and values of a model take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvInfo {
    /// Bytes per token of the layers that see a window only.
    pub local_bytes: usize,
    /// Bytes per token of the layers that see all.
    pub global_bytes: usize,
    /// Tokens of the window.
    pub window_tokens: usize,
    /// Whether the layers that see a window keep no more than that; else they keep all.
    pub keeps_window: bool,
}

impl KvInfo {
    /// Bytes that a conversation of so many tokens takes.
    pub fn bytes(&self, tokens: usize) -> usize {
        let local = if self.keeps_window { tokens.min(self.window_tokens) } else { tokens };
        self.local_bytes * local + self.global_bytes * tokens
    }
}

/// One open model.
pub struct Model {
    loaded: Loaded,
    tokenizer: Tokenizer,
    template: Template,
    limits: Limits,
    prefixes: prefix::Folder,
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
        let dtypes = options.dtype.as_deref().map(Dtypes::parse).transpose()?.unwrap_or_default();
        let config = Config::open(folder)?;
        let overflows = config.variant.family == Family::Unified12B;
        let folder = Folder::find(folder, dtypes, overflows)?;
        let tokenizer = Tokenizer::open(&folder.path)?;
        let template = Template::open(&folder.path)?;
        let context_tokens = options.context_tokens;
        let used = Use {
            all_logits: options.all_logits,
            context_tokens,
            fast: options.fast,
            kv_bytes_max: options.kv_bytes_max,
        };
        let (loaded, graphs) = match options.engine {
            EngineKind::Ort => {
                let engine =
                    Ort::open(options.library.as_deref(), options.threads, options.device)?;
                let (gemma, graphs) = Gemma::open(engine, &folder, config, used)?;
                (Loaded::Ort(Box::new(gemma)), graphs)
            }
            EngineKind::Tract => {
                let (gemma, graphs) =
                    Gemma::open(Tract::open(options.threads), &folder, config, used)?;
                (Loaded::Tract(Box::new(gemma)), graphs)
            }
        };
        let most_tokens = match &loaded {
            Loaded::Ort(gemma) => gemma.config().context_tokens,
            Loaded::Tract(gemma) => gemma.config().context_tokens,
        };
        let limits = Limits {
            context_tokens: context_tokens.min(most_tokens),
            block_tokens: options.prefill_block_tokens,
            image_budget: match options.image_budget {
                Some(budget) => budget,
                None => image::folder_budget(&folder.path)?,
            },
            guesses: options.guesses,
        };
        let prefixes = prefix_folder(&loaded, options, &folder.path, &graphs);
        let info = match &loaded {
            Loaded::Ort(gemma) => info(gemma, folder, graphs, limits),
            Loaded::Tract(gemma) => info(gemma, folder, graphs, limits),
        };
        Ok(Self { loaded, tokenizer, template, limits, prefixes, info })
    }

    /// What is known about the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Reads the vocabulary for grammars now, so that the first reply that keeps to one need not:
    /// about a second for the 262,144 tokens of the published models.
    pub fn prepare_grammars(&self) {
        let _ = self.tokenizer.grammar_vocabulary();
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
        let prompt = self.render(messages, tools, options.thinking)?;
        self.reply_to(&prompt, tools, options)
    }

    /// Begins a reply to a prompt; as [`reply`](Self::reply). Whether the model is asked to think
    /// first is part of the prompt.
    ///
    /// # Errors
    /// When the prompt holds a medium that the model cannot take, or does not fit into the context.
    pub fn reply_to<'a>(
        &'a mut self,
        prompt: &Prompt,
        tools: &[ToolSpec],
        options: &ReplyOptions,
    ) -> Result<Reply<'a>, Error> {
        let tokenizer = &self.tokenizer;
        let request = Request { prompt, tools, options };
        match &mut self.loaded {
            Loaded::Ort(gemma) => Reply::begin(gemma, tokenizer, self.limits, &request),
            Loaded::Tract(gemma) => Reply::begin(gemma, tokenizer, self.limits, &request),
        }
    }

    /// Computes what all conversations share that begin with these messages and these tools, keeps
    /// it, and saves it where that is possible; so that none of them has to wait for it, not even
    /// after a restart. It is asked before each step whether to go on: where the report says that it
    /// was stopped, or that it is not saved yet, it can be called again.
    ///
    /// What is saved are the words of these messages and tools and nothing else.
    ///
    /// # Errors
    /// When the messages cannot be written as a prompt, do not fit into the context, or the engine
    /// fails.
    pub fn keep_prefix(
        &mut self,
        messages: &[Message],
        tools: &[ToolSpec],
        thinking: bool,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<PrefixReport, Error> {
        let prefix = self.prefix(messages, tools, thinking)?;
        let (folder, limits) = (&self.prefixes, self.limits);
        if prefix.len() >= limits.context_tokens {
            return Err(Error::PromptTooLong {
                tokens: prefix.len(),
                limit: limits.context_tokens,
            });
        }
        match &mut self.loaded {
            Loaded::Ort(gemma) => prefix::keep(gemma, folder, &prefix, limits, go_on),
            Loaded::Tract(gemma) => prefix::keep(gemma, folder, &prefix, limits, go_on),
        }
    }

    /// The tokens that all conversations share that begin with these messages and tools: those that
    /// two have in common which differ in what is said next.
    fn prefix(
        &self,
        messages: &[Message],
        tools: &[ToolSpec],
        thinking: bool,
    ) -> Result<Vec<u32>, Error> {
        let with = |words: &str| {
            let said = Message {
                role: Role::User,
                parts: vec![Part::Text(words.to_owned())],
                tool_calls: Vec::new(),
                tool_results: Vec::new(),
            };
            let messages = [messages, &[said]].concat();
            let prompt = self.render(&messages, tools, thinking)?;
            Ok::<_, Error>(match prompt.segments.into_iter().next() {
                Some(Segment::Tokens(ids)) => ids,
                Some(Segment::Image(_) | Segment::Audio(_) | Segment::Video { .. }) | None => {
                    Vec::new()
                }
            })
        };
        let (one, other) = (with("Who?")?, with("7 + 8")?);
        let same = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
        Ok(one.into_iter().take(same).collect())
    }

    /// Bytes of the keys and values that are kept now.
    pub fn kv_bytes(&self) -> usize {
        match &self.loaded {
            Loaded::Ort(gemma) => gemma.decoder().bytes(),
            Loaded::Tract(gemma) => gemma.decoder().bytes(),
        }
    }

    /// Writes a conversation as the model reads it. No graph is run.
    ///
    /// # Errors
    /// When the conversation cannot be written as a prompt.
    pub fn render(
        &self,
        messages: &[Message],
        tools: &[ToolSpec],
        thinking: bool,
    ) -> Result<Prompt, Error> {
        Ok(prompt::render(&self.template, &self.tokenizer, messages, tools, thinking)?)
    }

    /// Runs the chat template over the fields of a conversation in its own form.
    ///
    /// # Errors
    /// As [`render_written`](prompt::render_written).
    pub fn render_written(&self, fields: &Map<String, Value>) -> Result<Rendered, Error> {
        Ok(prompt::render_written(&self.template, &self.tokenizer, fields)?)
    }

    /// Computes what follows a conversation and keeps the numbers: the prompt's logits, and the
    /// `tokens` likeliest tokens after it. Begins with an empty cache each time.
    ///
    /// # Errors
    /// As [`reply`](Self::reply), and when the engine fails.
    pub fn trace(
        &mut self,
        messages: &[Message],
        tools: &[ToolSpec],
        thinking: bool,
        tokens: usize,
    ) -> Result<Trace, Error> {
        let prompt = self.render(messages, tools, thinking)?;
        self.trace_prompt(&prompt, tokens)
    }

    /// Computes what follows a prompt; as [`trace`](Self::trace).
    ///
    /// # Errors
    /// As [`reply_to`](Self::reply_to), and when the engine fails.
    pub fn trace_prompt(&mut self, prompt: &Prompt, tokens: usize) -> Result<Trace, Error> {
        let tokenizer = &self.tokenizer;
        match &mut self.loaded {
            Loaded::Ort(gemma) => Trace::take(gemma, tokenizer, self.limits, prompt, tokens),
            Loaded::Tract(gemma) => Trace::take(gemma, tokenizer, self.limits, prompt, tokens),
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
    if (options.engine, options.device) == (EngineKind::Tract, Device::Cuda) {
        let reason = "tract computes on the processor only; use the engine ort".into();
        return Err(Error::Option { name: "device", reason });
    }
    match options.image_budget {
        Some(budget) if !image::BUDGETS.contains(&budget) => Err(Error::Option {
            name: "image_budget",
            reason: format!("{budget} soft tokens are none of {:?}", image::BUDGETS),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Where prefixes of this model are saved.
fn prefix_folder(
    loaded: &Loaded,
    options: &Options,
    folder: &Path,
    graphs: &[GraphInfo],
) -> prefix::Folder {
    let path = options.prefix_folder.as_deref();
    let graphs: Vec<PathBuf> = graphs.iter().map(|graph| graph.file.clone()).collect();
    let opened = match loaded {
        Loaded::Ort(gemma) => prefix::open_folder(gemma, path, &graphs, folder),
        Loaded::Tract(gemma) => prefix::open_folder(gemma, path, &graphs, folder),
    };
    if let (Err(reason), Some(_)) = (&opened, path) {
        tracing::info!("prefixes are not saved: {reason}");
    }
    opened
}

fn name(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

fn info<E: Engine>(
    gemma: &Gemma<E>,
    folder: Folder,
    graphs: Vec<GraphInfo>,
    limits: Limits,
) -> ModelInfo {
    let config = gemma.config();
    let (local_bytes, global_bytes) = gemma.decoder().token_bytes();
    let [(_, no_vision), (_, no_audio), _] = gemma.refusals();
    ModelInfo {
        name: name(&folder.path),
        engine: E::KIND,
        device: gemma.device(),
        variant: config.variant,
        layout: folder.layout,
        bytes: graphs.iter().map(|graph| graph.bytes).sum(),
        graphs,
        context_tokens: limits.context_tokens,
        vocabulary: config.vocabulary,
        layers: config.layers,
        kv: KvInfo {
            local_bytes,
            global_bytes,
            window_tokens: config.window_tokens,
            keeps_window: gemma.decoder().keeps_window(),
        },
        has_vision: no_vision.is_none(),
        has_audio: no_audio.is_none(),
        refusals: gemma
            .refusals()
            .into_iter()
            .filter_map(|(what, reason)| Some((what, reason?.to_owned())))
            .collect(),
        sampling: config.sampling,
        folder: folder.path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mebibytes of keys and values in 16-bit floats after 32,768 tokens.
    fn check(local_bytes: usize, global_bytes: usize, window_tokens: usize, expected: [usize; 2]) {
        let mebibytes = [false, true].map(|keeps_window| {
            let kv = KvInfo { local_bytes, global_bytes, window_tokens, keeps_window };
            kv.bytes(32 << 10) >> 20
        });
        assert_eq!(mebibytes, expected);
    }

    #[test]
    fn keys_and_values_of_the_published_sizes_take_what_is_known() {
        check(12_288, 6_144, 512, [576, 198]);
        check(40_960, 16_384, 512, [1_792, 532]);
        check(327_680, 16_384, 1024, [10_752, 832]);
        check(204_800, 20_480, 1024, [7_040, 840]);
        check(819_200, 81_920, 1024, [28_160, 3_360]);
    }
}
