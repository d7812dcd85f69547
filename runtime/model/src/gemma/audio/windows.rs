//! Cuts long sound into windows that the model can hear, where nobody speaks.

use std::ops::Range;

use super::SAMPLES_MAX;

/// The last part of a full window, in which it may end: 6 s.
const SEARCH: usize = 96_000;

/// Stretch whose loudness is measured: 200 ms, longer than the gaps inside a word.
const QUIET: usize = 3_200;

/// Steps in which a place is searched: 10 ms.
const STEP: usize = 160;

/// What a cut leaves to the next window at least: half a second.
const REST: usize = 8_000;

/// Windows of at most 30 seconds that together are all of the sound, in order. Each ends in the quietest
/// place near its latest end, so that no word is cut where there is a pause.
pub fn windows(samples: &[i16]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = end(samples, start)?;
        let window = start..end;
        start = end;
        Some(window)
    })
}

/// Where the window that begins at `start` ends; none after the last.
fn end(samples: &[i16], start: usize) -> Option<usize> {
    let left = samples.len().checked_sub(start).filter(|left| *left > 0)?;
    if left <= SAMPLES_MAX {
        return Some(samples.len());
    }
    let latest = (start + SAMPLES_MAX).min(samples.len() - REST);
    let quietest = (latest - SEARCH..latest - QUIET)
        .step_by(STEP)
        // Of places that are alike, the last: fewer windows.
        .rev()
        .min_by_key(|place| energy(&samples[*place..place + QUIET]))?;
    Some(quietest + QUIET / 2)
}

fn energy(samples: &[i16]) -> u64 {
    samples.iter().map(|sample| u64::from(sample.unsigned_abs()).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: f64) -> usize {
        (seconds * 16_000.0) as usize
    }

    /// Noise of so many seconds with silence from and to the given seconds.
    fn speech(length: f64, pauses: &[(f64, f64)]) -> Vec<i16> {
        let loud = |place: usize| (place.wrapping_mul(7_919) % 20_011) as i16 - 10_005;
        let mut samples: Vec<i16> = (0..seconds(length)).map(loud).collect();
        for (from, to) in pauses {
            samples[seconds(*from)..seconds(*to)].fill(0);
        }
        samples
    }

    #[test]
    fn short_sound_is_one_window() {
        let check = |length: usize, expected: Vec<Range<usize>>| {
            assert_eq!(windows(&vec![1; length]).collect::<Vec<_>>(), expected);
        };
        check(0, vec![]);
        check(1, vec![0..1; 1]);
        check(480_000, vec![0..480_000; 1]);
    }

    #[test]
    fn long_sound_is_cut_in_its_pauses() {
        let samples = speech(70.0, &[(10.0, 11.0), (26.0, 26.5), (28.0, 28.1), (52.0, 53.0)]);
        let cuts: Vec<usize> = windows(&samples).map(|window| window.end).collect();
        assert_eq!(cuts.len(), 3);
        assert!((seconds(26.0)..seconds(26.5)).contains(&cuts[0]), "{cuts:?}");
        assert!((seconds(52.0)..seconds(53.0)).contains(&cuts[1]), "{cuts:?}");
        assert_eq!(cuts[2], samples.len());
    }

    #[test]
    fn without_a_pause_windows_are_nearly_full() {
        for samples in [speech(95.0, &[]), vec![0; seconds(95.0)]] {
            let all: Vec<Range<usize>> = windows(&samples).collect();
            assert_eq!(all.len(), 4);
            assert!(all[..3].iter().all(|window| window.len() >= seconds(23.0)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn windows_are_all_of_the_sound_and_none_is_too_long_or_too_short(
            length in 1_usize..2_000_000,
            seed in any::<u64>(),
        ) {
            let sample = |place: usize| (seed.wrapping_mul(place as u64 / 5_000 + 1) >> 49) as i16;
            let samples: Vec<i16> = (0..length).map(sample).collect();
            let mut at = 0;
            for window in windows(&samples) {
                prop_assert_eq!(window.start, at);
                prop_assert!(window.len() <= SAMPLES_MAX);
                prop_assert!(window.len() >= length.min(REST));
                at = window.end;
            }
            prop_assert_eq!(at, length);
        }
    }
}
