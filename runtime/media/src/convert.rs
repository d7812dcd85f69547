//! Any sound to mono, 16 bits, 16 kHz: what comes from a microphone and what comes from a file.

use std::collections::VecDeque;

use gemma_types::SAMPLE_RATE_HZ;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

use crate::MediaError;

/// Samples of one chunk: 20 ms.
pub const CHUNK_SAMPLES: usize = 320;
/// Rates that are accepted, in hertz.
const RATES_HZ: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Numbers of channels that are accepted.
const CHANNELS: std::ops::RangeInclusive<u32> = 1..=64;
/// Input frames that the resampler takes at a time, about.
const BLOCK_FRAMES: usize = 1_024;

/// Converts one stream of sound.
#[derive(Debug)]
pub struct Converter {
    channels: usize,
    rate_hz: u32,
    /// Absent where the rate is right already.
    resampler: Option<Fft<f32>>,
    /// Frames that came in.
    taken: u64,
    /// Samples that came out.
    given: u64,
    /// Output samples of the resampler that come before the first input sample.
    leading: usize,
    waiting: Vec<f32>,
    ready: VecDeque<i16>,
    finished: bool,
}

impl Converter {
    /// Makes a converter for sound of `rate_hz` and `channels`.
    ///
    /// # Errors
    /// If the rate or the number of channels is nonsense.
    pub fn new(rate_hz: u32, channels: u32) -> Result<Self, MediaError> {
        if !RATES_HZ.contains(&rate_hz) {
            return Err(MediaError::Rate(rate_hz));
        }
        if !CHANNELS.contains(&channels) {
            return Err(MediaError::Channels(channels));
        }
        let resampler = (rate_hz != SAMPLE_RATE_HZ)
            .then(|| {
                let (from, to) = (rate_hz as usize, SAMPLE_RATE_HZ as usize);
                Fft::new(from, to, block_frames(from), 1, FixedSync::Both)
            })
            .transpose()
            .map_err(failed)?;
        let leading = resampler.as_ref().map_or(0, Resampler::output_delay);
        Ok(Self {
            channels: channels as usize,
            rate_hz,
            resampler,
            taken: 0,
            given: 0,
            leading,
            waiting: Vec::new(),
            ready: VecDeque::new(),
            finished: false,
        })
    }

    /// Takes whole frames of interleaved samples, -1 to 1.
    ///
    /// # Errors
    /// If the resampler fails.
    pub fn push(&mut self, interleaved: &[f32]) -> Result<(), MediaError> {
        self.taken += (interleaved.len() / self.channels) as u64;
        let mixed = interleaved
            .chunks_exact(self.channels)
            .map(|frame| frame.iter().sum::<f32>() / self.channels as f32);
        let Some(resampler) = &mut self.resampler else {
            self.ready.extend(mixed.map(to_i16));
            return Ok(());
        };
        self.waiting.extend(mixed);
        loop {
            let needed = resampler.input_frames_next();
            if self.waiting.len() < needed {
                return Ok(());
            }
            let input =
                InterleavedSlice::new(&self.waiting[..needed], 1, needed).map_err(failed)?;
            let output = resampler.process(&input, None).map_err(failed)?.take_data();
            self.waiting.drain(..needed);
            let skipped = self.leading.min(output.len());
            self.leading -= skipped;
            self.given += (output.len() - skipped) as u64;
            self.ready.extend(output[skipped..].iter().copied().map(to_i16));
        }
    }

    /// Ends the stream: what the resampler still holds comes out.
    ///
    /// # Errors
    /// If the resampler fails.
    pub fn finish(&mut self) -> Result<(), MediaError> {
        self.finished = true;
        let Some(resampler) = &self.resampler else { return Ok(()) };
        let held = resampler.input_frames_next() * 2;
        let wanted = (self.taken * u64::from(SAMPLE_RATE_HZ)).div_ceil(self.rate_hz.into());
        self.push(&vec![0.0; held * self.channels])?;
        let surplus = usize::try_from(self.given.saturating_sub(wanted)).unwrap_or(usize::MAX);
        self.ready.truncate(self.ready.len().saturating_sub(surplus));
        Ok(())
    }

