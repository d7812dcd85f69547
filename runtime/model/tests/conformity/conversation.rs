//! Conversations in transformers' messages format, with the media that they name.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gemma_types::{Clip, Frame, Message, Part, Role, Utterance};
use serde_json::Value;

/// Reads `cases/NAME.json`.
pub(crate) fn read(fixtures: &Path, name: &str) -> Vec<Message> {
    let path = fixtures.join("cases").join(format!("{name}.json"));
    let root: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    root["messages"].as_array().unwrap().iter().map(|value| message(fixtures, value)).collect()
}

fn message(fixtures: &Path, value: &Value) -> Message {
    let role = match value["role"].as_str().unwrap() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => panic!("role {other}"),
    };
    let content = &value["content"];
    let parts = match content.as_str() {
        Some(words) => vec![Part::Text(words.into())],
        None => content.as_array().unwrap().iter().map(|value| part(fixtures, value)).collect(),
    };
    Message { role, parts, tool_calls: Vec::new(), tool_results: Vec::new() }
}

fn part(fixtures: &Path, value: &Value) -> Part {
    let path = |value: &Value| fixtures.join(value.as_str().unwrap());
    match value["type"].as_str().unwrap() {
        "text" => Part::Text(value["text"].as_str().unwrap().into()),
        "image" => Part::Image(picture(&path(&value["path"]))),
        "audio" => Part::Audio(sound(&path(&value["path"]))),
        "video" => Part::Video(Clip {
            frames: value["frames"].as_array().unwrap().iter().map(|v| picture(&path(v))).collect(),
            seconds: serde_json::from_value(value["seconds"].clone()).unwrap(),
        }),
        other => panic!("a part of type {other}"),
    }
}

fn picture(path: &Path) -> Frame {
    gemma_media::picture(&fs::read(path).unwrap()).unwrap()
}

fn sound(path: &Path) -> Utterance {
    let samples = gemma_media::sound(&fs::read(path).unwrap(), 30).unwrap();
    Utterance { samples: samples.into(), started_at: Duration::ZERO, caption: None }
}
