//! A whole graph file: read with everything in it, or written anew.

use prost::Message;
use prost::bytes::Bytes;

use super::edit::Node;
use super::onnx::{DimensionProto, ShapeProto, TensorTypeProto, TypeProto, ValueInfoProto};
use super::tensor::{Entry, Tensor};

/// A graph file. Fields follow `onnx.proto3`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Whole {
    #[prost(int64, tag = "1")]
    pub(crate) ir_version: i64,
    #[prost(string, tag = "2")]
    pub(crate) producer_name: String,
    #[prost(string, tag = "3")]
    pub(crate) producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) graph: Option<Body>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    pub(crate) metadata_props: Vec<Entry>,
}

/// Operators, weights and ports.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Body {
    #[prost(message, repeated, tag = "1")]
    pub(crate) node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

/// Which version of which operators.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OperatorSet {
    #[prost(string, tag = "1")]
    pub(crate) domain: String,
    #[prost(int64, tag = "2")]
    pub(crate) version: i64,
}

/// One dimension of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// A number.
    Fixed(usize),
    /// Open, with a name.
    Open(&'static str),
}

impl Whole {
    /// Reads a file; large tensors stay slices of `bytes`.
    ///
    /// # Errors
    /// When the bytes are no graph file.
    pub(crate) fn read(bytes: Bytes) -> Result<Self, String> {
        Self::decode(bytes).map_err(|error| error.to_string())
    }
}

impl Body {
    /// A graph without anything in it.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds an input.
    pub(crate) fn take(&mut self, name: &str, element: i32, sides: &[Side]) {
        self.input.push(port(name, element, sides));
    }

    /// Adds an output.
    pub(crate) fn give(&mut self, name: &str, element: i32, sides: &[Side]) {
        self.output.push(port(name, element, sides));
    }

    /// Gives the files that weights lie in the names that `to` has for theirs, if it has one.
    pub(crate) fn relocate<'n>(&mut self, to: impl Fn(&str) -> Option<&'n str>) {
        for tensor in self.initializer.iter_mut().filter(|tensor| tensor.is_external()) {
            for entry in tensor.external_data.iter_mut().filter(|entry| entry.key == "location") {
                if let Some(name) = to(&entry.value) {
                    name.clone_into(&mut entry.value);
                }
            }
        }
    }

    /// Names of the inputs.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &str> {
        self.input.iter().map(|port| port.name.as_str())
    }
}

fn port(name: &str, element: i32, sides: &[Side]) -> ValueInfoProto {
    let dim = sides.iter().map(|side| match *side {
        Side::Fixed(size) => {
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            DimensionProto { dim_value: Some(size), dim_param: None }
        }
        Side::Open(name) => DimensionProto { dim_value: None, dim_param: Some(name.into()) },
    });
    let shape = Some(ShapeProto { dim: dim.collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: element, shape });
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type }) }
}
