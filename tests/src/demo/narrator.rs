//! Tells what arrives, as it arrives: what the broker delivered and what the bus delivered.

use std::sync::Arc;

use serde_json::Value;

use super::screen::Screen;
use super::{event_kind, words};
use crate::bus_client::{PATH, Signal};
use crate::mqtt_client::Message;
use crate::record::Record;

/// Tells everything until it is aborted.
pub(super) async fn narrate(screen: Screen, messages: Record<Message>, signals: Record<Signal>) {
    let (mut message, mut signal) = (0, 0);
    loop {
        tokio::select! {
            delivered = messages.at(message) => {
                message += 1;
                tell_message(&screen, &delivered);
            }
            received = signals.at(signal) => {
                signal += 1;
                tell_signal(&screen, &received);
            }
        }
    }
}

fn tell_message(screen: &Screen, message: &Arc<Message>) {
    let event = message.json();
    let Some(kind) = event_kind(message) else {
        // Answers go to who asked, and are told as events, too.
        let is_answer = message.topic.starts_with("answers/");
        if is_answer {
            return;
        }
        if !message.topic.starts_with("gemmad/") || message.topic.ends_with("/status") {
            screen.line("mqtt", &format!("{}  {}", message.topic, message.text()));
        }
        return;
    };
    match kind {
        "heard" => screen.line("heard", &heard(&event)),
        "seen" => screen.line("seen", &seen(&event)),
        "tool_called" => screen.line("tool call", &tool_called(&event)),
        "tool_answered" => screen.line("tool result", &receipt(&event["receipt"])),
        "answered" => screen.line("model", &answered(&event)),
        "failed" => screen.line("failed", &words(&event["error"])),
        _ => {}
    }
}

/// Receipts and figures would fill the line; they are in the broker's message too.
fn tell_signal(screen: &Screen, signal: &Arc<Signal>) {
    let shown = match signal.member.as_str() {
        "ToolCalled" | "ToolAnswered" | "Answered" | "Failed" => signal.path == PATH,
        "Response" => true,
        _ => false,
    };
    if shown {
        let short = |value: &&Value| !value.is_object() && !words(value).starts_with("[{");
        let body: Vec<String> = signal.body.iter().filter(short).map(words).collect();
        let object = if signal.path == PATH { "" } else { "to the asker: " };
        screen.line("d-bus", &format!("{object}{}  {}", signal.member, body.join("  ")));
    }
}

/// What was heard.
pub(super) fn heard(event: &Value) -> String {
    let seconds = event["seconds"].as_f64().unwrap_or_default();
    match event["caption"].as_str() {
        Some(caption) => format!("{seconds:.2} s of speech; its text goes along: \"{caption}\""),
        None => format!("{seconds:.2} s of speech"),
    }
}

/// What was seen.
pub(super) fn seen(event: &Value) -> String {
    format!("picture of {} x {}, {} ms old", event["width"], event["height"], event["age_ms"])
}

/// The call.
pub(super) fn tool_called(event: &Value) -> String {
    format!("{} {}", words(&event["name"]), event["arguments"])
}

/// What the call really did, and what it took.
pub(super) fn receipt(receipt: &Value) -> String {
    let wall_ms = receipt["wall_ms"].as_f64().unwrap_or_default();
    let memory = receipt["memory_bytes"].as_f64().unwrap_or_default() / 1024.0;
    format!(
        "{} {}; it took {wall_ms:.1} ms, {} fuel, {memory:.0} KiB",
        words(&receipt["outcome"]),
        receipt["value"],
        receipt["fuel"],
    )
}

fn answered(event: &Value) -> String {
    let figures = &event["figures"];
    let number = |name: &str| figures[name].as_f64().unwrap_or_default();
    format!(
        "\"{}\"  ({} tokens read, {} made, {:.0} ms)",
        words(&event["text"]),
        number("prompt_tokens"),
        number("reply_tokens"),
        number("total_ms"),
    )
}
