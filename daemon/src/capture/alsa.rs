//! A microphone of the machine, through ALSA: whatever format, rate and number of channels it has.

use std::time::{Duration, Instant};

use ::alsa::pcm::{Access, Format, HwParams, PCM};
use ::alsa::{Direction, ValueOr};
use anyhow::{Context as _, bail};
use gemma_media::{CHUNK_SAMPLES, Converter};
use gemma_types::AudioChunk;

use super::{Clock, Opened, PATIENCE, SILENCE_MAX, Wanted};

/// Rates to ask for, best first: no resampling, then the usual ones.
const RATES_HZ: [u32; 3] = [16_000, 48_000, 44_100];
/// Length of a period of the device, in microseconds.
const PERIOD_US: u32 = 20_000;
/// Length of the device's own buffer, in microseconds.
const BUFFER_US: u32 = 500_000;
/// Frames that are read at a time at most.
const READ_FRAMES: usize = 4_096;
/// Duration of a chunk.
const CHUNK: Duration = Duration::from_millis(20);

/// Opens the device `name` for as long as it is `wanted`.
///
/// # Errors
/// If the device is not there, is in use, or has no format that we read.
pub fn open(name: &str, clock: Clock, wanted: Wanted) -> anyhow::Result<Opened<AudioChunk>> {
    // What the library would print goes with the handler; the errors themselves say enough.
    let _silenced = ::alsa::Output::local_error_handler();
    let pcm = PCM::new(name, Direction::Capture, true).with_context(|| {
        format!("microphone alsa:{name} cannot be opened; `arecord -L` lists the names")
    })?;
    let shape = negotiate(&pcm)
        .with_context(|| format!("microphone alsa:{name} has no format that we read"))?;
    pcm.start().with_context(|| format!("microphone alsa:{name} does not start"))?;
    let detail = format!(
        "alsa:{name}, {} Hz, {} channels, {:?}",
        shape.rate_hz, shape.channels, shape.format
    );
    let converter = Converter::new(shape.rate_hz, shape.channels)?;
    let frame_bytes = shape.channels as usize * shape.format.bytes();
    let items = Microphone {
        name: name.to_owned(),
        pcm,
        format: shape.format,
        frame_bytes,
        buffer: vec![0; frame_bytes * READ_FRAMES],
        converter,
        heard_at: Instant::now(),
        overruns: 0,
        clock,
        wanted,
    };
    Ok(Opened { detail, items: Box::new(items) })
}

/// What the device and we agreed on.
struct Shape {
    format: Sample,
    rate_hz: u32,
    channels: u32,
}

/// The sample formats that we read, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    I16,
    I32,
    Float,
}

impl Sample {
    const ALL: [Self; 3] = [Self::I16, Self::I32, Self::Float];

    const fn alsa(self) -> Format {
        match self {
            Self::I16 => Format::s16(),
            Self::I32 => Format::s32(),
            Self::Float => Format::float(),
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::I16 => 2,
            Self::I32 | Self::Float => 4,
        }
    }

    /// Samples in the byte order of this machine as -1 to 1.
    fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::I16 => {
                let (samples, _) = bytes.as_chunks();
                samples.iter().map(|b| f32::from(i16::from_ne_bytes(*b)) / 32_768.0).collect()
            }
            Self::I32 => {
                let (samples, _) = bytes.as_chunks();
                samples.iter().map(|b| i32::from_ne_bytes(*b) as f32 / 2_147_483_648.0).collect()
            }
            Self::Float => {
                let (samples, _) = bytes.as_chunks();
                samples.iter().map(|b| f32::from_ne_bytes(*b)).collect()
            }
        }
    }
}

