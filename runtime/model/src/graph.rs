//! What a graph file says about itself: its inputs and outputs with their element types and
//! dimensions, its operators, and the files that hold its weights. Engines read the rest.

pub(crate) mod edit;
pub(crate) mod links;
mod onnx;
mod positions;
mod precision;
pub(crate) mod tensor;
mod traffic;
pub(crate) mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::engine::own::DOMAIN;
use crate::error::Error;
use onnx::{EXTERNAL, GraphProto, TensorProto, ValueInfoProto};

/// One graph file and its interface.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    /// The `.onnx` file.
    pub(crate) path: PathBuf,
    /// What it takes, in the order of the file.
    pub(crate) inputs: Vec<Port>,
    /// What it gives, in the order of the file.
    pub(crate) outputs: Vec<Port>,
    /// Operators in use, with their domain unless it is the standard one.
    pub(crate) operators: BTreeSet<String>,
    /// Bytes on disk, weights included.
    pub(crate) bytes: u64,
    /// Bytes of weights that a step with one token reads.
    pub(crate) step_bytes: u64,
    /// Precision of its weights, as people name it.
    pub(crate) dtype: &'static str,
    /// Positions that it can tell apart; `None` where it tells any number apart.
    pub(crate) positions: Option<usize>,
    /// Whether a matrix product is computed in 16-bit floats.
    pub(crate) multiplies_in_f16: bool,
    /// What whoever wrote the file says about it, by name.
    pub(crate) metadata: BTreeMap<String, String>,
}

/// One input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its name in the graph.
    pub(crate) name: String,
    /// What its elements are.
    pub(crate) element: Element,
    /// Its dimensions; `None` where the graph leaves one open.
    pub(crate) dims: Vec<Option<usize>>,
}

/// Element type of a tensor that crosses the border to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    I64,
    I32,
    Bool,
}

impl Element {
    /// Bytes of one element.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 => 2,
            Self::I64 => 8,
            Self::Bool => 1,
        }
    }
}

impl Graph {
    /// Reads the description of a graph and checks that all of its weights are there.
    ///
    /// # Errors
    /// When the file is no whole ONNX file, or weights are missing or shorter than they should be.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let truncated = |reason: String| Error::Truncated { path: path.to_owned(), reason };
        let file = File::open(path).map_err(Error::read(path))?;
        let own_bytes = file.metadata().map_err(Error::read(path))?.len();
        let model = onnx::read(file, own_bytes).map_err(truncated)?;
        let graph = model.graph.ok_or_else(|| truncated("it holds no graph".into()))?;
        if graph.node.is_empty() || graph.output.is_empty() {
            return Err(truncated("the graph has no operators or no outputs".into()));
        }
        if !model.opset_import.iter().any(|set| set.version > 0) {
            return Err(truncated("it names no operator set".into()));
        }
        let mut bytes = own_bytes;
        for (data, needed) in external_files(path, &graph).map_err(truncated)? {
            bytes += check_weights(path, &data, needed)?;
        }
        let initializers: BTreeSet<&str> =
            graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        let inputs = graph.input.iter().filter(|port| !initializers.contains(port.name.as_str()));
        Ok(Self {
            path: path.to_owned(),
            inputs: inputs.map(|info| port(path, info)).collect::<Result<_, _>>()?,
            outputs: graph.output.iter().map(|info| port(path, info)).collect::<Result<_, _>>()?,
            operators: graph.node.iter().map(operator).collect(),
            bytes,
            step_bytes: traffic::step_bytes(&graph),
            dtype: precision::dtype(&graph),
            positions: positions::counted(&graph),
            multiplies_in_f16: precision::multiplies_in_f16(&graph),
            metadata: model.metadata_props.into_iter().map(|to| (to.key, to.value)).collect(),
        })
    }

    /// The input of this name.
    pub(crate) fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    /// The output of this name, with its place among the outputs.
    pub(crate) fn output(&self, name: &str) -> Option<(usize, &Port)> {
        self.outputs.iter().enumerate().find(|(_, port)| port.name == name)
    }

    /// Whether it uses operators of ours.
    pub(crate) fn has_own_operators(&self) -> bool {
        let operators = self.operators.iter().filter_map(|name| name.split_once("::"));
        operators.into_iter().any(|(domain, _)| domain == DOMAIN)
    }

    /// Says that this is not a graph of the role it was opened for.
    pub(crate) fn wrong(&self, role: &'static str, reason: impl Into<String>) -> Error {
        Error::Graph { path: self.path.clone(), role, reason: reason.into() }
    }
}

