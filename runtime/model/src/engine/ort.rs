//! ONNX Runtime as the engine. The library is loaded at run time, once for the whole process.

mod library;
mod operators;
mod place;
#[cfg(test)]
pub(crate) mod set_up;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use half::f16;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor as OrtTensor, TensorElementType, ValueType};

use super::own::shared::Shared;
use super::{Data, Device, Engine, EngineKind, GraphSpec, Tensor, copy_rows, too_few, window};
use crate::error::Error;
use crate::graph::links;
use place::Place;

const NAME: &str = "onnxruntime";

/// Where ONNX Runtime looks for the weights of a graph that it gets as bytes.
const WEIGHTS_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// ONNX Runtime.
pub(crate) struct Ort {
    environment: Environment,
    threads: usize,
    place: Place,
}

/// A session with the inputs that never change.
pub(crate) struct OrtGraph {
    session: Session,
    constants: Vec<(String, DynValue)>,
    role: &'static str,
    takes_recent: bool,
    place: Place,
    /// Its outputs by name, each with whether it stays where the graph computes.
    outputs: Vec<(String, bool)>,
}

impl Ort {
    /// Loads the library; `threads` 0 lets it take one per core.
    ///
    /// # Errors
    /// When no library is found or it is too old; the message says where it was looked for. When a
    /// device is demanded that it cannot compute on.
    pub(crate) fn open(
        library: Option<&Path>,
        threads: usize,
        device: Device,
    ) -> Result<Self, Error> {
        let environment = library::environment(library)?;
        let place = Place::choose(&environment, device)?;
        Ok(Self { environment, threads, place })
    }

    fn builder(&self, threads: usize, place: Place) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            // A daemon that waits must not burn a core.
            .with_intra_op_spinning(false)?
            // Every step has another shape, so a remembered pattern never fits.
            .with_memory_pattern(false)?
            .with_log_level(LogLevel::Warning)?
            .with_execution_providers(place.providers())?;
        Ok(builder)
    }

    /// A session of a graph that consists of our operators. These have threads of their own, so that
    /// ONNX Runtime's would only be in their way; and weights that it arranges anew would be copies.
    fn load_own(&self, path: &Path) -> ort::Result<Session> {
        let mut builder = self
            .builder(1, Place::Processor)?
            .with_prepacking(false)?
            .with_operators(operators::domain(&Shared::with(self.threads))?)?;
        match links::follow(path).map_err(ort::Error::new)? {
            None => builder.commit_from_file(path),
            Some((folder, bytes)) => builder
                .with_config_entry(WEIGHTS_FOLDER, folder.to_string_lossy())?
                .commit_from_memory(&bytes),
        }
    }

    /// A session whose sliding layers take a shorter past, where the graph can be made to.
    fn load_windowed(&self, spec: &GraphSpec<'_>, place: Place) -> Option<Session> {
        let path = &spec.graph.path;
        let bytes = window::rewrite(path, spec.window.as_ref()?)?;
        let folder = path.parent().and_then(Path::to_str).filter(|folder| !folder.is_empty());
        let session = self.builder(self.threads, place).and_then(|builder| {
            builder
                .with_config_entry(WEIGHTS_FOLDER, folder.unwrap_or("."))?
                .commit_from_memory(&bytes)
        });
        match session {
            Ok(session) => Some(session),
            Err(error) => {
                tracing::debug!("sliding layers keep everything: {}", error.message());
                None
            }
        }
    }
}

impl Engine for Ort {
    const KIND: EngineKind = EngineKind::Ort;
    type Graph = OrtGraph;
    type Value = DynValue;

    fn device(&self) -> Device {
        match self.place {
            Place::Processor => Device::Processor,
            Place::Cuda => Device::Cuda,
        }
    }

    fn load(&self, spec: &GraphSpec<'_>) -> Result<OrtGraph, Error> {
        let path = &spec.graph.path;
        let failed = |error: ort::Error| {
            Error::engine(NAME, format!("cannot load {}", path.display()), error.message())
        };
        let place = if spec.reads_tables { Place::Processor } else { self.place };
        if place != Place::Processor && spec.graph.has_own_operators() {
            return Err(Error::Unsupported {
                what: "the fast graph",
                reason: "it computes on the processor only, and a GPU is used; use the published \
                         graph, or the device cpu"
                    .into(),
            });
        }
        let windowed = self.load_windowed(spec, place);
        let takes_recent = windowed.is_some();
        let session = match windowed {
            Some(session) => Ok(session),
            None if spec.graph.has_own_operators() => self.load_own(path),
            None => {
                self.builder(self.threads, place).and_then(|mut new| new.commit_from_file(path))
            }
        };
        let session = session.map_err(failed)?;
        let outputs = session.outputs().iter().map(|output| output.name().to_owned());
        let outputs = outputs.map(|name| {
            let stays = spec.given_back.contains(&name.as_str());
            (name, stays)
        });
        let outputs = outputs.collect();
        let mut constants = Vec::new();
        for (name, value) in &spec.constants {
            let Some(port) = spec.graph.input(name) else { continue };
            let tensor = Tensor::integers(vec![1; port.dims.len()], vec![*value], port.element)
                .map_err(|reason| spec.graph.wrong(spec.role, format!("{name} {reason}")))?;
            constants.push(((*name).to_owned(), self.enter(tensor)?));
        }
        Ok(OrtGraph { session, constants, role: spec.role, takes_recent, place, outputs })
    }

