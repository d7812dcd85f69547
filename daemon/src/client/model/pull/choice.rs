//! Which files of a repository make one usable model: its graphs in one precision, their weights,
//! and the configuration beside them.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, bail, ensure};
use gemma_runtime::dtypes::{ENCODER_ORDER, SUFFIXES, TEXT_ORDER};

use super::hub::RemoteFile;

/// Graphs of a model.
const GRAPHS: [Kind; 4] = [
    Kind { role: "embedding", stem: "embed_tokens", optional: false },
    Kind { role: "decoder", stem: "decoder_model_merged", optional: false },
    Kind { role: "vision", stem: "vision_encoder", optional: true },
    Kind { role: "audio", stem: "audio_encoder", optional: true },
];

/// A kind of graph.
#[derive(Clone, Copy)]
struct Kind {
    role: &'static str,
    /// Name of its file, without the suffix of a precision.
    stem: &'static str,
    /// Whether a model may lack it.
    optional: bool,
}

/// Folders of a conversion for onnxruntime-genai.
const GENAI_FOLDERS: [&str; 4] = ["decoder/", "embedding/", "vision_encoder/", "audio_encoder/"];

/// What is to be fetched.
#[derive(Debug)]
pub(super) struct Choice {
    /// The files.
    pub(super) files: Vec<RemoteFile>,
    /// The graphs among them.
    pub(super) graphs: Vec<Graph>,
}

/// A graph that is to be fetched.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Graph {
    role: &'static str,
    dtype: &'static str,
    /// Whether another precision was asked for, which the repository lacks.
    instead: bool,
}

impl fmt::Display for Graph {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, dtype, instead } = self;
        let remark = if *instead { " (the one asked for is not there)" } else { "" };
        write!(formatter, "{role} in {dtype}{remark}")
    }
}

impl Choice {
    /// Chooses among the files of a repository. Without a precision, each graph comes in the one
    /// that the runtime likes best.
    ///
    /// # Errors
    /// When the repository holds no such model, or not in this precision.
    pub(super) fn of(files: &[RemoteFile], dtype: Option<&str>) -> anyhow::Result<Self> {
        let wanted = dtype.map(Wanted::parse).transpose()?.unwrap_or_default();
        let has = |path: &str| files.iter().any(|file| file.path == path);
        let configured = has("config.json") || has("genai_config.json");
        for (there, what) in [
            (configured, "configuration (config.json)"),
            (has("tokenizer.json"), "tokenizer (tokenizer.json)"),
        ] {
            ensure!(there, "it has no {what}; expected an ONNX conversion of Gemma 4");
        }
        let mut chosen = Self { files: Vec::new(), graphs: Vec::new() };
        chosen.take(files, |path| !path.contains('/') && is_configuration(path));
        if has("genai_config.json") {
            chosen.take(files, is_genai_graph);
            return Ok(chosen);
        }
        for (kind, demanded) in GRAPHS.into_iter().zip(wanted.named) {
            let there = precisions(files, kind.stem);
            let picked = kind.pick(wanted.all, demanded, &there)?;
            let Some((graph, path)) = picked else { continue };
            chosen.take(files, |file| belongs(file, &path));
            chosen.graphs.push(graph);
        }
        Ok(chosen)
    }

    fn take(&mut self, files: &[RemoteFile], wanted: impl Fn(&str) -> bool) {
        self.files.extend(files.iter().filter(|file| wanted(&file.path)).cloned());
    }
}

