//! Every operator of ours against ONNX Runtime: both engines run the same small graph, with random
//! shapes and values, and must agree.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod attention;
mod elementwise;
mod graphs;
mod grouped;
mod lengths;
mod model;
mod norms;
mod products;
mod refusals;

use std::path::Path;

use super::Tract;
use crate::engine::ort::set_up::ort;
use crate::engine::{Dim, Engine, GraphSpec, Tensor};
use crate::error::Error;
use crate::graph::Graph;
use model::Model;

/// Shape and elements of an output.
type Output = (Vec<usize>, Vec<f32>);

/// Loads a model's file as the product does; `dims` in place of fixed sizes, by the input's name.
fn load<E: Engine>(
    engine: &E,
    path: &Path,
    inputs: &[(String, Tensor)],
    dims: &[(&str, &[Dim])],
) -> Result<E::Graph, Error> {
    let graph = Graph::read(path)?;
    let fixed = |shape: &[usize]| shape.iter().map(|&size| Dim::Fixed(size)).collect();
    let dims = graph.inputs.iter().map(|port| {
        let (_, tensor) = inputs.iter().find(|(name, _)| *name == port.name).unwrap();
        let meant = dims.iter().find(|(name, _)| *name == port.name);
        meant.map_or_else(|| fixed(&tensor.shape), |(_, dims)| dims.to_vec())
    });
    let dims = dims.collect();
    engine.load(&GraphSpec::new(&graph, "test", dims))
}

fn run<E: Engine>(
    engine: &E,
    graph: &mut E::Graph,
    inputs: &[(String, Tensor)],
) -> Result<Vec<Output>, Error> {
    let values = inputs.iter().map(|(name, tensor)| Ok((name, engine.enter(tensor.clone())?)));
    let values = values.collect::<Result<Vec<_>, Error>>()?;
    let values: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let outputs = engine.run(graph, &values)?;
    let floats = |value: &E::Value| {
        let (shape, data) = engine.floats(value)?;
        Ok((shape, data.into_owned()))
    };
    outputs.iter().map(floats).collect()
}

/// Runs a model in an engine.
fn answer<E: Engine>(engine: &E, model: &Model, dims: &[(&str, &[Dim])]) -> Vec<Output> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    model.save(&path);
    let mut graph = load(engine, &path, &model.inputs, dims).unwrap();
    run(engine, &mut graph, &model.inputs).unwrap()
}

/// What tract says when it refuses a model.
fn refusal(model: &Model) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    model.save(&path);
    load(&Tract::open(1), &path, &model.inputs, &[]).err().unwrap().to_string()
}

/// Both engines give the same for a model, within `tolerance` of the largest element.
fn agree(model: &Model, dims: &[(&str, &[Dim])], tolerance: f32) {
    let expected = answer(&ort(), model, &[]);
    close(&answer(&Tract::open(1), model, dims), &expected, tolerance);
}

fn close(found: &[Output], expected: &[Output], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (place, ((shape, data), (due, theirs))) in found.iter().zip(expected).enumerate() {
        assert_eq!(shape, due, "shape of output {place}");
        let most = theirs.iter().fold(1e-3_f32, |most, value| most.max(value.abs()));
        for (at, (ours, theirs)) in data.iter().zip(theirs).enumerate() {
            let apart = (ours - theirs).abs() / most;
            assert!(
                apart <= tolerance || ours == theirs,
                "output {place} {shape:?}, element {at}: {ours} is not {theirs}"
            );
        }
    }
}

/// Numbers that look random, the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    /// Floats between -1 and 1.
    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() % 20_001) as f32 / 10_000.0 - 1.0).collect()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 8) as u8).collect()
    }
}
