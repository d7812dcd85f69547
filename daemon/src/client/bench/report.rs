//! The figures of a measurement, in the form of its JSON file.

use std::path::PathBuf;

use gemma_runtime::{KvInfo, ModelInfo, Options};
use serde::Serialize;

use super::machine::Machine;
use super::memory::Memory;
use super::spread::Spread;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// Version of gemmad.
    pub(super) version: &'static str,
    pub(super) machine: Machine,
    pub(super) model: Described,
    /// How often each thing was measured.
    pub(super) rounds: u16,
    pub(super) load: Load,
    pub(super) prefill: Vec<Prefill>,
    pub(super) decode: Vec<Decode>,
    pub(super) first_word: Option<FirstWord>,
    pub(super) restart: Option<Restart>,
    pub(super) tool_call: Option<ToolCall>,
    pub(super) media: Vec<Medium>,
    pub(super) memory: Peaks,
    /// What was not measured, and why.
    pub(super) missing: Vec<(String, String)>,
    #[serde(skip)]
    kv: Option<KvInfo>,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Described {
    pub(super) folder: PathBuf,
    pub(super) variant: String,
    pub(super) layout: String,
    pub(super) engine: String,
    /// Where it ran.
    pub(super) device: String,
    pub(super) context_tokens: usize,
    /// Tokens of the prompt in one step.
    pub(super) block_tokens: usize,
    pub(super) graphs: Vec<GraphFile>,
    /// Bytes of weights that a token reads.
    pub(super) step_bytes: u64,
}

/// A graph of the folder.
#[derive(Clone, Debug, Serialize)]
pub(super) struct GraphFile {
    pub(super) role: String,
    pub(super) dtype: String,
    pub(super) file: PathBuf,
    pub(super) bytes: u64,
}

/// How long it took until the model was ready.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Load {
    /// The first time, with whatever the page cache held.
    pub(super) first_s: f64,
    /// With all files in the page cache.
    pub(super) again_s: Option<Spread>,
}

/// A prompt behind nothing.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Prefill {
    pub(super) tokens: usize,
    pub(super) tokens_per_s: Spread,
}

/// Tokens made one by one.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Decode {
    /// Tokens before them.
    pub(super) past: usize,
    pub(super) tokens_per_s: Spread,
    /// Bytes of weights, keys and values that a token reads.
    pub(super) read_bytes: u64,
    /// What is read, as a share of what all threads read from memory at their best.
    pub(super) bandwidth_share: f64,
    /// What a token takes beside the engine's work.
    pub(super) overhead: Option<Overhead>,
    /// The most that was occupied between two steps.
    pub(super) memory: Memory,
}

/// Milliseconds of a token.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Overhead {
    pub(super) ours_ms: Spread,
    pub(super) engine_ms: Spread,
}

/// From a question to the first token of the answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct FirstWord {
    /// Tokens of the first question that had to be processed.
    pub(super) cold_tokens: usize,
    pub(super) cold_s: Spread,
    /// Tokens of the second question's prompt.
    pub(super) warm_tokens: usize,
    /// Those of them that were in the cache.
    pub(super) warm_cached_tokens: usize,
    pub(super) warm_s: Spread,
    /// The second as a share of the first.
    pub(super) warm_share: f64,
}

/// A question behind an instruction that was saved before the model was loaded anew.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Restart {
    /// Tokens of the question's prompt.
    pub(super) tokens: usize,
    /// Those of them that were saved.
    pub(super) saved_tokens: usize,
    /// From a model that is ready to the first token: finding the file and mapping it included.
    pub(super) first_word_s: Spread,
    /// As a share of the first word behind an instruction that was never read.
    pub(super) share: f64,
}

/// Replies that call a tool, beside those of free text.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ToolCall {
    pub(super) tokens_per_s: Spread,
    pub(super) free_tokens_per_s: Spread,
    /// The first as a multiple of the second.
    pub(super) ratio: f64,
}

/// A medium, from pixels or samples to what the decoder reads.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Medium {
    pub(super) what: String,
    pub(super) encode_s: Spread,
}

/// What the process occupied.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Peaks {
    /// When the model was ready for the first time.
    pub(super) loaded: Memory,
    /// Of both kinds together, at any moment.
    pub(super) peak_bytes: u64,
}

impl Report {
    /// A report without figures.
    pub(super) fn new(machine: Machine, rounds: u16) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            machine,
            model: Described::default(),
            rounds,
            load: Load::default(),
            prefill: Vec::new(),
            decode: Vec::new(),
            first_word: None,
            restart: None,
            tool_call: None,
            media: Vec::new(),
            memory: Peaks::default(),
            missing: Vec::new(),
            kv: None,
        }
    }

    /// Says what is measured.
    pub(super) fn describe(&mut self, info: &ModelInfo, options: &Options) {
        let graphs = info.graphs.iter().map(|graph| GraphFile {
            role: graph.role.to_owned(),
            dtype: graph.dtype.to_owned(),
            file: graph.file.clone(),
            bytes: graph.bytes,
        });
        let decoders = info.graphs.iter().filter(|graph| graph.role == "decoder");
        self.model = Described {
            folder: info.folder.clone(),
            variant: info.variant.to_string(),
            layout: info.layout.to_string(),
            engine: info.engine.to_string(),
            device: info.device.to_string(),
            context_tokens: info.context_tokens,
            block_tokens: options.prefill_block_tokens,
            graphs: graphs.collect(),
            step_bytes: decoders.map(|graph| graph.step_bytes).sum(),
        };
        self.kv = Some(info.kv);
    }

    /// Bytes that a token reads behind so many others. Layers with a window read no more than that,
    /// whatever they keep.
    pub(super) fn read_bytes(&self, past: usize) -> u64 {
        let kv = self.kv.map_or(0, |kv| KvInfo { keeps_window: true, ..kv }.bytes(past + 1));
        self.model.step_bytes + kv as u64
    }

    /// Holds what each token reads against what memory gives.
    pub(super) fn share_bandwidth(&mut self) {
        let roof = (self.machine.read_all_gb_per_s * 1e9).max(f64::MIN_POSITIVE);
        for decode in &mut self.decode {
            let read = decode.read_bytes as f64 * decode.tokens_per_s.median;
            decode.bandwidth_share = read / roof;
        }
    }

    /// Says what could not be measured.
    pub(super) fn miss(&mut self, what: &str, why: &str) {
        self.missing.push((what.to_owned(), why.to_owned()));
    }
}
