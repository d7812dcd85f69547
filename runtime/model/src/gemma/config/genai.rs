//! The configuration of a folder that was made for onnxruntime-genai and has no `config.json`: its
//! `genai_config.json` tells the size, and a published size tells the rest.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::parse_file;
use crate::error::Error;
use crate::gemma::variant::Family;

const FILE: &str = "genai_config.json";

#[derive(Deserialize)]
struct Raw {
    model: RawModel,
}

#[derive(Deserialize)]
struct RawModel {
    vocab_size: usize,
    context_length: usize,
    decoder: RawDecoder,
}

#[derive(Deserialize)]
struct RawDecoder {
    hidden_size: usize,
    num_hidden_layers: usize,
    head_size: usize,
    num_key_value_heads: usize,
}

/// What `config.json` would say; `None` where the folder has no `genai_config.json` either.
///
/// # Errors
/// When the file cannot be read, is no JSON, or is that of no published size.
pub(super) fn stand_in(folder: &Path) -> Result<Option<Value>, Error> {
    let path = folder.join(FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let Raw { model } = parse_file(&path)?;
    let (layers, hidden) = (model.decoder.num_hidden_layers, model.decoder.hidden_size);
    let Some(family) = Family::of_published(layers, hidden) else {
        let reason = format!(
            "{layers} layers of {hidden} are no published size; expected a config.json beside it"
        );
        return Err(Error::config(&path, reason));
    };
    Ok(Some(described(family, &model)))
}

fn described(family: Family, model: &RawModel) -> Value {
    let (kind, window, group) = match family {
        Family::E2B => ("gemma4", 512, 5),
        Family::E4B => ("gemma4", 512, 6),
        Family::Unified12B => ("gemma4_unified", 1024, 6),
        Family::A4B26B | Family::Dense31B => ("gemma4", 1024, 6),
    };
    let (shared_layers, per_layer_width, global_heads) = match family {
        Family::E2B => (20, 256, None),
        Family::E4B => (18, 256, None),
        Family::Unified12B => (0, 0, Some(1)),
        Family::A4B26B => (0, 0, Some(2)),
        Family::Dense31B => (0, 0, Some(4)),
    };
    let text = json!({
        "vocab_size": model.vocab_size,
        "hidden_size": model.decoder.hidden_size,
        "num_hidden_layers": model.decoder.num_hidden_layers,
        "num_key_value_heads": model.decoder.num_key_value_heads,
        "head_dim": model.decoder.head_size,
        "max_position_embeddings": model.context_length,
        "global_head_dim": 512,
        "num_global_key_value_heads": global_heads,
        "attention_k_eq_v": global_heads.is_some(),
        "sliding_window": window,
        "sliding_window_pattern": group,
        "num_kv_shared_layers": shared_layers,
        "hidden_size_per_layer_input": per_layer_width,
        "enable_moe_block": family == Family::A4B26B,
        "use_double_wide_mlp": family == Family::E2B,
        "use_bidirectional_attention": global_heads.map(|_| "vision"),
    });
    json!({"model_type": kind, "text_config": text})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use crate::error::Error;
    use crate::gemma::config::{Config, KvShape, LayerKind};

    fn open(text: &str) -> Result<Config, Error> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(super::FILE), text).unwrap();
        Config::open(folder.path())
    }

    fn file(layers: usize, hidden: usize, heads: usize) -> String {
        format!(
            r#"{{"model": {{"vocab_size": 262144, "context_length": 131072, "decoder": {{
                "hidden_size": {hidden}, "num_hidden_layers": {layers}, "head_size": 256,
                "num_key_value_heads": {heads}}}}}}}"#
        )
    }

    fn check(layers: usize, hidden: usize, heads: usize, expected: (&str, usize, [usize; 2])) {
        let config = open(&file(layers, hidden, heads)).unwrap();
        let global = config.kv_shape(layers - 1).unwrap();
        assert_eq!(config.kv_shape(0), Some(KvShape { heads, width: 256 }));
        assert_eq!(config.kind(layers - 1), Some(LayerKind::Global));
        let owners = layers - config.shared_layers;
        let found = (config.variant.to_string(), owners, [global.heads, global.width]);
        assert_eq!(found, (expected.0.to_owned(), expected.1, expected.2));
        assert_eq!(config.images_see_all, expected.1 == layers);
    }

    #[test]
    fn published_sizes_are_known() {
        check(35, 1536, 1, ("E2B", 15, [1, 512]));
        check(42, 2560, 2, ("E4B", 24, [2, 512]));
        check(48, 3840, 8, ("12B", 48, [1, 512]));
        check(30, 2816, 8, ("26B-A4B", 30, [2, 512]));
        check(60, 5376, 16, ("31B", 60, [4, 512]));
    }

    #[test]
    fn other_sizes_need_their_own_configuration() {
        let error = open(&file(3, 64, 1)).unwrap_err().to_string();
        assert!(error.contains("genai_config.json: 3 layers of 64 are no published"), "{error}");
        let error = open("{}").unwrap_err().to_string();
        assert!(error.contains("genai_config.json: missing field `model`"), "{error}");
    }
}
