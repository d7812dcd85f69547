//! Which of a folder's graphs run, and how: what all commands take that open a model by themselves.

use std::path::PathBuf;

use clap::Args;
use gemma_runtime::Device;

/// Which graphs, and how they run.
#[derive(Args, Clone, Debug)]
pub struct Graphs {
    /// The ONNX Runtime library [default: $GEMMAD_ONNXRUNTIME, beside gemmad, the system's]
    #[arg(long, global = true, value_name = "FILE")]
    pub library: Option<PathBuf>,
    /// Precision of the graphs to prefer: fp32, fp16, q8, q4, q4f16 ...; or decoder=q4,vision=fp16
    #[arg(long, global = true, value_name = "DTYPE")]
    pub dtype: Option<String>,
    /// Where they run: auto, cpu, or cuda for an NVIDIA GPU
    #[arg(long, global = true, value_name = "DEVICE", default_value_t = Device::Auto)]
    pub device: Device,
    /// Threads; 0 for one per core
    #[arg(long, global = true, value_name = "NUMBER", default_value_t = 0)]
    pub threads: usize,
}
