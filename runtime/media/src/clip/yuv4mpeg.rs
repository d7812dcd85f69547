//! Uncompressed films: YUV4MPEG2, which every film tool writes (`.y4m`). A line of text, then frames
//! of a plane of brightness and two of colour.

use std::time::Duration;

use gemma_types::Frame;

use crate::picture::check_size;
use crate::{MediaError, yuv};

/// Longest line before a frame, in bytes; the film's own has this many times ten.
const LINE_BYTES_MAX: usize = 100;

/// A film whose frames have been found.
pub(super) struct Film<'a> {
    width: usize,
    height: usize,
    rate_hz: f64,
    colour: Colour,
    /// Whether all 256 values are used; most films use 16 to 235.
    full_range: bool,
    frames: Vec<&'a [u8]>,
}

/// How many pixels share a value of colour, across and down; without, the film is grey.
#[derive(Clone, Copy)]
struct Colour(Option<(usize, usize)>);

impl Colour {
    /// Reads the `C` of the film's line.
    fn parse(name: &str) -> Result<Self, MediaError> {
        match name {
            "420" | "420jpeg" | "420paldv" | "420mpeg2" => Ok(Self(Some((2, 2)))),
            "422" => Ok(Self(Some((2, 1)))),
            "444" => Ok(Self(Some((1, 1)))),
            "mono" => Ok(Self(None)),
            _ => Err(wrong(&format!("its colours are {name}, we read 420, 422, 444 and mono"))),
        }
    }

    /// Width and height of a plane of colour.
    fn plane(self, width: usize, height: usize) -> (usize, usize) {
        self.0.map_or((0, 0), |(across, down)| (width.div_ceil(across), height.div_ceil(down)))
    }
}

impl<'a> Film<'a> {
    /// Finds the frames.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, MediaError> {
        let (line, mut rest) = line(bytes, LINE_BYTES_MAX * 10)?;
        let (mut width, mut height, mut rate_hz) = (0, 0, None);
        let (mut colour, mut full_range) = (Colour(Some((2, 2))), false);
        for word in line.split(' ').skip(1).filter(|word| !word.is_empty()) {
            match word.split_at_checked(1) {
                Some(("W", value)) => width = number(value)?,
                Some(("H", value)) => height = number(value)?,
                Some(("F", value)) => rate_hz = Some(ratio(value)?),
                Some(("C", value)) => colour = Colour::parse(value)?,
                Some(("X", "COLORRANGE=FULL")) => full_range = true,
                _ => {}
            }
        }
        check_size(width, height)?;
        let (width, height) = (width as usize, height as usize);
        let plane = colour.plane(width, height);
        let length = width * height + 2 * plane.0 * plane.1;
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let (_, after) = self::line(rest, LINE_BYTES_MAX)?;
            let frame = after.get(..length).ok_or_else(|| wrong("its last frame is cut off"))?;
            frames.push(frame);
            rest = &after[length..];
        }
        let rate_hz = rate_hz.unwrap_or(super::RATE_HZ_DEFAULT);
        Ok(Self { width, height, rate_hz, colour, full_range, frames })
    }

    /// Frames in all.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Frames a second.
    pub(super) fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    /// One frame, in red, green and blue.
    pub(super) fn frame(&self, index: usize) -> Result<Frame, MediaError> {
        let planes = self.frames.get(index).ok_or_else(|| wrong("a frame is missing"))?;
        let (brightness, colours) = planes.split_at(self.width * self.height);
        let (across, down) = self.colour.0.unwrap_or((1, 1));
        let (plane_width, plane_height) = self.colour.plane(self.width, self.height);
        let (blue, red) = colours.split_at(plane_width * plane_height);
        let to_rgb = if self.full_range { yuv::rgb_of_full_yuv } else { yuv::rgb_of_yuv };
        let mut rgb = Vec::with_capacity(self.width * self.height * 3);
        for (place, value) in brightness.iter().enumerate() {
            let (x, y) = (place % self.width, place / self.width);
            let at = y / down * plane_width + x / across;
            let colour = |plane: &[u8]| plane.get(at).copied().unwrap_or(128);
            rgb.extend(to_rgb(*value, colour(blue), colour(red)));
        }
        let (width, height) = (self.width as u32, self.height as u32);
        Ok(Frame { width, height, rgb: rgb.into(), captured_at: Duration::ZERO })
    }
}

/// A line of text, and what follows it.
fn line(bytes: &[u8], length_max: usize) -> Result<(&str, &[u8]), MediaError> {
    let head = bytes.get(..bytes.len().min(length_max)).unwrap_or_default();
    let end = head.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| wrong("a line that should precede a frame has no end"))?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong("a line is no text"))?;
    if !text.starts_with("YUV4MPEG2") && !text.starts_with("FRAME") {
        return Err(wrong("no line precedes a frame"));
    }
    Ok((text, &bytes[end + 1..]))
}

fn number(text: &str) -> Result<u32, MediaError> {
    text.parse().map_err(|_| wrong(&format!("{text:?} is no size")))
}

/// Frames a second, as `30000:1001`.
fn ratio(text: &str) -> Result<f64, MediaError> {
    let parts = text.split_once(':').and_then(|(numerator, denominator)| {
        Some((numerator.parse::<u32>().ok()?, denominator.parse::<u32>().ok()?))
    });
    match parts {
        Some((numerator @ 1.., denominator @ 1..)) => {
            Ok(f64::from(numerator) / f64::from(denominator))
        }
        // Zero means unknown.
        Some(_) => Ok(super::RATE_HZ_DEFAULT),
        None => Err(wrong(&format!("{text:?} is no rate"))),
    }
}

fn wrong(reason: &str) -> MediaError {
    MediaError::Clip { reason: reason.to_owned() }
}
