//! How fast this machine reads memory that is in no cache: the roof for making tokens one by one.

use std::time::Instant;

/// Far more than any cache holds; 64 MiB for each thread at least.
const BYTES: usize = 512 << 20;
/// The best of so many passes: what disturbs a pass only slows it.
const PASSES: usize = 6;
/// Numbers that are added up side by side, so that the sum does not wait for itself.
const LANES: usize = 32;

/// Gigabytes (1e9) a second that so many threads read together, each its own part.
pub(super) fn read_gb_per_s(threads: usize) -> f64 {
    let memory: Vec<u64> = (0..BYTES as u64 / 8).collect();
    let share = memory.len().div_ceil(threads.max(1));
    let best = (0..PASSES).map(|_| pass(&memory, share)).fold(f64::INFINITY, f64::min);
    BYTES as f64 / best.max(f64::MIN_POSITIVE) / 1e9
}

/// Seconds to read everything once.
fn pass(memory: &[u64], share: usize) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            memory.chunks(share).map(|part| scope.spawn(move || sum(part))).collect();
        for part in parts {
            std::hint::black_box(part.join().unwrap_or_default());
        }
    });
    started.elapsed().as_secs_f64()
}

fn sum(part: &[u64]) -> u64 {
    let mut sums = [0_u64; LANES];
    for group in part.chunks_exact(LANES) {
        for (sum, number) in sums.iter_mut().zip(group) {
            *sum = sum.wrapping_add(*number);
        }
    }
    sums.iter().fold(0, |total, sum| total.wrapping_add(*sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read() {
        let numbers: Vec<u64> = (0..LANES as u64 * 100).collect();
        assert_eq!(sum(&numbers), numbers.iter().sum::<u64>());
    }
}
