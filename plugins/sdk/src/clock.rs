//! The wall clock of the device. Grant: `clock = true`.

pub use crate::bindings::gemmad::plugin::clock::{LocalTime, Weekday};

/// Reads the clock, in the time zone of the device.
///
/// # Errors
///
/// The manifest does not grant the clock.
pub fn now() -> crate::Result<LocalTime> {
    Ok(crate::bindings::gemmad::plugin::clock::now()?)
}
