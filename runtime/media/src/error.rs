//! What can be wrong with a medium, and what would be right.

use crate::clip::CLIP_PIXELS_MAX;
use crate::picture::{PIXELS_MAX, SIDE_MAX};

/// Why a medium cannot be decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MediaError {
    /// The first bytes are those of no format that we read.
    #[error(
        "{bytes} bytes that are neither picture, sound nor film; expected JPEG, PNG, WebP, BMP, \
         GIF, WAV, FLAC, MP3, Ogg Vorbis or YUV4MPEG2"
    )]
    Unknown {
        /// Length of the data.
        bytes: usize,
    },
    /// A format that is known, but not read here.
    #[error("{format} is not read here; {instead}")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// What does work.
        instead: &'static str,
    },
    /// Not a picture, or a broken one.
    #[error(
        "cannot decode a picture of {bytes} bytes: {reason}; expected JPEG, PNG, WebP, BMP or GIF"
    )]
    Picture {
        /// Length of the data.
        bytes: usize,
        /// What the decoder said.
        reason: String,
    },
    /// A picture that would take too much memory.
    #[error(
        "a picture of {width} x {height} pixels is too large; at most {SIDE_MAX} pixels a side and \
         {PIXELS_MAX} in all"
    )]
    PictureTooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A picture without pixels.
    #[error("a picture of {width} x {height} pixels is empty")]
    PictureEmpty {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Not sound, or broken sound.
    #[error("cannot decode the sound: {reason}; expected WAV, FLAC, MP3 or Ogg Vorbis")]
    Sound {
        /// What the decoder said.
        reason: String,
    },
    /// Sound that ends before it should.
    #[error("the sound breaks off after {seconds:.1} seconds: {reason}")]
    SoundCut {
        /// What could be decoded.
        seconds: f64,
        /// What the decoder said.
        reason: String,
    },
    /// A file without a sample.
    #[error("no sound in it")]
    SoundEmpty,
    /// More sound than the caller takes.
    #[error("longer than {seconds_max} seconds")]
    SoundTooLong {
        /// The limit.
        seconds_max: u32,
    },
    /// A sample rate that is nonsense.
    #[error("a sample rate of {0} Hz; accepted is 1000 to 768000")]
    Rate(u32),
    /// A number of channels that is nonsense.
    #[error("{0} channels; accepted is 1 to 64")]
    Channels(u32),
    /// Not a film, or a broken one.
    #[error(
        "cannot decode the film: {reason}; expected an animated GIF, WebP or PNG, YUV4MPEG2 or \
         Motion JPEG"
    )]
    Clip {
        /// What is wrong.
        reason: String,
    },
    /// A film that would take too much memory or time.
    #[error(
        "{frames} frames of {width} x {height} pixels are too large; the chosen frames may have \
         {CLIP_PIXELS_MAX} pixels together: scale the film down"
    )]
    ClipTooLarge {
        /// Frames that are to be decoded.
        frames: usize,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}
