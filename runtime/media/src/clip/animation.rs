//! Animated GIF, WebP and PNG files. Frames build on each other, so all are decoded, one at a time:
//! once to count them, once to keep those that are picked.

use std::io::Cursor;

use gemma_types::Clip;
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageResult};

use super::Picked;
use crate::MediaError;
use crate::picture::{check_size, frame, limits};

/// Pixels of all frames that are decoded on the way; some seconds of work.
const PIXELS_DECODED_MAX: u64 = 1 << 31;

/// Whether a GIF, WebP or PNG file moves.
pub(crate) fn is_animated(bytes: &[u8]) -> bool {
    match open(bytes) {
        // A GIF does not say beforehand.
        Ok(Some(frames)) => frames.take(2).filter(Result::is_ok).count() == 2,
        Ok(None) | Err(_) => false,
    }
}

/// Decodes the picked frames of an animation.
pub(super) fn clip(bytes: &[u8], pick: impl Fn(usize) -> Vec<usize>) -> Result<Clip, MediaError> {
    let total = count(bytes)?;
    let mut picked = Picked::new(total, pick)?;
    let last = picked.wanted.last().copied().unwrap_or(0);
    let mut seconds = 0.0;
    for (index, decoded) in frames(bytes)?.take(last + 1).enumerate() {
        let decoded = decoded.map_err(broken)?;
        let (numerator, denominator) = decoded.delay().numer_denom_ms();
        if picked.wanted.remove(&index) {
            picked.add(frame(DynamicImage::ImageRgba8(decoded.into_buffer())), seconds)?;
        }
        seconds += f64::from(numerator) / f64::from(denominator.max(1)) / 1_000.0;
    }
    Ok(picked.clip)
}

/// How many frames there are.
fn count(bytes: &[u8]) -> Result<usize, MediaError> {
    let (mut frames_so_far, mut pixels) = (0, 0);
    for decoded in frames(bytes)? {
        let decoded = decoded.map_err(broken)?;
        let (width, height) = decoded.buffer().dimensions();
        frames_so_far += 1;
        pixels += u64::from(width) * u64::from(height);
        if pixels > PIXELS_DECODED_MAX {
            return Err(MediaError::ClipTooLarge { frames: frames_so_far, width, height });
        }
    }
    Ok(frames_so_far)
}

fn frames(bytes: &[u8]) -> Result<Frames<'_>, MediaError> {
    let still = || MediaError::Clip { reason: "it does not move".into() };
    open(bytes)?.ok_or_else(still)
}

/// The frames of a file that moves, or may move.
fn open(bytes: &[u8]) -> Result<Option<Frames<'_>>, MediaError> {
    let source = Cursor::new(bytes);
    if bytes.starts_with(b"GIF8") {
        return Ok(Some(checked(GifDecoder::new(source))?.into_frames()));
    }
    if bytes.starts_with(b"\x89PNG") {
        let decoder = checked(PngDecoder::with_limits(source, limits()))?;
        if !decoder.is_apng().map_err(broken)? {
            return Ok(None);
        }
        return decoder.apng().map(|decoder| Some(decoder.into_frames())).map_err(broken);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        let decoder = checked(WebPDecoder::new(source))?;
        return Ok(decoder.has_animation().then(|| decoder.into_frames()));
    }
    Ok(None)
}

/// A decoder of frames that are neither empty nor too large.
fn checked<D: ImageDecoder>(decoder: ImageResult<D>) -> Result<D, MediaError> {
    let mut decoder = decoder.map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    decoder.set_limits(limits()).map_err(broken)?;
    Ok(decoder)
}

fn broken(error: impl std::fmt::Display) -> MediaError {
    MediaError::Clip { reason: error.to_string() }
}
