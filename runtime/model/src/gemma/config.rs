//! What the configuration files of a folder say about a model, checked, with both ways of writing
//! the shape of a layer understood.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;
use crate::folder::Folder;
use crate::sample::Sampling;

/// The facts about a model that its graphs do not tell.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Entries of the vocabulary.
    pub(crate) vocabulary: usize,
    /// Width of an embedding.
    pub(crate) hidden: usize,
    /// Layers of the decoder.
    pub(crate) layers: usize,
    /// Width of the per-layer inputs of one layer; 0 where the model has none.
    pub(crate) per_layer_width: usize,
    /// Longest context that the model was trained for, in tokens.
    pub(crate) context_tokens: usize,
    /// Whether the tokens of a picture see each other, so that a picture must not be cut in two.
    pub(crate) images_see_all: bool,
    /// Sampling that the publisher recommends.
    pub(crate) sampling: Sampling,
    /// Key and value shape of every layer.
    shapes: Vec<KvShape>,
}

/// Heads and head width of a layer's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvShape {
    /// Heads.
    pub(crate) heads: usize,
    /// Width of a head.
    pub(crate) width: usize,
}

/// Layers beyond this are a damaged file, not a model.
const LAYERS_MAX: usize = 1024;

#[derive(Deserialize)]
struct RawText {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    max_position_embeddings: usize,
    global_head_dim: Option<usize>,
    num_global_key_value_heads: Option<usize>,
    layer_types: Option<Vec<String>>,
    per_layer_config: Option<BTreeMap<String, RawLayer>>,
    hidden_size_per_layer_input: Option<usize>,
    use_bidirectional_attention: Option<String>,
}

#[derive(Deserialize)]
struct RawLayer {
    head_dim: Option<usize>,
    num_key_value_heads: Option<usize>,
}

#[derive(Default, Deserialize)]
struct RawGeneration {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    do_sample: Option<bool>,
}

impl Config {
    /// Reads the configuration files of a folder.
    ///
    /// # Errors
    /// When one cannot be read, is no JSON, or says something impossible.
    pub(crate) fn open(folder: &Folder) -> Result<Self, Error> {
        let root: Value = parse_file(&folder.config)?;
        // A text-only conversion has the text fields at the top, a whole model one level down.
        let text = root.get("text_config").filter(|text| text.is_object()).unwrap_or(&root);
        let text: RawText = serde_json::from_value(text.clone())
            .map_err(|error| Error::config(&folder.config, error.to_string()))?;
        let generation = match &folder.generation_config {
            Some(path) => parse_file(path)?,
            None => RawGeneration::default(),
        };
        check(&text).map_err(|reason| Error::config(&folder.config, reason))?;
        let sampling = sampling(&generation).map_err(|reason| {
            Error::config(folder.generation_config.as_deref().unwrap_or(&folder.config), reason)
        })?;
        Ok(Self {
            vocabulary: text.vocab_size,
            hidden: text.hidden_size,
            layers: text.num_hidden_layers,
            per_layer_width: text.hidden_size_per_layer_input.unwrap_or(0),
            context_tokens: text.max_position_embeddings,
            images_see_all: text.use_bidirectional_attention.as_deref() == Some("vision"),
            sampling,
            shapes: shapes(&text, &folder.config)?,
        })
    }

    /// Shape of the keys and values of a layer.
    pub(crate) fn kv_shape(&self, layer: usize) -> Option<KvShape> {
        self.shapes.get(layer).copied()
    }
}

fn parse_file<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = std::fs::read(path).map_err(Error::read(path))?;
    serde_json::from_slice(&text).map_err(|error| Error::config(path, error.to_string()))
}

fn check(text: &RawText) -> Result<(), String> {
    let positive = [
        ("vocab_size", text.vocab_size),
        ("hidden_size", text.hidden_size),
        ("num_hidden_layers", text.num_hidden_layers),
        ("num_key_value_heads", text.num_key_value_heads),
        ("head_dim", text.head_dim),
        ("max_position_embeddings", text.max_position_embeddings),
    ];
    if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(format!("{name} is 0; at least 1 is needed"));
    }
    if text.num_hidden_layers > LAYERS_MAX {
        let layers = text.num_hidden_layers;
        return Err(format!("num_hidden_layers is {layers}; at most {LAYERS_MAX} are accepted"));
    }
    if u32::try_from(text.vocab_size).is_err() {
        return Err(format!("vocab_size is {}, beyond any token id", text.vocab_size));
    }
    Ok(())
}

