//! What the kernels reach on this machine: decode in bytes of weights per second against what memory
//! gives, prefill in multiplications per second. `cargo run --release -p gemma-kernels --example speed`
#![allow(clippy::unwrap_used, reason = "shapes are made here, and agree")]

use std::time::Instant;

use gemma_kernels::{
    Activations, Heads, Rows, Scales, Segment, Threads, Weights, attend, gated_product, product,
};
use half::f16;

const DECODE: [(usize, usize); 7] = [
    (2048, 1536),
    (1536, 2048),
    (6144, 1536),
    (1536, 6144),
    (12288, 1536),
    (1536, 12288),
    (262_144, 1536),
];

const PREFILL: [(usize, usize); 3] = [(2048, 1536), (6144, 1536), (1536, 6144)];

fn main() {
    println!("{:?}", gemma_kernels::cpu::paths());
    let memory = vec![1u64; 64 << 20];
    let data: Vec<u8> = (0..262_144 * 768).map(|i| (i * 7 + i / 911) as u8).collect();
    let scales: Vec<f16> = (0..262_144 * 96).map(|i| f16::from_f32(i as f32 % 7.0)).collect();
    for count in [1, 2] {
        let threads = Threads::new(count);
        let roof = read_rate(&memory, &threads);
        println!("{count} threads: memory is read at {roof:.1} GB/s");
        for activations in [Activations::Int8, Activations::Exact] {
            for (n, k) in DECODE {
                let rate = decode(&data, &scales, n, k, activations, &threads);
                let share = 100.0 * rate / roof;
                println!("  {activations:?} {k} to {n}: {rate:.1} GB/s, {share:.0} %");
            }
            let cached = decode(&data[..256 * 768], &scales, 256, 1536, activations, &threads);
            println!("  {activations:?} 1536 to 256, from the cache: {cached:.1} GB/s");
            for (n, k) in PREFILL {
                let rates = [4, 16, 24, 32, 38, 48, 64, 65, 128, 512].map(|rows| {
                    let weights = weights(&data, &scales, n, k);
                    format!("{rows} rows {:.0}", prefill(&weights, rows, activations, &threads))
                });
                println!("  {activations:?} {k} to {n}, GFLOP/s: {}", rates.join(", "));
            }
        }
        for (rows, past) in [(1, 512), (1, 2048), (1, 8192), (512, 0)] {
            attention(rows, past, 256, &threads);
            attention(rows, past, 512, &threads);
        }
    }
}

fn weights<'a>(data: &'a [u8], scales: &'a [f16], n: usize, k: usize) -> Weights<'a> {
    let (data, scales) = (&data[..n * k / 2], Scales::F16(&scales[..n * k / 32]));
    Weights { rows: n, columns: k, bits: 4, block: 32, data, scales, zero_points: None }
}

/// Milliseconds of one layer with eight heads and one of keys, causal.
fn attention(rows: usize, past: usize, width: usize, threads: &Threads) {
    let heads = Heads { query: 8, kv: 1, width };
    let all = past + rows;
    let numbers: Vec<f32> = (0..all * width).map(|i| (i as f32).sin()).collect();
    let halves: Vec<f16> = numbers.iter().copied().map(f16::from_f32).collect();
    let sees: Vec<_> = (past..all).map(|position| 0..position + 1).collect();
    let query = vec![0.01; rows * 8 * width];
    let mut output = query.clone();
    let mut time = |keys: Rows<'_>| {
        let segment = Segment { first: 0, rows: all, keys, values: keys };
        1e3 * best(3, |_| {
            attend(&heads, &query, &sees, &[segment], &mut output, threads).unwrap();
        })
    };
    let (single, half) = (time(Rows::F32(&numbers)), time(Rows::F16(&halves)));
    println!(
        "  attention {rows} rows, {past} past, width {width}: f32 {single:.2} ms, f16 {half:.2} ms"
    );
}

/// Thousand millions of additions and multiplications per second, of a product and a gated one.
fn prefill(weights: &Weights<'_>, rows: usize, activations: Activations, threads: &Threads) -> f64 {
    let input: Vec<f32> = (0..rows * weights.columns).map(|i| (i as f32).sin()).collect();
    let mut output = vec![0.0; rows * weights.rows];
    let one = best(2, |_| {
        product(weights, &input, rows, &mut output, activations, threads).unwrap();
    });
    let two = best(1, |_| {
        gated_product(weights, weights, &input, rows, &mut output, activations, threads).unwrap();
    });
    2.0 * (rows * weights.columns * weights.rows) as f64 / one.min(two / 2.0) / 1e9
}

/// GB/s of the plainest loop over memory that no cache holds.
fn read_rate(memory: &[u64], threads: &Threads) -> f64 {
    let seconds = best(5, |_| {
        threads.split(memory.len(), 4096, &|range| {
            let sum = memory[range].iter().fold(0u64, |sum, word| sum.wrapping_add(*word));
            std::hint::black_box(sum);
        });
    });
    memory.len() as f64 * 8.0 / seconds / 1e9
}

/// GB/s of weights and scales in a product with one row; small weights are taken from another place
/// every time, so that they come from memory.
fn decode(
    data: &[u8],
    scales: &[f16],
    n: usize,
    k: usize,
    activations: Activations,
    threads: &Threads,
) -> f64 {
    let (bytes, blocks) = (n * k / 2, n * k / 32);
    let copies = data.len() / bytes;
    let input: Vec<f32> = (0..k).map(|i| (i as f32).sin()).collect();
    let mut output = vec![0.0; n];
    let rounds = copies.clamp(8, 64);
    let whole = best(3, |_| {
        for copy in 0..rounds {
            let at = copy % copies;
            let data = &data[at * bytes..][..bytes];
            let scales = Scales::F16(&scales[at * blocks..][..blocks]);
            let weights = Weights {
                rows: n,
                columns: k,
                bits: 4,
                block: 32,
                data,
                scales,
                zero_points: None,
            };
            product(&weights, &input, 1, &mut output, activations, threads).unwrap();
        }
    });
    (bytes + blocks * 2) as f64 * rounds as f64 / whole / 1e9
}

/// Seconds of the quickest of several runs.
fn best(runs: usize, mut work: impl FnMut(usize)) -> f64 {
    let time = |run| {
        let start = Instant::now();
        work(run);
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(time).fold(f64::INFINITY, f64::min)
}
