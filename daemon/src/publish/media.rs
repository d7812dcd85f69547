//! Encoded pictures, films and sound from outside, decoded under limits: a stranger's file can be wrong,
//! huge, or small and unfold to something huge.

use std::cell::Cell;
use std::time::Duration;

use gemma_runtime::tasks::Order;
use gemma_runtime::video;
use gemma_types::{Clip, Frame, Utterance};
use tokio::sync::Semaphore;

/// Pictures of one question at most.
pub(super) const PICTURES_MAX: usize = 8;
/// Sound files of one question at most.
pub(super) const SOUNDS_MAX: usize = 4;
/// Bytes of one encoded file at most.
pub(super) const FILE_BYTES_MAX: usize = 16 << 20;
/// Pictures of one film at most, where they come one by one; the model is shown no more.
pub(super) const FRAMES_MAX: usize = video::FRAMES_MAX;
/// Seconds of one sound file at most; the model hears no more at once.
const SOUND_SECONDS_MAX: u32 = 30;
/// Seconds of sound at most for a task that hears it in windows.
const LONG_SOUND_SECONDS_MAX: u32 = 600;
/// Pixels of all pictures of one question: 384 MiB as RGB.
const PIXELS_MAX: u64 = gemma_media::CLIP_PIXELS_MAX;
/// Questions whose files are decoded at a time; the others wait.
static DECODING: Semaphore = Semaphore::const_new(1);

/// The encoded files that come along with a question.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Files {
    pub(super) images: Vec<Vec<u8>>,
    pub(super) audio: Vec<Vec<u8>>,
    /// A film as one file.
    pub(super) film: Option<Vec<u8>>,
    /// Pictures a second of a film that does not say.
    pub(super) fps: Option<f64>,
    /// A film as pictures, each with its time in seconds since the first.
    pub(super) frames: Vec<(f64, Vec<u8>)>,
}

/// What came along with a question.
#[derive(Debug, Default)]
pub(super) struct Media {
    pub(super) images: Vec<Frame>,
    pub(super) audio: Vec<Utterance>,
    pub(super) film: Option<Clip>,
}

impl Files {
    /// Whether nothing comes along.
    pub(super) const fn is_empty(&self) -> bool {
        self.images.is_empty()
            && self.audio.is_empty()
            && self.film.is_none()
            && self.frames.is_empty()
    }

    /// Decodes the files for a task, or for a conversation, off the asynchronous threads.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(super) async fn decode(self, task: Option<&Order>) -> Result<Media, String> {
        if self.film.is_some() && !self.frames.is_empty() {
            return Err("film and frames: expected one of them".to_owned());
        }
        if self.film.is_none() && self.fps.is_some() {
            return Err("fps: expected a film with it".to_owned());
        }
        if self.is_empty() {
            return Ok(Media::default());
        }
        let seconds_max = match task {
            Some(order) if order.name.hears_long_sound() => LONG_SOUND_SECONDS_MAX,
            Some(_) | None => SOUND_SECONDS_MAX,
        };
        let _permit = DECODING.acquire().await.map_err(|error| error.to_string())?;
        let decoded = tokio::task::spawn_blocking(move || {
            Ok(Media {
                images: decode_pictures(&self.images)?,
                audio: numbered("audio", &self.audio, |file| decode_sound(file, seconds_max))?,
                film: self.decode_film()?,
            })
        });
        decoded.await.unwrap_or_else(|_| Err("the decoder failed on one of the files".into()))
    }

    fn decode_film(&self) -> Result<Option<Clip>, String> {
        if let Some(file) = &self.film {
            let clip = gemma_media::clip(file, self.fps, video::sampled);
            return clip.map(Some).map_err(|error| format!("film: {error}"));
        }
        if self.frames.is_empty() {
            return Ok(None);
        }
        let seconds: Vec<f64> = self.frames.iter().map(|(seconds, _)| *seconds).collect();
        let clip = gemma_media::clip_at(&seconds, |index| {
            let file = self.frames.get(index).map(|(_, file)| file.as_slice());
            gemma_media::picture(file.unwrap_or_default())
                .map_err(|error| Broken(format!("frame {}: {error}", index + 1)))
        });
        clip.map(Some).map_err(|Broken(error)| format!("frames: {error}"))
    }
}

