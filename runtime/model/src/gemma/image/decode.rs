//! Decodes picture files. What comes from outside may claim any size, so sizes are checked before
//! memory is taken.

use std::io::Cursor;
use std::time::Duration;

use gemma_types::Frame;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::ImageError;

/// Memory that a decoder may take, in bytes.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// Decodes a JPEG, PNG, WebP or BMP file and turns it upright as its metadata says. Transparency is
/// dropped. When the picture was captured is for the caller to say; here that is zero.
///
/// # Errors
/// Data that is no picture of these kinds, that is broken, or whose picture is too large or empty.
pub fn decode(bytes: &[u8]) -> Result<Frame, ImageError> {
    let broken = |reason: String| ImageError::Decode { bytes: bytes.len(), reason };
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| broken(error.to_string()))?;
    let mut decoder = reader.into_decoder().map_err(|error| broken(error.to_string()))?;
    let (width, height) = decoder.dimensions();
    super::sides(width, height)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MEMORY_BYTES_MAX);
    decoder.set_limits(limits).map_err(|error| broken(error.to_string()))?;
    let orientation = decoder.orientation().map_err(|error| broken(error.to_string()))?;
    let mut picture =
        DynamicImage::from_decoder(decoder).map_err(|error| broken(error.to_string()))?;
    picture.apply_orientation(orientation);
    let rgb = picture.into_rgb8();
    let (width, height) = rgb.dimensions();
    Ok(Frame { width, height, rgb: rgb.into_raw().into(), captured_at: Duration::ZERO })
}
