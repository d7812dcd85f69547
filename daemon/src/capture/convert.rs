//! Any sound to mono, 16 bits, 16 kHz, cut into chunks of 20 ms.

use std::collections::VecDeque;

use anyhow::{Context as _, ensure};
use gemma_types::SAMPLE_RATE_HZ;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

/// Samples of one chunk: 20 ms.
pub const CHUNK_SAMPLES: usize = 320;
/// Rates that are accepted, in hertz.
const RATES_HZ: std::ops::RangeInclusive<u32> = 1_000..=768_000;
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
}

impl Converter {
    /// Makes a converter for sound of `rate_hz` and `channels`.
    ///
    /// # Errors
    /// If the rate or the number of channels is nonsense.
    pub fn new(rate_hz: u32, channels: u32) -> anyhow::Result<Self> {
        ensure!(
            RATES_HZ.contains(&rate_hz),
            "a sample rate of {rate_hz} Hz, accepted is {} to {}",
            RATES_HZ.start(),
            RATES_HZ.end()
        );
        ensure!((1..=64).contains(&channels), "{channels} channels, accepted is 1 to 64");
        let resampler = (rate_hz != SAMPLE_RATE_HZ)
            .then(|| {
                let (from, to) = (rate_hz as usize, SAMPLE_RATE_HZ as usize);
                Fft::new(from, to, BLOCK_FRAMES, 1, FixedSync::Both)
            })
            .transpose()
            .with_context(|| format!("sound of {rate_hz} Hz cannot be resampled"))?;
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
        })
    }

    /// Takes whole frames of interleaved samples, -1 to 1.
    ///
    /// # Errors
    /// If the resampler fails.
    pub fn push(&mut self, interleaved: &[f32]) -> anyhow::Result<()> {
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
            let input = InterleavedSlice::new(&self.waiting[..needed], 1, needed)?;
            let output = resampler.process(&input, None)?.take_data();
            self.waiting.drain(..needed);
            let skipped = self.leading.min(output.len());
            self.leading -= skipped;
            self.given += (output.len() - skipped) as u64;
            self.ready.extend(output[skipped..].iter().copied().map(to_i16));
        }
    }

    /// Ends the stream: what the resampler still holds comes out, the last chunk is filled up with
    /// silence.
    ///
    /// # Errors
    /// If the resampler fails.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        if let Some(resampler) = &self.resampler {
            let held = resampler.input_frames_next() * 2;
            let wanted = (self.taken * u64::from(SAMPLE_RATE_HZ)).div_ceil(self.rate_hz.into());
            self.push(&vec![0.0; held * self.channels])?;
            let surplus = usize::try_from(self.given.saturating_sub(wanted))?;
            self.ready.truncate(self.ready.len().saturating_sub(surplus));
        }
        let missing = self.ready.len().next_multiple_of(CHUNK_SAMPLES) - self.ready.len();
        self.ready.extend(std::iter::repeat_n(0, missing));
        Ok(())
    }

    /// The next 20 ms, if they are complete.
    pub fn chunk(&mut self) -> Option<Vec<i16>> {
        (self.ready.len() >= CHUNK_SAMPLES).then(|| self.ready.drain(..CHUNK_SAMPLES).collect())
    }
}

/// A sample of -1 to 1 as 16 bits; what is louder is clipped.
fn to_i16(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
        std::iter::from_fn(|| converter.chunk()).flatten().collect()
    }

    #[test]
    fn a_tone_keeps_its_pitch_loudness_and_place() {
        let check = |rate_hz: u32, channels: u32| {
            let samples = convert_tone(rate_hz, channels, 440.0);
            assert!(samples.len() >= 16_000, "{rate_hz} Hz gives {}", samples.len());
            let step = std::f32::consts::TAU * 440.0 / 16_000.0;
            for (index, sample) in samples[1_000..15_000].iter().enumerate() {
                let expected = 16_384.0 * (step * (index + 1_000) as f32).sin();
                let off = (f32::from(*sample) - expected).abs();
                // Half a sample of delay at the tone's steepest point.
                assert!(off < 1_416.0, "{rate_hz} Hz x {channels}, sample {index}: {off} off");
            }
        };
        check(16_000, 1);
        check(16_000, 2);
        check(48_000, 1);
        check(48_000, 6);
        check(44_100, 2);
        check(22_050, 1);
        check(8_000, 1);
    }

    #[test]
    fn what_16_khz_cannot_hold_is_filtered_away() {
        let loudest = convert_tone(48_000, 1, 11_000.0)[1_000..15_000].iter().max().copied();
        assert!(loudest.unwrap() < 50, "an 11 kHz tone leaves {loudest:?}");
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