/// Shapes of all layers: by type where the file tells global ones apart, then by single layer.
fn shapes(text: &RawText, path: &Path) -> Result<Vec<KvShape>, Error> {
    let local = KvShape { heads: text.num_key_value_heads, width: text.head_dim };
    let global = KvShape {
        heads: text.num_global_key_value_heads.unwrap_or(local.heads),
        width: text.global_head_dim.unwrap_or(local.width),
    };
    let kinds = text.layer_types.as_deref().unwrap_or_default();
    let is_global = |layer: usize| kinds.get(layer).is_some_and(|kind| kind == "full_attention");
    let mut shapes: Vec<KvShape> = (0..text.num_hidden_layers)
        .map(|layer| if is_global(layer) { global } else { local })
        .collect();
    for (index, layer) in text.per_layer_config.iter().flatten() {
        let shape = index.parse::<usize>().ok().and_then(|index| shapes.get_mut(index));
        let Some(shape) = shape else {
            let layers = text.num_hidden_layers;
            let reason = format!("per_layer_config names layer {index:?} of {layers} layers");
            return Err(Error::config(path, reason));
        };
        shape.width = layer.head_dim.unwrap_or(shape.width);
        shape.heads = layer.num_key_value_heads.unwrap_or(shape.heads);
    }
    Ok(shapes)
}

fn sampling(raw: &RawGeneration) -> Result<Sampling, String> {
    let published = Sampling::default();
    if raw.do_sample == Some(false) {
        return Ok(Sampling::greedy());
    }
    let temperature = raw.temperature.unwrap_or(published.temperature);
    let top_p = raw.top_p.unwrap_or(published.top_p);
    if !(0.0..=10.0).contains(&temperature) {
        return Err(format!("temperature is {temperature}; 0 to 10 is accepted"));
    }
    if !(0.0..=1.0).contains(&top_p) {
        return Err(format!("top_p is {top_p}; 0 to 1 is accepted"));
    }
    let top_k = raw.top_k.unwrap_or(published.top_k);
    Ok(Sampling { temperature, top_p, top_k, ..published })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::folder::GraphFile;

    const PLAIN: &str = r#"{"vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 3,
        "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128"#;

    fn open(config: &str, generation: Option<&str>) -> Result<Config, Error> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let graph = GraphFile { path: folder.path().into(), dtype: "fp32" };
        Config::open(&Folder {
            path: folder.path().to_owned(),
            config: write("config.json", config),
            generation_config: generation.map(|text| write("generation_config.json", text)),
            embed: graph.clone(),
            decoder: graph,
            vision: None,
            audio: None,
        })
    }

    fn check_shapes(fields: &str, expected: [(usize, usize); 3]) {
        for nested in [true, false] {
            let text = format!("{PLAIN}, {fields}}}");
            let text = if nested { format!(r#"{{"text_config": {text}}}"#) } else { text };
            let config = open(&text, None).unwrap();
            let shapes = [0, 1, 2].map(|layer| config.kv_shape(layer).unwrap());
            assert_eq!(shapes.map(|shape| (shape.heads, shape.width)), expected);
            assert_eq!(config.kv_shape(3), None);
        }
    }

    #[test]
    fn both_ways_of_writing_global_layers_are_read() {
        let kinds = r#""layer_types": ["sliding_attention", "full_attention", "full_attention"]"#;
        check_shapes(&format!(r#"{kinds}, "global_head_dim": 32"#), [(1, 16), (1, 32), (1, 32)]);
        check_shapes(
            &format!(r#"{kinds}, "global_head_dim": 32, "num_global_key_value_heads": 2"#),
            [(1, 16), (2, 32), (2, 32)],
        );
        check_shapes(
            r#""per_layer_config": {"01": {"head_dim": 32},
                "2": {"head_dim": 32, "num_key_value_heads": 2}}"#,
            [(1, 16), (1, 32), (2, 32)],
        );
        check_shapes(r#""global_head_dim": null"#, [(1, 16); 3]);
    }

    fn check_error(config: &str, generation: Option<&str>, expected: &str) {
        let error = open(config, generation).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn errors_name_the_file_and_what_is_accepted() {
        check_error("{", None, "config.json: EOF");
        check_error("{}", None, "config.json: missing field `vocab_size`");
        check_error(&format!("{}}}", PLAIN.replace("64", "0")), None, "vocab_size is 0");
        check_error(&format!("{}}}", PLAIN.replace(": 3", ": 3000")), None, "at most 1024");
        check_error(&format!("{}}}", PLAIN.replace("64", "-1")), None, "invalid value");
        check_error(
            &format!(r#"{PLAIN}, "per_layer_config": {{"7": {{}}}}}}"#),
            None,
            r#"names layer "7" of 3 layers"#,
        );
        check_error(&format!("{PLAIN}}}"), Some("[]"), "generation_config.json: ");
        check_error(&format!("{PLAIN}}}"), Some(r#"{"top_p": 2}"#), "top_p is 2; 0 to 1");
    }

    #[test]
    fn the_published_sampling_is_taken() {
        let generation = r#"{"temperature": 0.5, "top_k": 8}"#;
        let config = open(&format!("{PLAIN}}}"), Some(generation)).unwrap();
        assert_eq!((config.sampling.temperature, config.sampling.top_k), (0.5, 8));
        let greedy = open(&format!("{PLAIN}}}"), Some(r#"{"do_sample": false}"#)).unwrap();
        assert_eq!(greedy.sampling, Sampling::greedy());
    }
}
