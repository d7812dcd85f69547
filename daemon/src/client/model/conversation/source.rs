//! Where the medium of a part is: a file beside the conversation, or inside of it. Nothing is
//! fetched from a network.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::client::model::file::{self, Medium};

/// A medium of a part.
pub(super) struct Found {
    /// What templates call it: `image`, `audio` or `video`.
    pub(super) kind: &'static str,
    /// The medium, if the part says where it is.
    pub(super) medium: Option<Medium>,
}

/// Keys under which a part names a file or an address.
const KEYS: [&str; 8] =
    ["path", "url", "image", "audio", "video", "image_url", "audio_url", "video_url"];

/// The medium of a part; none for text.
///
/// # Errors
/// When the part is of no known kind, or its medium cannot be read.
pub(super) fn of(part: &Value, folder: &Path) -> anyhow::Result<Option<Found>> {
    let kind = match part["type"].as_str() {
        Some("text") => {
            ensure!(part["text"].is_string(), "a text part without \"text\"");
            return Ok(None);
        }
        Some("image" | "image_url") => "image",
        Some("audio" | "audio_url" | "input_audio") => "audio",
        Some("video" | "video_url") => "video",
        Some(other) => bail!("type {other:?}; expected text, image, audio or video"),
        None => bail!("{part} has no type; expected text, image, audio or video"),
    };
    let medium = medium(part, folder)?;
    if let Some(medium) = &medium {
        let right = match medium {
            Medium::Picture(_) => kind == "image",
            Medium::Sound(_) => kind == "audio",
            Medium::Film(_) => kind == "video",
        };
        ensure!(right, "{} where {kind} is expected", medium.kind());
    }
    Ok(Some(Found { kind, medium }))
}

fn medium(part: &Value, folder: &Path) -> anyhow::Result<Option<Medium>> {
    let rate_hz = part["fps"].as_f64();
    let inside = [&part["input_audio"]["data"], &part["base64"], &part["data"]];
    if let Some(data) = inside.iter().find_map(|data| data.as_str()) {
        return decode(data, rate_hz).map(Some);
    }
    let named = KEYS.iter().find_map(|key| {
        let value = &part[*key];
        value.as_str().or_else(|| value["url"].as_str())
    });
    named.map(|address| open(address, folder, rate_hz)).transpose()
}

fn open(address: &str, folder: &Path, rate_hz: Option<f64>) -> anyhow::Result<Medium> {
    if let Some(rest) = address.strip_prefix("data:") {
        let Some((kind, data)) = rest.split_once(',') else { bail!("a data: URL without data") };
        ensure!(kind.ends_with(";base64"), "data:{kind} is not in base64");
        return decode(data, rate_hz);
    }
    let path = address.strip_prefix("file://").unwrap_or(address);
    if path.contains("://") {
        bail!("{address} is not fetched; expected a file beside the conversation, or a data: URL");
    }
    file::read(&folder.join(path), rate_hz)
}

fn decode(data: &str, rate_hz: Option<f64>) -> anyhow::Result<Medium> {
    let bytes = STANDARD.decode(data.trim()).context("the data is no base64")?;
    file::decode(&bytes, rate_hz)
}