fn negotiate(pcm: &PCM) -> anyhow::Result<Shape> {
    let parameters = HwParams::any(pcm)?;
    // The device's own rate and our filter sound better than the conversion of the plug layer.
    parameters.set_rate_resample(false)?;
    parameters.set_access(Access::RWInterleaved)?;
    let Some(format) =
        Sample::ALL.into_iter().find(|format| parameters.test_format(format.alsa()).is_ok())
    else {
        bail!("none of S16, S32 and FLOAT");
    };
    parameters.set_format(format.alsa())?;
    let channels = parameters.set_channels_near(1)?;
    let fitting = RATES_HZ.into_iter().find(|rate| parameters.test_rate(*rate).is_ok());
    let rate_hz = parameters.set_rate_near(fitting.unwrap_or(RATES_HZ[1]), ValueOr::Nearest)?;
    parameters.set_period_time_near(PERIOD_US, ValueOr::Nearest)?;
    parameters.set_buffer_time_near(BUFFER_US, ValueOr::Nearest)?;
    pcm.hw_params(&parameters)?;
    Ok(Shape { format, rate_hz, channels })
}

struct Microphone {
    name: String,
    pcm: PCM,
    format: Sample,
    frame_bytes: usize,
    buffer: Vec<u8>,
    converter: Converter,
    heard_at: Instant,
    overruns: u64,
    clock: Clock,
    wanted: Wanted,
}

impl Iterator for Microphone {
    type Item = anyhow::Result<AudioChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.wanted.now() {
            if let Some(samples) = self.converter.chunk() {
                debug_assert_eq!(samples.len(), CHUNK_SAMPLES);
                let captured_at = self.clock.now().saturating_sub(CHUNK);
                return Some(Ok(AudioChunk { samples, captured_at, caption: None }));
            }
            if let Err(error) = self.read() {
                return Some(Err(error.context(format!("microphone alsa:{} is lost", self.name))));
            }
        }
        None
    }
}

impl Microphone {
    /// Takes what the device has, waiting for it a moment.
    fn read(&mut self) -> anyhow::Result<()> {
        match self.pcm.wait(Some(PATIENCE.as_millis() as u32)) {
            Ok(true) => {}
            Ok(false) if self.heard_at.elapsed() > SILENCE_MAX => {
                bail!("no sound for {} s", SILENCE_MAX.as_secs());
            }
            Ok(false) => return Ok(()),
            Err(error) => return self.recover(error),
        }
        let read = self.pcm.io_bytes().readi(&mut self.buffer);
        match read {
            Ok(frames) => {
                self.heard_at = Instant::now();
                let bytes = &self.buffer[..(frames * self.frame_bytes).min(self.buffer.len())];
                Ok(self.converter.push(&self.format.decode(bytes))?)
            }
            Err(error) => self.recover(error),
        }
    }

    /// Goes on after an overrun or a suspend; any other error is the end.
    fn recover(&mut self, error: ::alsa::Error) -> anyhow::Result<()> {
        if error.errno() == rustix::io::Errno::AGAIN.raw_os_error() {
            return Ok(());
        }
        self.pcm.try_recover(error, true)?;
        self.pcm.start()?;
        self.overruns += 1;
        tracing::warn!(overruns = self.overruns, "the microphone overran: some sound is lost");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn the_null_device_gives_silence_for_as_long_as_it_is_wanted() {
        let stop = CancellationToken::new();
        let wanted = Wanted::new(stop.clone(), None);
        let mut opened = open("null", Clock::start(), wanted).unwrap();
        assert_eq!(opened.detail, "alsa:null, 16000 Hz, 1 channels, I16");
        let chunk = opened.items.next().unwrap().unwrap();
        assert_eq!(chunk.samples, [0; CHUNK_SAMPLES]);
        stop.cancel();
        assert!(opened.items.next().is_none());
    }

    #[test]
    fn a_missing_device_is_named() {
        let wanted = Wanted::new(CancellationToken::new(), None);
        let error = open("nonexistent", Clock::start(), wanted).err().unwrap();
        let message = format!("{error:#}");
        assert!(message.starts_with("microphone alsa:nonexistent cannot be opened"), "{message}");
    }

    #[test]
    fn samples_of_every_format_are_read() {
        let check = |format: Sample, bytes: &[u8], expected: &[f32]| {
            assert_eq!(format.decode(bytes), expected, "{format:?}");
        };
        check(Sample::I16, &16_384_i16.to_ne_bytes(), &[0.5]);
        check(Sample::I32, &(-1_073_741_824_i32).to_ne_bytes(), &[-0.5]);
        check(Sample::Float, &0.25_f32.to_ne_bytes(), &[0.25]);
        check(Sample::I16, &[1], &[]);
    }
}
