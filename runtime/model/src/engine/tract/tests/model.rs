//! A small graph for a test, written as an ONNX file.

use std::path::Path;

use half::f16;
use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto;

use crate::engine::{Data, Tensor};

/// A graph under construction with the inputs that it is to be run on.
#[derive(Default)]
pub(super) struct Model {
    pub(super) inputs: Vec<(String, Tensor)>,
    nodes: Vec<pb::NodeProto>,
    constants: Vec<pb::TensorProto>,
    outputs: Vec<pb::ValueInfoProto>,
    opset: i64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { opset: 20, ..Self::default() }
    }

    /// With another version of the standard operators.
    pub(super) fn opset(mut self, version: i64) -> Self {
        self.opset = version;
        self
    }

    /// An input with its value.
    pub(super) fn input(mut self, name: &str, shape: &[usize], data: Data) -> Self {
        self.inputs.push((name.into(), Tensor { shape: shape.to_vec(), data }));
        self
    }

    /// An input of floats, whole or half.
    pub(super) fn floats(self, name: &str, shape: &[usize], data: &[f32], half: bool) -> Self {
        let data = match half {
            true => Data::F16(data.iter().copied().map(f16::from_f32).collect()),
            false => Data::F32(data.to_vec()),
        };
        self.input(name, shape, data)
    }

    /// A constant of bytes.
    pub(super) fn bytes(self, name: &str, shape: &[usize], data: Vec<u8>) -> Self {
        self.constant(name, DataType::Uint8, shape, data)
    }

    /// A constant of floats, whole or half.
    pub(super) fn weights(self, name: &str, shape: &[usize], data: &[f32], half: bool) -> Self {
        match half {
            true => {
                let bytes = data.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes());
                self.constant(name, DataType::Float16, shape, bytes.collect())
            }
            false => {
                let bytes = data.iter().flat_map(|value| value.to_le_bytes());
                self.constant(name, DataType::Float, shape, bytes.collect())
            }
        }
    }

    /// A constant of any type.
    pub(super) fn constant(
        mut self,
        name: &str,
        kind: DataType,
        shape: &[usize],
        raw_data: Vec<u8>,
    ) -> Self {
        self.constants.push(pb::TensorProto {
            name: name.into(),
            data_type: kind as i32,
            dims: shape.iter().map(|&size| size as i64).collect(),
            raw_data,
            ..pb::TensorProto::default()
        });
        self
    }

    /// An operator; a dot in its name separates the domain.
    pub(super) fn node(
        mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> Self {
        let (domain, kind) = match operator.split_once("::") {
            Some((domain, kind)) => (domain, kind),
            None => ("", operator),
        };
        self.nodes.push(pb::NodeProto {
            name: format!("node-{}", self.nodes.len()),
            op_type: kind.into(),
            domain: domain.into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: outputs.iter().map(|&name| name.into()).collect(),
            attribute: attributes.iter().map(|(name, value)| value.proto(name)).collect(),
            ..pb::NodeProto::default()
        });
        self
    }

    /// An output of floats.
    pub(super) fn output(mut self, name: &str, half: bool) -> Self {
        let kind = if half { DataType::Float16 } else { DataType::Float };
        self.outputs.push(value_info(name, kind, None));
        self
    }

    /// Writes the file.
    pub(super) fn save(&self, path: &Path) {
        let inputs = self.inputs.iter().map(|(name, tensor)| {
            let kind = match tensor.data {
                Data::F32(_) => DataType::Float,
                Data::F16(_) => DataType::Float16,
                Data::I64(_) => DataType::Int64,
                Data::I32(_) => DataType::Int32,
                Data::Bool(_) => DataType::Bool,
            };
            value_info(name, kind, Some(tensor.shape.len()))
        });
        let graph = pb::GraphProto {
            name: "test".into(),
            node: self.nodes.clone(),
            initializer: self.constants.clone(),
            input: inputs.collect(),
            output: self.outputs.clone(),
            ..pb::GraphProto::default()
        };
        let opset =
            |domain: &str, version| pb::OperatorSetIdProto { domain: domain.into(), version };
        let model = pb::ModelProto {
            ir_version: 10,
            opset_import: vec![opset("", self.opset), opset("com.microsoft", 1)],
            graph: Some(graph),
            ..pb::ModelProto::default()
        };
        std::fs::write(path, model.encode_to_vec()).unwrap();
    }
}

/// The value of an attribute.
pub(super) enum Attribute {
    Int(i64),
    Float(f32),
    Text(&'static str),
}

impl Attribute {
    fn proto(&self, name: &str) -> pb::AttributeProto {
        let mut proto = pb::AttributeProto { name: name.into(), ..pb::AttributeProto::default() };
        match self {
            Self::Int(value) => {
                proto.i = *value;
                proto.r#type = AttributeType::Int as i32;
            }
            Self::Float(value) => {
                proto.f = *value;
                proto.r#type = AttributeType::Float as i32;
            }
            Self::Text(value) => {
                proto.s = value.as_bytes().to_vec();
                proto.r#type = AttributeType::String as i32;
            }
        }
        proto
    }
}

fn value_info(name: &str, kind: DataType, rank: Option<usize>) -> pb::ValueInfoProto {
    let dim = |at: usize| pb::tensor_shape_proto::Dimension {
        value: Some(pb::tensor_shape_proto::dimension::Value::DimParam(format!("{name}_{at}"))),
        ..pb::tensor_shape_proto::Dimension::default()
    };
    let shape = rank.map(|rank| pb::TensorShapeProto { dim: (0..rank).map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: kind as i32, shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    let kind = Some(pb::TypeProto { value, ..pb::TypeProto::default() });
    pb::ValueInfoProto { name: name.into(), r#type: kind, ..pb::ValueInfoProto::default() }
}
