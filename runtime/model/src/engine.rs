//! The seam between Gemma and what runs its graphs. A value stays in the engine's own form from one
//! run to the next, so that the KV cache never passes through host memory that is not the engine's.

mod device;
pub(crate) mod ort;
pub(crate) mod own;
pub(crate) mod tract;
mod window;

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use half::f16;

use crate::error::Error;
use crate::graph::{Element, Graph};
pub use device::Device;

/// What runs the graphs of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// ONNX Runtime, a library loaded at run time.
    #[default]
    Ort,
    /// tract, compiled in; for machines without an ONNX Runtime.
    Tract,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ort => "ort",
            Self::Tract => "tract",
        })
    }
}

impl FromStr for EngineKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "ort" => Ok(Self::Ort),
            "tract" => Ok(Self::Tract),
            _ => Err(Error::Option {
                name: "engine",
                reason: format!("{name:?} is neither ort nor tract"),
            }),
        }
    }
}

/// Runs graphs.
pub(crate) trait Engine: Send {
    /// Which engine it is.
    const KIND: EngineKind;
    /// A graph, ready to run.
    type Graph: Send;
    /// A tensor in the engine's own form; cheap to keep.
    type Value: Send + Sync;

    /// Where it computes.
    fn device(&self) -> Device {
        Device::Processor
    }

    /// Makes a graph ready to run.
    ///
    /// # Errors
    /// When the engine cannot read the graph, or lacks one of its operators.
    fn load(&self, spec: &GraphSpec<'_>) -> Result<Self::Graph, Error>;

    /// Takes a tensor over from the host.
    ///
    /// # Errors
    /// When shape and data disagree.
    fn enter(&self, tensor: Tensor) -> Result<Self::Value, Error>;

    /// Runs a graph; `inputs` go by name, outputs come in the order of the graph file.
    ///
    /// # Errors
    /// When an input is missing or has the wrong shape, or an operator fails.
    fn run(
        &self,
        graph: &mut Self::Graph,
        inputs: &[(&str, &Self::Value)],
    ) -> Result<Vec<Self::Value>, Error>;

    /// Elements of a floating-point value as `f32`, with its shape.
    ///
    /// # Errors
    /// When the value holds something else.
    fn floats<'v>(&self, value: &'v Self::Value) -> Result<(Vec<usize>, Cow<'v, [f32]>), Error>;

    /// The first `rows` rows of a value `[batch, heads, rows, width]`.
    ///
    /// # Errors
    /// When the value has another rank or fewer rows.
    fn first_rows(&self, value: &Self::Value, rows: usize) -> Result<Self::Value, Error>;

    /// The last `rows` rows of a value `[batch, heads, rows, width]`.
    ///
    /// # Errors
    /// When the value has another rank or fewer rows.
    fn last_rows(&self, value: &Self::Value, rows: usize) -> Result<Self::Value, Error>;

    /// Whether a graph takes a shorter past in the layers of its [`Window`] than in the others.
    fn takes_recent(&self, graph: &Self::Graph) -> bool;

    /// The last `count` elements of a floating-point value.
    ///
    /// # Errors
    /// When the value holds something else, or fewer.
    fn last_floats(&self, value: &Self::Value, count: usize) -> Result<Vec<f32>, Error> {
        let (_, all) = self.floats(value)?;
        let last = all.len().checked_sub(count).and_then(|at| all.get(at..));
        let last = last.ok_or_else(|| too_few(all.len(), count))?;
        Ok(last.to_vec())
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

fn too_few(given: usize, wanted: usize) -> Error {
    Error::engine("engine", "a tensor is too small", format!("{given} of {wanted} elements"))
}

/// What an engine must know to load a graph.
pub(crate) struct GraphSpec<'a> {
    /// The graph file and its interface.
    pub(crate) graph: &'a Graph,
    /// What the graph is for, in words.
    pub(crate) role: &'static str,
    /// What each input's dimensions mean, in the order of the graph's inputs.
    pub(crate) dims: Vec<Vec<Dim>>,
    /// Integer inputs that never change, by name; they are not given to `run`.
    pub(crate) constants: Vec<(&'a str, i64)>,
    /// The layers of which only the end of the past is needed.
    pub(crate) window: Option<Window<'a>>,
    /// Outputs that only go in again with the next run: they may stay where the graph computes.
    pub(crate) given_back: Vec<&'a str>,
    /// Whether it does little else than to look up rows of tables, which are large: it computes on the
    /// processor, wherever the others do.
    pub(crate) reads_tables: bool,
}

impl<'a> GraphSpec<'a> {
    /// A graph of a role, and what its inputs' dimensions mean; nothing else is known of it.
    pub(crate) fn new(graph: &'a Graph, role: &'static str, dims: Vec<Vec<Dim>>) -> Self {
        let (constants, given_back) = (Vec::new(), Vec::new());
        Self { graph, role, dims, constants, window: None, given_back, reads_tables: false }
    }
}

/// The layers of a decoder that see a window only, and what their lengths depend on.
#[derive(Clone, Debug)]
pub(crate) struct Window<'a> {
    /// Keys and values of the past, by the names of the inputs; with those of the outputs.
    pub(crate) layers: Vec<([&'a str; 2], [&'a str; 2])>,
    /// Input of the positions, `[1, step]`, where the graph has one.
    pub(crate) positions: Option<&'a str>,
    /// An input whose second dimension are the tokens of the step.
    pub(crate) step: Option<&'a str>,
    /// An input whose second dimension are all tokens.
    pub(crate) total: Option<&'a str>,
}

/// What a dimension of an input means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Tokens of this step, at least one.
    Step,
    /// Tokens in the KV cache before this step.
    Past,
    /// Tokens in the KV cache of a sliding layer before this step: at most as many as `Past`, and
    /// just as many where the engine does not take fewer.
    Recent,
    /// Tokens in the KV cache after this step.
    Total,
    /// Patches of a picture, frames of sound, or rows of features; of those there may be none.
    Media,
}

/// A tensor of the host, row-major.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// Its dimensions.
    pub(crate) shape: Vec<usize>,
    /// Its elements.
    pub(crate) data: Data,
}

