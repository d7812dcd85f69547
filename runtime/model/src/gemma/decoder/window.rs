//! Tries whether a decoder gives the same numbers when its sliding layers get the end of their past
//! only: once, when it is loaded, with a past that would show if a token beyond the window counted.

use crate::engine::{Engine, Tensor};
use crate::error::Error;
use crate::gemma::config::{Config, LayerKind};
use crate::gemma::ports::DecoderPorts;
use crate::gemma::{floats, integers};
use crate::graph::{Element, Port};

/// Tokens of the past beyond the window, and tokens of the step.
const BEYOND: usize = 3;
const STEP: usize = 2;

/// How much larger keys and values beyond the window are than those within.
const LOUD: f32 = 30.0;

/// Rows of the past that the next token sees in sliding layers; `None` where it takes all.
pub(super) fn tried<E: Engine>(
    engine: &E,
    decoder: &mut E::Graph,
    ports: &DecoderPorts,
    config: &Config,
) -> Option<usize> {
    // Mostly the token itself counts as one of the window; some kernels see one more.
    [config.window_tokens.saturating_sub(1), config.window_tokens].into_iter().find(|&rows| {
        match same_numbers(engine, decoder, ports, config, rows) {
            Ok(true) => true,
            Ok(false) => {
                tracing::debug!(rows, "a token beyond the window counts");
                false
            }
            Err(error) => {
                tracing::debug!(rows, "no shorter past is taken: {error}");
                false
            }
        }
    })
}

/// Whether a step after a whole past gives the same as one after its end.
fn same_numbers<E: Engine>(
    engine: &E,
    decoder: &mut E::Graph,
    ports: &DecoderPorts,
    config: &Config,
    rows: usize,
) -> Result<bool, Error> {
    let past = rows + BEYOND;
    let mut noise = Noise(1);
    let step = step(engine, ports, config, past, &mut noise)?;
    let mut layers = Vec::new();
    for kv in &ports.kv {
        let loud = if kv.kind == LayerKind::Sliding { LOUD } else { 1.0 };
        let mut make = |port: &Port| {
            let rows = noise.rows(kv.shape.heads, past, kv.shape.width, loud);
            floats(engine, port, vec![1, kv.shape.heads, past, kv.shape.width], rows)
        };
        layers.push([make(&kv.key)?, make(&kv.value)?]);
    }
    let whole = run(engine, decoder, ports, &step, &layers)?;
    for (kv, layer) in ports.kv.iter().zip(&mut layers) {
        if kv.kind == LayerKind::Sliding {
            *layer = [engine.last_rows(&layer[0], rows)?, engine.last_rows(&layer[1], rows)?];
        }
    }
    let short = run(engine, decoder, ports, &step, &layers)?;
    Ok(is_close(&whole, &short, tolerance(ports)))
}

/// The inputs of a step but the past, by name.
fn step<'p, E: Engine>(
    engine: &E,
    ports: &'p DecoderPorts,
    config: &Config,
    past: usize,
    noise: &mut Noise,
) -> Result<Vec<(&'p Port, E::Value)>, Error> {
    let total = past + STEP;
    let mut inputs = Vec::new();
    if let Some(port) = &ports.embeds {
        let data = noise.row(STEP * config.hidden);
        inputs.push((port, floats(engine, port, vec![1, STEP, config.hidden], data)?));
    }
    if let Some(port) = &ports.per_layer {
        let (layers, width) = (config.layers, config.per_layer_width);
        let shape = match port.dims.len() {
            4 => vec![1, STEP, layers, width],
            _ => vec![1, STEP, layers * width],
        };
        let data = noise.row(STEP * layers * width);
        inputs.push((port, floats(engine, port, shape, data)?));
    }
    if let Some(port) = &ports.mask {
        inputs.push((port, integers(engine, port, vec![1, total], vec![1; total])?));
    }
    if let Some(port) = &ports.positions {
        let positions = (past..total).map(|at| i64::try_from(at).unwrap_or(0)).collect();
        inputs.push((port, integers(engine, port, vec![1, STEP], positions)?));
    }
    for port in [&ports.ids, &ports.types].into_iter().flatten() {
        inputs.push((port, engine.enter(zeros(port)?)?));
    }
    Ok(inputs)
}

