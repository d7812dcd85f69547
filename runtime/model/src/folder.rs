//! What a model folder holds: which graph files, in which precision, and the JSON files beside
//! them. The layout is the one that published conversions share: graphs in `onnx/` or in the root,
//! named after their role with the precision as a suffix.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// A model folder whose files have been found. None of them has been read yet.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The folder itself.
    pub(crate) path: PathBuf,
    /// `config.json`.
    pub(crate) config: PathBuf,
    /// `generation_config.json`, which a text-only conversion may lack.
    pub(crate) generation_config: Option<PathBuf>,
    /// Token ids in, embeddings out.
    pub(crate) embed: GraphFile,
    /// Embeddings in, logits out.
    pub(crate) decoder: GraphFile,
    /// Pictures in, embeddings out.
    pub(crate) vision: Option<GraphFile>,
    /// Sound in, embeddings out.
    pub(crate) audio: Option<GraphFile>,
}

/// One graph file and the precision its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GraphFile {
    /// The `.onnx` file.
    pub(crate) path: PathBuf,
    /// Precision, as people name it: `fp32`, `fp16`, `q8`, `q4`, `q4f16` ...
    pub(crate) dtype: &'static str,
}

/// Precisions and the suffixes that published folders give them.
const SUFFIXES: [(&str, &str); 12] = [
    ("fp32", ""),
    ("fp16", "_fp16"),
    ("q8", "_quantized"),
    ("int8", "_int8"),
    ("uint8", "_uint8"),
    ("q4", "_q4"),
    ("q4f16", "_q4f16"),
    ("bnb4", "_bnb4"),
    ("q2", "_q2"),
    ("q2f16", "_q2f16"),
    ("q1", "_q1"),
    ("q1f16", "_q1f16"),
];

/// Best first for the graphs that every token passes: small weights before exact ones, and 32-bit
/// activations before 16-bit ones, which most processors only emulate.
const TEXT_ORDER: [&str; 5] = ["q4", "q4f16", "q8", "fp16", "fp32"];

/// Best first for the encoders, which run once per picture or utterance and suffer most from
/// four bits.
const ENCODER_ORDER: [&str; 5] = ["fp16", "q8", "q4f16", "q4", "fp32"];

impl Folder {
    /// Finds the files of a model folder; `dtype` is the precision to prefer where it is there.
    ///
    /// # Errors
    /// When the folder cannot be read, lacks a file that every model has, or has another layout.
    pub(crate) fn find(path: &Path, dtype: Option<&str>) -> Result<Self, Error> {
        let preferred = dtype.map(known_dtype).transpose()?;
        std::fs::read_dir(path)
            .map_err(|source| Error::Folder { path: path.to_owned(), source })?;
        let config = path.join("config.json");
        if !config.is_file() {
            return Err(missing(path, "its configuration", "config.json"));
        }
        let generation_config = path.join("generation_config.json");
        let text = |stem, what| {
            let file = find_graph(path, stem, preferred, &TEXT_ORDER);
            file.ok_or_else(|| missing_graph(path, stem, what))
        };
        let encoder = |stem| find_graph(path, stem, preferred, &ENCODER_ORDER);
        Ok(Self {
            path: path.to_owned(),
            config,
            generation_config: generation_config.is_file().then_some(generation_config),
            decoder: text("decoder_model_merged", "its decoder")?,
            embed: text("embed_tokens", "its token embeddings")?,
            vision: encoder("vision_encoder"),
            audio: encoder("audio_encoder"),
        })
    }
}

fn known_dtype(name: &str) -> Result<&'static str, Error> {
    let known = SUFFIXES.iter().map(|(dtype, _)| *dtype);
    known.clone().find(|dtype| *dtype == name).ok_or_else(|| Error::Option {
        name: "dtype",
        reason: format!("{name:?} is none of {}", known.collect::<Vec<_>>().join(", ")),
    })
}

/// The file of a role in the preferred precision, else in the best of `order`, else in any.
fn find_graph(
    folder: &Path,
    stem: &str,
    preferred: Option<&'static str>,
    order: &[&'static str],
) -> Option<GraphFile> {
    let any = SUFFIXES.iter().map(|(dtype, _)| *dtype);
    let wanted = preferred.into_iter().chain(order.iter().copied()).chain(any);
    wanted.into_iter().find_map(|dtype| {
        let (_, suffix) = SUFFIXES.iter().find(|(name, _)| *name == dtype)?;
        let name = format!("{stem}{suffix}.onnx");
        let places = [folder.join("onnx").join(&name), folder.join(&name)];
        let path = places.into_iter().find(|path| path.is_file())?;
        Some(GraphFile { path, dtype })
    })
}

fn missing(folder: &Path, what: &'static str, expected: impl Into<String>) -> Error {
    Error::Missing { folder: folder.to_owned(), what, expected: expected.into() }
}

fn missing_graph(folder: &Path, stem: &str, what: &'static str) -> Error {
    let mut expected =
        format!("onnx/{stem}.onnx or onnx/{stem}_q4.onnx, _q4f16, _quantized, _fp16");
    if folder.join("genai_config.json").is_file() {
        expected
            .push_str(" (this folder was made for onnxruntime-genai, which names them otherwise)");
    }
    missing(folder, what, expected)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("onnx")).unwrap();
        for file in files {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        folder
    }

    const MINIMAL: [&str; 3] =
        ["config.json", "onnx/decoder_model_merged.onnx", "onnx/embed_tokens.onnx"];

    fn check_dtypes(extra: &[&str], preferred: Option<&str>, decoder: &str, embed: &str) {
        let files: Vec<&str> = MINIMAL.iter().chain(extra).copied().collect();
        let folder = folder(&files);
        let found = Folder::find(folder.path(), preferred).unwrap();
        assert_eq!((found.decoder.dtype, found.embed.dtype), (decoder, embed));
    }

    #[test]
    fn precision_is_chosen_per_graph() {
        check_dtypes(&[], None, "fp32", "fp32");
        check_dtypes(&["onnx/decoder_model_merged_q4.onnx"], None, "q4", "fp32");
        check_dtypes(&["onnx/decoder_model_merged_q4.onnx"], Some("fp32"), "fp32", "fp32");
        check_dtypes(&["onnx/embed_tokens_fp16.onnx"], Some("fp16"), "fp32", "fp16");
        check_dtypes(&["decoder_model_merged_q4f16.onnx"], Some("q8"), "q4f16", "fp32");
    }

    #[test]
    fn encoders_are_optional() {
        let text = folder(&MINIMAL);
        let found = Folder::find(text.path(), None).unwrap();
        assert_eq!((found.vision, found.audio), (None, None));
        assert_eq!(found.generation_config, None);
    }

    fn check_error(files: &[&str], dtype: Option<&str>, expected: &str) {
        let folder = folder(files);
        let error = Folder::find(folder.path(), dtype).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn errors_name_what_is_missing_and_what_would_do() {
        check_error(&[], None, "lacks its configuration; expected config.json");
        check_error(&MINIMAL[..2], None, "lacks its token embeddings; expected onnx/embed_tokens");
        check_error(&["config.json", "genai_config.json"], None, "made for onnxruntime-genai");
        check_error(&MINIMAL, Some("q3"), "option dtype: \"q3\" is none of fp32, fp16");
        let error = Folder::find(Path::new("/nowhere"), None).unwrap_err().to_string();
        assert!(error.starts_with("model folder /nowhere: "), "{error}");
    }
}
