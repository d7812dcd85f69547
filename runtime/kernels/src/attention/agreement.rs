//! Every version of attention gives what the portable one gives, whatever is seen.
#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::ops::Range;

use half::f16;
use proptest::{collection::vec, prelude::*};

use super::{Heads, Rows, Segment, attend, portable};
use crate::{Threads, output::Output};

/// Random numbers from -1 to 1.
fn noise(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        ((state >> 33) % 2001) as f32 / 1000.0 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

/// Lengths of segments, first positions included as gaps in front of them.
fn segments() -> impl Strategy<Value = Vec<(usize, usize)>> {
    vec((0usize..3, 0usize..400), 0..4)
}

fn sees() -> impl Strategy<Value = Vec<Range<usize>>> {
    vec((0usize..900, 0usize..900).prop_map(|(start, length)| start..start + length), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn attention_agrees(
        kv in 1usize..3,
        group in 1usize..10,
        width in prop_oneof![1usize..40, Just(64), Just(256)],
        segments in segments(),
        sees in sees(),
        halves in any::<bool>(),
        loud in any::<bool>(),
        threads in 1usize..5,
        seed in any::<u64>(),
    ) {
        let heads = Heads { query: kv * group, kv, width };
        let mut first = 0;
        let mut owned = Vec::new();
        for (gap, rows) in segments {
            first += gap;
            let keys = noise(rows * kv * width, seed ^ first as u64);
            let values = noise(rows * kv * width, !seed ^ first as u64);
            let half = |numbers: &[f32]| numbers.iter().copied().map(f16::from_f32).collect();
            let both: (Vec<f16>, Vec<f16>) = (half(&keys), half(&values));
            owned.push((first, rows, keys, values, both));
            first += rows;
        }
        let segments: Vec<Segment<'_>> = owned.iter().map(|(first, rows, keys, values, half)| {
            let (keys, values) = match halves {
                true => (Rows::F16(&half.0), Rows::F16(&half.1)),
                false => (Rows::F32(keys), Rows::F32(values)),
            };
            Segment { first: *first, rows: *rows, keys, values }
        }).collect();
        let mut query = noise(sees.len() * heads.query * width, seed.rotate_left(7));
        if loud {
            query.iter_mut().for_each(|number| *number *= 50.0);
        }
        let threads = Threads::new(threads);
        let mut found = vec![f32::NAN; query.len()];
        let mut expected = found.clone();
        attend(&heads, &query, &sees, &segments, &mut found, &threads).unwrap();
        portable::attend(&heads, &query, &sees, &segments, Output::new(&mut expected), &threads);
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let error = (found - expected).abs();
            prop_assert!(error < if loud { 2e-3 } else { 2e-5 }, "{index}: {found} is not {expected}");
        }
    }
}
