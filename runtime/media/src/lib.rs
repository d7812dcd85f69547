//! Encoded pictures, sound and films in memory, to the plain data that the model takes.
//!
//! A stranger's file can be wrong, huge, or small and unfold to something huge. So every size is
//! checked before memory is taken, and whatever is wrong becomes one [`MediaError`] that says what
//! would be right. Nothing here reads a file, knows a model, or starts a thread.

mod clip;
mod convert;
mod error;
mod kind;
mod picture;
mod sound;
mod yuv;

pub use clip::{CLIP_PIXELS_MAX, clip, clip_at, clip_of};
pub use convert::{CHUNK_SAMPLES, Converter};
pub use error::MediaError;
pub use kind::Kind;
pub use picture::{PIXELS_MAX, SIDE_MAX, picture};
pub use sound::{Sound, sound};
pub use yuv::rgb_of_yuv;
