//! Random products, held against the portable version.
#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

use half::f16;
use proptest::prelude::*;

use super::{Columns, Element, Elements, Strips, column_product};
use crate::{Threads, output::Output};

#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    inputs: usize,
    outputs: usize,
    scales: usize,
    zero_points: usize,
    threads: usize,
    seed: u32,
}

fn cases() -> impl Strategy<Value = Case> {
    let shape = (1..14_usize, 1..600_usize, 1..700_usize);
    (shape, 0..3_usize, 0..3_usize, 1..4_usize, any::<u32>()).prop_map(
        |((rows, inputs, outputs), scales, zero_points, threads, seed)| Case {
            rows,
            inputs,
            outputs,
            scales,
            zero_points,
            threads,
            seed,
        },
    )
}

/// Numbers between -1 and 1 that repeat in no simple pattern.
fn noise(length: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

fn check<T: Element>(
    case: &Case,
    elements: &[T],
    view: Elements<'_>,
    middle: f32,
) -> Result<(), TestCaseError> {
    let Case { rows, inputs, outputs, threads, seed, .. } = *case;
    let count = |how: usize| [0, 1, outputs][how];
    let scales = noise(count(case.scales), seed ^ 1);
    let zero_points: Vec<f32> = noise(count(case.zero_points), seed ^ 2)
        .iter()
        .map(|zero| (zero * 20.0 + middle).round())
        .collect();
    let matrix =
        Columns { inputs, outputs, elements: view, scales: &scales, zero_points: &zero_points };
    let input = noise(rows * inputs, seed ^ 3);
    let (mut found, mut expected) = (vec![f32::NAN; rows * outputs], vec![0.0; rows * outputs]);
    let threads = Threads::new(threads);
    column_product(&matrix, &input, rows, &mut found, &threads).unwrap();
    let output = Output::new(&mut expected);
    Strips { matrix: &matrix, elements, input: &input, output }.portable(&threads);
    let most = elements.iter().fold(1.0_f32, |most, element| most.max(element.one().abs()));
    let size = most * (inputs as f32).sqrt();
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        prop_assert!((found - expected).abs() <= 1e-5 * size, "{at}: {found} is not {expected}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn products_with_columns_agree(case in cases()) {
        let floats = noise(case.inputs * case.outputs, case.seed);
        check(&case, &floats, Elements::F32(&floats), 0.0)?;
        let halves: Vec<f16> = floats.iter().copied().map(f16::from_f32).collect();
        check(&case, &halves, Elements::F16(&halves), 0.0)?;
        let bytes: Vec<u8> = floats.iter().map(|value| (value * 127.0 + 128.0) as u8).collect();
        check(&case, &bytes, Elements::U8(&bytes), 128.0)?;
        let signed: Vec<i8> = floats.iter().map(|value| (value * 128.0) as i8).collect();
        check(&case, &signed, Elements::I8(&signed), 0.0)?;
    }
}
