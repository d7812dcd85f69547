//! Holds a fast graph against the published one: by how much the numbers may differ, and whether they
//! do.

use std::path::Path;

use super::notes::Checked;
use super::source::Source;
use super::{Int8, Kv, Levers, OptimizeError, OptimizeOptions};
use crate::engine::Device;
use crate::gemma::config::Config;
use crate::gemma::fast::Fast;
use crate::gemma::ports::DecoderPorts;
use crate::graph::{Element, Graph};
use crate::model::Options;
use crate::parity::{self, Media};

/// How the two graphs compute, as far as it makes their numbers differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arithmetic {
    /// The published one rounds every value to 16 bits.
    pub(super) halves: bool,
    /// The published one rounds activations to eight bits.
    pub(super) int8: bool,
    /// The published one keeps keys and values in 16 bits.
    pub(super) half_kv: bool,
    /// The fast one has scales in 16 bits that are published in 32.
    pub(super) half_scales: bool,
}

impl Arithmetic {
    /// How a published decoder computes, and whether the fast one has its scales in 16 bits.
    pub(super) fn of(
        graph: &Graph,
        source: &Source,
        ports: &DecoderPorts,
        half_scales: bool,
    ) -> Self {
        Self {
            halves: graph.dtype.ends_with("16"),
            int8: source.nodes.iter().any(super::rounds),
            half_kv: ports.kv.iter().all(|kv| kv.key.element == Element::F16),
            half_scales,
        }
    }

    /// Largest difference of a logit that the arithmetic explains.
    pub(super) fn tolerance(self, levers: Levers) -> f32 {
        let by_int8 = (self.int8 || levers.int8 == Int8::On, 1.0);
        let by_halves = (self.halves, 0.25);
        let by_kv = (levers.kv == Kv::F16 && !self.half_kv, 0.1);
        let by_scales = (self.half_scales, 0.1);
        let reasons =
            [by_int8, by_halves, by_kv, by_scales].into_iter().filter(|(is_so, _)| *is_so);
        reasons.map(|(_, tolerance)| tolerance).fold(0.01, f32::max)
    }
}

/// Compares the candidate of a folder with its published decoder.
///
/// # Errors
/// When one of them cannot be run, or the numbers differ by more than the arithmetic explains.
pub(super) fn compare(
    folder: &Path,
    config: &Config,
    options: &OptimizeOptions,
    tolerance: f32,
) -> Result<Checked, OptimizeError> {
    let with = |fast| Options {
        engine: options.engine,
        // The fast graph computes there only.
        device: Device::Processor,
        library: options.library.clone(),
        threads: options.threads,
        dtype: options.dtype.clone(),
        fast,
        ..Options::default()
    };
    // A picture matters where the decoder must know which tokens are a picture's.
    let media = Media { pictures: config.images_see_all, sound: false };
    let published = parity::traces(folder, config, &with(Fast::Off), media)?;
    let fast = parity::traces(folder, config, &with(Fast::Candidate), media)?;
    let parity = parity::judge(&published, &fast, tolerance);
    match parity.holds {
        true => Ok(parity.checked),
        false => Err(OptimizeError::Differs { folder: folder.to_owned(), checked: parity.checked }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arithmetic_that_rounds_may_differ_much() {
        let exact = Arithmetic { halves: false, int8: false, half_kv: false, half_scales: false };
        let published = Levers { kv: Kv::F32, ..Levers::default() };
        assert!(exact.tolerance(published) <= 0.01);
        for (arithmetic, levers) in [
            (Arithmetic { halves: true, ..exact }, published),
            (Arithmetic { int8: true, ..exact }, published),
            (Arithmetic { half_scales: true, ..exact }, published),
            (exact, Levers { kv: Kv::F16, ..published }),
            (exact, Levers { int8: Int8::On, ..published }),
        ] {
            assert!(arithmetic.tolerance(levers) > 0.01, "{arithmetic:?} {levers}");
        }
    }
}
