//! Every version of a product gives what the portable one gives, whatever the shape.
#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

use half::f16;
use proptest::prelude::*;

use super::{Activations, gated_product, matrix_product, portable, product};
use crate::{Matrix, Scales, Threads, Weights, gelu::gelu, noise::Noise, output::Output};

/// Numbers of a test that own their memory.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    outputs: usize,
    columns: usize,
    bits: u8,
    block: usize,
    halves: bool,
    zero_points: bool,
    threads: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    // As many rows as lead into every way of computing.
    let rows = prop_oneof![1usize..20, 65usize..72];
    let shape = (rows, 1usize..70, 1usize..700);
    let form = (prop_oneof![Just(4u8), Just(8), Just(2)], 4u32..9);
    let rest = (any::<bool>(), any::<bool>(), 1usize..4, any::<u64>());
    (shape, form, rest).prop_map(|((rows, outputs, columns), (bits, block), rest)| {
        let block = 1 << block;
        let (halves, zero_points, threads, seed) = rest;
        Case { rows, outputs, columns, bits, block, halves, zero_points, threads, seed }
    })
}

struct Owned {
    data: Vec<u8>,
    scales: Vec<f32>,
    halves: Vec<f16>,
    zero_points: Vec<u8>,
}

impl Owned {
    fn new(case: &Case, noise: &mut Noise) -> Self {
        let (blocks, bits) = (case.columns.div_ceil(case.block), usize::from(case.bits));
        let scales = noise.floats(case.outputs * blocks);
        Self {
            data: noise.bytes(case.outputs * blocks * case.block * bits / 8),
            halves: scales.iter().copied().map(f16::from_f32).collect(),
            scales,
            zero_points: noise.bytes(case.outputs * (blocks * bits).div_ceil(8)),
        }
    }

    fn view(&self, case: &Case) -> Weights<'_> {
        Weights {
            rows: case.outputs,
            columns: case.columns,
            bits: case.bits,
            block: case.block,
            data: &self.data,
            scales: match case.halves {
                true => Scales::F16(&self.halves),
                false => Scales::F32(&self.scales),
            },
            zero_points: case.zero_points.then_some(&self.zero_points[..]),
        }
    }
}

/// The differences stay below `relative` times the size that sums of these lengths have.
fn close(found: &[f32], expected: &[f32], relative: f32) -> Result<(), TestCaseError> {
    let size = expected.iter().fold(0.0f32, |size, value| size.max(value.abs())) + 1.0;
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        prop_assert!(error <= relative * size, "{index}: {found} is not {expected}, size {size}");
    }
    Ok(())
}

fn check(case: &Case, activations: Activations) -> Result<(), TestCaseError> {
    let mut noise = Noise(case.seed);
    let (gate, up) = (Owned::new(case, &mut noise), Owned::new(case, &mut noise));
    let (gate, up) = (gate.view(case), up.view(case));
    let input = noise.floats(case.rows * case.columns);
    let threads = Threads::new(case.threads);
    let mut found = vec![f32::NAN; case.rows * case.outputs];
    let mut expected = found.clone();
    product(&up, &input, case.rows, &mut found, activations, &threads).unwrap();
    portable::product(&up, &input, Output::new(&mut expected), activations, &threads);
    close(&found, &expected, 1e-5)?;

    let mut gates = found.clone();
    portable::product(&gate, &input, Output::new(&mut gates), activations, &threads);
    let expected: Vec<f32> = gates.iter().zip(&expected).map(|(g, up)| gelu(*g) * up).collect();
    gated_product(&gate, &up, &input, case.rows, &mut found, activations, &threads).unwrap();
    close(&found, &expected, 2e-5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn exact_products_agree(case in cases()) {
        check(&case, Activations::Exact)?;
    }

    #[test]
    fn rounded_products_agree(case in cases()) {
        check(&case, Activations::Int8)?;
    }

    #[test]
    fn plain_products_agree(case in cases()) {
        let mut noise = Noise(case.seed);
        let matrix = noise.floats(case.outputs * case.columns);
        let halves: Vec<f16> = matrix.iter().copied().map(f16::from_f32).collect();
        let matrix = if case.halves { Matrix::F16(&halves) } else { Matrix::F32(&matrix) };
        let input = noise.floats(case.rows * case.columns);
        let threads = Threads::new(case.threads);
        let mut found = vec![f32::NAN; case.rows * case.outputs];
        let mut expected = found.clone();
        let exact = Activations::Exact;
        matrix_product(&matrix, &input, case.rows, &mut found, exact, &threads).unwrap();
        let output = Output::new(&mut expected);
        portable::plain_product(&matrix, case.columns, &input, output, &threads);
        close(&found, &expected, 1e-5)?;
    }
}
