//! Our operators inside both engines, held against the plain form of what they compute.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attention;
mod columns;
mod experts;
mod product;

use half::f16;
use prost::Message;
use prost::bytes::Bytes;
use tempfile::TempDir;

use super::DOMAIN;
use crate::engine::ort::set_up::ort;
use crate::engine::tract::Tract;
use crate::engine::{Data, Dim, Engine, GraphSpec, Tensor as HostTensor};
use crate::error::Error;
use crate::graph::Graph;
use crate::graph::edit::{Attribute, Node};
use crate::graph::tensor::{Tensor, element};
use crate::graph::whole::{Body, OperatorSet, Side, Whole};

/// Two orders of the same additions differ by this much at most.
const TOLERANCE: f32 = 1e-4;

/// Numbers that follow no pattern, the same each time, between -1 and 1.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(self.0 >> 16).unwrap()) / 32768.0 - 1.0
    }

    fn row(&mut self, width: usize) -> Vec<f32> {
        (0..width).map(|_| self.next()).collect()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() * 127.0 + 128.0) as u8).collect()
    }
}

fn constant(name: &str, element: i32, dims: &[usize], bytes: Vec<u8>) -> Tensor {
    let mut tensor = Tensor::default();
    tensor.name = name.into();
    tensor.data_type = element;
    tensor.dims = dims.iter().map(|&dim| i64::try_from(dim).unwrap()).collect();
    tensor.raw_data = Bytes::from(bytes);
    tensor
}

fn floats(name: &str, dims: &[usize], values: &[f32]) -> Tensor {
    Tensor::floats(name, dims, values)
}

fn halves(name: &str, dims: &[usize], values: &[f32]) -> Tensor {
    let bytes = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
    constant(name, element::F16, dims, bytes)
}

/// A node of ours with one output, `y`.
fn node(op_type: &str, input: &[&str], attributes: &[Attribute]) -> Node {
    Node { domain: DOMAIN.into(), ..Node::standard(op_type, input, "y", attributes) }
}

/// An input of a graph, with what its dimensions mean.
type Input = (&'static str, HostTensor, Vec<Dim>);

fn rows(name: &'static str, width: usize, data: Vec<f32>) -> Input {
    let shape = vec![1, data.len() / width, width];
    let dims = vec![Dim::Fixed(1), Dim::Step, Dim::Fixed(width)];
    (name, HostTensor { shape, data: Data::F32(data) }, dims)
}

fn numbers(name: &'static str, data: Vec<i64>) -> Input {
    let length = data.len();
    let tensor = HostTensor { shape: vec![length], data: Data::I64(data) };
    (name, tensor, vec![Dim::Fixed(length)])
}

/// A graph of one node of ours, in a file.
struct Single {
    _folder: TempDir,
    graph: Graph,
    inputs: Vec<Input>,
}

impl Single {
    /// Writes the graph; `is_beside` puts the constants into a file of their own.
    fn write(
        node: Node,
        width: usize,
        constants: &[Tensor],
        inputs: Vec<Input>,
        is_beside: bool,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut body = Body::named("single");
        body.node.push(node);
        for (name, tensor, dims) in &inputs {
            let sides = dims.iter().map(|dim| match *dim {
                Dim::Fixed(size) => Side::Fixed(size),
                Dim::Step | Dim::Past | Dim::Recent | Dim::Total | Dim::Media => Side::Open("rows"),
            });
            let element = match tensor.data {
                Data::I64(_) => element::I64,
                Data::F32(_) | Data::F16(_) | Data::I32(_) | Data::Bool(_) => element::F32,
            };
            body.take(name, element, &sides.collect::<Vec<_>>());
        }
        body.give("y", element::F32, &[Side::Fixed(1), Side::Open("rows"), Side::Fixed(width)]);
        let mut beside = vec![0; 64];
        for tensor in constants {
            if !is_beside {
                body.initializer.push(tensor.clone());
                continue;
            }
            let (offset, length) = (beside.len() as u64, tensor.raw_data.len() as u64);
            body.initializer.push(tensor.beside("weights", offset, length));
            beside.extend_from_slice(&tensor.raw_data);
            beside.resize(beside.len().next_multiple_of(64), 0);
        }
        std::fs::write(folder.path().join("weights"), beside).unwrap();
        let set = |domain: &str, version| OperatorSet { domain: domain.into(), version };
        let opset_import = vec![set("", 21), set("com.microsoft", 1), set(DOMAIN, 1)];
        let whole = Whole { ir_version: 10, graph: Some(body), opset_import, ..Whole::default() };
        let path = folder.path().join("single.onnx");
        std::fs::write(&path, whole.encode_to_vec()).unwrap();
        Self { graph: Graph::read(&path).unwrap(), _folder: folder, inputs }
    }

    /// What an engine makes of it.
    fn run<E: Engine>(&self, engine: &E) -> Result<Vec<f32>, Error> {
        let dims = self.inputs.iter().map(|(_, _, dims)| dims.clone()).collect();
        let (graph, constants, role) = (&self.graph, Vec::new(), "decoder");
        let mut loaded =
            engine.load(&GraphSpec { constants, ..GraphSpec::new(graph, role, dims) })?;
        let enter = |(name, tensor, _): &Input| Ok((*name, engine.enter(tensor.clone())?));
        let inputs = self.inputs.iter().map(enter).collect::<Result<Vec<_>, Error>>()?;
        let inputs: Vec<(&str, &E::Value)> =
            inputs.iter().map(|(name, value)| (*name, value)).collect();
        let outputs = engine.run(&mut loaded, &inputs)?;
        Ok(engine.floats(&outputs[0])?.1.into_owned())
    }

    /// What both engines make of it, by name.
    fn run_on_both(&self) -> [(&'static str, Result<Vec<f32>, String>); 2] {
        let words = |error: Error| error.to_string();
        let ort = ort();
        [
            ("ort", self.run(&ort).map_err(words)),
            ("tract", self.run(&Tract::open(1)).map_err(words)),
        ]
    }
}

fn check_close(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (at, (one, other)) in found.iter().zip(expected).enumerate() {
        let most = TOLERANCE * other.abs().max(1.0);
        assert!((one - other).abs() <= most, "{name}: {one} at {at}, not {other}");
    }
}
