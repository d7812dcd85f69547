//! Encoded pictures and sound from outside, decoded under limits: a stranger's file can be wrong,
//! huge, or small and unfold to something huge.

use std::time::Duration;

use gemma_types::{Frame, Utterance};
use tokio::sync::Semaphore;

/// Pictures of one question at most.
pub(super) const PICTURES_MAX: usize = 8;
/// Sound files of one question at most.
pub(super) const SOUNDS_MAX: usize = 4;
/// Bytes of one encoded file at most.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;
/// Seconds of one sound file at most; the model hears no more at once.
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

/// Decodes picture files and sound files, off the asynchronous threads.
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
    gemma_media::picture(file).map_err(|error| error.to_string())
}

fn decode_sound(file: &[u8]) -> Result<Utterance, String> {
    let samples = gemma_media::sound(file, SOUND_SECONDS_MAX);
    let samples = samples.map_err(|error| error.to_string())?.into();
    Ok(Utterance { samples, started_at: Duration::ZERO, caption: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Cursor;

    use hound::{SampleFormat, WavSpec, WavWriter};

    use super::*;

    fn wav(seconds: u32) -> Vec<u8> {
        let (bits_per_sample, sample_format) = (16, SampleFormat::Int);
        let spec = WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample, sample_format };
        let mut file = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut file, spec).unwrap();
        (0..16_000 * seconds).for_each(|_| writer.write_sample(1_000_i16).unwrap());
        writer.finalize().unwrap();
        file.into_inner()
    }

    #[test]
    fn what_the_model_cannot_hear_at_once_is_refused() {
        assert_eq!(decode_sound(&wav(30)).unwrap().samples.len(), 480_000);
        assert!(decode_sound(&wav(31)).unwrap_err().contains("longer than 30 seconds"));
    }

    #[test]
    fn a_refusal_names_the_file() {
        let error = numbered("audio", &[wav(1), Vec::new()], decode_sound);
        assert!(error.unwrap_err().starts_with("audio 2: "));
    }
}
