//! What a model folder holds, from its configuration and the headers of its graphs: no weights are
//! read and no engine is started.

use std::path::Path;

use crate::error::Error;
use crate::folder::{Dtypes, Folder, FolderLayout};
use crate::gemma::config::{Config, LayerKind};
use crate::gemma::open::{GraphInfo, Graphs};
use crate::gemma::ports::{DecoderPorts, KvPorts};
use crate::gemma::variant::{Family, Variant};
use crate::model::KvInfo;

/// What a model folder holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Which of the published sizes it is, or is built like.
    pub variant: Variant,
    /// How its graphs are laid out.
    pub layout: FolderLayout,
    /// Tokens of the longest context that it was trained for.
    pub context_tokens: usize,
    /// Layers of the decoder.
    pub layers: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// The graphs that would be opened.
    pub graphs: Vec<GraphInfo>,
    /// Layers that see a window and have keys and values of their own.
    pub local_layers: usize,
    /// Layers that see all and have keys and values of their own.
    pub global_layers: usize,
    /// Keys and values, as if every layer kept all of them: whether those that see a window can keep
    /// less is found out by the engine.
    pub kv: KvInfo,
}

impl Inspection {
    /// Looks at a folder; `dtype` is the wanted precision, as in
    /// [`Options::dtype`](crate::Options::dtype).
    ///
    /// # Errors
    /// When a file is missing, damaged or not what it should be, or the precision is not known.
    pub fn of(folder: &Path, dtype: Option<&str>) -> Result<Self, Error> {
        let dtypes = dtype.map(Dtypes::parse).transpose()?.unwrap_or_default();
        let config = Config::open(folder)?;
        let overflows = config.variant.family == Family::Unified12B;
        let folder = Folder::find(folder, dtypes, overflows)?;
        let Graphs { decoder, infos: graphs, .. } = Graphs::read(&folder)?;
        let ports = DecoderPorts::find(&decoder, &folder.names, &config)?;
        let of_kind = |kind: LayerKind| ports.kv.iter().filter(move |layer| layer.kind == kind);
        let bytes = |kind: LayerKind| of_kind(kind).map(KvPorts::bytes).sum();
        Ok(Self {
            variant: config.variant,
            layout: folder.layout,
            context_tokens: config.context_tokens,
            layers: config.layers,
            vocabulary: config.vocabulary,
            graphs,
            local_layers: of_kind(LayerKind::Sliding).count(),
            global_layers: of_kind(LayerKind::Global).count(),
            kv: KvInfo {
                local_bytes: bytes(LayerKind::Sliding),
                global_bytes: bytes(LayerKind::Global),
                window_tokens: config.window_tokens,
                keeps_window: false,
            },
        })
    }

    /// Bytes of all graphs on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.graphs.iter().map(|graph| graph.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-model")
    }

    #[test]
    fn the_demo_model_is_read_from_its_headers() {
        let found = Inspection::of(&folder(), None).unwrap();
        assert_eq!(found.variant.to_string(), "built like E2B, 10 layers of 128");
        assert_eq!((found.context_tokens, found.vocabulary), (4_096, 2_304));
        assert_eq!((found.local_layers, found.global_layers), (4, 1));
        // Keys and values in 32 bits, one head of 32 in sliding layers and of 64 in the global one.
        assert_eq!((found.kv.local_bytes, found.kv.global_bytes), (4 * 2 * 32 * 4, 2 * 64 * 4));
        assert_eq!(found.kv.window_tokens, 64);
        let graphs: Vec<_> = found.graphs.iter().map(|graph| (graph.role, graph.dtype)).collect();
        let half = "fp16";
        let expected = [("embedding", half), ("decoder", half), ("vision", half), ("audio", half)];
        assert_eq!(graphs, expected);
        assert!(found.bytes() > 9_000_000);
    }

    #[test]
    fn a_folder_without_a_model_says_what_is_missing() {
        let empty = tempfile::tempdir().unwrap();
        let error = Inspection::of(empty.path(), None).unwrap_err().to_string();
        assert!(error.contains("lacks its configuration"), "{error}");
        let error = Inspection::of(&folder(), Some("q3")).unwrap_err().to_string();
        assert!(error.contains("\"q3\" is none of"), "{error}");
    }
}
