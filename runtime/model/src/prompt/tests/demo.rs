//! The demo model: its conversations, picture and sound come out as its reference says.

use super::*;
use crate::gemma::{audio, image};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn reference() -> Value {
    let path = root().join("tests/fixtures/demo/reference.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn fixture(case: &Value) -> Vec<u8> {
    let name = case["file"].as_str().unwrap();
    std::fs::read(root().join("tests/fixtures/demo").join(name)).unwrap()
}

/// Messages of a case; `medium` stands for its picture or sound.
fn messages(case: &Value, medium: Option<&Part>) -> Vec<Message> {
    let mut messages = Vec::new();
    for message in case["messages"].as_array().unwrap() {
        let role = match message["role"].as_str().unwrap() {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        };
        let part = |part: &Value| match part["type"].as_str() {
            Some("text") => Part::Text(part["text"].as_str().unwrap().into()),
            _ => medium.unwrap().clone(),
        };
        let content = &message["content"];
        let parts = match content.as_array() {
            Some(parts) => parts.iter().map(part).collect(),
            None => vec![Part::Text(content.as_str().unwrap().into())],
        };
        for (call, response) in pairs(message) {
            let function = &call["function"];
            let arguments = function["arguments"].as_object().unwrap().clone();
            let name = function["name"].as_str().unwrap().to_owned();
            let outcome = Outcome::Done(response["response"].clone());
            let result = ToolResult { name: name.clone(), outcome, cost: Cost::default() };
            let tool_calls = vec![ToolCall { name, arguments }];
            let calling = Message { role, parts: vec![], tool_calls, tool_results: vec![result] };
            messages.push(calling);
        }
        let silent = matches!(&parts[..], [Part::Text(text)] if text.is_empty());
        if !silent {
            messages.push(Message { role, parts, tool_calls: vec![], tool_results: vec![] });
        }
    }
    messages
}

/// Calls of a message with their responses.
fn pairs(message: &Value) -> Vec<(&Value, &Value)> {
    let list = |key: &str| message[key].as_array().map(Vec::as_slice).unwrap_or_default();
    list("tool_calls").iter().zip(list("tool_responses")).collect()
}

fn tools(case: &Value) -> Vec<ToolSpec> {
    let tool = |tool: &Value| ToolSpec {
        name: tool["function"]["name"].as_str().unwrap().into(),
        description: tool["function"]["description"].as_str().unwrap().into(),
        parameters: tool["function"]["parameters"].clone(),
    };
    case["tools"].as_array().unwrap().iter().map(tool).collect()
}

/// Checks the ids of a case; a medium has `soft_tokens` of them.
fn check_ids(case: &Value, medium: Option<&Part>, soft_tokens: usize) {
    let folder = root().join("runtime/demo-model");
    let tokenizer = Tokenizer::open(&folder).unwrap();
    let template = Template::open(&folder).unwrap();
    let thinking = case["enable_thinking"].as_bool().unwrap();
    let messages = messages(case, medium);
    let prompt = render(&template, &tokenizer, &messages, &tools(case), thinking).unwrap();
    let mut ids = Vec::new();
    for segment in &prompt.segments {
        match segment {
            Segment::Tokens(tokens) => ids.extend(tokens),
            Segment::Image(_) => ids.extend(vec![tokenizer.ids().image.unwrap(); soft_tokens]),
            Segment::Audio(_) => ids.extend(vec![tokenizer.ids().audio.unwrap(); soft_tokens]),
            Segment::Video { .. } => panic!("no case has a film"),
        }
    }
    assert_eq!(json!(ids), case["prompt_ids"], "{}", case["name"]);
}

/// Checks probes of prepared input: value, expected value, and how far they may differ.
fn check_probes(probes: &Value, found: impl Fn(usize, usize) -> f32, tolerance: f64) {
    for probe in probes.as_array().unwrap() {
        let place = |key: &str| usize::try_from(probe[key].as_u64().unwrap()).unwrap();
        let value = f64::from(found(place("row"), place("column")));
        assert!((value - probe["value"].as_f64().unwrap()).abs() <= tolerance, "{probe}: {value}");
    }
}

#[test]
fn conversations_get_the_reference_ids() {
    for case in reference()["text"].as_array().unwrap() {
        check_ids(case, None, 0);
    }
}

#[test]
fn a_picture_comes_out_as_the_reference_has_it() {
    let case = &reference()["image"];
    let frame = gemma_media::picture(&fixture(case)).unwrap();
    let prepared = image::prepare(&frame, 70).unwrap();
    assert_eq!(json!(prepared.soft_tokens), case["soft_tokens"]);
    assert_eq!(json!(prepared.positions.dim().1), case["patches"]);
    let found = |row, column| prepared.pixels[[0, row, column]];
    check_probes(&case["pixel_values"], found, 1e-6);
    let mean = prepared.pixels.mapv(f64::from).mean().unwrap();
    assert!((mean - case["pixel_values_mean"].as_f64().unwrap()).abs() < 1e-5);
    check_ids(case, Some(&Part::Image(frame)), prepared.soft_tokens);
}

#[test]
fn sound_comes_out_as_the_reference_has_it() {
    let case = &reference()["audio"];
    let file = fixture(case);
    let data = file.windows(4).position(|four| four == b"data").unwrap() + 8;
    let sample = |two: &[u8]| i16::from_le_bytes([two[0], two[1]]);
    let samples: Vec<i16> = file[data..].chunks_exact(2).map(sample).collect();
    let prepared = audio::prepare(&samples).unwrap();
    assert_eq!(json!(prepared.soft_tokens), case["soft_tokens"]);
    let real = prepared.mask.iter().filter(|real| **real).count();
    assert_eq!(json!(real), case["frames"]);
    assert_eq!(json!(prepared.mask.dim().1), case["frames_padded"]);
    check_probes(&case["input_features"], |row, column| prepared.features[[0, row, column]], 1e-4);
    let samples = Arc::from(samples);
    let utterance = Utterance { samples, started_at: Duration::ZERO, caption: None };
    check_ids(case, Some(&Part::Audio(utterance)), prepared.soft_tokens);
}
