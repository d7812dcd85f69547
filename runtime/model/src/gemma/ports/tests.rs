//! Graphs of all layouts tell their ports; graphs of none are refused with what is wrong.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use super::*;
use crate::engine::Dim;
use crate::folder::Names;
use crate::gemma::config::Config;

/// A model in small: layers 0 and 1 slide, 2 is global, 3 shares.
pub(crate) fn config() -> Config {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"{"vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 4,
        "num_key_value_heads": 1, "head_dim": 4, "global_head_dim": 6, "sliding_window": 4,
        "max_position_embeddings": 128, "num_kv_shared_layers": 1,
        "hidden_size_per_layer_input": 2, "layer_types":
        ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]}"#;
    std::fs::write(folder.path().join("config.json"), text).unwrap();
    Config::open(folder.path()).unwrap()
}

/// An input or output.
pub(crate) fn port(name: &str, element: Element, dims: &[Option<usize>]) -> Port {
    Port { name: name.into(), element, dims: dims.to_vec() }
}

/// A graph of these ports.
pub(crate) fn graph(inputs: Vec<Port>, outputs: Vec<Port>) -> Graph {
    Graph {
        path: PathBuf::from("graph.onnx"),
        inputs,
        outputs,
        operators: Default::default(),
        bytes: 0,
        step_bytes: 0,
        dtype: "fp32",
        positions: None,
        multiplies_in_f16: false,
        metadata: Default::default(),
    }
}

/// A dimension of any size.
pub(crate) const OPEN: Option<usize> = None;

/// Keys and values of the owning layers.
fn kv(prefix: &str, element: Element) -> Vec<Port> {
    let layers = [(0, 4), (1, 4), (2, 6)].into_iter();
    let ports = layers.flat_map(|(layer, width)| {
        ["key", "value"].map(|kind| {
            let name = format!("{prefix}.{layer}.{kind}");
            port(&name, element, &[OPEN, Some(1), OPEN, Some(width)])
        })
    });
    ports.collect()
}

/// A decoder with these inputs beside its keys and values.
pub(crate) fn decoder(extra: Vec<Port>, element: Element) -> Graph {
    let logits = port("logits", element, &[OPEN, OPEN, Some(64)]);
    let outputs = [vec![logits], kv("present", element)].concat();
    graph([extra, kv("past_key_values", element)].concat(), outputs)
}

/// Embeddings of the model in small.
pub(crate) fn embeds() -> Port {
    port("inputs_embeds", Element::F32, &[OPEN, OPEN, Some(8)])
}

/// Which tokens count.
pub(crate) fn mask() -> Port {
    port("attention_mask", Element::I64, &[OPEN, OPEN])
}

/// Token ids.
pub(crate) fn ids() -> Port {
    port("input_ids", Element::I64, &[OPEN, OPEN])
}

fn find(graph: &Graph) -> Result<DecoderPorts, Error> {
    DecoderPorts::find(graph, &Names::default(), &config())
}

#[test]
fn a_merged_decoder_tells_its_ports() {
    let per_layer = port("per_layer_inputs", Element::F32, &[OPEN, OPEN, Some(4), Some(2)]);
    let positions = port("position_ids", Element::I64, &[OPEN, OPEN]);
    let keep = port("num_logits_to_keep", Element::I64, &[]);
    let graph = decoder(vec![embeds(), per_layer, mask(), positions, keep], Element::F16);
    let ports = find(&graph).unwrap();
    assert!(ports.per_layer.is_some() && ports.positions.is_some() && ports.ids.is_none());
    assert!(!ports.knows_pictures());
    assert_eq!(ports.kv.iter().map(KvPorts::bytes).collect::<Vec<_>>(), [16, 16, 24]);
    let config = config();
    let spec = ports.spec(&graph, &config, false);
    assert_eq!(spec.constants, [("num_logits_to_keep", 1)]);
    let [one, step] = [Dim::Fixed(1), Dim::Step];
    assert_eq!(spec.dims[1], [one, step, Dim::Fixed(4), Dim::Fixed(2)]);
    assert_eq!((spec.dims[2].as_slice(), &spec.dims[4]), ([one, Dim::Total].as_slice(), &vec![]));
    assert_eq!(spec.dims[5], [one, one, Dim::Recent, Dim::Fixed(4)]);
    assert_eq!(spec.dims[9], [one, one, Dim::Past, Dim::Fixed(6)]);
    assert_eq!(spec.window.unwrap().layers.len(), 2);
    assert_eq!(ports.spec(&graph, &config, true).constants, [("num_logits_to_keep", 0)]);
}

