#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use gemma_types::{Clip, Frame, Utterance};
use serde_json::{Value, json};

use super::*;
use crate::sample::Sampling;
use crate::tasks::{Said, Task};

fn frame() -> Frame {
    Frame { width: 200, height: 100, rgb: Arc::from(vec![0; 60_000]), captured_at: Duration::ZERO }
}

fn medium(kind: &str) -> Part {
    match kind {
        "picture" => Part::Image(frame()),
        "film" => Part::Video(Clip { frames: vec![frame()], seconds: vec![0.0] }),
        _ => Part::Audio(Utterance {
            samples: Arc::from(vec![0; 16_000]),
            started_at: Duration::ZERO,
            caption: None,
        }),
    }
}

fn order(text: &str, words: &str, media: &[&str]) -> Result<AnyTask, String> {
    let media = media.iter().map(|kind| medium(kind)).collect();
    let order: Order = text.parse()?;
    order.about(Subject { words: words.to_owned(), media }).map_err(|error| error.to_string())
}

fn check(text: &str, words: &str, media: &[&str], expected: &str) {
    let error = order(text, words, media).unwrap_err();
    assert!(error.contains(expected), "{text}: {error:?} lacks {expected:?}");
}

#[test]
fn every_task_can_be_ordered_by_its_name() {
    for (text, media) in [
        ("transcribe", "sound"),
        (r#"{"name": "translate", "from": "English", "to": "French"}"#, "sound"),
        ("caption", "picture"),
        ("ocr", "picture"),
        (r#"{"name": "detect", "labels": ["cup"]}"#, "picture"),
        ("video", "film"),
        ("ask", "picture"),
    ] {
        assert!(!order(text, "", &[media]).unwrap().asks().unwrap().is_empty(), "{text}");
    }
    for name in TaskName::ALL {
        let order: Order = serde_json::from_value(json!(name.as_str())).unwrap();
        assert_eq!(order, Order::new(name));
    }
}

#[test]
fn an_order_is_written_as_it_is_read() {
    let text =
        r#"{"name":"detect","labels":["cup"],"strict":true,"image_budget":280,"greedy":true}"#;
    let order: Order = text.parse().unwrap();
    assert_eq!(serde_json::to_string(&order).unwrap(), text);
    assert_eq!(serde_json::to_string(&Order::new(TaskName::Ocr)).unwrap(), r#"{"name":"ocr"}"#);
}

#[test]
fn what_does_not_belong_together_is_refused_with_what_would() {
    check("dance", "", &[], "\"dance\" is no task; expected one of transcribe, translate, caption");
    check(r#"{"name": "dance"}"#, "", &[], "\"dance\" is no task");
    check(r#"{"name": "ocr", "colour": 1}"#, "", &[], "unknown field `colour`");
    check(r#"{"labels": []}"#, "", &[], "missing field `name`");
    check(r#"{"name": "ocr", "strict": "yes"}"#, "", &[], "expected a boolean");
    let foreign = r#"{"name": "ocr", "labels": ["cup"]}"#;
    check(
        foreign,
        "",
        &["picture"],
        "the task ocr: it has no option \"labels\"; it has image_budget",
    );
    check("ocr", "", &["sound"], "sound came along where a picture is expected");
    check("ocr", "", &[], "it takes one picture, 0 media came along");
    check("ocr", "", &["picture", "picture"], "2 media came along");
    check("ocr", "What?", &["picture"], "it takes no words");
    check("transcribe", "", &["film"], "a film came along where sound is expected");
    check(r#"{"name": "translate", "to": "French"}"#, "", &["sound"], "\"from\" is missing");
    check(r#"{"name": "ocr", "image_budget": 71}"#, "", &["picture"], "71 is none of [70");
    check(r#"{"name": "ocr", "max_tokens": 0}"#, "", &["picture"], "accepted: 1 to 65536");
    check(r#"{"name": "ocr", "max_tokens": -1}"#, "", &["picture"], "invalid value");
}

#[test]
fn options_of_every_task_reach_its_replies() {
    let text = r#"{"name": "caption", "thinking": true, "image_budget": 70, "max_tokens": 5, "greedy": true}"#;
    let asks = order(text, "", &["picture"]).unwrap().asks().unwrap();
    let options = &asks[0].options;
    assert_eq!((options.image_budget, options.reply_tokens_max), (Some(70), 5));
    assert_eq!((options.sampling, options.thinking), (Sampling::greedy(), true));
}

#[test]
fn answers_are_objects_that_name_their_task() {
    let said = |text: &str| Said { text: text.into(), whole: true, ..Said::default() };
    let answer = |text: &str, media: &str, reply: &str| {
        let task = order(text, "", &[media]).unwrap();
        let answer = task.read(&[said(reply)]).unwrap();
        (serde_json::to_value(&answer).unwrap(), answer.to_string())
    };
    let check =
        |found: (Value, String), json: Value, text: &str| assert_eq!(found, (json, text.into()));
    check(
        answer("transcribe", "sound", "Hello."),
        json!({"task": "transcribe", "text": "Hello.", "segments": [{"start_s": 0.0, "end_s": 1.0, "text": "Hello."}]}),
        "Hello.",
    );
    check(
        answer(
            r#"{"name": "detect", "labels": ["cup"]}"#,
            "picture",
            r#"[{"box_2d": [0, 500, 1000, 1000]}]"#,
        ),
        json!({
            "task": "detect",
            "boxes": [{"label": "cup", "x_min_px": 100, "y_min_px": 0, "x_max_px": 200, "y_max_px": 100}],
            "passed_over": [],
        }),
        "cup: x 100 to 200, y 0 to 100",
    );
    check(answer("ocr", "picture", "EXIT"), json!({"task": "ocr", "text": "EXIT"}), "EXIT");
    let video = answer("video", "film", "A dog.");
    check(video, json!({"task": "video", "text": "A dog.", "thought": null}), "A dog.");
    let translate = r#"{"name": "translate", "from": "English", "to": "French"}"#;
    check(
        answer(translate, "sound", "Yes.\nFrench: Oui."),
        json!({"task": "translate", "source": "Yes.", "target": "Oui."}),
        "Yes.\nOui.",
    );
}
