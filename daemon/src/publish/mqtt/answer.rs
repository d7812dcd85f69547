//! What is said on MQTT: events, the state and answers, as JSON.

use serde::Serialize;
use serde_json::{Value, json};

use crate::event::{Event, Refusal, TurnId, VERSION};
use crate::status::Status;

/// A value of the vocabulary with the vocabulary's version.
#[derive(Serialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    value: T,
}

/// An event.
pub(super) fn event(event: &Event) -> Vec<u8> {
    bytes(&Versioned { version: VERSION, value: event })
}

/// The whole state.
pub(super) fn state(status: &Status, events_dropped: u64) -> Vec<u8> {
    #[derive(Serialize)]
    struct State<'a> {
        #[serde(flatten)]
        status: &'a Status,
        events_dropped: u64,
    }
    bytes(&Versioned { version: VERSION, value: State { status, events_dropped } })
}

/// The answer that the last event of a turn makes; `None` for any other event.
pub(super) fn last(event: &Event, session: &str, expired: bool) -> Option<Vec<u8>> {
    let ended = |code: &str, turn: TurnId, error: &str| json!({"version": VERSION, "code": code, "turn": turn, "session": session, "error": error});
    let answer: Value = match event {
        Event::Answered { turn, text, result, receipts, finish, figures } => {
            let mut answer = json!({
                "version": VERSION, "code": "answered", "turn": turn, "session": session,
                "text": text, "receipts": receipts, "finish": finish, "figures": figures,
            });
            if let Some(result) = result {
                answer["result"] = json!(result);
            }
            answer
        }
        Event::Failed { turn, error } => ended("failed", *turn, error),
        Event::Cancelled { turn } if expired => {
            ended("expired", *turn, "the question expired before it was answered")
        }
        Event::Cancelled { turn } => ended("cancelled", *turn, "cancelled"),
        Event::State { .. }
        | Event::Part { .. }
        | Event::Accepted { .. }
        | Event::Heard { .. }
        | Event::Seen { .. }
        | Event::Watched { .. }
        | Event::Thought { .. }
        | Event::Text { .. }
        | Event::ToolCalled { .. }
        | Event::ToolAnswered { .. } => return None,
    };
    Some(bytes(&answer))
}

/// A question was not accepted.
pub(super) fn refusal(refusal: &Refusal) -> Vec<u8> {
    let error = refusal.to_string();
    bytes(&match refusal {
        Refusal::Busy { retry_after_s, .. } => json!({
            "version": VERSION, "code": "busy", "error": error, "retry_after_s": retry_after_s,
        }),
        Refusal::NoModel(_) => json!({"version": VERSION, "code": "no_model", "error": error}),
        Refusal::Invalid(_) => json!({"version": VERSION, "code": "invalid", "error": error}),
    })
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::{Figures, FinishReason};

    fn check(found: Option<Vec<u8>>, expected: &str) {
        assert_eq!(String::from_utf8(found.unwrap()).unwrap(), expected);
    }

    #[test]
    fn only_the_last_event_of_a_turn_makes_an_answer() {
        let figures = Figures::default();
        let (text, receipts, finish) = ("14:32".to_owned(), Vec::new(), FinishReason::Stop);
        check(
            last(
                &Event::Answered { turn: 1, text, result: None, receipts, finish, figures },
                "s",
                false,
            ),
            r#"{"version":1,"code":"answered","turn":1,"session":"s","text":"14:32","receipts":[],"finish":"stop","figures":{"prompt_tokens":0,"cached_tokens":0,"reply_tokens":0,"first_text_ms":0.0,"total_ms":0.0,"tokens_per_second":0.0}}"#,
        );
        check(
            last(&Event::Cancelled { turn: 1 }, "s", true),
            r#"{"version":1,"code":"expired","turn":1,"session":"s","error":"the question expired before it was answered"}"#,
        );
        assert_eq!(last(&Event::Text { turn: 1, text: "a".into() }, "s", false), None);
    }

    #[test]
    fn an_event_carries_the_version_of_the_vocabulary() {
        check(
            Some(event(&Event::Cancelled { turn: 1 })),
            r#"{"version":1,"event":"cancelled","turn":1}"#,
        );
    }

    #[test]
    fn the_state_is_one_flat_object() {
        let state: Value = serde_json::from_slice(&state(&Status::default(), 3)).unwrap();
        assert_eq!(state["state"], "starting");
        assert_eq!(state["events_dropped"], 3);
        assert_eq!(state["version"], 1);
    }
}