/// Which precision is wanted for which graph.
#[derive(Debug, Default)]
struct Wanted {
    /// To be taken where a graph has it; an encoder may lack it.
    all: Option<&'static str>,
    /// What a graph must have, in the order of [`GRAPHS`].
    named: [Option<&'static str>; GRAPHS.len()],
}

impl Wanted {
    /// Reads `q4`, `decoder=q4,vision=fp16`, or both, as the runtime does.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut wanted = Self::default();
        for part in text.split(',').map(str::trim) {
            let (slot, dtype) = match part.split_once('=') {
                None => (&mut wanted.all, part),
                Some((role, dtype)) => {
                    let place = GRAPHS.iter().position(|kind| kind.role == role.trim());
                    let names = GRAPHS.map(|kind| kind.role).join(", ");
                    let place =
                        place.with_context(|| format!("--dtype {part:?}: none of {names}"))?;
                    (&mut wanted.named[place], dtype.trim())
                }
            };
            let known = SUFFIXES.map(|(name, _)| name);
            let dtype = known.into_iter().find(|name| *name == dtype);
            let names = known.join(", ");
            *slot = Some(dtype.with_context(|| format!("--dtype {part:?} is none of {names}"))?);
        }
        Ok(wanted)
    }
}

/// The precisions of a graph that are there, with its path.
fn precisions(files: &[RemoteFile], stem: &str) -> Vec<(&'static str, String)> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let there = SUFFIXES.iter().filter_map(|(dtype, suffix)| {
        let name = format!("{stem}{suffix}.onnx");
        let places = [format!("onnx/{name}"), name];
        let path = places.into_iter().find(|path| paths.contains(path.as_str()))?;
        Some((*dtype, path))
    });
    there.collect()
}

