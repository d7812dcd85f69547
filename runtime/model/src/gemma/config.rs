//! What the configuration files of a folder say about a model, checked, with both ways of writing
//! the shape of a layer understood.

mod genai;
mod rotary;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::variant::{self, Variant};
use crate::error::Error;
use crate::sample::Sampling;
pub(crate) use rotary::Rotary;

/// The facts about a model that its graphs do not tell.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Which of the published sizes it is built like.
    pub(crate) variant: Variant,
    /// Entries of the vocabulary.
    pub(crate) vocabulary: usize,
    /// Width of an embedding.
    pub(crate) hidden: usize,
    /// Layers of the decoder.
    pub(crate) layers: usize,
    /// How many of the last layers use the keys and values of earlier ones.
    pub(crate) shared_layers: usize,
    /// Width of the per-layer inputs of one layer; 0 where the model has none.
    pub(crate) per_layer_width: usize,
    /// Longest context that the model was trained for, in tokens.
    pub(crate) context_tokens: usize,
    /// Tokens that a sliding layer sees, the newest included.
    pub(crate) window_tokens: usize,
    /// Whether the tokens of a picture see each other, so that a picture must not be cut in two.
    pub(crate) images_see_all: bool,
    /// Sampling that the publisher recommends.
    pub(crate) sampling: Sampling,
    /// Kind and key and value shape of every layer.
    kinds: Vec<LayerKind>,
    shapes: Vec<KvShape>,
    /// Turning of sliding and of global layers.
    rotaries: [Rotary; 2],
}

/// Which tokens a layer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerKind {
    /// Those of the window.
    Sliding,
    /// All.
    Global,
}

impl LayerKind {
    /// Tokens that a token sees, itself included; `None` for all.
    pub(crate) fn window(self, config: &Config) -> Option<usize> {
        match self {
            Self::Sliding => Some(config.window_tokens),
            Self::Global => None,
        }
    }
}

/// Heads and head width of a layer's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvShape {
    /// Heads.
    pub(crate) heads: usize,
    /// Width of a head.
    pub(crate) width: usize,
}

/// Layers of a group, the last of which is global, where the file does not say.
const DEFAULT_GROUP: usize = 6;

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
    sliding_window_pattern: Option<usize>,
    sliding_window: Option<usize>,
    num_kv_shared_layers: Option<usize>,
    attention_k_eq_v: Option<bool>,
    enable_moe_block: Option<bool>,
    num_experts: Option<usize>,
    use_double_wide_mlp: Option<bool>,
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
    /// When the folder or a file cannot be read, or a file is no JSON or says something impossible.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        std::fs::read_dir(folder)
            .map_err(|source| Error::Folder { path: folder.to_owned(), source })?;
        let path = folder.join("config.json");
        let root: Value = match path.is_file() {
            true => parse_file(&path)?,
            false => genai::stand_in(folder)?.ok_or_else(|| {
                let (folder, expected) = (folder.to_owned(), "config.json".to_owned());
                Error::Missing { folder, what: "its configuration", expected }
            })?,
        };
        // A text-only conversion has the text fields at the top, a whole model one level down.
        let text = root.get("text_config").filter(|text| text.is_object()).unwrap_or(&root);
        let rotaries = Rotary::of_kinds(text).map_err(|reason| Error::config(&path, reason))?;
        let text: RawText = serde_json::from_value(text.clone())
            .map_err(|error| Error::config(&path, error.to_string()))?;
        check(&text).map_err(|reason| Error::config(&path, reason))?;
        let kinds = layer_kinds(&text).map_err(|reason| Error::config(&path, reason))?;
        Ok(Self {
            variant: facts(&root, &text).variant(),
            vocabulary: text.vocab_size,
            hidden: text.hidden_size,
            layers: text.num_hidden_layers,
            shared_layers: text.num_kv_shared_layers.unwrap_or(0),
            per_layer_width: text.hidden_size_per_layer_input.unwrap_or(0),
            context_tokens: text.max_position_embeddings,
            window_tokens: text.sliding_window.unwrap_or(text.max_position_embeddings),
            images_see_all: text.use_bidirectional_attention.as_deref() == Some("vision"),
            sampling: sampling(folder)?,
            shapes: shapes(&text, &kinds, &path)?,
            kinds,
            rotaries,
        })
    }

    /// Which tokens a layer sees.
    pub(crate) fn kind(&self, layer: usize) -> Option<LayerKind> {
        self.kinds.get(layer).copied()
    }

    /// How the heads of layers of a kind turn.
    pub(crate) fn rotary(&self, kind: LayerKind) -> Rotary {
        let [sliding, global] = self.rotaries;
        match kind {
            LayerKind::Sliding => sliding,
            LayerKind::Global => global,
        }
    }

    /// Shape of the keys and values of a layer.
    pub(crate) fn kv_shape(&self, layer: usize) -> Option<KvShape> {
        self.shapes.get(layer).copied()
    }
}

/// The sampling that `generation_config.json` recommends, which a text-only conversion may lack.
fn sampling(folder: &Path) -> Result<Sampling, Error> {
    let path = folder.join("generation_config.json");
    let raw = if path.is_file() { parse_file(&path)? } else { RawGeneration::default() };
    published_sampling(&raw).map_err(|reason| Error::config(&path, reason))
}