/// Elements of a [`Tensor`].
#[derive(Clone, Debug)]
pub(crate) enum Data {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
}

impl Tensor {
    /// Floats as the element type that a port asks for.
    ///
    /// # Errors
    /// When the port takes no floats.
    pub(crate) fn floats(shape: Vec<usize>, data: Vec<f32>, to: Element) -> Result<Self, String> {
        let data = match to {
            Element::F32 => Data::F32(data),
            Element::F16 => Data::F16(data.into_iter().map(f16::from_f32).collect()),
            Element::I64 | Element::I32 | Element::Bool => {
                return Err(format!("takes {to:?} where floats are due"));
            }
        };
        Ok(Self { shape, data })
    }

    /// Integers as the element type that a port asks for.
    ///
    /// # Errors
    /// When the port takes no integers, or narrower ones than these.
    pub(crate) fn integers(shape: Vec<usize>, data: Vec<i64>, to: Element) -> Result<Self, String> {
        let data = match to {
            Element::I64 => Data::I64(data),
            Element::I32 => {
                let narrow = data.into_iter().map(i32::try_from).collect::<Result<_, _>>();
                Data::I32(narrow.map_err(|_| "takes 32-bit integers, which overflow".to_owned())?)
            }
            Element::Bool => Data::Bool(data.into_iter().map(|value| value != 0).collect()),
            Element::F32 | Element::F16 => {
                return Err(format!("takes {to:?} where integers are due"));
            }
        };
        Ok(Self { shape, data })
    }
}

/// Copies some rows of each head of `[heads, of_rows, width]`; they lie apart in memory.
fn copy_rows<T: Copy>(data: &[T], of_rows: usize, width: usize, rows: Range<usize>) -> Vec<T> {
    let stride = of_rows * width;
    let heads = if stride == 0 { &[] } else { data };
    let part = rows.start * width..rows.end * width;
    heads.chunks_exact(stride.max(1)).flat_map(|head| &head[part.clone()]).copied().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn engines_are_named_as_they_are_written() {
        for kind in [EngineKind::Ort, EngineKind::Tract] {
            assert_eq!(kind.to_string().parse::<EngineKind>().unwrap(), kind);
        }
        let error = "onnx".parse::<EngineKind>().unwrap_err().to_string();
        assert_eq!(error, "option engine: \"onnx\" is neither ort nor tract");
    }

    #[test]
    fn rows_are_taken_of_every_head() {
        let data: Vec<u8> = (0..12).collect();
        assert_eq!(copy_rows(&data, 3, 2, 0..1), [0, 1, 6, 7]);
        assert_eq!(copy_rows(&data, 3, 2, 1..3), [2, 3, 4, 5, 8, 9, 10, 11]);
        assert_eq!(copy_rows(&data, 3, 2, 0..3), data);
        assert!(copy_rows(&data, 3, 2, 3..3).is_empty());
        assert!(copy_rows::<u8>(&[], 0, 2, 0..0).is_empty());
    }

    #[test]
    fn elements_follow_the_port() {
        let tensor = Tensor::integers(vec![2], vec![1, 0], Element::Bool).unwrap();
        assert!(matches!(tensor.data, Data::Bool(data) if data == [true, false]));
        let overflow = Tensor::integers(vec![1], vec![i64::MAX], Element::I32);
        assert_eq!(overflow.unwrap_err(), "takes 32-bit integers, which overflow");
        assert!(Tensor::floats(vec![1], vec![1.0], Element::I64).is_err());
    }
}
