//! ONNX Runtime as the engine. The library is loaded at run time, once for the whole process.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor as OrtTensor, TensorElementType, ValueType};

use super::{Data, Engine, EngineKind, GraphSpec, Tensor, copy_first_rows};
use crate::error::Error;

const NAME: &str = "onnxruntime";

/// Names under which the library lies beside an executable.
const BESIDE: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

/// Name under which the system's loader knows the library.
const SYSTEM: &str = "libonnxruntime.so.1";

/// Variable that names the library.
const VARIABLE: &str = "GEMMAD_ONNXRUNTIME";

/// ONNX Runtime on the processor.
pub(crate) struct Ort {
    environment: Environment,
    threads: usize,
}

/// A session with the inputs that never change.
pub(crate) struct OrtGraph {
    session: Session,
    constants: Vec<(String, DynValue)>,
    role: &'static str,
}

impl Ort {
    /// Loads the library; `threads` 0 lets it take one per core.
    ///
    /// # Errors
    /// When no library is found or it is too old; the message says where it was looked for.
    pub(crate) fn open(library: Option<&Path>, threads: usize) -> Result<Self, Error> {
        Ok(Self { environment: environment(library)?, threads })
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.threads)?
            // A daemon that waits must not burn a core.
            .with_intra_op_spinning(false)?
            // Every step has another shape, so a remembered pattern never fits.
            .with_memory_pattern(false)?
            .with_log_level(LogLevel::Warning)?;
        Ok(builder)
    }
}

impl Engine for Ort {
    const KIND: EngineKind = EngineKind::Ort;
    type Graph = OrtGraph;
    type Value = DynValue;

    fn load(&self, spec: &GraphSpec<'_>) -> Result<OrtGraph, Error> {
        let path = &spec.graph.path;
        let failed = |error: ort::Error| {
            Error::engine(NAME, format!("cannot load {}", path.display()), error.message())
        };
        let session = self.builder().and_then(|mut builder| builder.commit_from_file(path));
        let mut constants = Vec::new();
        for (name, value) in &spec.constants {
            let Some(port) = spec.graph.input(name) else { continue };
            let tensor = Tensor::integers(vec![1; port.dims.len()], vec![*value], port.element)
                .map_err(|reason| spec.graph.wrong(spec.role, format!("{name} {reason}")))?;
            constants.push(((*name).to_owned(), self.enter(tensor)?));
        }
        Ok(OrtGraph { session: session.map_err(failed)?, constants, role: spec.role })
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
        let constants = graph.constants.iter().map(|(name, value)| (name.as_str(), value));
        let inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = inputs
            .iter()
            .copied()
            .chain(constants)
            .map(|(name, value)| (Cow::Borrowed(name), SessionInputValue::from(value)))
            .collect();
        match graph.session.run(inputs) {
            Ok(outputs) => Ok(outputs.into_iter().map(|(_, value)| value).collect()),
            Err(error) => {
                let context = format!("the {} graph failed", graph.role);
                Err(Error::engine(NAME, context, error.message()))
            }
        }
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
        let (shape, element) = shape(value)?;
        let context = "cannot shorten the cache";
        let &[batch, heads, of_rows, width] = shape.as_slice() else {
            return Err(Error::engine(NAME, context, format!("rank {} is not 4", shape.len())));
        };
        if rows > of_rows {
            return Err(Error::engine(NAME, context, format!("{rows} of {of_rows} rows")));
        }
        let failed = |error: ort::Error| Error::engine(NAME, context, error.message());
        let data = if element == TensorElementType::Float16 {
            let (_, data) = value.try_extract_tensor::<f16>().map_err(failed)?;
            Data::F16(copy_first_rows(data, of_rows, width, rows))
        } else {
            let (_, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
            Data::F32(copy_first_rows(data, of_rows, width, rows))
        };
        self.enter(Tensor { shape: vec![batch, heads, rows, width], data })
    }
}

fn shape(value: &DynValue) -> Result<(Vec<usize>, TensorElementType), Error> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(Error::engine(NAME, "cannot read an output", "it is not a tensor"));
    };
    let sizes = shape.iter().map(|&size| usize::try_from(size)).collect::<Result<_, _>>();
    let sizes = sizes.map_err(|error| Error::engine(NAME, "an output has no size", error))?;
    Ok((sizes, *ty))
}

/// The process's only environment: ONNX Runtime keeps global state, so a second one cannot be made.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

fn environment(library: Option<&Path>) -> Result<Environment, Error> {
    let mut slot = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = slot.as_ref() {
        return Ok(environment.clone());
    }
    let builder = load_library(library)?;
    let environment = builder
        .with_name("gemmad")
        .with_telemetry(false)
        .with_logger(Arc::new(|level, _, _, place: &str, message: &str| match level {
            LogLevel::Fatal | LogLevel::Error => tracing::warn!(place, "onnxruntime: {message}"),
            LogLevel::Warning | LogLevel::Info | LogLevel::Verbose => {
                tracing::debug!(place, "onnxruntime: {message}");
            }
        }))
        .build()
        .map_err(|error| Error::engine(NAME, "cannot start", error.message()))?;
    Ok(slot.insert(environment).clone())
}

/// Loads the library from the first place that has it. A place that someone named is the only one.
fn load_library(named: Option<&Path>) -> Result<ort::environment::EnvironmentBuilder, Error> {
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = named.map(Path::to_owned).or(variable);
    let places = match &named {
        Some(path) => vec![path.clone()],
        None => beside_executable().chain([PathBuf::from(SYSTEM)]).collect(),
    };
    let mut tried = Vec::new();
    for place in places {
        match ort::init_from(&place) {
            Ok(builder) => return Ok(builder),
            Err(error) => tried.push(format!("{} ({error})", place.display())),
        }
    }
    Err(Error::Library(format!(
        "cannot load the ONNX Runtime library from {}; install version 1.{} or newer, or name the \
         file in the configuration or in {VARIABLE}",
        tried.join(", nor from "),
        ort::MINOR_VERSION
    )))
}

fn beside_executable() -> impl Iterator<Item = PathBuf> {
    let executable = std::env::current_exe().ok();
    let folder = executable.and_then(|path| path.parent().map(Path::to_owned));
    let files = folder.into_iter().flat_map(|folder| BESIDE.map(|name| folder.join(name)));
    files.filter(|path| path.is_file())
}
