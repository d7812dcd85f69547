//! Messages to the MQTT broker of the device. Grant: `mqtt = ["topic/filter/+"]`.

use crate::bindings::gemmad::plugin::mqtt::publish as publish_bytes;

/// Publishes one message and waits until the daemon has accepted it for delivery.
///
/// # Errors
///
/// The manifest does not grant the topic, a limit of the call is used up, or the daemon could not.
pub fn publish(topic: &str, payload: &[u8]) -> crate::Result<()> {
    Ok(publish_bytes(topic, payload, false)?)
}

/// Publishes one message that the broker keeps for later subscribers.
///
/// # Errors
///
/// As [`publish`].
pub fn publish_retained(topic: &str, payload: &[u8]) -> crate::Result<()> {
    Ok(publish_bytes(topic, payload, true)?)
}
