//! Graphs in the spellings of several exporters, and damaged ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod bytes;
mod experts;
mod integers;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use prost::Message as _;
use tempfile::TempDir;

use super::source::Source;
use super::{Levers, OptimizeError, OptimizeOptions, Report, find, optimize, roles, write};
use crate::engine::EngineKind;
use crate::engine::ort::set_up::library;
use crate::gemma::config::Config;
use crate::gemma::ports::DecoderPorts;
use crate::graph::Graph;
use crate::graph::edit::{Attribute, Node};
use crate::graph::tensor::{Tensor, element};
use crate::graph::whole::{Body, Side, Whole};

fn make_fast(folder: &TempDir, engine: EngineKind) -> Result<Report, OptimizeError> {
    let library = Some(library());
    let options = OptimizeOptions { engine, library, threads: 1, ..OptimizeOptions::default() };
    optimize(folder.path(), &options)
}

/// A graph of these operators, on the input `x` and some constants.
fn source(nodes: Vec<Node>) -> Source {
    let mut body = Body::named("test");
    body.take("x", element::F32, &[Side::Fixed(1), Side::Open("rows"), Side::Fixed(4)]);
    let numbers = [
        ("half", 0.5),
        ("minus_half", -0.5),
        ("one", 1.0),
        ("two", 2.0),
        ("three", 3.0),
        ("epsilon", 1e-6),
        ("cubed", 0.044_715),
        ("root", 0.797_884_6),
    ];
    body.initializer = numbers.map(|(name, number)| Tensor::floats(name, &[], &[number])).into();
    body.initializer.push(Tensor::floats("weight", &[4], &[1.0, 2.0, 3.0, 4.0]));
    body.initializer.push(Tensor::floats("gate_weight", &[4, 2], &[0.5; 8]));
    body.initializer.push(Tensor::floats("up_weight", &[2, 4], &[0.25; 8]));
    body.node = nodes;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let whole = Whole { graph: Some(body), ..Whole::default() };
    std::fs::write(&path, whole.encode_to_vec()).unwrap();
    Source::open(&path).unwrap()
}

fn nodes(list: &[(&str, &[&str], &str)]) -> Vec<Node> {
    list.iter().map(|(op, inputs, output)| Node::standard(op, inputs, output, &[])).collect()
}

fn check_norm(list: &[(&str, &[&str], &str)], weighted: bool) {
    let source = source(nodes(list));
    let (_, _, last) = list.last().unwrap();
    let norm = source.norm(last).unwrap_or_else(|| panic!("no norm in {list:?}"));
    assert_eq!((norm.of, norm.epsilon, norm.weight.is_some()), ("x", 1e-6, weighted), "{list:?}");
}

#[test]
fn norms_are_read_however_they_are_spelled() {
    let mean: [(&str, &[&str], &str); 2] =
        [("ReduceMean", &["square"], "mean"), ("Add", &["epsilon", "mean"], "sum")];
    let squares: [(&str, &[&str], &str); 2] =
        [("Mul", &["x", "x"], "square"), ("Pow", &["x", "two"], "square")];
    let quotients: [&[(&str, &[&str], &str)]; 5] = [
        &[("Sqrt", &["sum"], "root_sum"), ("Div", &["x", "root_sum"], "quotient")],
        &[("Pow", &["sum", "half"], "root_sum"), ("Div", &["x", "root_sum"], "quotient")],
        &[("Pow", &["sum", "minus_half"], "inverse"), ("Mul", &["x", "inverse"], "quotient")],
        &[
            ("Sqrt", &["sum"], "root_sum"),
            ("Reciprocal", &["root_sum"], "inverse"),
            ("Mul", &["inverse", "x"], "quotient"),
        ],
        &[
            ("Sqrt", &["sum"], "root_sum"),
            ("Div", &["one", "root_sum"], "inverse"),
            ("Mul", &["x", "inverse"], "quotient"),
        ],
    ];
    for square in squares {
        for quotient in quotients {
            let mut list = vec![square];
            list.extend(mean);
            list.extend(quotient);
            check_norm(&list, false);
            list.push(("Cast", &["quotient"], "half_quotient"));
            list.push(("Mul", &["weight", "half_quotient"], "norm"));
            check_norm(&list, true);
        }
    }
}

#[test]
fn what_is_nearly_a_norm_is_none() {
    let list: [(&str, &[&str], &str); 5] = [
        ("Mul", &["x", "x"], "square"),
        ("ReduceMean", &["square"], "mean"),
        ("Add", &["mean", "epsilon"], "sum"),
        ("Sqrt", &["sum"], "root_sum"),
        ("Div", &["x", "root_sum"], "norm"),
    ];
    for (at, (op, inputs, output)) in [
        (0, ("Mul", &["x", "weight"][..], "square")),
        (0, ("Pow", &["x", "three"], "square")),
        (1, ("ReduceSum", &["square"], "mean")),
        (2, ("Sub", &["mean", "epsilon"], "sum")),
        (3, ("Exp", &["sum"], "root_sum")),
        (4, ("Div", &["square", "root_sum"], "norm")),
    ] {
        let mut list = list.to_vec();
        list[at] = (op, inputs, output);
        assert!(source(nodes(&list)).norm("norm").is_none(), "{op} {inputs:?}");
    }
}