#[test]
fn a_split_decoder_may_leave_positions_out_and_take_ids() {
    let per_layer = port("per_layer_inputs", Element::F32, &[OPEN, OPEN, Some(8)]);
    let ports = find(&decoder(vec![embeds(), mask(), per_layer, ids()], Element::F32)).unwrap();
    assert!(ports.positions.is_none() && ports.keep.is_none());
    assert!(ports.knows_pictures());
    let text = find(&decoder(vec![ids(), mask()], Element::F32)).unwrap();
    assert!(text.embeds.is_none() && !text.knows_pictures());
}

#[test]
fn names_may_be_others() {
    let mut graph = decoder(vec![embeds(), mask()], Element::F32);
    for port in graph.inputs.iter_mut().chain(&mut graph.outputs) {
        port.name = port.name.replace("past_key_values.", "old/").replace("present.", "new/");
        port.name = port.name.replace("logits", "scores");
    }
    let names = Names {
        past_keys: "old/%d.key".into(),
        past_values: "old/%d.value".into(),
        present_keys: "new/%d.key".into(),
        present_values: "new/%d.value".into(),
        logits: "scores".into(),
        ..Names::default()
    };
    assert_eq!(DecoderPorts::find(&graph, &names, &config()).unwrap().kv.len(), 3);
}

fn check_error(graph: &Graph, expected: &str) {
    let error = find(graph).unwrap_err().to_string();
    assert!(error.contains("graph.onnx is not a Gemma 4 decoder graph: "), "{error}");
    assert!(error.contains(expected), "{error}");
}

/// A text decoder with one port changed or added.
fn check_changed(name: &str, change: impl Fn(&mut Port), expected: &str) {
    let mut graph = decoder(vec![ids(), mask()], Element::F32);
    let ports = graph.inputs.iter_mut().chain(&mut graph.outputs);
    ports.filter(|port| port.name == name).for_each(change);
    check_error(&graph, expected);
}

#[test]
fn errors_name_the_port_and_what_would_be_right() {
    check_error(&decoder(vec![mask()], Element::F32), "expected inputs_embeds or input_ids");
    check_error(&graph(vec![ids()], vec![ids()]), "it takes no past_key_values");
    let odd = port("beam_index", Element::I64, &[OPEN]);
    check_error(&decoder(vec![ids(), odd], Element::F32), "it takes beam_index, which no known");
    let wide = port("per_layer_inputs", Element::F32, &[OPEN, OPEN, Some(9)]);
    check_error(
        &decoder(vec![embeds(), wide], Element::F32),
        "per_layer_inputs has 9 values per token, but config.json has 4 layers of 2",
    );
    check_changed("input_ids", |port| port.dims.truncate(1), "input_ids has rank 1; expected [2]");
    check_changed("attention_mask", |port| port.dims[0] = Some(2), "attention_mask has batch 2");
    check_changed("logits", |port| port.dims[2] = Some(63), "vocab_size in config.json is 64");
    check_changed("logits", |port| port.element = Element::I64, "holds I64; expected floats");
    check_changed("logits", |port| port.name = "hidden".into(), "expected logits");
    let past = "past_key_values.1.key";
    check_changed(past, |port| port.dims.truncate(3), "has rank 3; expected [4]");
    check_changed(past, |port| port.name = "past_key_values.9.key".into(), "is missing");
    check_changed("present.0.value", |port| port.name = "x".into(), "output present.0.value is");
}

#[test]
fn owning_layers_must_be_as_many_as_the_configuration_says() {
    let mut fewer = decoder(vec![ids(), mask()], Element::F32);
    fewer.inputs.retain(|port| !port.name.starts_with("past_key_values.2."));
    check_error(&fewer, "2 layers have keys and values of their own; expected 3");
    let mut beyond = decoder(vec![ids(), mask()], Element::F32);
    for port in beyond.inputs.iter_mut().chain(&mut beyond.outputs) {
        port.name = port.name.replace(".2.", ".7.");
    }
    check_error(&beyond, "past_key_values.7.key is none of 4 layers");
}

