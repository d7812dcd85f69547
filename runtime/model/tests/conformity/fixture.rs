//! The fixtures of the five sizes: which there are, and how a published folder is assembled of one.
//! `runtime/export/assembly.py` assembles in the same way.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use tempfile::TempDir;

/// How a conversion lays its graphs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Four graphs in `onnx/`, the precision in their names (onnx-community).
    A,
    /// A folder for each graph, and `genai_config.json` (onnxruntime-genai).
    B,
    /// One graph from token ids to logits.
    Text,
}

impl Layout {
    /// The layout as the fixtures' folders and the table name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Text => "text",
        }
    }

    fn place(self, stem: &str, suffix: &str) -> String {
        match self {
            Self::A => format!("onnx/{stem}{suffix}.onnx"),
            Self::B => format!("{stem}/model.onnx"),
            Self::Text => "model.onnx".into(),
        }
    }

    fn stems(self) -> &'static [&'static str] {
        match self {
            Self::A => &["decoder_model_merged", "embed_tokens", "vision_encoder", "audio_encoder"],
            Self::B => &["decoder", "embedding", "vision_encoder", "audio_encoder"],
            Self::Text => &["model"],
        }
    }
}

/// Which decoder runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// The published one.
    Published,
    /// The fast graph that is made from it, with the numbers that are published.
    Fast,
    /// The fast graph as it is made unless a switch is set: with scales in 16 bits.
    Halved,
}

impl Decoder {
    /// The decoder as the table names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Fast => "fast",
            Self::Halved => "fast, halved scales",
        }
    }
}

/// Precisions, as people name them, with the suffix that files have.
const SUFFIXES: [(&str, &str); 5] =
    [("fp32", ""), ("fp16", "_fp16"), ("q8", "_quantized"), ("q4", "_q4"), ("q4f16", "_q4f16")];

/// One model in one layout and precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fixture {
    /// Which of the five sizes.
    pub(crate) variant: &'static str,
    /// How its graphs are laid out.
    pub(crate) layout: Layout,
    /// Precision of its graphs.
    pub(crate) dtype: &'static str,
    /// Which decoder runs.
    pub(crate) decoder: Decoder,
}

/// The sizes, with the generation of the chat template that their folders have.
pub(crate) const VARIANTS: [(&str, &str); 5] = [
    ("e2b", "small.2026-07"),
    ("e4b", "small.2026-05"),
    ("12b", "large.2026-07"),
    ("26b", "large.2026-05"),
    ("31b", "large.2026-07"),
];

/// Every conversation that is asked, in the order of the table.
pub(crate) const CASES: [&str; 8] =
    ["text", "long", "image", "images", "audio", "video", "interleaved", "pictures"];

/// All fixtures of a size: each with its published decoder, then each with the fast graph.
pub(crate) fn of_variant(variant: &'static str) -> Vec<Fixture> {
    let more: &[(Layout, &str)] = match variant {
        "e2b" => &[(Layout::A, "fp16"), (Layout::A, "q8"), (Layout::A, "q4f16"), (Layout::B, "q4")],
        _ => &[],
    };
    let all = [(Layout::A, "fp32"), (Layout::B, "fp32"), (Layout::Text, "fp32"), (Layout::A, "q4")];
    let fixture = |decoder| {
        move |&(layout, dtype): &(Layout, &'static str)| Fixture { variant, layout, dtype, decoder }
    };
    let published = all.iter().chain(more).map(fixture(Decoder::Published));
    let fast = all.iter().chain(more).map(fixture(Decoder::Fast));
    // Other precisions have no scales in 32 bits, and those of a mixture of experts stay as they are.
    let halved = all.iter().chain(more);
    let halved = halved.filter(|(_, dtype)| *dtype == "q4" && variant != "26b");
    published.chain(fast).chain(halved.map(fixture(Decoder::Halved))).collect()
}

/// The folder of the fixtures.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/variants")
}

impl Fixture {
    /// Makes the folder as it would be published.
    pub(crate) fn assemble(&self) -> TempDir {
        let published = tempfile::tempdir().unwrap();
        for (from, place) in self.files() {
            let to = published.path().join(place);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            let content = unpacked(&from);
            fs::write(to, content.unwrap_or_else(|error| panic!("{}: {error}", from.display())))
                .unwrap();
        }
        published
    }