/// The gate and up products, then what follows.
fn gated(list: &[(&str, &[&str], &str)]) -> Source {
    let mut all = nodes(&[
        ("MatMul", &["x", "gate_weight"], "gate"),
        ("MatMul", &["x", "gate_weight"], "up"),
    ]);
    all.extend(nodes(list));
    for node in &mut all {
        if node.op_type == "Gelu" {
            let tanh = Attribute::word("approximate", "tanh");
            node.attribute.push(tanh.encode_to_vec());
        }
    }
    source(all)
}

#[test]
fn gated_products_are_read_however_they_are_spelled() {
    let outer: [(&str, &[&str], &str); 5] = [
        ("Tanh", &["inner"], "tangent"),
        ("Add", &["one", "tangent"], "above"),
        ("Mul", &["gate", "half"], "halved"),
        ("Mul", &["halved", "above"], "bent"),
        ("Mul", &["up", "bent"], "gated"),
    ];
    let inner: [&[(&str, &[&str], &str)]; 3] = [
        &[
            ("Pow", &["gate", "three"], "cube"),
            ("Mul", &["cubed", "cube"], "part"),
            ("Add", &["gate", "part"], "whole"),
            ("Mul", &["whole", "root"], "inner"),
        ],
        &[
            ("Mul", &["gate", "gate"], "square"),
            ("Mul", &["square", "gate"], "cube"),
            ("Mul", &["cube", "cubed"], "part"),
            ("Add", &["part", "gate"], "whole"),
            ("Mul", &["root", "whole"], "inner"),
        ],
        &[
            ("Mul", &["gate", "gate"], "square"),
            ("Mul", &["square", "cubed"], "part"),
            ("Add", &["part", "one"], "whole"),
            ("Mul", &["root", "gate"], "outer"),
            ("Mul", &["outer", "whole"], "inner"),
        ],
    ];
    let whole: [&[(&str, &[&str], &str)]; 2] = [
        &[("Gelu", &["gate"], "bent"), ("Mul", &["bent", "up"], "gated")],
        &[("FastGelu", &["gate"], "bent"), ("Mul", &["up", "bent"], "gated")],
    ];
    let spelled = inner.iter().map(|inner| [inner, &outer[..]].concat());
    for list in spelled.chain(whole.iter().map(|list| list.to_vec())) {
        let source = gated(&list);
        let found = source.gated("gated").unwrap_or_else(|| panic!("no gate in {list:?}"));
        assert_eq!((found.gate, found.other), ("gate", "up"), "{list:?}");
    }
}

#[test]
fn other_activations_are_no_gates() {
    for list in [
        &[("Sigmoid", &["gate"][..], "bent"), ("Mul", &["bent", "up"], "gated")][..],
        &[("Mul", &["gate", "up"], "gated")],
        &[("Add", &["gate", "up"], "gated")],
    ] {
        assert!(gated(list).gated("gated").is_none(), "{list:?}");
    }
}

#[test]
fn long_chains_of_factors_end() {
    let mut list = Vec::new();
    let names: Vec<String> = (0..64).map(|at| format!("power{at}")).collect();
    let mut before = "x";
    for name in &names {
        list.push(Node::standard("Mul", &[before, before], name, &[]));
        before = name;
    }
    assert!(source(list).gated(before).is_none());
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-model")
}

/// The demo model's decoder, damaged; it is written as far as that goes.
fn write_damaged(bytes: &[u8]) -> Result<usize, String> {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let onnx = folder.path().join("onnx");
    std::fs::create_dir(&onnx).unwrap();
    for name in ["decoder_model_merged_fp16.onnx_data", "embed_tokens_fp16.onnx"] {
        let from = demo().canonicalize().unwrap().join("onnx").join(name);
        std::os::unix::fs::symlink(from, onnx.join(name)).unwrap();
    }
    std::fs::copy(demo().join("config.json"), folder.path().join("config.json")).unwrap();
    std::fs::write(onnx.join("decoder_model_merged_fp16.onnx"), bytes).unwrap();
    let config = Config::open(folder.path()).map_err(|error| error.to_string())?;
    let found = find(folder.path(), None, &config).map_err(|error| error.to_string())?;
    let graph = Graph::read(&found.decoder.path).map_err(|error| error.to_string())?;
    let ports = DecoderPorts::find(&graph, &found.names, &config);
    let ports = ports.map_err(|error| error.to_string())?;
    let source = Source::open(&found.decoder.path).map_err(|error| error.to_string())?;
    let roles = roles::find(&source, &ports, "logits", &config)?;
    let (levers, scales) = (Levers::default(), onnx.join("scales"));
    let written = write::write(&source, &roles, &ports, &config, levers, &scales);
    let written = written.map_err(|error| error.to_string())?;
    Ok(written.0.graph.unwrap().node.len())
}

fn demo_decoder() -> Vec<u8> {
    std::fs::read(demo().join("onnx/decoder_model_merged_fp16.onnx")).unwrap()
}

#[test]
fn the_demo_decoder_is_written_with_fewer_operators() {
    let operators = write_damaged(&demo_decoder()).unwrap();
    assert!((100..500).contains(&operators), "{operators}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_decoders_never_panic(at in 0_usize..1 << 20, bits in 1_u8.., cut: Option<usize>) {
        let mut bytes = demo_decoder();
        let at = at % bytes.len();
        bytes[at] ^= bits;
        if let Some(cut) = cut {
            bytes.truncate(cut % bytes.len());
        }
        if let Err(error) = write_damaged(&bytes) {
            prop_assert!(!error.is_empty());
        }
    }
}
