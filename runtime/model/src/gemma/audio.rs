//! The audio front end: speech to the logarithmic mel spectrogram that the audio encoder reads.
//!
//! Frames of 20 ms every 10 ms, a periodic Hann window, the magnitude of a 512-point transform, 128
//! triangular filters on the HTK mel scale up to 8 kHz, and the logarithm, as in the feature extractor
//! published with Gemma 4. A model without an audio tower takes the samples themselves.

mod windows;

use ndarray::{Array2, Array3, s};
use realfft::RealFftPlanner;

pub use windows::windows;

/// What the loudest sample becomes one by.
const FULL_SCALE: f64 = 32_768.0;

/// Sample rate in hertz.
const RATE_HZ: f64 = 16_000.0;

/// Samples of one frame: 20 ms.
const FRAME: usize = 320;

/// Samples from one frame to the next: 10 ms.
const HOP: usize = 160;

/// Zeros put before the first sample, so that the first frame is centred there.
const PAD_LEFT: usize = FRAME / 2;

/// Points of the transform.
const TRANSFORM: usize = 512;

/// Frequencies of a spectrum.
const BINS: usize = TRANSFORM / 2 + 1;

/// Mel filters.
pub const MEL_BINS: usize = 128;

/// Added to every filter's output before the logarithm.
const FLOOR: f64 = 0.001;

/// Samples of the longest clip: 30 s.
pub const SAMPLES_MAX: usize = 480_000;

/// Samples of the shortest clip: one frame.
const SAMPLES_MIN: usize = FRAME;

/// Samples are padded to a multiple of this before they are framed.
const SAMPLES_BLOCK: usize = 128;

/// Frames are padded to a multiple of this: 12 positions of the encoder, its attention block, after
/// its two halvings.
const FRAMES_BLOCK: usize = 48;

/// Samples of one soft token of a model without an audio tower: 40 ms.
pub const TOKEN_SAMPLES: usize = 640;

/// Why sound cannot be prepared for the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    /// More than the model was trained on.
    #[error("{samples} samples of sound; the model hears at most 480000 (30 s) at a time, cut it")]
    TooLong {
        /// Samples given, 16 kHz.
        samples: usize,
    },
    /// Less than one frame.
    #[error("{samples} samples of sound; the model needs at least 320 (20 ms)")]
    TooShort {
        /// Samples given, 16 kHz.
        samples: usize,
    },
}

/// Sound as an encoder takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedAudio {
    /// Log-mel spectrogram `[1, frames, 128] f32`, where frames that are not real are zero; or samples
    /// `[1, soft_tokens, 640] f32` for a model without an audio tower.
    pub features: Array3<f32>,
    /// Which frames are real, `[1, frames]`.
    pub mask: Array2<bool>,
    /// Rows that the encoder makes of it, 25 a second.
    pub soft_tokens: usize,
}

/// Prepares speech for an audio tower: mono i16, 16 kHz, between 20 ms and 30 s.
///
/// # Errors
/// Sound outside these limits.
pub fn prepare(samples: &[i16]) -> Result<PreparedAudio, AudioError> {
    check_length(samples)?;
    let samples: Vec<f64> = samples.iter().map(|sample| f64::from(*sample) / FULL_SCALE).collect();
    Ok(prepare_signal(&samples))
}

/// Prepares speech for a model without an audio tower: mono i16, 16 kHz, between 20 ms and 30 s. The
/// last soft token is filled up with silence.
///
/// # Errors
/// Sound outside these limits.
pub fn prepare_frames(samples: &[i16]) -> Result<PreparedAudio, AudioError> {
    check_length(samples)?;
    let soft_tokens = samples.len().div_ceil(TOKEN_SAMPLES);
    let features = Array3::from_shape_fn((1, soft_tokens, TOKEN_SAMPLES), |(_, token, offset)| {
        let sample = samples.get(token * TOKEN_SAMPLES + offset).copied().unwrap_or(0);
        f32::from(sample) / FULL_SCALE as f32
    });
    let mask = Array2::from_elem((1, soft_tokens), true);
    Ok(PreparedAudio { features, mask, soft_tokens })
}

fn check_length(samples: &[i16]) -> Result<(), AudioError> {
    match samples.len() {
        samples if samples > SAMPLES_MAX => Err(AudioError::TooLong { samples }),
        samples if samples < SAMPLES_MIN => Err(AudioError::TooShort { samples }),
        _ => Ok(()),
    }
}

