//! The portable version against sums that are written out in double precision.
#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

use gemma_kernels::{
    Activations, Heads, Rows, Scales, Segment, Threads, Weights, attend, gated_product, product,
};
use half::f16;

/// Numbers that repeat in no simple pattern, between -1 and 1.
fn noise(length: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

fn bytes(length: usize, seed: u32) -> Vec<u8> {
    noise(length, seed).iter().map(|value| ((value + 1.0) * 127.0) as u8).collect()
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= tolerance, "element {index}: {found} is not {expected}");
    }
}

/// weight[n, k] as the format defines it.
fn weight(weights: &Weights<'_>, n: usize, k: usize) -> f64 {
    let (bits, blocks) = (usize::from(weights.bits), weights.columns.div_ceil(weights.block));
    let read = |bytes: &[u8], index: usize| {
        let byte = usize::from(bytes[index * bits / 8]);
        ((byte >> (index * bits % 8)) % (1 << bits)) as f64
    };
    let row = blocks * weights.block * bits / 8;
    let zero = weights.zero_points.map_or(f64::from(1u8 << (bits - 1)), |zero| {
        read(&zero[n * (blocks * bits).div_ceil(8)..], k / weights.block)
    });
    let scale = match weights.scales {
        Scales::F32(scales) => f64::from(scales[n * blocks + k / weights.block]),
        Scales::F16(scales) => scales[n * blocks + k / weights.block].to_f64(),
    };
    (read(&weights.data[n * row..], k) - zero) * scale
}

fn expected(weights: &Weights<'_>, input: &[f32]) -> Vec<f64> {
    let outputs = |row: &[f32]| -> Vec<f64> {
        let output =
            |n| row.iter().enumerate().map(|(k, x)| f64::from(*x) * weight(weights, n, k)).sum();
        (0..weights.rows).map(output).collect()
    };
    input.chunks(weights.columns).flat_map(outputs).collect()
}

#[test]
fn products_are_the_sums_that_the_format_defines() {
    let threads = Threads::new(2);
    for (bits, block, columns) in [(4, 32, 96), (8, 16, 40), (2, 64, 64), (4, 128, 200)] {
        let (rows, blocks) = (11, columns_in(columns, block));
        let data = bytes(rows * blocks * block * usize::from(bits) / 8, 1);
        let halves: Vec<f16> = noise(rows * blocks, 2).into_iter().map(f16::from_f32).collect();
        let zero = bytes(rows * (blocks * usize::from(bits)).div_ceil(8), 3);
        let scales = Scales::F16(&halves);
        let zero_points = (block != 32).then_some(&zero[..]);
        let weights = Weights { rows, columns, bits, block, data: &data, scales, zero_points };
        let input = noise(3 * columns, 4);
        let mut output = vec![0.0; 3 * rows];
        let expected = expected(&weights, &input);
        let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        for (activations, error) in [(Activations::Exact, 1e-6), (Activations::Int8, 0.02)] {
            product(&weights, &input, 3, &mut output, activations, &threads).unwrap();
            close(&output, &expected, error * largest);
        }
    }
}

fn columns_in(columns: usize, block: usize) -> usize {
    columns.div_ceil(block)
}

#[test]
fn the_gate_is_gelu_of_the_first_product() {
    let data = vec![0x99; 16];
    let (ones, twos) = ([1.0], [2.0]);
    let weights = |scales| {
        let scales = Scales::F32(scales);
        Weights { rows: 1, columns: 32, bits: 4, block: 32, data: &data, scales, zero_points: None }
    };
    let (gate, up) = (weights(&ones), weights(&twos));
    let mut output = [0.0];
    let input = [1.0 / 32.0; 32];
    let threads = Threads::new(1);
    gated_product(&gate, &up, &input, 1, &mut output, Activations::Exact, &threads).unwrap();
    close(&output, &[0.841_192 * 2.0], 1e-5);
}

#[test]
fn attention_is_the_softmax_of_the_scores_over_what_is_seen() {
    let heads = Heads { query: 4, kv: 2, width: 16 };
    let (keys, values) = (noise(9 * 32, 1), noise(9 * 32, 2));
    let query: Vec<f32> = noise(2 * 64, 3).into_iter().map(|value| value * 3.0).collect();
    let segment = |first: usize, rows: usize| {
        let part = first * 32..(first + rows) * 32;
        let (keys, values) = (Rows::F32(&keys[part.clone()]), Rows::F32(&values[part]));
        Segment { first, rows, keys, values }
    };
    let segments = [segment(0, 4), segment(4, 0), segment(4, 5)];
    let sees = [2..7, 5..5];
    let mut output = vec![1.0; 128];
    attend(&heads, &query, &sees, &segments, &mut output, &Threads::new(2)).unwrap();
    let mut expected = vec![0.0f64; 128];
    for head in 0..4 {
        let at = |j: usize| j * 32 + head / 2 * 16;
        let dot = |j: usize| {
            (0..16).map(|d| f64::from(query[head * 16 + d] * keys[at(j) + d])).sum::<f64>().exp()
        };
        let whole: f64 = (2..7).map(dot).sum();
        for d in 0..16 {
            expected[head * 16 + d] =
                (2..7).map(|j| dot(j) / whole * f64::from(values[at(j) + d])).sum();
        }
    }
    close(&output, &expected, 1e-5);
}

#[test]
fn lengths_that_do_not_agree_are_refused_and_nothing_is_written() {
    let threads = Threads::new(1);
    let heads = Heads { query: 3, kv: 2, width: 4 };
    assert!(attend(&heads, &[0.0; 24], &[0..1, 0..0], &[], &mut [0.0; 24], &threads).is_err());
    let scales = Scales::F32(&[1.0]);
    let data = [0; 16];
    let weights = Weights {
        rows: 1,
        columns: 32,
        bits: 4,
        block: 32,
        data: &data,
        scales,
        zero_points: None,
    };
    let mut output = [7.0];
    let short = product(&weights, &[0.0; 31], 1, &mut output, Activations::Exact, &threads);
    assert!(short.is_err() && output == [7.0]);
    product(&weights, &[], 0, &mut [], Activations::Exact, &threads).unwrap();
}
