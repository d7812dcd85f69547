//! Lines in the daemon's log. A line that the daemon does not take is dropped.

use crate::bindings::gemmad::plugin::log::{Level, write};

/// Writes a line for the author of the plugin.
pub fn debug(message: &str) {
    let _dropped = write(Level::Debug, message);
}

/// Writes a line that the owner of the device cares about.
pub fn info(message: &str) {
    let _dropped = write(Level::Info, message);
}

/// Writes a line that someone should look at.
pub fn warn(message: &str) {
    let _dropped = write(Level::Warn, message);
}