/// Prepares samples between -1 and 1.
fn prepare_signal(samples: &[f64]) -> PreparedAudio {
    let real = real_frames(samples.len());
    let frames = frames(samples.len()).next_multiple_of(FRAMES_BLOCK);
    let mut features = Array3::zeros((1, frames, MEL_BINS));
    for (index, row) in spectrogram(samples, real).into_iter().enumerate() {
        features.slice_mut(s![0, index, ..]).assign(&ndarray::aview1(&row));
    }
    let mask = Array2::from_shape_fn((1, frames), |(_, frame)| frame < real);
    PreparedAudio { features, mask, soft_tokens: soft_tokens(samples.len()) }
}

/// Rows that the encoder makes of so many samples: two halvings of the real frames, rounded up.
pub fn soft_tokens(samples: usize) -> usize {
    real_frames(samples).div_ceil(2).div_ceil(2)
}

/// Frames of which every sample, and the one after the last, lies in the clip.
fn real_frames(samples: usize) -> usize {
    (samples + PAD_LEFT).saturating_sub(FRAME).div_ceil(HOP)
}

/// Frames of the padded clip, real or not.
fn frames(samples: usize) -> usize {
    let padded = samples.next_multiple_of(SAMPLES_BLOCK) + PAD_LEFT;
    padded.saturating_sub(FRAME).div_ceil(HOP)
}

/// The first `frames` rows of the log-mel spectrogram.
fn spectrogram(samples: &[f64], frames: usize) -> Vec<[f32; MEL_BINS]> {
    // Double precision: near the floor, the rounding of single precision would show in the logarithm.
    let transform = RealFftPlanner::<f64>::new().plan_fft_forward(TRANSFORM);
    let (mut input, mut output) = (transform.make_input_vec(), transform.make_output_vec());
    let mut scratch = transform.make_scratch_vec();
    let (window, filters) = (hann(), mel_filters());
    (0..frames)
        .map(|frame| {
            input.fill(0.0);
            for (offset, (value, weight)) in input.iter_mut().zip(&window).enumerate() {
                let sample = (frame * HOP + offset).checked_sub(PAD_LEFT);
                let sample = sample.and_then(|sample| samples.get(sample)).copied().unwrap_or(0.0);
                *value = sample * weight;
            }
            // The lengths are those that the planner chose, so this cannot fail.
            let done = transform.process_with_scratch(&mut input, &mut output, &mut scratch);
            debug_assert!(done.is_ok(), "{done:?}");
            let magnitudes: Vec<f64> = output.iter().map(|value| value.norm()).collect();
            filters.each_ref().map(|filter| filter.apply(&magnitudes))
        })
        .collect()
}

/// The periodic Hann window.
fn hann() -> [f64; FRAME] {
    std::array::from_fn(|index| {
        let turn = std::f64::consts::TAU * index as f64 / FRAME as f64;
        0.5 - 0.5 * turn.cos()
    })
}

/// One triangular filter: weights of neighbouring frequencies.
struct Filter {
    first: usize,
    weights: Vec<f64>,
}

impl Filter {
    /// A triangle that rises from `low` to `centre` and falls to `high`, in hertz.
    fn triangle(low: f64, centre: f64, high: f64) -> Self {
        let weight = |bin: usize| {
            let frequency = bin as f64 * RATE_HZ / TRANSFORM as f64;
            let rising = (frequency - low) / (centre - low);
            let falling = (high - frequency) / (high - centre);
            rising.min(falling).max(0.0)
        };
        let inside: Vec<usize> = (0..BINS).filter(|bin| weight(*bin) > 0.0).collect();
        let first = inside.first().copied().unwrap_or(0);
        Self { first, weights: inside.into_iter().map(weight).collect() }
    }

    /// The logarithm of what passes the filter.
    fn apply(&self, magnitudes: &[f64]) -> f32 {
        let passed = magnitudes.iter().skip(self.first).zip(&self.weights);
        let sum: f64 = passed.map(|(magnitude, weight)| magnitude * weight).sum();
        (sum + FLOOR).ln() as f32
    }
}