fn operator(node: &onnx::NodeProto) -> String {
    match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}::{}", node.op_type),
    }
}

fn port(path: &Path, info: &ValueInfoProto) -> Result<Port, Error> {
    let name = info.name.clone();
    let tensor = info.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| {
        let reason = format!("{name} has no tensor type");
        Error::Truncated { path: path.to_owned(), reason }
    })?;
    let element = match tensor.elem_type {
        1 => Element::F32,
        6 => Element::I32,
        7 => Element::I64,
        9 => Element::Bool,
        10 => Element::F16,
        other => {
            let (path, port, element) = (path.to_owned(), name, element_name(other));
            return Err(Error::Element { path, port, element });
        }
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let dims = dims.map(|dim| dim.dim_value.and_then(|value| usize::try_from(value).ok()));
    Ok(Port { name, element, dims: dims.collect() })
}

/// Element types of `onnx.proto3` that no port of ours may have.
fn element_name(kind: i32) -> String {
    match kind {
        2 => "uint8".into(),
        3 => "int8".into(),
        8 => "string".into(),
        11 => "float64".into(),
        16 => "bfloat16".into(),
        17..=20 => "float8".into(),
        other => format!("element type {other}"),
    }
}

/// Every file of weights beside a graph with the bytes it must have at least.
fn external_files(path: &Path, graph: &GraphProto) -> Result<BTreeMap<PathBuf, u64>, String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut files = BTreeMap::new();
    for tensor in graph.initializer.iter().filter(|tensor| tensor.data_location == EXTERNAL) {
        let (location, end) = external_range(tensor)?;
        let needed = files.entry(folder.join(location)).or_insert(0);
        *needed = end.max(*needed);
    }
    Ok(files)
}

/// File and end of a tensor's bytes in it.
fn external_range(tensor: &TensorProto) -> Result<(&Path, u64), String> {
    let entry = |key: &str| {
        tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("{key} of tensor {} is {text:?}, not a number", tensor.name)),
        },
    };
    let location = entry("location").filter(|name| !name.is_empty());
    let location = location.ok_or_else(|| format!("tensor {} names no file", tensor.name))?;
    let location = Path::new(location);
    if !links::is_inside(location) {
        return Err(format!("tensor {} lies outside the folder: {location:?}", tensor.name));
    }
    let length = match (number("length")?, dense_bytes(tensor)) {
        (Some(length), Some(dense)) if length != dense => {
            let name = &tensor.name;
            return Err(format!("{name} has {dense} bytes by its shape, {length} by its length"));
        }
        (length, dense) => length.or(dense).unwrap_or(0),
    };
    let end = number("offset")?.unwrap_or(0).checked_add(length);
    Ok((location, end.ok_or_else(|| format!("tensor {} ends beyond any file", tensor.name))?))
}

/// Bytes of a tensor by its shape, where its element type takes whole bytes.
fn dense_bytes(tensor: &TensorProto) -> Option<u64> {
    let width: u64 = match tensor.data_type {
        2 | 3 | 9 | 17..=20 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 | 14 => 8,
        _ => return None,
    };
    let mut dims = tensor.dims.iter();
    dims.try_fold(width, |bytes, &dim| bytes.checked_mul(u64::try_from(dim).ok()?))
}

/// Bytes of a file of weights, once it is known to be long enough.
fn check_weights(graph: &Path, data: &Path, needed: u64) -> Result<u64, Error> {
    let wrong = |found: String| Error::Weights {
        graph: graph.to_owned(),
        data: data.to_owned(),
        needed,
        found,
    };
    let length = match std::fs::metadata(data) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(wrong("is not a file".into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(wrong("is missing".into()));
        }
        Err(error) => return Err(wrong(format!("cannot be read ({error})"))),
    };
    match length < needed {
        true => Err(wrong(format!("has {length}"))),
        false => Ok(length),
    }
}

#[cfg(test)]
mod tests;
