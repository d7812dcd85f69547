//! Decodes sound files: any rate and number of channels to mono, 16 bits, 16 kHz.

mod vorbis;

use std::io::{Cursor, Read, Seek, SeekFrom};

use gemma_types::SAMPLE_RATE_HZ;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_FLAC, CODEC_ID_VORBIS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use crate::{Converter, Kind, MediaError};

/// Packets that a player would skip, for each that it plays, before a file counts as broken.
const BROKEN_PER_WHOLE_MAX: usize = 1;

/// Bytes that tell the kind of a file.
const HEAD_BYTES: usize = 512;

/// Decodes a whole file of at most `seconds_max` to mono samples, i16, 16 kHz.
///
/// # Errors
/// Data that is no sound of a kind that we read, that is broken, empty, or longer than the limit.
pub fn sound(bytes: &[u8], seconds_max: u32) -> Result<Vec<i16>, MediaError> {
    let samples_max = seconds_max as usize * SAMPLE_RATE_HZ as usize;
    let mut sound = Sound::open(Cursor::new(bytes.to_vec()))?;
    let mut samples = Vec::new();
    while sound.decode_packet()? {
        samples.extend(sound.ready());
        if samples.len() > samples_max {
            return Err(MediaError::SoundTooLong { seconds_max });
        }
    }
    samples.extend(sound.ready());
    match samples.len() {
        0 => Err(MediaError::SoundEmpty),
        length if length > samples_max => Err(MediaError::SoundTooLong { seconds_max }),
        _ => Ok(samples),
    }
}

/// A sound file that is being decoded, a packet at a time.
pub struct Sound {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    /// Frames that a file must hold which says so reliably.
    frames: Option<u64>,
    /// Made when the first packet says what it holds.
    converter: Option<Stream>,
    interleaved: Vec<f32>,
    whole: usize,
    broken: usize,
    finished: bool,
}

/// What the packets of a file have in common.
struct Stream {
    converter: Converter,
    rate_hz: u32,
    channels: usize,
    frames: u64,
}