/// Filters whose corners are evenly spaced on the HTK mel scale from 0 to 8 kHz.
fn mel_filters() -> [Filter; MEL_BINS] {
    let highest = 2595.0 * (1.0 + RATE_HZ / 2.0 / 700.0).log10();
    let corner = |index: usize| {
        let mel = highest * index as f64 / (MEL_BINS + 1) as f64;
        700.0 * (10.0_f64.powf(mel / 2595.0) - 1.0)
    };
    std::array::from_fn(|index| {
        Filter::triangle(corner(index), corner(index + 1), corner(index + 2))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

    use proptest::prelude::*;

    use super::*;

    /// Half-loud 440 Hz for one second.
    fn tone(samples: u32) -> Vec<f64> {
        let turn = |n| std::f64::consts::TAU * 440.0 * f64::from(n) / RATE_HZ;
        (0..samples).map(|n| 0.5 * turn(n).sin()).collect()
    }

    #[test]
    fn tokens_and_frames_follow_the_published_table() {
        let check = |samples: usize, expected: usize, tokens: usize| {
            assert_eq!(frames(samples), expected, "{samples} samples");
            assert_eq!(soft_tokens(samples), tokens, "{samples} samples");
        };
        check(161, 1, 1);
        check(800, 5, 1);
        check(1_600, 10, 3);
        check(16_000, 99, 25);
        check(48_000, 299, 75);
        check(160_000, 999, 250);
        check(208_000, 1_299, 325);
        check(480_000, 2_999, 750);
    }

    #[test]
    fn a_tone_comes_out_as_from_the_published_extractor() {
        let prepared = prepare_signal(&tone(16_000));
        let real: Array2<f64> = prepared.features.slice(s![0, ..99, ..]).mapv(f64::from);
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
        };
        close(real.mean().unwrap(), -5.01665);
        close(real.std(0.0), 2.633706);
        let expected =
            [-6.907756, -3.820103, -4.90734, -3.872442, -4.349252, -6.832337, -6.849964, -3.497998];
        for (found, expected) in real.slice(s![10, ..8]).iter().zip(expected) {
            close(*found, expected);
        }
        close(real[[50, 24]], 3.52727);
    }

    #[test]
    fn a_model_without_a_tower_takes_the_samples() {
        let samples: Vec<i16> = (0..1_300).collect();
        let prepared = prepare_frames(&samples).unwrap();
        assert_eq!(prepared.features.dim(), (1, 3, TOKEN_SAMPLES));
        assert_eq!((prepared.mask.dim(), prepared.soft_tokens), ((1, 3), 3));
        assert_eq!(prepared.features[[0, 1, 2]], 642.0 / 32_768.0);
        assert_eq!(prepared.features[[0, 2, 19]], 1_299.0 / 32_768.0);
        assert!(prepared.features.slice(s![0, 2, 20..]).iter().all(|sample| *sample == 0.0));
        assert!(prepared.mask.iter().all(|real| *real));
        assert_eq!(prepare_frames(&[0; 480_000]).unwrap().soft_tokens, 750);
        assert!(prepare_frames(&[0; 480_001]).is_err() && prepare_frames(&[0; 319]).is_err());
    }

    #[test]
    fn frames_that_are_not_real_are_masked_and_zero() {
        let prepared = prepare_signal(&tone(1_000));
        assert_eq!(prepared.features.dim(), (1, 48, MEL_BINS));
        assert_eq!(prepared.mask.iter().filter(|real| **real).count(), 6);
        assert!(prepared.features.slice(s![0, 6.., ..]).iter().all(|value| *value == 0.0));
        assert_eq!(prepared.soft_tokens, 2);
    }

    #[test]
    fn clips_outside_the_limits_are_refused() {
        let refused = |samples: usize| prepare(&vec![0; samples]).err();
        assert_eq!(refused(319), Some(AudioError::TooShort { samples: 319 }));
        assert_eq!(refused(320), None);
        assert_eq!(refused(480_000), None);
        assert_eq!(refused(480_001), Some(AudioError::TooLong { samples: 480_001 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_sound_gives_finite_features(samples in prop::collection::vec(any::<i16>(), 320..4_000)) {
            let prepared = prepare(&samples).unwrap();
            prop_assert!(prepared.features.iter().all(|value| value.is_finite()));
            let real = prepared.mask.iter().filter(|real| **real).count();
            prop_assert_eq!(real.div_ceil(4), prepared.soft_tokens);
        }
    }
}
