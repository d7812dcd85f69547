//! `genai_config.json` of a folder made for onnxruntime-genai: the files of its graphs, and what its
//! inputs and outputs are called. Everything else that it says, the folder's own files say better.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::names::Names;
use crate::error::Error;

/// Name of the file.
pub(super) const FILE: &str = "genai_config.json";

#[derive(Deserialize)]
struct Raw {
    model: RawModel,
}

#[derive(Deserialize)]
struct RawModel {
    decoder: RawGraph,
    embedding: Option<RawGraph>,
    vision: Option<RawGraph>,
    speech: Option<RawGraph>,
}

#[derive(Deserialize)]
struct RawGraph {
    filename: Option<String>,
    #[serde(default)]
    inputs: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    outputs: serde_json::Map<String, serde_json::Value>,
}

/// What the file says.
pub(super) struct GenAi {
    pub(super) decoder: PathBuf,
    pub(super) embedding: Option<PathBuf>,
    pub(super) vision: Option<PathBuf>,
    pub(super) audio: Option<PathBuf>,
    pub(super) names: Names,
}

impl GenAi {
    /// Reads the file of a folder.
    ///
    /// # Errors
    /// When it cannot be read, is no JSON, or names a file outside of the folder.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let text = std::fs::read(&path).map_err(Error::read(&path))?;
        let raw: Raw = serde_json::from_slice(&text)
            .map_err(|error| Error::config(&path, error.to_string()))?;
        let RawModel { decoder, embedding, vision, speech } = raw.model;
        let file = |graph: &RawGraph| inside(folder, &path, graph.filename.as_deref());
        let optional = |graph: &Option<RawGraph>| match graph {
            Some(graph) => file(graph),
            None => Ok(None),
        };
        let decoder_file = file(&decoder)?.ok_or_else(|| {
            Error::config(&path, "model.decoder has no filename; expected decoder/model.onnx")
        })?;
        Ok(Self {
            decoder: decoder_file,
            embedding: optional(&embedding)?,
            vision: optional(&vision)?,
            audio: optional(&speech)?,
            names: names(&decoder, embedding.as_ref()),
        })
    }
}

/// The file that a graph is in.
fn inside(folder: &Path, config: &Path, name: Option<&str>) -> Result<Option<PathBuf>, Error> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    match Path::new(name).components().all(is_inside) {
        true => Ok(Some(folder.join(name))),
        false => Err(Error::config(config, format!("{name:?} lies outside of the folder"))),
    }
}

/// Names of the ports: those that the file gives, else those that all conversions share.
fn names(decoder: &RawGraph, embedding: Option<&RawGraph>) -> Names {
    let mut names = Names::default();
    let mut take = |from: &serde_json::Map<String, serde_json::Value>| {
        for (key, value) in from {
            if let (Some(name), Some(slot)) = (value.as_str(), names.slot(key)) {
                *slot = name.to_owned();
            }
        }
    };
    for graph in embedding.into_iter().chain([decoder]) {
        take(&graph.inputs);
        take(&graph.outputs);
    }
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn open(text: &str) -> Result<GenAi, Error> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        GenAi::open(folder.path())
    }

    #[test]
    fn files_and_names_are_taken() {
        let config = open(
            r#"{"model": {"decoder": {"filename": "text/graph.onnx",
                "inputs": {"past_key_names": "kv.%d.k", "head_size": 4},
                "outputs": {"logits": "scores"}},
                "vision": {"filename": "see/model.onnx"}, "embedding": {"filename": ""}}}"#,
        )
        .unwrap();
        assert!(config.decoder.ends_with("text/graph.onnx"));
        assert!(config.vision.unwrap().ends_with("see/model.onnx"));
        assert_eq!((config.embedding, config.audio), (None, None));
        assert_eq!(config.names.past_keys, "kv.%d.k");
        assert_eq!(config.names.logits, "scores");
        assert_eq!(config.names.past_values, "past_key_values.%d.value");
    }

    fn check_error(text: &str, expected: &str) {
        let error = open(text).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong() {
        check_error("{", "genai_config.json: EOF");
        check_error("{}", "genai_config.json: missing field `model`");
        check_error(r#"{"model": {"decoder": {}}}"#, "model.decoder has no filename");
        check_error(
            r#"{"model": {"decoder": {"filename": "../x.onnx"}}}"#,
            "\"../x.onnx\" lies outside of the folder",
        );
    }
}
