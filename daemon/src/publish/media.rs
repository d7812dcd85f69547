//! Encoded pictures and sound from outside, decoded under limits: a stranger's file can be wrong,
//! huge, or small and unfold to something huge.

use std::io::Cursor;
use std::time::Duration;

use gemma_types::{Frame, Utterance};
use hound::{SampleFormat, WavReader};
use tokio::sync::Semaphore;

use crate::capture::convert::Converter;

/// Pictures of one question at most.
pub(super) const PICTURES_MAX: usize = 8;
/// WAV files of one question at most.
pub(super) const SOUNDS_MAX: usize = 4;
/// Bytes of one encoded file at most.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;
/// Seconds of one WAV file at most; the model hears no more at once.
const SOUND_SECONDS_MAX: u32 = 30;
/// Questions whose files are decoded at a time; the others wait.
static DECODING: Semaphore = Semaphore::const_new(1);

/// What came along with a question.
#[derive(Debug, Default)]
pub(super) struct Media {
    pub(super) images: Vec<Frame>,
    pub(super) audio: Vec<Utterance>,
}

impl Media {
    /// Whether nothing came along.
    pub(super) const fn is_empty(&self) -> bool {
        self.images.is_empty() && self.audio.is_empty()
    }
}

/// Decodes picture files and WAV files, off the asynchronous threads.
///
/// # Errors
/// What is wrong with which file.
pub(super) async fn decode(images: Vec<Vec<u8>>, audio: Vec<Vec<u8>>) -> Result<Media, String> {
    if images.is_empty() && audio.is_empty() {
        return Ok(Media::default());
    }
    let _permit = DECODING.acquire().await.map_err(|error| error.to_string())?;
    let decoded = tokio::task::spawn_blocking(move || {
        Ok(Media {
            images: numbered("image", &images, decode_picture)?,
            audio: numbered("audio", &audio, decode_sound)?,
        })
    });
    decoded.await.unwrap_or_else(|_| Err("the decoder failed on one of the files".into()))
}

fn numbered<T>(
    kind: &str,
    files: &[Vec<u8>],
    decode: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let decode = |(index, file): (usize, &Vec<u8>)| {
        decode(file).map_err(|error| format!("{kind} {}: {error}", index + 1))
    };
    files.iter().enumerate().map(decode).collect()
}

fn decode_picture(file: &[u8]) -> Result<Frame, String> {
    gemma_runtime::decode_image(file).map_err(|error| error.to_string())
}

/// A WAV file as mono i16, 16 kHz.
fn decode_sound(file: &[u8]) -> Result<Utterance, String> {
    let mut reader = WavReader::new(Cursor::new(file)).map_err(|error| error.to_string())?;
    let spec = reader.spec();
    if u64::from(reader.duration()) > u64::from(SOUND_SECONDS_MAX) * u64::from(spec.sample_rate) {
        return Err(format!("longer than {SOUND_SECONDS_MAX} seconds"));
    }
    let mut converter = Converter::new(spec.sample_rate, spec.channels.into())
        .map_err(|error| format!("{error:#}"))?;
    let interleaved: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect(),
        SampleFormat::Int => {
            let scale = f32::powi(2.0, 1 - i32::from(spec.bits_per_sample));
            reader.samples::<i32>().map(|sample| Ok(sample? as f32 * scale)).collect()
        }
    };
    let interleaved = interleaved.map_err(|error| error.to_string())?;
    if interleaved.is_empty() {
        return Err("no sound in it".into());
    }
    let converted = converter.push(&interleaved).and_then(|()| converter.finish());
    converted.map_err(|error| format!("{error:#}"))?;
    let mut samples: Vec<i16> = std::iter::from_fn(|| converter.chunk()).flatten().collect();
    samples.truncate((SOUND_SECONDS_MAX * gemma_types::SAMPLE_RATE_HZ) as usize);
    Ok(Utterance { samples: samples.into(), started_at: Duration::ZERO, caption: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hound::{WavSpec, WavWriter};

    use super::*;

    fn wav(rate_hz: u32, channels: u16, seconds: f32) -> Vec<u8> {
        let spec = WavSpec {
            channels,
            sample_rate: rate_hz,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut file = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut file, spec).unwrap();
        for _ in 0..(rate_hz as f32 * seconds) as u32 * u32::from(channels) {
            writer.write_sample(1000_i16).unwrap();
        }
        writer.finalize().unwrap();
        file.into_inner()
    }

    #[test]
    fn any_wav_becomes_mono_at_16_khz() {
        for (rate_hz, channels) in [(16_000, 1), (48_000, 2), (44_100, 1)] {
            let utterance = decode_sound(&wav(rate_hz, channels, 1.0)).unwrap();
            let length = utterance.samples.len();
            assert!((15_900..=17_500).contains(&length), "{rate_hz} Hz: {length} samples");
            assert!((900..=1100).contains(&utterance.samples[8_000]));
        }
    }

    #[test]
    fn a_wav_that_is_too_long_empty_cut_or_no_wav_is_refused() {
        let mut cut = wav(16_000, 1, 1.0);
        cut.truncate(1000);
        for file in [&wav(8_000, 1, 31.0), &wav(16_000, 1, 0.0), &cut, b"no wav".as_slice(), b""] {
            assert!(decode_sound(file).is_err());
        }
    }

    #[test]
    fn a_refusal_names_the_file() {
        let error = numbered("audio", &[wav(16_000, 1, 1.0), Vec::new()], decode_sound);
        assert!(error.unwrap_err().starts_with("audio 2: "));
    }
}