/// What is wrong with a film.
struct Broken(String);

impl From<gemma_media::MediaError> for Broken {
    fn from(error: gemma_media::MediaError) -> Self {
        Self(error.to_string())
    }
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

fn decode_pictures(files: &[Vec<u8>]) -> Result<Vec<Frame>, String> {
    let pixels = Cell::new(0);
    numbered("image", files, |file| {
        let frame = gemma_media::picture(file).map_err(|error| error.to_string())?;
        pixels.set(pixels.get() + u64::from(frame.width) * u64::from(frame.height));
        match pixels.get() > PIXELS_MAX {
            true => Err(format!(
                "with those before it, {} pixels; at most {PIXELS_MAX} are taken",
                pixels.get()
            )),
            false => Ok(frame),
        }
    })
}

fn decode_sound(file: &[u8], seconds_max: u32) -> Result<Utterance, String> {
    let samples = gemma_media::sound(file, seconds_max);
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
        let decode = |seconds: u32| decode_sound(&wav(seconds), SOUND_SECONDS_MAX);
        assert_eq!(decode(30).unwrap().samples.len(), 480_000);
        assert!(decode(31).unwrap_err().contains("longer than 30 seconds"));
    }

    #[tokio::test]
    async fn a_task_that_writes_speech_down_hears_more() {
        let decode = async |task: &str| {
            let files = Files { audio: vec![wav(31)], ..Files::default() };
            files.decode(Some(&task.parse().unwrap())).await.map(|media| media.audio.len())
        };
        assert_eq!(decode("transcribe").await, Ok(1));
        assert!(decode("ask").await.unwrap_err().contains("longer than 30 seconds"));
    }

    fn png(side: u32) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        let picture = image::RgbImage::from_pixel(side, side, image::Rgb([1; 3]));
        picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
        file.into_inner()
    }

    #[test]
    fn pictures_may_have_so_many_pixels_together() {
        // Two of these are as many as it takes.
        let large = png(8_192);
        assert_eq!(decode_pictures(&[large.clone(), large.clone()]).unwrap().len(), 2);
        let error = decode_pictures(&[large.clone(), large, png(1)]).unwrap_err();
        assert!(error.starts_with("image 3: with those before it, 134217729 pixels"), "{error}");
    }

    #[tokio::test]
    async fn a_film_is_a_file_or_pictures_with_times() {
        let frames = vec![(0.0, png(2)), (0.5, png(3))];
        let film = Files { frames: frames.clone(), ..Files::default() }.decode(None).await;
        let film = film.unwrap().film.unwrap();
        assert_eq!((film.frames[1].width, film.seconds[1]), (3, 0.5));

        let check = async |files: Files, expected: &str| {
            let error = files.decode(None).await.unwrap_err();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        };
        let both = Files { film: Some(png(1)), frames, ..Files::default() };
        check(both, "film and frames: expected one of them").await;
        let still = Files { film: Some(png(1)), ..Files::default() };
        check(still, "film: cannot decode the film: it does not move").await;
        let broken = vec![(0.0, png(1)), (1.0, b"none".to_vec())];
        check(Files { frames: broken, ..Files::default() }, "frames: frame 2: ").await;
        let backwards = vec![(1.0, png(1)), (0.0, png(1))];
        check(Files { frames: backwards, ..Files::default() }, "frame 2 is at 0 seconds").await;
        check(Files { fps: Some(2.0), ..Files::default() }, "fps: expected a film").await;
    }

    #[test]
    fn a_refusal_names_the_file() {
        let decode = |file: &[u8]| decode_sound(file, SOUND_SECONDS_MAX);
        let error = numbered("audio", &[wav(1), Vec::new()], decode);
        assert!(error.unwrap_err().starts_with("audio 2: "));
    }
}