fn zeros(port: &Port) -> Result<Tensor, Error> {
    let zeros = Tensor::integers(vec![1, STEP], vec![0; STEP], port.element);
    zeros.map_err(|reason| Error::engine("gemma", &port.name, reason))
}

/// The logits of the last token after a past.
fn run<E: Engine>(
    engine: &E,
    decoder: &mut E::Graph,
    ports: &DecoderPorts,
    step: &[(&Port, E::Value)],
    layers: &[[E::Value; 2]],
) -> Result<Vec<f32>, Error> {
    let mut inputs: Vec<(&str, &E::Value)> =
        step.iter().map(|(port, value)| (port.name.as_str(), value)).collect();
    for (kv, [key, value]) in ports.kv.iter().zip(layers) {
        inputs.extend([(kv.key.name.as_str(), key), (kv.value.name.as_str(), value)]);
    }
    let outputs = engine.run(decoder, &inputs)?;
    let logits = outputs.get(ports.logits);
    let logits = logits.ok_or_else(|| Error::engine("decoder", "a try", "no logits"))?;
    Ok(engine.floats(logits)?.1.into_owned())
}

/// Two orders of the same additions differ by this much at most.
fn tolerance(ports: &DecoderPorts) -> f32 {
    let kv = ports.kv.iter().flat_map(|kv| [kv.key.element, kv.value.element]);
    let embeds = ports.embeds.iter().map(|port| port.element);
    match kv.chain(embeds).any(|element| element == Element::F16) {
        true => 3e-2,
        false => 1e-3,
    }
}

fn is_close(one: &[f32], other: &[f32], tolerance: f32) -> bool {
    let most = one.iter().fold(1.0, |most: f32, next| most.max(next.abs()));
    let close = |(one, other): (&f32, &f32)| (one - other).abs() <= tolerance * most;
    one.len() == other.len() && !one.is_empty() && one.iter().zip(other).all(close)
}

/// Numbers that follow no pattern, the same each time: a linear congruential generator.
struct Noise(u32);

impl Noise {
    /// A number between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(self.0 >> 16).unwrap_or(0)) / 32768.0 - 1.0
    }

    fn row(&mut self, width: usize) -> Vec<f32> {
        (0..width).map(|_| self.next()).collect()
    }

    /// Rows of each head, the first [`BEYOND`] of them louder than the others.
    fn rows(&mut self, heads: usize, rows: usize, width: usize, loud: f32) -> Vec<f32> {
        let loudness = (0..heads * rows).map(|row| if row % rows < BEYOND { loud } else { 1.0 });
        let rows = loudness.flat_map(|loudness| {
            let row = self.row(width);
            row.into_iter().map(move |value| value * loudness)
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_loud_beyond_the_window_only() {
        let rows = Noise(1).rows(2, BEYOND + 4, 8, LOUD);
        let is_loud = |row: &[f32]| row.iter().any(|value| value.abs() > 1.0);
        let loud: Vec<bool> = rows.chunks(8).map(is_loud).collect();
        let head = [[true; BEYOND].as_slice(), &[false; 4]].concat();
        assert_eq!(loud, [head.clone(), head].concat());
    }

    #[test]
    fn numbers_are_close_by_the_largest_of_them() {
        assert!(is_close(&[100.0, 1.0], &[100.05, 1.0], 1e-3));
        assert!(!is_close(&[1.0], &[1.1], 1e-3));
        assert!(!is_close(&[f32::NAN], &[f32::NAN], 1e-3));
        assert!(!is_close(&[], &[], 1e-3));
        assert!(!is_close(&[1.0], &[1.0, 1.0], 1e-3));
    }
}
