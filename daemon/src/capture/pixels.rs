//! The picture formats that cameras send, to RGB.

use std::time::Duration;

use anyhow::ensure;
use gemma_media::rgb_of_yuv;
use gemma_types::Frame;

/// A format that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// A JPEG picture for each frame.
    Mjpeg,
    /// Packed YUV 4:2:2.
    Yuyv,
    /// A plane of Y, then one of interleaved U and V at half the size.
    Nv12,
    /// Red, green, blue.
    Rgb24,
}

impl Pixels {
    /// All of them; where a camera offers several in the wanted size, the first is taken.
    pub const ALL: [Self; 4] = [Self::Yuyv, Self::Nv12, Self::Rgb24, Self::Mjpeg];

    /// Its four letters in V4L2.
    #[must_use]
    pub const fn code(self) -> [u8; 4] {
        match self {
            Self::Mjpeg => *b"MJPG",
            Self::Yuyv => *b"YUYV",
            Self::Nv12 => *b"NV12",
            Self::Rgb24 => *b"RGB3",
        }
    }

    /// Bytes of a row of `width` pixels (of the Y plane for NV12); 0 for compressed pictures.
    #[must_use]
    pub const fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Mjpeg => 0,
            Self::Yuyv => width.next_multiple_of(2) * 2,
            Self::Nv12 => width,
            Self::Rgb24 => width * 3,
        }
    }

    /// Decodes a picture of `size` (width, height) whose rows are `stride` bytes apart into RGB,
    /// `[height, width, 3] u8`. The size of a compressed picture is its own; when it was captured is
    /// for the caller to say.
    ///
    /// # Errors
    /// If the picture is cut off or malformed.
    pub fn decode(self, bytes: &[u8], size: (u32, u32), stride: usize) -> anyhow::Result<Frame> {
        if self == Self::Mjpeg {
            return Ok(gemma_media::picture(bytes)?);
        }
        let (width, height) = (size.0 as usize, size.1 as usize);
        let stride = stride.max(self.row_bytes(width));
        let rows = if self == Self::Nv12 { height + height.div_ceil(2) } else { height };
        let needed = stride * rows.saturating_sub(1) + self.row_bytes(width);
        ensure!(bytes.len() >= needed, "a picture of {} bytes, expected {needed}", bytes.len());
        let mut pixels = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            let row = &bytes[y * stride..y * stride + self.row_bytes(width)];
            match self {
                Self::Mjpeg => {}
                Self::Rgb24 => pixels.extend_from_slice(row),
                Self::Yuyv => pixels.extend((0..width).flat_map(|x| {
                    let pair = &row[x / 2 * 4..];
                    rgb_of_yuv(pair[x % 2 * 2], pair[1], pair[3])
                })),
                Self::Nv12 => {
                    let chroma = &bytes[(height + y / 2) * stride..];
                    pixels.extend((0..width).flat_map(|x| {
                        let at = x / 2 * 2;
                        let (u, v) = (chroma.get(at), chroma.get(at + 1));
                        rgb_of_yuv(row[x], *u.unwrap_or(&128), *v.unwrap_or(&128))
                    }));
                }
            }
        }
        let (width, height) = size;
        Ok(Frame { width, height, rgb: pixels.into(), captured_at: Duration::ZERO })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const RED: [u8; 3] = [255, 0, 0];
    const GREY: [u8; 3] = [128, 128, 128];

    fn near(found: &[u8], expected: &[u8]) -> bool {
        found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| found.abs_diff(*expected) <= 3)
    }

    #[test]
    fn raw_pictures_are_decoded() {
        let check = |format: Pixels, size, stride, bytes: &[u8], expected: &[[u8; 3]]| {
            let picture = format.decode(bytes, size, stride).unwrap();
            assert_eq!((picture.width, picture.height), size, "{format:?}");
            assert!(near(&picture.rgb, expected.as_flattened()), "{format:?}: {picture:?}");
        };
        check(Pixels::Rgb24, (1, 2), 4, &[255, 0, 0, 9, 128, 128, 128], &[RED, GREY]);
        check(Pixels::Yuyv, (2, 1), 4, &[81, 90, 81, 240], &[RED, RED]);
        check(Pixels::Yuyv, (1, 2), 6, &[126, 128, 0, 128, 9, 9, 81, 90, 0, 240], &[GREY, RED]);
        check(
            Pixels::Nv12,
            (2, 2),
            2,
            &[81, 81, 126, 126, 90, 240],
            &[RED, RED, [255, 52, 52], [255, 52, 52]],
        );
    }

    #[test]
    fn a_cut_off_picture_is_an_error() {
        let check = |format: Pixels| {
            assert!(format.decode(&[1; 7], (4, 4), 0).is_err(), "{format:?}");
        };
        Pixels::ALL.into_iter().for_each(check);
    }
}