    fn enter(&self, tensor: Tensor) -> Result<DynValue, Error> {
        let Tensor { shape, data } = tensor;
        let value = match data {
            Data::F32(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
            Data::F16(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
            Data::I64(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
            Data::I32(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
            Data::Bool(data) => OrtTensor::from_array((shape, data)).map(OrtTensor::into_dyn),
        };
        value.map_err(|error| Error::engine(NAME, "cannot take a tensor", error.message()))
    }

    fn run(
        &self,
        graph: &mut OrtGraph,
        inputs: &[(&str, &DynValue)],
    ) -> Result<Vec<DynValue>, Error> {
        let OrtGraph { session, constants, role, place, outputs, .. } = graph;
        let constants = constants.iter().map(|(name, value)| (name.as_str(), value));
        let inputs = inputs.iter().copied().chain(constants);
        let made = if *place == Place::Processor {
            let inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = inputs
                .map(|(name, value)| (Cow::Borrowed(name), SessionInputValue::from(value)))
                .collect();
            let made = session.run(inputs);
            made.map(|made| made.into_iter().map(|(_, value)| value).collect())
        } else {
            place::run_there(session, *place, &inputs.collect::<Vec<_>>(), outputs)
        };
        made.map_err(|error| {
            Error::engine(NAME, format!("the {role} graph failed"), error.message())
        })
    }

    fn floats<'v>(&self, value: &'v DynValue) -> Result<(Vec<usize>, Cow<'v, [f32]>), Error> {
        let (shape, element) = shape(value)?;
        let data = if element == TensorElementType::Float16 {
            let halves = value.try_extract_tensor::<f16>();
            halves.map(|(_, data)| data.iter().map(|half| half.to_f32()).collect())
        } else {
            value.try_extract_tensor::<f32>().map(|(_, data)| Cow::Borrowed(data))
        };
        let data =
            data.map_err(|error| Error::engine(NAME, "cannot read a tensor", error.message()))?;
        Ok((shape, data))
    }

    fn first_rows(&self, value: &DynValue, rows: usize) -> Result<DynValue, Error> {
        self.some_rows(value, rows, |_| 0..rows)
    }

    fn last_rows(&self, value: &DynValue, rows: usize) -> Result<DynValue, Error> {
        self.some_rows(value, rows, |of| of - rows..of)
    }

    fn takes_recent(&self, graph: &OrtGraph) -> bool {
        graph.takes_recent
    }

    fn last_floats(&self, value: &DynValue, count: usize) -> Result<Vec<f32>, Error> {
        let (_, element) = shape(value)?;
        let failed =
            |error: ort::Error| Error::engine(NAME, "cannot read a tensor", error.message());
        if element == TensorElementType::Float16 {
            let (_, data) = value.try_extract_tensor::<f16>().map_err(failed)?;
            return Ok(last(data, count)?.iter().map(|half| half.to_f32()).collect());
        }
        let (_, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
        Ok(last(data, count)?.to_vec())
    }
}

impl Ort {
    /// The rows of a value `[batch, heads, rows, width]` that `which` names out of all.
    fn some_rows(
        &self,
        value: &DynValue,
        rows: usize,
        which: impl Fn(usize) -> Range<usize>,
    ) -> Result<DynValue, Error> {
        let copy = place::brought_home(value)?;
        let value = copy.as_ref().unwrap_or(value);
        let (shape, element) = shape(value)?;
        let context = "cannot shorten the cache";
        let &[batch, heads, of_rows, width] = shape.as_slice() else {
            return Err(Error::engine(NAME, context, format!("rank {} is not 4", shape.len())));
        };
        if rows > of_rows {
            return Err(Error::engine(NAME, context, format!("{rows} of {of_rows} rows")));
        }
        let which = which(of_rows);
        let failed = |error: ort::Error| Error::engine(NAME, context, error.message());
        let data = if element == TensorElementType::Float16 {
            let (_, data) = value.try_extract_tensor::<f16>().map_err(failed)?;
            Data::F16(copy_rows(data, of_rows, width, which))
        } else {
            let (_, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
            Data::F32(copy_rows(data, of_rows, width, which))
        };
        self.enter(Tensor { shape: vec![batch, heads, rows, width], data })
    }
}

fn last<T>(data: &[T], count: usize) -> Result<&[T], Error> {
    let last = data.len().checked_sub(count).and_then(|at| data.get(at..));
    last.ok_or_else(|| too_few(data.len(), count))
}

fn shape(value: &DynValue) -> Result<(Vec<usize>, TensorElementType), Error> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(Error::engine(NAME, "cannot read an output", "it is not a tensor"));
    };
    let sizes = shape.iter().map(|&size| usize::try_from(size)).collect::<Result<_, _>>();
    let sizes = sizes.map_err(|error| Error::engine(NAME, "an output has no size", error))?;
    Ok((sizes, *ty))
}