impl Kind {
    /// Picks one of the precisions that are there.
    fn pick(
        self,
        preferred: Option<&'static str>,
        demanded: Option<&'static str>,
        there: &[(&'static str, String)],
    ) -> anyhow::Result<Option<(Graph, String)>> {
        let Self { role, stem, optional } = self;
        let order = if optional { ENCODER_ORDER } else { TEXT_ORDER };
        let take = |dtype: &str| there.iter().find(|(name, _)| *name == dtype);
        let best = order.iter().find_map(|dtype| take(dtype)).or(there.first());
        let Some(best) = best else {
            ensure!(
                optional,
                "it has no {role} (onnx/{stem}*.onnx); expected an ONNX conversion of Gemma 4, \
                 such as onnx-community/gemma-4-E2B-it-ONNX"
            );
            return Ok(None);
        };
        let wanted = demanded.or(preferred);
        let exact = wanted.map_or(Some(best), take);
        if exact.is_none() && (demanded.is_some() || !optional) {
            let names: Vec<&str> = there.iter().map(|(dtype, _)| *dtype).collect();
            let wanted = wanted.unwrap_or_default();
            bail!("its {role} is not there in {wanted}; it is in {}", names.join(", "));
        }
        let (dtype, path) = exact.unwrap_or(best);
        Ok(Some((Graph { role, dtype, instead: exact.is_none() }, path.clone())))
    }
}

/// Whether a file is a graph or a part of its weights.
fn belongs(path: &str, graph: &str) -> bool {
    path.strip_prefix(graph).is_some_and(|rest| {
        rest.is_empty()
            || rest == ".data"
            || rest.starts_with("_data")
            || rest.starts_with(".data_")
    })
}

fn is_configuration(path: &str) -> bool {
    (path.ends_with(".json") || path.ends_with(".jinja")) && !path.contains("safetensors")
}

fn is_genai_graph(path: &str) -> bool {
    let name = GENAI_FOLDERS.iter().find_map(|folder| path.strip_prefix(folder)).unwrap_or(path);
    let Some((stem, rest)) = name.split_once(".onnx") else { return false };
    !name.contains('/') && !stem.is_empty() && (rest.is_empty() || rest.contains("data"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PUBLISHED: [&str; 22] = [
        ".gitattributes",
        "README.md",
        "config.json",
        "chat_template.jinja",
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "processor_config.json",
        "onnx/decoder_model_merged.onnx",
        "onnx/decoder_model_merged.onnx_data",
        "onnx/decoder_model_merged.onnx_data_1",
        "onnx/decoder_model_merged_q4.onnx",
        "onnx/decoder_model_merged_q4.onnx_data",
        "onnx/decoder_model_merged_q4f16.onnx",
        "onnx/decoder_model_merged_q4f16.onnx_data",
        "onnx/embed_tokens_q4.onnx",
        "onnx/embed_tokens_q4.onnx_data",
        "onnx/embed_tokens_q4f16.onnx",
        "onnx/vision_encoder_fp16.onnx",
        "onnx/vision_encoder_q4.onnx",
        "onnx/audio_encoder.onnx",
        "onnx/audio_encoder.onnx_data",
    ];

    fn files(paths: &[&str]) -> Vec<RemoteFile> {
        paths.iter().map(|path| RemoteFile::named(path)).collect()
    }

    fn check(dtype: Option<&str>, expected: &[&str]) {
        let choice = Choice::of(&files(&PUBLISHED), dtype).unwrap();
        let beside = ["config.json", "chat_template.jinja", "generation_config.json"];
        let beside = beside.into_iter().chain(["tokenizer.json", "processor_config.json"]);
        let expected: Vec<&str> = beside.chain(expected.iter().copied()).collect();
        let found: Vec<&str> = choice.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn one_precision_is_fetched_with_its_weights() {
        check(
            Some("q4"),
            &[
                "onnx/embed_tokens_q4.onnx",
                "onnx/embed_tokens_q4.onnx_data",
                "onnx/decoder_model_merged_q4.onnx",
                "onnx/decoder_model_merged_q4.onnx_data",
                "onnx/vision_encoder_q4.onnx",
                "onnx/audio_encoder.onnx",
                "onnx/audio_encoder.onnx_data",
            ],
        );
    }

    #[test]
    fn without_a_precision_each_graph_comes_in_its_best() {
        let choice = Choice::of(&files(&PUBLISHED), None).unwrap();
        let graphs: Vec<String> = choice.graphs.iter().map(ToString::to_string).collect();
        assert_eq!(graphs, ["embedding in q4", "decoder in q4", "vision in fp16", "audio in fp32"]);
    }

    #[test]
    fn each_graph_can_have_its_own_precision() {
        let dtype = "q4, decoder=q4f16,vision=q4";
        let choice = Choice::of(&files(&PUBLISHED), Some(dtype)).unwrap();
        let graphs: Vec<String> = choice.graphs.iter().map(ToString::to_string).collect();
        let audio = "audio in fp32 (the one asked for is not there)";
        assert_eq!(graphs, ["embedding in q4", "decoder in q4f16", "vision in q4", audio]);
    }

    #[test]
    fn an_encoder_that_is_not_there_comes_in_another_precision_and_says_so() {
        let choice = Choice::of(&files(&PUBLISHED), Some("q4f16")).unwrap();
        let vision = choice.graphs[2].to_string();
        assert_eq!(vision, "vision in fp16 (the one asked for is not there)");
    }

    #[test]
    fn a_conversion_for_genai_is_fetched_whole() {
        let paths = [
            "config.json",
            "tokenizer.json",
            "genai_config.json",
            "decoder/model.onnx",
            "decoder/model.onnx.data",
            "embedding/model.onnx",
            "docs/model.onnx",
            "README.md",
        ];
        let choice = Choice::of(&files(&paths), None).unwrap();
        assert_eq!(choice.files.len(), 6);
        assert!(choice.files.iter().all(|file| !file.path.starts_with("docs")));
    }

    fn check_error(paths: &[&str], dtype: Option<&str>, expected: &str) {
        let error = Choice::of(&files(paths), dtype).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        check_error(&PUBLISHED, Some("q8"), "its embedding is not there in q8; it is in q4, q4f16");
        check_error(&PUBLISHED, Some("q3"), "\"q3\" is none of fp32, fp16");
        check_error(&PUBLISHED, Some("eyes=q4"), "\"eyes=q4\": none of embedding, decoder");
        check_error(&PUBLISHED, Some("audio=q4"), "its audio is not there in q4; it is in fp32");
        check_error(&["config.json"], None, "it has no tokenizer (tokenizer.json)");
        check_error(
            &["config.json", "tokenizer.json", "model.safetensors"],
            None,
            "it has no embedding (onnx/embed_tokens*.onnx)",
        );
    }
}
