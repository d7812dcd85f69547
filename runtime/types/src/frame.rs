//! A picture as it travels from a camera or a client to the model.

use std::sync::Arc;
use std::time::Duration;

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pixels, `[height, width, 3] u8`, RGB, row by row without padding.
    pub rgb: Arc<[u8]>,
    /// When it was captured, since the daemon started (monotonic clock).
    pub captured_at: Duration,
}
