//! The lights: switches the light of a room by a message to `home/<room>/light/set`, in the JSON
//! that Home Assistant and Zigbee2MQTT understand.

use gemma_plugin::{Result, Value, json, mqtt};
use serde::Deserialize;

#[derive(Deserialize)]
struct SetLight {
    room: String,
    state: State,
    /// Percent.
    brightness: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    On,
    Off,
}

fn set_light(light: SetLight) -> Result<Value> {
    let room = level(&light.room)?;
    let topic = format!("home/{room}/light/set");
    let (command, result) = match (light.state, light.brightness) {
        (State::Off, _) => (json!({"state": "OFF"}), json!({"room": light.room, "state": "off"})),
        (State::On, None) => (json!({"state": "ON"}), json!({"room": light.room, "state": "on"})),
        (State::On, Some(percent)) => (
            json!({"state": "ON", "brightness": byte(percent)?}),
            json!({"room": light.room, "state": "on", "brightness": percent as u8}),
        ),
    };
    mqtt::publish(&topic, command.to_string().as_bytes())?;
    Ok(result)
}

/// The room as one level of a topic: "Living room" becomes `living_room`.
fn level(room: &str) -> Result<String> {
    let level = room.trim().to_lowercase().replace(char::is_whitespace, "_");
    if level.is_empty() || level.contains(['/', '+', '#']) || level.contains(char::is_control) {
        return Err(format!("no such room: {room:?}").into());
    }
    Ok(level)
}

/// Percent as the 0 to 255 of the wire.
fn byte(percent: f64) -> Result<u8> {
    if !(0.0..=100.0).contains(&percent) {
        return Err("brightness is a percentage from 0 to 100".into());
    }
    Ok((percent * 255.0 / 100.0).round() as u8)
}

gemma_plugin::tools! { "set_light" => set_light }
