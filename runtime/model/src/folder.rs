//! What a model folder holds: which graph files, in which precision, and the JSON files beside
//! them. Three layouts are published: one graph per role with the precision as a suffix, in `onnx/`
//! or in the root; one folder per role, with a `genai_config.json` or without; and a single graph
//! that turns token ids into logits.

pub mod dtypes;
mod genai;
mod names;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Error;
pub(crate) use dtypes::{Dtypes, Role};
use dtypes::{ENCODER_ORDER, SUFFIXES, TEXT_ORDER};
use genai::GenAi;
pub(crate) use names::Names;

/// How the graphs of a folder are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderLayout {
    /// `onnx/decoder_model_merged.onnx` and its neighbours, as published for transformers.js.
    Merged,
    /// `decoder/model.onnx` and its neighbours, as published for onnxruntime-genai.
    Split,
    /// One graph for text alone: `model.onnx`.
    Single,
}

impl fmt::Display for FolderLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merged => "merged decoder (transformers.js)",
            Self::Split => "folder per graph (onnxruntime-genai)",
            Self::Single => "single graph, text only",
        })
    }
}

/// A model folder whose files have been found. None of its graphs has been read yet.
#[derive(Debug)]
pub(crate) struct Folder {
    /// The folder itself.
    pub(crate) path: PathBuf,
    /// How its graphs are laid out.
    pub(crate) layout: FolderLayout,
    /// What the ports of its text graphs are called.
    pub(crate) names: Names,
    /// Token ids in, embeddings out; a single graph has none beside it.
    pub(crate) embed: Option<GraphFile>,
    /// Embeddings or token ids in, logits out.
    pub(crate) decoder: GraphFile,
    /// Pictures in, embeddings out.
    pub(crate) vision: Option<GraphFile>,
    /// Sound in, embeddings out.
    pub(crate) audio: Option<GraphFile>,
    /// The graph that drafts tokens.
    pub(crate) drafter: Option<PathBuf>,
}

/// One graph file and the precision that its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GraphFile {
    /// The `.onnx` file.
    pub(crate) path: PathBuf,
    /// Precision, as people name it: `fp32`, `fp16`, `q8`, `q4`, `q4f16` ... `None` where only the
    /// graph itself tells.
    pub(crate) dtype: Option<&'static str>,
}

/// Where the graph that drafts tokens lies, in every layout: it is published in a folder of its own.
const DRAFTER: &str = "assistant/model.onnx";

/// Best first for encoders that overflow in 16 bits.
const EXACT_ORDER: [&str; 5] = ["q8", "q4", "fp32", "fp16", "q4f16"];

/// What all layouts of a role are to be called, in an error.
const EXPECTED: &str = "onnx/decoder_model_merged.onnx or onnx/decoder_model_merged_q4.onnx, \
                        _q4f16, _quantized, _fp16 (or decoder/model.onnx, or a single model.onnx)";

impl Folder {
    /// Finds the graphs of a model folder. `overflows` says that the encoders need more than 16-bit
    /// floats, so that others are preferred.
    ///
    /// # Errors
    /// When the folder lacks a graph that every model has, lacks a precision that was demanded, or
    /// has another layout.
    pub(crate) fn find(path: &Path, dtypes: Dtypes, overflows: bool) -> Result<Self, Error> {
        let encoder = if overflows { EXACT_ORDER } else { ENCODER_ORDER };
        let finder = Finder { folder: path, dtypes, encoder };
        if path.join(genai::FILE).is_file() {
            return finder.by_genai_config();
        }
        if let Some(decoder) = finder.graph(Role::Decoder, "decoder_model_merged")? {
            return finder.merged(decoder);
        }
        if let Some(decoder) = finder.unnamed(Role::Decoder, "decoder/model")? {
            return finder.split(decoder, Names::default());
        }
        match finder.graph(Role::Decoder, "model")? {
            Some(decoder) => Ok(finder.single(decoder, Names::default())),
            None => Err(missing(path, "its decoder", EXPECTED)),
        }
    }
}

/// Looks for the graphs of a folder.
struct Finder<'a> {
    folder: &'a Path,
    dtypes: Dtypes,
    encoder: [&'static str; 5],
}

