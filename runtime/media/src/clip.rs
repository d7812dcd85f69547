//! Decodes films: those frames that somebody picks, each with its time. The others are never held in
//! memory together.

mod animation;
mod motion_jpeg;
mod yuv4mpeg;

use std::collections::BTreeSet;

use gemma_types::{Clip, Frame};

use crate::{MediaError, picture};

pub(crate) use animation::is_animated;

/// Pixels of all picked frames together: 384 MiB as RGB.
pub const CLIP_PIXELS_MAX: u64 = 1 << 27;

/// Latest time of a frame in seconds: a day.
const SECONDS_MAX: f64 = 24.0 * 60.0 * 60.0;

/// Frames a second of a film that does not say, as the reference assumes.
const RATE_HZ_DEFAULT: f64 = 24.0;

/// Decodes an animated GIF, WebP or PNG, an uncompressed film (YUV4MPEG2, `.y4m`) or a Motion JPEG
/// stream. `pick` is told how many frames there are and names those that are wanted. A Motion JPEG
/// stream has no times; `rate_hz` says how many frames it has a second, or else 24 are assumed.
///
/// # Errors
/// Data that is no film of these kinds, that is broken, or whose frames are too large or empty.
pub fn clip(
    bytes: &[u8],
    rate_hz: Option<f64>,
    pick: impl Fn(usize) -> Vec<usize>,
) -> Result<Clip, MediaError> {
    if bytes.starts_with(b"YUV4MPEG2 ") {
        let film = yuv4mpeg::Film::read(bytes)?;
        return clip_of(film.len(), film.rate_hz(), pick, |index| film.frame(index));
    }
    if bytes.starts_with(b"\xFF\xD8\xFF") {
        let frames = motion_jpeg::frames(bytes);
        let rate_hz = rate_hz.unwrap_or(RATE_HZ_DEFAULT);
        return clip_of(frames.len(), rate_hz, pick, |index| {
            picture(frames.get(index).copied().unwrap_or_default())
        });
    }
    animation::clip(bytes, pick)
}

/// Makes a film of `total` pictures that follow each other `rate_hz` times a second, such as the files
/// of a folder. `pick` names the wanted ones, `read` gives one of them.
///
/// # Errors
/// A film without frames, a rate that is no number above zero, too many pixels, and what `read` says.
pub fn clip_of<E: From<MediaError>>(
    total: usize,
    rate_hz: f64,
    pick: impl Fn(usize) -> Vec<usize>,
    mut read: impl FnMut(usize) -> Result<Frame, E>,
) -> Result<Clip, E> {
    if !rate_hz.is_finite() || rate_hz <= 0.0 {
        let reason = format!("{rate_hz} frames a second");
        return Err(MediaError::Clip { reason }.into());
    }
    let mut picked = Picked::new(total, pick)?;
    for index in std::mem::take(&mut picked.wanted) {
        picked.add(read(index)?, index as f64 / rate_hz)?;
    }
    Ok(picked.clip)
}

/// Makes a film of pictures that are seen at these times, in seconds since it began; `read` gives one
/// of them.
///
/// # Errors
/// A film without frames, times that are none or run backwards, too many pixels, and what `read` says.
pub fn clip_at<E: From<MediaError>>(
    seconds: &[f64],
    mut read: impl FnMut(usize) -> Result<Frame, E>,
) -> Result<Clip, E> {
    let broken = |reason: String| E::from(MediaError::Clip { reason });
    let mut picked = Picked::new(seconds.len(), |_| Vec::new())?;
    let mut before = 0.0;
    for (index, &at) in seconds.iter().enumerate() {
        if !at.is_finite() || !(before..=SECONDS_MAX).contains(&at) {
            let number = index + 1;
            return Err(broken(format!(
                "frame {number} is at {at} seconds; expected {before} to {SECONDS_MAX}"
            )));
        }
        picked.add(read(index)?, at)?;
        before = at;
    }
    Ok(picked.clip)
}

/// Frames that were picked so far.
struct Picked {
    wanted: BTreeSet<usize>,
    clip: Clip,
    pixels: u64,
}

impl Picked {
    fn new(total: usize, pick: impl Fn(usize) -> Vec<usize>) -> Result<Self, MediaError> {
        if total == 0 {
            return Err(MediaError::Clip { reason: "it has no frame".into() });
        }
        let wanted = pick(total).into_iter().filter(|index| *index < total).collect();
        let clip = Clip { frames: Vec::new(), seconds: Vec::new() };
        Ok(Self { wanted, clip, pixels: 0 })
    }

    fn add(&mut self, frame: Frame, seconds: f64) -> Result<(), MediaError> {
        self.pixels += u64::from(frame.width) * u64::from(frame.height);
        if self.pixels > CLIP_PIXELS_MAX {
            let (width, height) = (frame.width, frame.height);
            let frames = self.clip.frames.len() + self.wanted.len().max(1);
            return Err(MediaError::ClipTooLarge { frames, width, height });
        }
        self.clip.frames.push(frame);
        self.clip.seconds.push(seconds);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
