//! Where graphs run: on the processor, or on an accelerator.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Where the graphs of a model run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// On an accelerator where the engine's library has one that works, else on the processor.
    #[default]
    Auto,
    /// On the processor.
    Processor,
    /// On an NVIDIA GPU, and nowhere else.
    Cuda,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Processor => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Processor),
            "cuda" => Ok(Self::Cuda),
            _ => Err(Error::Option {
                name: "device",
                reason: format!("{name:?} is none of auto, cpu and cuda"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn devices_are_named_as_they_are_written() {
        for device in [Device::Auto, Device::Processor, Device::Cuda] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        let error = "gpu".parse::<Device>().unwrap_err().to_string();
        assert_eq!(error, "option device: \"gpu\" is none of auto, cpu and cuda");
    }
}
