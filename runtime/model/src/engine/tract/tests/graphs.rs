//! Whole graphs of a model folder: both engines give the same on random inputs, for several lengths
//! of the step, of the past, and of the medium.

use std::path::{Path, PathBuf};

use super::{Numbers, Output, close, ort, run};
use crate::engine::tract::Tract;
use crate::engine::{Data, Dim, Engine, GraphSpec, Tensor};
use crate::graph::{Element, Graph, Port};

/// Lengths with which a graph is run: past, step, medium.
const LENGTHS: [[usize; 3]; 3] = [[0, 9, 144], [9, 1, 288], [21, 40, 144]];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-model/onnx")
}

/// What the dimensions of an input mean, by the names that published conversions use.
fn dims(port: &Port) -> Vec<Dim> {
    let fixed = |at: usize| match port.dims.get(at).copied().flatten() {
        Some(size) => Dim::Fixed(size),
        None => Dim::Fixed(1),
    };
    let mut dims: Vec<Dim> = (0..port.dims.len()).map(fixed).collect();
    let meant = match port.name.as_str() {
        name if name.starts_with("past_key_values") => (2, Dim::Past),
        "attention_mask" => (1, Dim::Total),
        "num_logits_to_keep" => return dims,
        "image_features" | "audio_features" => (0, Dim::Media),
        "inputs_embeds" | "per_layer_inputs" | "position_ids" | "input_ids" => (1, Dim::Step),
        _ => (1, Dim::Media),
    };
    if meant.0 > 0 {
        dims[0] = Dim::Fixed(1);
    }
    dims[meant.0] = meant.1;
    if port.name == "pixel_position_ids" {
        dims[2] = Dim::Fixed(2);
    }
    dims
}

/// An input of these lengths.
fn tensor(port: &Port, lengths: [usize; 3], numbers: &mut Numbers) -> Tensor {
    let [past, step, media] = lengths;
    let size = |dim: &Dim| match *dim {
        Dim::Fixed(size) => size,
        Dim::Step => step,
        Dim::Past | Dim::Recent => past,
        Dim::Total => past + step,
        // None of the placeholders is there that features are for.
        Dim::Media if port.dims.len() == 2 && port.element != Element::Bool => 0,
        Dim::Media => media,
    };
    let shape: Vec<usize> = dims(port).iter().map(size).collect();
    let count = shape.iter().product();
    let integers = |numbers: &mut Numbers| -> Vec<i64> {
        match port.name.as_str() {
            "attention_mask" => vec![1; count],
            "position_ids" => (past..past + step).map(|at| at as i64).collect(),
            // Rows of twelve patches.
            "pixel_position_ids" => (0..count as i64)
                .map(|at| if at % 2 == 0 { at / 2 % 12 } else { at / 24 })
                .collect(),
            _ => (0..count).map(|_| numbers.below(200) as i64).collect(),
        }
    };
    let data = match port.element {
        Element::F32 => Data::F32(numbers.floats(count)),
        Element::F16 => {
            Data::F16(numbers.floats(count).into_iter().map(half::f16::from_f32).collect())
        }
        Element::I64 => Data::I64(integers(numbers)),
        Element::I32 => Data::I32(integers(numbers).into_iter().map(|at| at as i32).collect()),
        // The last frames are padding.
        Element::Bool => Data::Bool((0..count).map(|at| at + 17 < count).collect()),
    };
    Tensor { shape, data }
}

fn outputs<E: Engine>(engine: &E, graph: &Graph) -> Vec<Vec<Output>> {
    let keep = graph.input("num_logits_to_keep").map(|port| (port.name.as_str(), 1));
    let dims = graph.inputs.iter().map(dims).collect();
    let constants = keep.into_iter().collect();
    let mut loaded =
        engine.load(&GraphSpec { constants, ..GraphSpec::new(graph, "test", dims) }).unwrap();
    let at = |lengths: [usize; 3]| {
        let mut numbers = Numbers(7);
        let ports = graph.inputs.iter().filter(|port| port.name != "num_logits_to_keep");
        let inputs: Vec<(String, Tensor)> =
            ports.map(|port| (port.name.clone(), tensor(port, lengths, &mut numbers))).collect();
        run(engine, &mut loaded, &inputs).unwrap()
    };
    LENGTHS.map(at).into()
}

fn check(path: &Path) {
    let graph = Graph::read(path).unwrap();
    let (ours, theirs) = (outputs(&Tract::open(1), &graph), outputs(&ort(), &graph));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        close(ours, theirs, 2e-4);
    }
}

#[test]
fn every_graph_of_the_demo_model_agrees_with_onnxruntime() {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "onnx"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 4, "{paths:?}");
    for path in paths {
        check(&path);
    }
}
