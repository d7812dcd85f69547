//! A published decoder, taken apart: its operators by what they make, its tensors by name.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use super::OptimizeError;
use super::notes::ReadNote;
use crate::digest::{self, hexadecimal};
use crate::graph::edit::Node;
use crate::graph::tensor::{Tensor, width};
use crate::graph::whole::Whole;
use crate::mapped::Mapped;

/// Files beyond this are no ONNX files: their format ends there.
const FILE_BYTES_MAX: u64 = 2 << 30;

/// Tensors inside the graph file that are larger than this stay there.
const COPIED_BYTES_MAX: usize = 4 << 10;

/// A published decoder.
pub(super) struct Source {
    /// Its file.
    pub(super) path: PathBuf,
    /// Its folder.
    pub(super) folder: PathBuf,
    /// Its operators, each after what it reads.
    pub(super) nodes: Vec<Node>,
    /// Version of the standard operators.
    pub(super) opset: i64,
    file: Bytes,
    producers: HashMap<String, (usize, usize)>,
    tensors: HashMap<String, Tensor>,
    inputs: HashSet<String>,
}

impl Source {
    /// Reads a decoder.
    ///
    /// # Errors
    /// When the file cannot be read, is no graph, or its operators are not in an order in which they
    /// can run.
    pub(super) fn open(path: &Path) -> Result<Self, OptimizeError> {
        let broken = |reason: String| OptimizeError::graph(path, reason);
        let unread = |source| OptimizeError::Read { path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(unread)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(broken(format!("it has {bytes} bytes, beyond the format of ONNX files")));
        }
        let file = Bytes::from(std::fs::read(path).map_err(unread)?);
        let whole = Whole::read(file.clone()).map_err(broken)?;
        let is_standard = |domain: &str| matches!(domain, "" | "ai.onnx");
        let opset = whole.opset_import.iter().find(|set| is_standard(&set.domain));
        let opset = opset.map_or(1, |set| set.version);
        let body = whole.graph.ok_or_else(|| broken("it holds no graph".into()))?;
        let inputs = body.inputs().map(str::to_owned).collect();
        let named = |tensor: Tensor| (tensor.name.clone(), tensor);
        let mut tensors: HashMap<_, _> = body.initializer.into_iter().map(named).collect();
        tensors.extend(body.node.iter().filter_map(constant).map(named));
        let mut new = Self {
            path: path.to_owned(),
            folder: path.parent().unwrap_or(Path::new(".")).to_owned(),
            nodes: body.node,
            opset,
            file,
            producers: HashMap::new(),
            tensors,
            inputs,
        };
        new.index().map_err(broken)?;
        Ok(new)
    }

    /// Notes what makes each value. Later walks go backwards and end, because here each operator is
    /// seen to come after what it reads.
    fn index(&mut self) -> Result<(), String> {
        for (at, node) in self.nodes.iter().enumerate() {
            for input in node.input.iter().filter(|input| !input.is_empty()) {
                let known = self.tensors.contains_key(input)
                    || self.inputs.contains(input)
                    || self.producers.contains_key(input);
                if !known {
                    return Err(format!("{} reads {input}, which nothing makes", node.op_type));
                }
            }
            for (place, output) in node.output.iter().enumerate() {
                if !output.is_empty() {
                    self.producers.insert(output.clone(), (at, place));
                }
            }
        }
        Ok(())
    }

    /// The operator that makes a value, and which of its outputs the value is.
    pub(super) fn producer(&self, name: &str) -> Option<(&Node, usize)> {
        let (at, place) = self.producers.get(name)?;
        Some((self.nodes.get(*at)?, *place))
    }

    /// A tensor of this name.
    pub(super) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// A tensor to be named in a graph beside this one: by its place where it is large, else with
    /// its numbers.
    pub(super) fn referred(&self, tensor: &Tensor) -> Tensor {
        let raw = &tensor.raw_data;
        let start = (raw.as_ptr() as usize).checked_sub(self.file.as_ptr() as usize);
        let aligned = |at: usize| {
            let width = width(tensor.data_type).and_then(|width| usize::try_from(width).ok());
            width.is_some_and(|width| at.is_multiple_of(width))
        };
        let location = self.path.file_name().and_then(|name| name.to_str());
        match (start, location) {
            (Some(at), Some(location))
                if raw.len() > COPIED_BYTES_MAX && at < self.file.len() && aligned(at) =>
            {
                tensor.beside(location, at as u64, raw.len() as u64)
            }
            _ => tensor.clone(),
        }
    }

    /// The bytes of a tensor, wherever they lie; `None` where they are not all there.
    pub(super) fn numbers(&self, tensor: &Tensor) -> Option<Numbers> {
        let length = usize::try_from(tensor.bytes()?).ok().filter(|length| *length > 0)?;
        if !tensor.is_external() {
            return (tensor.raw_data.len() == length)
                .then(|| Numbers::Inside(tensor.raw_data.clone()));
        }
        let (location, offset, _) = tensor.place()?;
        let mapped = Mapped::open(&self.folder.join(location), offset, length);
        mapped.ok().map(Numbers::Beside)
    }

    /// What tells a file of weights, by its name in the graph, from others of this name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn sampled(&self, file: String) -> Result<ReadNote, OptimizeError> {
        let path = self.folder.join(&file);
        match digest::of_sample(&path) {
            Ok((bytes, sample)) => Ok(ReadNote { file, bytes, sample }),
            Err(source) => Err(OptimizeError::Read { path, source }),
        }
    }

    /// Bytes of the file and their SHA-256.
    pub(super) fn identity(&self) -> (u64, String) {
        (self.file.len() as u64, hexadecimal(&Sha256::digest(&self.file)))
    }
}

/// The bytes of a tensor.
pub(super) enum Numbers {
    /// In the graph file.
    Inside(Bytes),
    /// In another.
    Beside(Mapped),
}

impl Numbers {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inside(bytes) => bytes,
            Self::Beside(mapped) => mapped.bytes(),
        }
    }
}

/// The tensor that a constant stands for.
fn constant(node: &Node) -> Option<Tensor> {
    let output = node.output.first().filter(|_| node.op_type == "Constant")?;
    if let Some(mut tensor) = node.find("value").and_then(|attribute| attribute.t) {
        tensor.name.clone_from(output);
        return Some(tensor);
    }
    if let Some(number) = node.find("value_float") {
        return Some(Tensor::floats(output, &[], &[number.f]));
    }
    let number = node.find("value_int").map(|attribute| vec![attribute.i]);
    let numbers = number.or_else(|| node.find("value_ints").map(|attribute| attribute.ints))?;
    Some(Tensor::integers(output, &numbers))
}
