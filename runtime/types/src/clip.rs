//! A film as it travels from a client to the model: frames chosen from it, and when they were.

use crate::Frame;

/// Frames of a film.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// The frames that the model is shown, in order.
    pub frames: Vec<Frame>,
    /// When each frame is to be seen, in seconds since the film began; as many as there are frames.
    pub seconds: Vec<f64>,
}