    /// The next 20 ms, if they are complete. The last of an ended stream is filled up with silence.
    pub fn chunk(&mut self) -> Option<Vec<i16>> {
        let complete = self.ready.len() >= CHUNK_SAMPLES;
        if !complete && (!self.finished || self.ready.is_empty()) {
            return None;
        }
        let mut chunk: Vec<i16> = self.ready.drain(..CHUNK_SAMPLES.min(self.ready.len())).collect();
        chunk.resize(CHUNK_SAMPLES, 0);
        Some(chunk)
    }

    /// All samples that are there.
    pub fn samples(&mut self) -> impl Iterator<Item = i16> + '_ {
        self.ready.drain(..)
    }
}

/// Input frames of a block: an even number of the shortest runs that give a whole number of samples, so
/// that the filter's middle, and with it the delay, falls on a sample.
fn block_frames(rate_hz: usize) -> usize {
    let shared = greatest_divisor(rate_hz, SAMPLE_RATE_HZ as usize);
    let shortest = rate_hz / shared;
    BLOCK_FRAMES.div_ceil(shortest).next_multiple_of(2) * shortest
}

/// The greatest common divisor, by Euclid.
fn greatest_divisor(one: usize, other: usize) -> usize {
    if other == 0 { one } else { greatest_divisor(other, one % other) }
}

fn failed(error: impl std::fmt::Display) -> MediaError {
    MediaError::Sound { reason: format!("it cannot be resampled: {error}") }
}

/// A sample of -1 to 1 as 16 bits; what is louder is clipped.
fn to_i16(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

    use super::*;

    /// One second of a tone of `hertz` through the converter.
    fn convert_tone(rate_hz: u32, channels: u32, hertz: f32) -> Vec<i16> {
        let mut converter = Converter::new(rate_hz, channels).unwrap();
        let step = std::f32::consts::TAU * hertz / rate_hz as f32;
        let tone: Vec<f32> = (0..rate_hz * channels)
            .map(|index| 0.5 * (step * (index / channels) as f32).sin())
            .collect();
        for part in tone.chunks(channels as usize * 441) {
            converter.push(part).unwrap();
        }
        converter.finish().unwrap();
        converter.samples().collect()
    }

    #[test]
    fn a_tone_keeps_its_pitch_loudness_and_place() {
        let check = |rate_hz: u32, channels: u32| {
            let samples = convert_tone(rate_hz, channels, 440.0);
            assert_eq!(samples.len(), 16_000, "{rate_hz} Hz");
            let step = std::f32::consts::TAU * 440.0 / 16_000.0;
            for (index, sample) in samples[1_000..15_000].iter().enumerate() {
                let expected = 16_384.0 * (step * (index + 1_000) as f32).sin();
                let off = (f32::from(*sample) - expected).abs();
                assert!(off < 20.0, "{rate_hz} Hz x {channels}, sample {index}: {off} off");
            }
        };
        check(16_000, 1);
        check(16_000, 2);
        check(48_000, 1);
        check(48_000, 6);
        check(44_100, 2);
        check(22_050, 1);
        check(11_025, 1);
        check(96_000, 2);
        check(8_000, 1);
    }

    #[test]
    fn what_16_khz_cannot_hold_is_filtered_away() {
        let loudest = convert_tone(48_000, 1, 11_000.0)[1_000..15_000].iter().max().copied();
        assert!(loudest.unwrap() < 50, "an 11 kHz tone leaves {loudest:?}");
    }

    #[test]
    fn the_last_chunk_is_filled_with_silence() {
        let mut converter = Converter::new(16_000, 1).unwrap();
        converter.push(&[0.5; 400]).unwrap();
        assert_eq!(converter.chunk(), Some(vec![16_384; CHUNK_SAMPLES]));
        assert_eq!(converter.chunk(), None);
        converter.finish().unwrap();
        let last = converter.chunk().unwrap();
        assert_eq!((last[79], last[80], last.len()), (16_384, 0, CHUNK_SAMPLES));
        assert_eq!(converter.chunk(), None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Converter::new(0, 1).is_err());
        assert!(Converter::new(4_000_000_000, 1).is_err());
        assert!(Converter::new(48_000, 0).is_err());
    }

    #[test]
    fn loud_samples_are_clipped() {
        assert_eq!(to_i16(1.5), i16::MAX);
        assert_eq!(to_i16(-1.5), i16::MIN);
        assert_eq!(to_i16(f32::NAN), 0);
    }
}