impl Finder<'_> {
    fn by_genai_config(&self) -> Result<Folder, Error> {
        let genai = GenAi::open(self.folder)?;
        let graph = |role, path: Option<PathBuf>| match path {
            Some(path) if path.is_file() => Ok(Some(self.demand_none(role, path)?)),
            Some(path) => Err(self.named_but_missing(role, &path)),
            None => Ok(None),
        };
        let decoder = graph(Role::Decoder, Some(genai.decoder))?;
        let decoder = decoder.ok_or_else(|| missing(self.folder, "its decoder", EXPECTED))?;
        let embed = graph(Role::Embedding, genai.embedding)?;
        if embed.is_none() {
            return Ok(self.single(decoder, genai.names));
        }
        Ok(Folder {
            layout: FolderLayout::Split,
            vision: graph(Role::Vision, genai.vision)?,
            audio: graph(Role::Audio, genai.audio)?,
            embed,
            ..self.single(decoder, genai.names)
        })
    }

    fn merged(&self, decoder: GraphFile) -> Result<Folder, Error> {
        let embed = self.graph(Role::Embedding, "embed_tokens")?;
        let embed = embed.ok_or_else(|| {
            let expected =
                "onnx/embed_tokens.onnx or onnx/embed_tokens_q4.onnx, _q4f16, _quantized, _fp16";
            missing(self.folder, "its token embeddings", expected)
        })?;
        Ok(Folder {
            layout: FolderLayout::Merged,
            embed: Some(embed),
            vision: self.graph(Role::Vision, "vision_encoder")?,
            audio: self.graph(Role::Audio, "audio_encoder")?,
            ..self.single(decoder, Names::default())
        })
    }

    fn split(&self, decoder: GraphFile, names: Names) -> Result<Folder, Error> {
        let embed = self.unnamed(Role::Embedding, "embedding/model")?;
        let embed = embed
            .ok_or_else(|| missing(self.folder, "its token embeddings", "embedding/model.onnx"))?;
        Ok(Folder {
            layout: FolderLayout::Split,
            embed: Some(embed),
            vision: self.unnamed(Role::Vision, "vision_encoder/model")?,
            audio: self.unnamed(Role::Audio, "audio_encoder/model")?,
            ..self.single(decoder, names)
        })
    }

    fn single(&self, decoder: GraphFile, names: Names) -> Folder {
        let (path, layout) = (self.folder.to_owned(), FolderLayout::Single);
        let drafter = Some(path.join(DRAFTER)).filter(|path| path.is_file());
        Folder { path, layout, names, embed: None, decoder, vision: None, audio: None, drafter }
    }

    /// The file of a role: in the precision that is demanded, else in the preferred one, else in the
    /// best there is.
    fn graph(&self, role: Role, stem: &str) -> Result<Option<GraphFile>, Error> {
        let find = |dtype: &'static str| {
            let (_, suffix) = SUFFIXES.iter().find(|(name, _)| *name == dtype)?;
            let name = format!("{stem}{suffix}.onnx");
            let places = [self.folder.join("onnx").join(&name), self.folder.join(&name)];
            let path = places.into_iter().find(|path| path.is_file())?;
            Some(GraphFile { path, dtype: Some(dtype) })
        };
        let order = match role {
            Role::Embedding | Role::Decoder => &TEXT_ORDER,
            Role::Vision | Role::Audio => &self.encoder,
        };
        let any = SUFFIXES.iter().map(|(dtype, _)| *dtype);
        let wanted = self.dtypes.preferred().into_iter().chain(order.iter().copied()).chain(any);
        let best = wanted.into_iter().find_map(find);
        match self.dtypes.demanded(role) {
            Some(dtype) if best.is_some() => {
                find(dtype).map(Some).ok_or_else(|| self.not_in(role, dtype))
            }
            Some(_) | None => Ok(best),
        }
    }

    /// A file whose name tells no precision.
    fn unnamed(&self, role: Role, stem: &str) -> Result<Option<GraphFile>, Error> {
        let path = self.folder.join(format!("{stem}.onnx"));
        path.is_file().then(|| self.demand_none(role, path)).transpose()
    }

    /// A file whose name tells no precision, unless one was demanded.
    fn demand_none(&self, role: Role, path: PathBuf) -> Result<GraphFile, Error> {
        match self.dtypes.demanded(role) {
            Some(dtype) => Err(self.not_in(role, dtype)),
            None => Ok(GraphFile { path, dtype: None }),
        }
    }

    fn not_in(&self, role: Role, dtype: &str) -> Error {
        let folder = self.folder.display();
        let reason = format!("{role}={dtype}, but {folder} has no {role} graph that is named so");
        Error::Option { name: "dtype", reason }
    }

    fn named_but_missing(&self, role: Role, path: &Path) -> Error {
        let what = match role {
            Role::Embedding => "its token embeddings",
            Role::Decoder => "its decoder",
            Role::Vision => "its vision encoder",
            Role::Audio => "its audio encoder",
        };
        let path = path.strip_prefix(self.folder).unwrap_or(path).display();
        missing(self.folder, what, format!("{path}, which {} names", genai::FILE))
    }
}

fn missing(folder: &Path, what: &'static str, expected: impl Into<String>) -> Error {
    Error::Missing { folder: folder.to_owned(), what, expected: expected.into() }
}

#[cfg(test)]
mod tests;
