//! Products against the same products with the weights widened one by one.

use super::*;
use crate::engine::own::{GATED_PRODUCT, PRODUCT};

const N: usize = 6;
const K: usize = 32;
const BLOCK: usize = 16;
const BLOCKS: usize = K / BLOCK;
const ROWS: usize = 3;

/// A quantised matrix of 4 bits.
struct Quantised {
    data: Vec<u8>,
    scales: Vec<f32>,
    zero_points: Vec<u8>,
}

impl Quantised {
    fn new(noise: &mut Noise) -> Self {
        // Halves hold these scales exactly.
        let scales = (0..N * BLOCKS).map(|at| (1 + at % 5) as f32 / 64.0).collect();
        let (data, zero_points) = (noise.bytes(N * K / 2), noise.bytes(N * BLOCKS.div_ceil(2)));
        Self { data, scales, zero_points }
    }

    fn constants(&self, prefix: &str, form: Form) -> Vec<Tensor> {
        let name = |part: &str| format!("{prefix}.{part}");
        let sides = [N, BLOCKS];
        let data = [N, BLOCKS, BLOCK / 2];
        let mut constants = vec![constant(&name("data"), element::U8, &data, self.data.clone())];
        constants.push(match form.has_halves {
            true => halves(&name("scales"), &sides, &self.scales),
            false => floats(&name("scales"), &sides, &self.scales),
        });
        if form.has_zeros {
            let zeros = self.zero_points.clone();
            constants.push(constant(&name("zeros"), element::U8, &[N, BLOCKS / 2], zeros));
        }
        constants
    }

    /// `x * weights^T`.
    fn product(&self, x: &[f32], form: Form) -> Vec<f32> {
        let code = |bytes: &[u8], at: usize| bytes[at / 2] >> (4 * (at % 2)) & 15;
        let weight = |row: usize, column: usize| {
            let block = row * BLOCKS + column / BLOCK;
            let zero = if form.has_zeros { code(&self.zero_points, block) } else { 8 };
            let value = f32::from(code(&self.data, row * K + column)) - f32::from(zero);
            value * self.scales[block]
        };
        let one = |x: &[f32], row: usize| -> f32 {
            x.iter().enumerate().map(|(column, x)| x * weight(row, column)).sum()
        };
        x.chunks(K).flat_map(|x| (0..N).map(move |row| one(x, row))).collect()
    }
}

#[derive(Clone, Copy)]
struct Form {
    has_halves: bool,
    has_zeros: bool,
}

fn attributes() -> [Attribute; 4] {
    [("N", N), ("K", K), ("bits", 4), ("block_size", BLOCK)]
        .map(|(name, size)| Attribute::size(name, size))
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh())
}

fn check(has_halves: bool, has_zeros: bool, is_beside: bool) {
    let form = Form { has_halves, has_zeros };
    let mut noise = Noise(7);
    let (gate, up) = (Quantised::new(&mut noise), Quantised::new(&mut noise));
    let x = noise.row(ROWS * K);
    let inputs = || vec![rows("x", K, x.clone())];
    let zeros = |name: &'static str| if has_zeros { name } else { "" };
    let single = node(PRODUCT, &["x", "g.data", "g.scales", zeros("g.zeros")], &attributes());
    let single = Single::write(single, N, &gate.constants("g", form), inputs(), is_beside);
    let named =
        ["x", "g.data", "g.scales", zeros("g.zeros"), "u.data", "u.scales", zeros("u.zeros")];
    let gated = node(GATED_PRODUCT, &named, &attributes());
    let constants = [gate.constants("g", form), up.constants("u", form)].concat();
    let gated = Single::write(gated, N, &constants, inputs(), is_beside);
    let (expected, up) = (gate.product(&x, form), up.product(&x, form));
    for (engine, found) in single.run_on_both() {
        check_close(engine, &found.unwrap(), &expected);
    }
    let expected: Vec<f32> = expected.iter().zip(&up).map(|(gate, up)| gelu(*gate) * up).collect();
    for (engine, found) in gated.run_on_both() {
        check_close(engine, &found.unwrap(), &expected);
    }
}

#[test]
fn products_are_those_with_the_widened_weights() {
    check(false, false, true);
    check(true, false, true);
    check(false, true, true);
    check(true, true, false);
}

#[test]
fn weights_of_another_size_are_refused_with_the_operator_and_the_reason() {
    let form = Form { has_halves: false, has_zeros: false };
    let mut quantised = Quantised::new(&mut Noise(7));
    quantised.scales.truncate(N);
    let mut constants = quantised.constants("g", form);
    constants[1] = floats("g.scales", &[N], &quantised.scales);
    let single = node(PRODUCT, &["x", "g.data", "g.scales"], &attributes());
    let inputs = vec![rows("x", K, vec![0.0; K])];
    let single = Single::write(single, N, &constants, inputs, true);
    for (engine, found) in single.run_on_both() {
        let error = found.unwrap_err();
        assert!(error.contains(PRODUCT) && error.contains("scales"), "{engine}: {error}");
    }
}
