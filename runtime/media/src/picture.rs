//! Decodes picture files, upright and in red, green and blue, as the reference's pipeline does.

use std::io::Cursor;
use std::time::Duration;

use gemma_types::Frame;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::MediaError;

/// Longest side of a picture in pixels.
pub const SIDE_MAX: u32 = 32_768;

/// Pixels of the largest picture: 64 million, 192 MiB as RGB.
pub const PIXELS_MAX: u64 = 1 << 26;

/// Memory that a decoder may take, in bytes.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// Decodes a JPEG, PNG, WebP, BMP or GIF file and turns it upright as its metadata says. What is
/// transparent shows white behind it. When the picture was captured is for the caller to say; here
/// that is zero.
///
/// # Errors
/// Data that is no picture of these kinds, that is broken, or whose picture is too large or empty.
pub fn picture(bytes: &[u8]) -> Result<Frame, MediaError> {
    let broken = |reason: String| MediaError::Picture { bytes: bytes.len(), reason };
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| broken(error.to_string()))?;
    let mut decoder = reader.into_decoder().map_err(|error| broken(error.to_string()))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    decoder.set_limits(limits()).map_err(|error| broken(error.to_string()))?;
    let orientation = decoder.orientation().map_err(|error| broken(error.to_string()))?;
    let mut picture =
        DynamicImage::from_decoder(decoder).map_err(|error| broken(error.to_string()))?;
    picture.apply_orientation(orientation);
    Ok(frame(picture))
}

/// What a decoder may take.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MEMORY_BYTES_MAX);
    limits
}

/// Refuses a picture that is empty or too large.
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), MediaError> {
    if width == 0 || height == 0 {
        return Err(MediaError::PictureEmpty { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if width > SIDE_MAX || height > SIDE_MAX || pixels > PIXELS_MAX {
        return Err(MediaError::PictureTooLarge { width, height });
    }
    Ok(())
}

/// A decoded picture in 8 bits of red, green and blue.
///
/// As Pillow does for colours, the lower half of a 16-bit value is dropped. (Pillow clips a 16-bit
/// grey instead, which turns nearly all of such a picture white; that we do not follow.)
pub(crate) fn frame(picture: DynamicImage) -> Frame {
    let (width, height) = (picture.width(), picture.height());
    let (channels, values) = match picture {
        DynamicImage::ImageLuma8(grey) => (1, grey.into_raw()),
        DynamicImage::ImageLumaA8(grey) => (2, grey.into_raw()),
        DynamicImage::ImageRgb8(rgb) => (3, rgb.into_raw()),
        DynamicImage::ImageRgba8(rgba) => (4, rgba.into_raw()),
        DynamicImage::ImageLuma16(grey) => (1, upper_half(grey.as_raw())),
        DynamicImage::ImageLumaA16(grey) => (2, upper_half(grey.as_raw())),
        DynamicImage::ImageRgb16(rgb) => (3, upper_half(rgb.as_raw())),
        DynamicImage::ImageRgba16(rgba) => (4, upper_half(rgba.as_raw())),
        float @ (DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) | _) => {
            (3, float.into_rgb8().into_raw())
        }
    };
    let rgb = match channels {
        1 => values.iter().flat_map(|grey| [*grey; 3]).collect(),
        2 => values.chunks_exact(2).flat_map(|pixel| [on_white(pixel[0], pixel[1]); 3]).collect(),
        4 => {
            let pixels = values.chunks_exact(4);
            pixels.flat_map(|of| [0, 1, 2].map(|channel| on_white(of[channel], of[3]))).collect()
        }
        _ => values,
    };
    Frame { width, height, rgb: rgb.into(), captured_at: Duration::ZERO }
}

/// 16-bit values in 8 bits.
fn upper_half(values: &[u16]) -> Vec<u8> {
    values.iter().map(|value| value.to_be_bytes()[0]).collect()
}

/// A value over a white ground, rounded to the nearest.
fn on_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    let sum = value * alpha + 255 * (255 - alpha);
    u8::try_from((2 * sum + 255) / 510).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
