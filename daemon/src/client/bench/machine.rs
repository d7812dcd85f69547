//! What it was measured on.

use std::num::NonZero;

use serde::Serialize;

use super::bandwidth::read_gb_per_s;

/// This machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Machine {
    /// Name of the processor.
    pub(super) processor: String,
    /// Its architecture.
    pub(super) architecture: &'static str,
    /// Cores that this process may use.
    pub(super) cores: usize,
    /// Threads of the measurement.
    pub(super) threads: usize,
    /// Gigabytes (1e9) a second that one thread reads from memory.
    pub(super) read_one_gb_per_s: f64,
    /// Gigabytes (1e9) a second that all threads of the measurement read together.
    pub(super) read_all_gb_per_s: f64,
    /// Which code our own kernels use here: kernel and path.
    pub(super) kernels: Vec<(String, String)>,
}

impl Machine {
    /// Reads memory once more: of two measurements the better one was disturbed less.
    pub(super) fn read_again(&mut self) {
        self.read_one_gb_per_s = self.read_one_gb_per_s.max(read_gb_per_s(1));
        self.read_all_gb_per_s = self.read_all_gb_per_s.max(read_gb_per_s(self.threads));
    }
}

/// Looks at this machine; reads half a gigabyte several times.
pub(super) fn look(threads: usize) -> Machine {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if threads == 0 { cores } else { threads };
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Machine {
        processor: processor(&cpuinfo).unwrap_or("unknown").to_owned(),
        architecture: std::env::consts::ARCH,
        cores,
        threads,
        read_one_gb_per_s: read_gb_per_s(1),
        read_all_gb_per_s: read_gb_per_s(threads),
        kernels: kernels(),
    }
}

/// Our own kernels, each with the code that runs here.
fn kernels() -> Vec<(String, String)> {
    let own = |(kernel, path): (&str, &str)| (kernel.to_owned(), path.to_owned());
    gemma_runtime::kernel_paths().into_iter().map(own).collect()
}

/// The name of the processor, or of the board where the kernel names only that.
fn processor(cpuinfo: &str) -> Option<&str> {
    let field = |name: &str| {
        let of = |line: &str| line.split_once(':').filter(|(key, _)| key.trim() == name).is_some();
        let line = cpuinfo.lines().find(|line| of(line))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    field("model name").or_else(|| field("Model")).or_else(|| field("Hardware"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_and_boards_have_names() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(processor(text), expected);
        check("model\t\t: 1\nmodel name\t: AMD EPYC\n", Some("AMD EPYC"));
        check("CPU part\t: 0xd0b\nModel\t\t: Raspberry Pi 5\n", Some("Raspberry Pi 5"));
        check("", None);
    }
}