/// What tells the published sizes apart.
fn facts(root: &Value, text: &RawText) -> variant::Facts {
    let kind = root.get("model_type").and_then(Value::as_str).unwrap_or_default();
    variant::Facts {
        layers: text.num_hidden_layers,
        hidden: text.hidden_size,
        is_unified: kind.starts_with("gemma4_unified"),
        has_experts: text.enable_moe_block.unwrap_or(text.num_experts.is_some_and(|n| n > 0)),
        has_per_layer_inputs: text.hidden_size_per_layer_input.is_some_and(|width| width > 0),
        widens: text.use_double_wide_mlp.unwrap_or(false),
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
        ("sliding_window", text.sliding_window.unwrap_or(1)),
    ];
    if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(format!("{name} is 0; at least 1 is needed"));
    }
    if text.num_hidden_layers > LAYERS_MAX {
        let layers = text.num_hidden_layers;
        return Err(format!("num_hidden_layers is {layers}; at most {LAYERS_MAX} are accepted"));
    }
    let (layers, shared) = (text.num_hidden_layers, text.num_kv_shared_layers.unwrap_or(0));
    if shared >= layers {
        return Err(format!("num_kv_shared_layers is {shared} of {layers} layers; one must own"));
    }
    if u32::try_from(text.vocab_size).is_err() {
        return Err(format!("vocab_size is {}, beyond any token id", text.vocab_size));
    }
    Ok(())
}

/// Kinds of all layers: as the file lists them, else one global layer at the end of each group.
fn layer_kinds(text: &RawText) -> Result<Vec<LayerKind>, String> {
    let layers = text.num_hidden_layers;
    let Some(names) = &text.layer_types else {
        let group = text.sliding_window_pattern.unwrap_or(DEFAULT_GROUP).max(1);
        let ends_group = |layer: usize| (layer + 1).is_multiple_of(group) || layer + 1 == layers;
        let kind = |layer| if ends_group(layer) { LayerKind::Global } else { LayerKind::Sliding };
        return Ok((0..layers).map(kind).collect());
    };
    if names.len() != layers {
        return Err(format!("layer_types lists {} of {layers} layers", names.len()));
    }
    let kind = |name: &String| match name.as_str() {
        "sliding_attention" => Ok(LayerKind::Sliding),
        "full_attention" => Ok(LayerKind::Global),
        other => Err(format!(
            "layer_types holds {other:?}; expected sliding_attention or full_attention"
        )),
    };
    names.iter().map(kind).collect()
}

/// Shapes of all layers: by type where the file tells global ones apart, then by single layer.
fn shapes(text: &RawText, kinds: &[LayerKind], path: &Path) -> Result<Vec<KvShape>, Error> {
    let local = KvShape { heads: text.num_key_value_heads, width: text.head_dim };
    // Only layers whose values are their keys have another number of heads.
    let own_heads =
        text.num_global_key_value_heads.filter(|_| text.attention_k_eq_v != Some(false));
    let global = KvShape {
        heads: own_heads.unwrap_or(local.heads),
        width: text.global_head_dim.unwrap_or(local.width),
    };
    let shape = |kind: &LayerKind| match kind {
        LayerKind::Sliding => local,
        LayerKind::Global => global,
    };
    let mut shapes: Vec<KvShape> = kinds.iter().map(shape).collect();
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

fn published_sampling(raw: &RawGeneration) -> Result<Sampling, String> {
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

    const PLAIN: &str = r#"{"vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 3,
        "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128"#;

    fn open(config: &str, generation: Option<&str>) -> Result<Config, Error> {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("config.json", config);
        generation.iter().for_each(|text| write("generation_config.json", text));
        Config::open(folder.path())
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
        let layers = |fields: &str| format!("{PLAIN}, {fields}}}");
        check_error(&layers(r#""sliding_window": 0"#), None, "sliding_window is 0");
        check_error(&layers(r#""num_kv_shared_layers": 3"#), None, "is 3 of 3 layers");
        check_error(&layers(r#""layer_types": []"#), None, "layer_types lists 0 of 3 layers");
        let kinds = r#""layer_types": ["a", "full_attention", "full_attention"]"#;
        check_error(&layers(kinds), None, "layer_types holds \"a\"; expected sliding_attention");
        check_error(
            &format!(r#"{PLAIN}, "per_layer_config": {{"7": {{}}}}}}"#),
            None,
            r#"names layer "7" of 3 layers"#,
        );
        check_error(&format!("{PLAIN}}}"), Some("[]"), "generation_config.json: ");
        check_error(&format!("{PLAIN}}}"), Some(r#"{"top_p": 2}"#), "top_p is 2; 0 to 1");
    }

    #[test]
    fn a_folder_without_a_configuration_is_told_so() {
        let empty = tempfile::tempdir().unwrap();
        let error = Config::open(empty.path()).unwrap_err().to_string();
        assert!(error.ends_with("lacks its configuration; expected config.json"), "{error}");
        let error = Config::open(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("model folder /nowhere: "), "{error}");
    }

    #[test]
    fn kinds_of_layers_follow_the_list_or_the_pattern() {
        let check = |fields: &str, expected: &str| {
            let config = open(&format!("{PLAIN}, {fields}}}"), None).unwrap();
            let kind = |layer| match config.kind(layer).unwrap() {
                LayerKind::Sliding => 's',
                LayerKind::Global => 'g',
            };
            assert_eq!((0..3).map(kind).collect::<String>(), expected, "{fields}");
        };
        check(r#""sliding_window": 8"#, "ssg");
        check(r#""sliding_window_pattern": 2"#, "sgg");
        let listed = r#""layer_types": ["full_attention", "sliding_attention", "full_attention"]"#;
        check(listed, "gsg");
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
