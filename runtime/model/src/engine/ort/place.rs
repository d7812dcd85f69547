//! Where ONNX Runtime computes: on the processor, or on an NVIDIA GPU where its library was built for
//! one. Keys and values then stay in the GPU's memory from one step to the next.

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProvider as _, ExecutionProviderDispatch};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::value::{
    DynTensorValueType, DynValue, Outlet, Shape, SymbolicDimensions, TensorElementType, ValueType,
};

use super::NAME;
use crate::engine::Device;
use crate::error::Error;

/// The GPU that is used, where there are several.
const NUMBER: i32 = 0;
/// The version of ONNX's operators that is asked for; any that the library knows would do.
const OPSET: u32 = 17;

/// Where graphs compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On the processor.
    Processor,
    /// On an NVIDIA GPU.
    Cuda,
}

impl Place {
    /// Where graphs are to compute, once it is known that they can.
    ///
    /// # Errors
    /// When a GPU is demanded and the library has none that works; the message says what would help.
    pub(super) fn choose(environment: &Environment, wanted: Device) -> Result<Self, Error> {
        if wanted == Device::Processor {
            return Ok(Self::Processor);
        }
        match (tried(environment), wanted) {
            (Ok(()), _) => Ok(Self::Cuda),
            (Err(reason), Device::Cuda) => Err(Error::Option { name: "device", reason }),
            (Err(reason), Device::Auto | Device::Processor) => {
                tracing::debug!("graphs run on the processor: {reason}");
                Ok(Self::Processor)
            }
        }
    }

    /// What computes there; nothing where that goes without saying. A session that asks for it is
    /// refused where it does not work, rather than run elsewhere.
    pub(super) fn providers(self) -> Vec<ExecutionProviderDispatch> {
        match self {
            Self::Processor => Vec::new(),
            Self::Cuda => {
                vec![CUDA::default().with_device_id(NUMBER).build().error_on_failure()]
            }
        }
    }

    /// The memory that is next to it.
    pub(super) fn memory(self) -> ort::Result<MemoryInfo<'static>> {
        let (device, number) = match self {
            Self::Processor => (AllocationDevice::CPU, 0),
            Self::Cuda => (AllocationDevice::CUDA, NUMBER),
        };
        MemoryInfo::new(device, number, AllocatorType::Device, MemoryType::Default)
    }
}

/// Whether the library can compute on an NVIDIA GPU here, or why it cannot.
fn tried(environment: &Environment) -> Result<(), String> {
    if !CUDA::is_available().unwrap_or(false) {
        return Err("this ONNX Runtime library cannot compute with CUDA; install its build for \
                    GPUs and name that as the library, or use cpu"
            .into());
    }
    match identity(environment, Place::Cuda) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "CUDA does not work here: {}; mend its driver and libraries, or use cpu",
            error.message()
        )),
    }
}

/// A session that gives what it gets: making it on a GPU loads the provider and wakes the driver.
fn identity(environment: &Environment, place: Place) -> ort::Result<Session> {
    let number = |name: &str| {
        let shape = Shape::new([1]);
        let dimension_symbols = SymbolicDimensions::empty(1);
        Outlet::new(
            name,
            ValueType::Tensor { ty: TensorElementType::Float32, shape, dimension_symbols },
        )
    };
    let mut graph = Graph::new()?;
    graph.set_inputs([number("input")])?;
    graph.set_outputs([number("output")])?;
    graph.add_node(Node::new("Identity", ONNX_DOMAIN, "same", ["input"], ["output"], [])?)?;
    let mut model = Model::new([Opset::new(ONNX_DOMAIN, OPSET)?])?;
    model.set_graph(graph)?;
    let builder = Session::builder(environment)?;
    model.into_session(&builder.with_execution_providers(place.providers())?)
}

/// A copy of a value in the processor's memory; nothing where it is there already.
///
/// # Errors
/// When it is no tensor, or cannot be copied.
pub(super) fn brought_home(value: &DynValue) -> Result<Option<DynValue>, Error> {
    let failed = |error: ort::Error| Error::engine(NAME, "cannot copy a tensor", error.message());
    let tensor = value.view().downcast::<DynTensorValueType>().map_err(failed)?;
    if tensor.memory_info().is_cpu_accessible() {
        return Ok(None);
    }
    tensor.to(AllocationDevice::CPU, 0).map(|copy| Some(copy.into_dyn())).map_err(failed)
}

/// Runs a graph whose outputs that are marked stay in the memory of `place`; the others come to the
/// processor's.
///
/// # Errors
/// As those of a session's run.
pub(super) fn run_there(
    session: &mut Session,
    place: Place,
    inputs: &[(&str, &DynValue)],
    outputs: &[(String, bool)],
) -> ort::Result<Vec<DynValue>> {
    let mut binding = session.create_binding()?;
    for (name, value) in inputs {
        binding.bind_input(*name, value)?;
    }
    let (there, home) = (place.memory()?, Place::Processor.memory()?);
    for (name, stays) in outputs {
        binding.bind_output_to_device(name, if *stays { &there } else { &home })?;
    }
    let made = session.run_binding(&binding)?;
    Ok(made.into_iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::engine::ort::set_up::{library, ort};
    use crate::engine::ort::{Ort, library as libraries};
    use crate::engine::{Data, Engine as _, Tensor};

    #[test]
    fn a_gpu_that_the_library_does_not_know_is_refused_with_the_remedy() {
        let error = Ort::open(Some(&library()), 1, Device::Cuda).err().unwrap().to_string();
        assert!(error.starts_with("option device: this ONNX Runtime library cannot"), "{error}");
        assert!(error.contains("install its build for GPUs"), "{error}");
        let found = Ort::open(Some(&library()), 1, Device::Auto).unwrap();
        assert_eq!((found.place, found.device()), (Place::Processor, Device::Processor));
    }

    #[test]
    fn what_stays_there_goes_in_again() {
        let environment = libraries::environment(Some(&library())).unwrap();
        let mut session = identity(&environment, Place::Processor).unwrap();
        let data = Data::F32(vec![2.5]);
        let first = ort().enter(Tensor { shape: vec![1], data }).unwrap();
        let mut run = |value: &DynValue, stays| {
            let outputs = [("output".to_owned(), stays)];
            run_there(&mut session, Place::Processor, &[("input", value)], &outputs).unwrap()
        };
        let there = run(&first, true).pop().unwrap();
        let back = run(&there, false).pop().unwrap();
        assert!(brought_home(&back).unwrap().is_none());
        assert_eq!(ort().floats(&back).unwrap().1.as_ref(), [2.5]);
    }
}