impl Sound {
    /// Opens a WAV, FLAC, MP3 or Ogg Vorbis file.
    ///
    /// # Errors
    /// When it is no such file, or holds no sound that we decode.
    pub fn open(source: impl Read + Seek + Send + Sync + 'static) -> Result<Self, MediaError> {
        let source = Source::new(source)?;
        let stream = MediaSourceStream::new(Box::new(source), Default::default());
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(broken)?;
        let track = format.default_track(TrackType::Audio).ok_or(MediaError::SoundEmpty)?;
        let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
            return Err(MediaError::Sound { reason: "its codec is not named".into() });
        };
        check_memory(parameters)?;
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(broken)?;
        Ok(Self {
            track: track.id,
            frames: track.num_frames.filter(|_| parameters.codec == CODEC_ID_FLAC),
            decoder,
            format,
            converter: None,
            interleaved: Vec::new(),
            whole: 0,
            broken: 0,
            finished: false,
        })
    }

    /// The next 20 ms, mono i16, 16 kHz; none at the end. The last is filled up with silence.
    ///
    /// # Errors
    /// When the file is broken or cut.
    pub fn chunk(&mut self) -> Result<Option<Vec<i16>>, MediaError> {
        loop {
            if let Some(chunk) = self.converter.as_mut().and_then(|one| one.converter.chunk()) {
                return Ok(Some(chunk));
            }
            if !self.decode_packet()? && self.finished {
                return Ok(self.converter.as_mut().and_then(|one| one.converter.chunk()));
            }
        }
    }

    /// Samples that have been decoded and not taken.
    fn ready(&mut self) -> impl Iterator<Item = i16> + '_ {
        self.converter.iter_mut().flat_map(|stream| stream.converter.samples())
    }

    /// Decodes one packet; says whether there may be more.
    fn decode_packet(&mut self) -> Result<bool, MediaError> {
        if self.finished {
            return Ok(false);
        }
        let packet = match self.format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return self.finish().map(|()| false),
            Err(error) => return Err(self.cut(error)),
        };
        if packet.track_id != self.track {
            return Ok(true);
        }
        match self.decoder.decode(&packet) {
            Ok(decoded) => {
                let (rate_hz, channels) =
                    (decoded.spec().rate(), decoded.spec().channels().count());
                self.interleaved.clear();
                decoded.copy_to_vec_interleaved(&mut self.interleaved);
                self.whole += 1;
                self.push(rate_hz, channels)?;
            }
            // Players skip a packet that is damaged, and so do we, within reason.
            Err(Error::DecodeError(reason)) => {
                self.broken += 1;
                if self.broken > (self.whole + 1) * BROKEN_PER_WHOLE_MAX {
                    return Err(MediaError::Sound { reason: reason.to_owned() });
                }
            }
            Err(error) => return Err(self.cut(error)),
        }
        Ok(true)
    }

    /// Converts what was decoded last.
    fn push(&mut self, rate_hz: u32, channels: usize) -> Result<(), MediaError> {
        if self.interleaved.is_empty() {
            return Ok(());
        }
        let stream = match &mut self.converter {
            Some(stream) => stream,
            empty => {
                let count = u32::try_from(channels).unwrap_or(u32::MAX);
                let converter = Converter::new(rate_hz, count)?;
                empty.insert(Stream { converter, rate_hz, channels, frames: 0 })
            }
        };
        if (stream.rate_hz, stream.channels) != (rate_hz, channels) {
            let reason = "its rate or number of channels changes midway".to_owned();
            return Err(MediaError::Sound { reason });
        }
        stream.frames += (self.interleaved.len() / channels) as u64;
        // A file of floats may hold what is no number; it counts as silence.
        for sample in self.interleaved.iter_mut().filter(|sample| !sample.is_finite()) {
            *sample = 0.0;
        }
        stream.converter.push(&self.interleaved)
    }

    fn finish(&mut self) -> Result<(), MediaError> {
        self.finished = true;
        let frames = self.converter.as_ref().map_or(0, |stream| stream.frames);
        if self.frames.is_some_and(|promised| frames < promised) {
            return Err(self.cut("the rest is missing"));
        }
        match &mut self.converter {
            Some(stream) => stream.converter.finish(),
            None => Ok(()),
        }
    }

    /// The error of a file that ends too soon.
    fn cut(&self, reason: impl std::fmt::Display) -> MediaError {
        let seconds = |stream: &Stream| stream.frames as f64 / f64::from(stream.rate_hz);
        let seconds = self.converter.as_ref().map_or(0.0, seconds);
        MediaError::SoundCut { seconds, reason: reason.to_string() }
    }
}

impl std::fmt::Debug for Sound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sound").field("track", &self.track).finish_non_exhaustive()
    }
}

fn broken(error: impl std::fmt::Display) -> MediaError {
    MediaError::Sound { reason: error.to_string() }
}

/// Refuses a file whose decoder would take more memory than any honest one needs.
fn check_memory(parameters: &AudioCodecParameters) -> Result<(), MediaError> {
    if parameters.codec != CODEC_ID_VORBIS {
        return Ok(());
    }
    let headers = parameters.extra_data.as_deref().unwrap_or_default();
    if vorbis::tables_fit(headers) {
        return Ok(());
    }
    Err(MediaError::Sound { reason: "its Vorbis codebooks are too large".into() })
}

/// Any seekable source, for the decoder.
struct Source<S> {
    source: S,
    length: u64,
}

impl<S: Read + Seek> Source<S> {
    /// Looks at the beginning, so that no decoder is tried on what is no sound.
    fn new(mut source: S) -> Result<Self, MediaError> {
        let unread = |error: std::io::Error| MediaError::Sound { reason: error.to_string() };
        let mut head = Vec::new();
        source.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(unread)?;
        match Kind::of(&head) {
            Ok(Kind::Sound) => {}
            Ok(Kind::Picture | Kind::Clip) | Err(MediaError::Unknown { .. }) => {
                return Err(MediaError::Sound { reason: "it is no sound".into() });
            }
            Err(error) => return Err(error),
        }
        let length = source.seek(SeekFrom::End(0)).map_err(unread)?;
        source.rewind().map_err(unread)?;
        Ok(Self { source, length })
    }
}

impl<S: Read> Read for Source<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.source.read(buffer)
    }
}

impl<S: Seek> Seek for Source<S> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.source.seek(to)
    }
}

impl<S: Read + Seek + Send + Sync> MediaSource for Source<S> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length)
    }
}

#[cfg(test)]
mod tests;