    fn files(&self) -> Vec<(PathBuf, String)> {
        let (all, own) = (folder(), folder().join(self.variant));
        let (_, template) = VARIANTS.iter().find(|(name, _)| *name == self.variant).unwrap();
        let template = all.join("../conversations").join(format!("{template}.jinja"));
        let config = if self.layout == Layout::Text { "config_text.json" } else { "config.json" };
        let mut files = vec![
            (template, "chat_template.jinja".to_owned()),
            (own.join(config), "config.json".to_owned()),
        ];
        let shared = ["tokenizer.json", "tokenizer_config.json"];
        files.extend(shared.map(|name| (all.join(name), name.to_owned())));
        let settings =
            ["generation_config.json", "processor_config.json", "preprocessor_config.json"];
        files.extend(settings.map(|name| (own.join(name), name.to_owned())));
        if self.layout == Layout::B {
            files.push((own.join("genai_config.json"), "genai_config.json".to_owned()));
        }
        files.extend(self.graphs(&own));
        files
    }

    /// The graphs, and beside each the data that all graphs of this precision share.
    fn graphs(&self, own: &Path) -> Vec<(PathBuf, String)> {
        let suffix = self.suffix();
        let data = own.join(format!("weights{suffix}.bin.gz"));
        let graph = |stem: &str| {
            let from = own.join(self.layout.name()).join(format!("{stem}{suffix}.onnx.gz"));
            let place = self.layout.place(stem, suffix);
            let beside = match self.layout {
                Layout::A => format!("{place}_data"),
                Layout::B | Layout::Text => format!("{place}.data"),
            };
            from.is_file().then(|| [(from, place), (data.clone(), beside)])
        };
        self.layout.stems().iter().copied().filter_map(graph).flatten().collect()
    }

    /// What the names of files of this precision end with.
    fn suffix(&self) -> &'static str {
        SUFFIXES.iter().find(|(name, _)| *name == self.dtype).unwrap().1
    }

    /// What the reference answered, by case.
    pub(crate) fn expected(&self) -> Expected {
        let name = format!("expected{}.json", self.suffix());
        Expected::read(&folder().join(self.variant).join(name))
    }
}

/// Answers of the reference to the cases of one checkpoint.
pub(crate) struct Expected {
    root: Value,
    logits: Vec<f32>,
}

/// The answer of the reference to one case.
pub(crate) struct Answer {
    /// Ids of the prompt.
    pub(crate) prompt_ids: Vec<u32>,
    /// Logits `[rows, vocabulary]` of the last rows of the prompt.
    pub(crate) logits: Vec<f32>,
    /// Ids of the greedy continuation.
    pub(crate) continuation_ids: Vec<u32>,
    /// For each of them, how far its logit is before the second largest.
    pub(crate) margins: Vec<f32>,
}

impl Expected {
    fn read(path: &Path) -> Self {
        let root: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let data = fs::read(path.with_file_name(root["logits"].as_str().unwrap())).unwrap();
        let values =
            data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        Self { logits: values.collect(), root }
    }

    /// The answer to a case; `None` where the model cannot take its media.
    pub(crate) fn answer(&self, wanted: &str) -> Option<Answer> {
        let vocabulary = number(&self.root["vocabulary"]);
        let mut start = 0;
        // The map keeps no order, the file of logits does: that of `CASES`.
        for case in CASES {
            let Some(found) = self.root["cases"].get(case) else { continue };
            let length = number(&found["rows"]) * vocabulary;
            if case == wanted {
                return Some(Answer {
                    prompt_ids: ids(&found["prompt_ids"]),
                    logits: self.logits[start..start + length].to_vec(),
                    continuation_ids: ids(&found["continuation_ids"]),
                    margins: serde_json::from_value(found["margins"].clone()).unwrap(),
                });
            }
            start += length;
        }
        None
    }
}

/// What a file holds; the fixtures' graphs and weights are packed.
fn unpacked(path: &Path) -> io::Result<Vec<u8>> {
    let content = fs::read(path)?;
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(content);
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(content.as_slice()).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}