fn embedding(inputs: Vec<Port>) -> Result<EmbedPorts, Error> {
    let per_layer = port("per_layer_inputs", Element::F32, &[OPEN, OPEN, Some(8)]);
    EmbedPorts::find(&graph(inputs, vec![embeds(), per_layer]), &Names::default(), &config())
}

#[test]
fn an_embedding_graph_may_put_features_in_place() {
    let features = |name| port(name, Element::F16, &[OPEN, Some(8)]);
    assert!(!embedding(vec![ids()]).unwrap().merges());
    let merging = vec![ids(), features("image_features"), features("audio_features")];
    let ports = embedding(merging).unwrap();
    assert!(ports.merges() && ports.image_features.is_some() && ports.audio_features.is_some());
    let error = embedding(vec![ids(), features("other")]).unwrap_err().to_string();
    assert!(error.contains("it takes input_ids, other; expected input_ids"), "{error}");
    let narrow = port("image_features", Element::F32, &[OPEN, Some(7)]);
    let error = embedding(vec![ids(), narrow]).unwrap_err().to_string();
    assert!(error.contains("image_features has width 7, but hidden_size"), "{error}");
}

/// A drafter for the model in small, with some of its ports in another form.
fn drafter(changes: &[Port]) -> Graph {
    let kv = |name: &str, width| port(name, Element::F32, &[OPEN, Some(1), OPEN, Some(width)]);
    let inputs = vec![
        port("inputs_embeds", Element::F32, &[OPEN, OPEN, Some(16)]),
        port("position_ids", Element::I64, &[OPEN, OPEN]),
        mask(),
        kv("shared_kv.sliding_attention.key", 4),
        kv("shared_kv.sliding_attention.value", 4),
        kv("shared_kv.full_attention.key", 6),
        kv("shared_kv.full_attention.value", 6),
    ];
    let outputs = vec![
        port("logits", Element::F32, &[OPEN, OPEN, Some(64)]),
        port("projected_state", Element::F32, &[OPEN, OPEN, Some(8)]),
    ];
    let changed = |ports: Vec<Port>| -> Vec<Port> {
        let other = |port: &Port| changes.iter().find(|other| other.name == port.name).cloned();
        ports.into_iter().map(|port| other(&port).unwrap_or(port)).collect()
    };
    graph(changed(inputs), changed(outputs))
}

#[test]
fn a_drafter_tells_which_keys_and_values_it_reads() {
    let ports = DrafterPorts::find(&drafter(&[]), &config()).unwrap();
    let borrowed: Vec<_> = ports.kv.iter().map(|kv| (kv.layer, kv.rows)).collect();
    assert_eq!(borrowed, [(1, Some(5)), (2, None)]);
    assert_eq!((ports.logits, ports.state), (0, 1));
}

#[test]
fn a_drafter_for_another_model_is_refused() {
    let refused = |graph: Graph, expected: &str| {
        let error = DrafterPorts::find(&graph, &config()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let floats = |name: &str, dims: &[Option<usize>]| port(name, Element::F32, dims);
    let wide = floats("inputs_embeds", &[OPEN, OPEN, Some(32)]);
    refused(drafter(&[wide]), "width 32, but twice hidden_size in config.json is 16");
    let key = floats("shared_kv.full_attention.key", &[OPEN, Some(2), OPEN, Some(6)]);
    refused(drafter(&[key]), "the decoder has 1 heads of 6 numbers");
    let state = floats("projected_state", &[OPEN, OPEN, Some(9)]);
    refused(drafter(&[state]), "width 9, but hidden_size in config.json is 8");
    let mut buffered = drafter(&[]);
    buffered.operators.insert("com.microsoft::GroupQueryAttention".into());
    refused(buffered, "export it with the standard Attention operators");
    refused(graph(vec![embeds()], Vec::new()), "twice hidden_size");
    let mut unknown = drafter(&[]);
    unknown.inputs.push(floats("temperature", &[OPEN]));
    refused(unknown, "of which some are unknown");
}
