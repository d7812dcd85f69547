//! A camera of the machine, through V4L2: the nearest size that it has, in a format that we read,
//! streamed through mapped buffers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use gemma_types::Frame;
use v4l::buffer::{Flags, Type};
use v4l::format::{Format, FourCC};
use v4l::io::mmap;
use v4l::io::traits::{CaptureStream, Stream as _};
use v4l::video::Capture as _;

use super::pixels::Pixels;
use super::{Clock, Opened, PATIENCE, SILENCE_MAX, Wanted};

/// Buffers between the driver and us.
const BUFFERS: u32 = 4;
/// `POLLIN` of poll(2): there is a picture.
const READABLE: i16 = 1;
/// Undecodable pictures in a row after which the camera counts as lost.
const BROKEN_MAX: u32 = 30;

/// Opens the camera `device` for as long as it is `wanted` and takes a picture every `interval`.
///
/// # Errors
/// If the device is not there, is in use, or has no format that we read.
pub fn open(
    device: &Path,
    size: (u32, u32),
    interval: Duration,
    clock: Clock,
    wanted: Wanted,
) -> anyhow::Result<Opened<Frame>> {
    let name = device.display();
    let camera = v4l::Device::with_path(device).with_context(|| {
        format!("camera v4l2:{name} cannot be opened; `v4l2-ctl --list-devices` lists them")
    })?;
    let (pixels, format) = negotiate(&camera, size)
        .with_context(|| format!("camera v4l2:{name} has no format that we read"))?;
    let stream = start(&camera).with_context(|| format!("camera v4l2:{name} does not stream"))?;
    let detail = format!("v4l2:{name}, {}x{}, {pixels:?}", format.width, format.height);
    let items = Camera {
        device: device.to_path_buf(),
        stream,
        pixels,
        size: (format.width, format.height),
        stride: format.stride as usize,
        interval,
        due: Instant::now(),
        seen_at: Instant::now(),
        broken: 0,
        clock,
        wanted,
    };
    Ok(Opened { detail, items: Box::new(items) })
}

/// Sets the format whose size comes nearest to the wanted one.
fn negotiate(camera: &v4l::Device, size: (u32, u32)) -> anyhow::Result<(Pixels, Format)> {
    let offer = |pixels: &Pixels| {
        let code = FourCC::new(&pixels.code());
        let format = camera.set_format(&Format::new(size.0, size.1, code)).ok()?;
        (format.fourcc == code && format.width > 0 && format.height > 0)
            .then_some((*pixels, format))
    };
    let offers = Pixels::ALL.iter().filter_map(offer);
    let distance = |(_, format): &(Pixels, Format)| {
        format.width.abs_diff(size.0).saturating_add(format.height.abs_diff(size.1))
    };
    let Some((pixels, format)) = offers.min_by_key(distance) else {
        bail!("none of YUYV, NV12, RGB3 and MJPG");
    };
    Ok((pixels, camera.set_format(&format)?))
}

/// Starts the stream with all buffers but the first in the driver's hands: the crate's `next`
/// queues that one itself, and so never queues a buffer twice after a timeout.
fn start(camera: &v4l::Device) -> anyhow::Result<mmap::Stream<'static>> {
    let mut stream = mmap::Stream::with_buffers(camera, Type::VideoCapture, BUFFERS)?;
    stream.set_timeout(PATIENCE);
    for index in 1..BUFFERS as usize {
        // A driver may grant fewer buffers than were asked for.
        if stream.queue(index).is_err() {
            break;
        }
    }
    stream.start()?;
    Ok(stream)
}

struct Camera {
    device: PathBuf,
    stream: mmap::Stream<'static>,
    pixels: Pixels,
    size: (u32, u32),
    stride: usize,
    interval: Duration,
    due: Instant,
    seen_at: Instant,
    broken: u32,
    clock: Clock,
    wanted: Wanted,
}

impl Iterator for Camera {
    type Item = anyhow::Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.wanted.now() {
            match self.take() {
                Ok(None) => {}
                Ok(Some(frame)) => return Some(Ok(frame)),
                Err(error) => {
                    let name = self.device.display();
                    return Some(Err(error.context(format!("camera v4l2:{name} is lost"))));
                }
            }
        }
        None
    }
}

impl Camera {
    /// Takes the next picture from the driver; none if there is none yet, if it is not time for
    /// one, or if it is broken.
    fn take(&mut self) -> anyhow::Result<Option<Frame>> {
        let patience_ms = PATIENCE.as_millis() as i32;
        if self.stream.handle().poll(READABLE, patience_ms)? == 0 {
            if self.seen_at.elapsed() > SILENCE_MAX {
                bail!("no picture for {} s", SILENCE_MAX.as_secs());
            }
            return Ok(None);
        }
        let captured_at = self.clock.now();
        let (bytes, about) = CaptureStream::next(&mut self.stream)?;
        self.seen_at = Instant::now();
        if self.seen_at < self.due || about.flags.contains(Flags::ERROR) {
            return Ok(None);
        }
        let used = bytes.len().min(about.bytesused as usize);
        match self.pixels.decode(&bytes[..used], self.size, self.stride) {
            Ok(picture) => {
                self.broken = 0;
                self.due = self.seen_at + self.interval;
                Ok(Some(Frame { captured_at, ..picture }))
            }
            Err(error) if self.broken >= BROKEN_MAX => Err(error),
            Err(_) => {
                self.broken += 1;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn what_is_no_camera_is_named() {
        let check = |device: &str, expected: &str| {
            let wanted = Wanted::new(CancellationToken::new(), None);
            let interval = Duration::from_millis(100);
            let camera = open(Path::new(device), (640, 480), interval, Clock::start(), wanted);
            let message = format!("{:#}", camera.err().unwrap());
            assert!(message.starts_with(expected), "{message}");
        };
        check("/dev/nonexistent", "camera v4l2:/dev/nonexistent cannot be opened");
        check("/dev/null", "camera v4l2:/dev/null has no format that we read");
    }
}
