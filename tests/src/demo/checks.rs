//! What was promised, and whether it happened: from what arrived, never from what was printed.

use serde_json::Value;

use super::event_kind;
use super::narrator::{heard, receipt, seen, tool_called};
use super::screen::{GREEN, RED, Screen};
use crate::bus_client::{PATH, Request, Signal};
use crate::house::House;
use crate::mqtt_client::Message;

/// The claims of the demo, and its figures.
#[derive(Debug)]
pub(super) struct Checks {
    claims: Vec<(&'static str, Option<String>)>,
    figures: Vec<(&'static str, String)>,
}

impl Checks {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self { claims: Vec::new(), figures: Vec::new() }
    }

    /// Looks up every claim in what the two clients received: first for the turn that was spoken,
    /// then for the request that was typed.
    pub(super) fn gather(&mut self, house: &House, spoken: &Value, typed: &Request) {
        let turn = &spoken["turn"];
        self.claim("speech was heard", event(house, turn, "heard").map(|event| heard(&event)));
        self.claim("a picture was seen", event(house, turn, "seen").map(|event| seen(&event)));
        let called = event(house, turn, "tool_called").map(|event| tool_called(&event));
        self.claim("the model called a tool", called);
        let result = event(house, turn, "tool_answered").map(|event| event["receipt"].clone());
        let done = result.filter(|result| result["outcome"] == "done");
        self.claim("the tool did it", done.map(|result| receipt(&result)));
        self.claim("the broker delivered the message", lamp(house, "kitchen"));
        self.claim("a client received the signal", signal(house, turn));
        self.claim("the model reported it", says(spoken, "kitchen"));

        let response = house.bus_client.signals_of(typed, "Response").pop();
        let response = response.map(|signal| signal.argument(1)).unwrap_or_default();
        self.claim("typed: the broker delivered the message", lamp(house, "bedroom"));
        let called = house.bus_client.signals_of(typed, "ToolCalled").pop();
        self.claim("typed: the asker received the signal", called.map(|signal| signal.text(1)));
        self.claim("typed: the model reported it", says(&response, "bedroom"));
        for (what, figures) in
            [("spoken turn", &spoken["figures"]), ("typed turn", &response["figures"])]
        {
            self.figure(what, timing(figures));
        }
    }

    /// Adds a figure to the summary.
    pub(super) fn figure(&mut self, what: &'static str, value: String) {
        self.figures.push((what, value));
    }

    /// Whether every claim came true.
    pub(super) fn all_happened(&self) -> bool {
        self.claims.iter().all(|(_, proof)| proof.is_some())
    }

    /// The summary.
    pub(super) fn table(&self, screen: &Screen) -> String {
        let mut lines = Vec::new();
        for (claim, proof) in &self.claims {
            let (mark, colour) = if proof.is_some() { ("yes", GREEN) } else { ("NO ", RED) };
            let proof: String = proof.as_deref().unwrap_or_default().chars().take(96).collect();
            lines.push(format!("  {}  {claim:<42} {proof}", screen.paint(mark, colour)));
        }
        lines.push(String::new());
        let figures = self.figures.iter().map(|(what, value)| format!("       {what:<42} {value}"));
        lines.extend(figures);
        lines.join("\n")
    }

    /// Adds a claim, with its proof if it came true.
    pub(super) fn claim(&mut self, claim: &'static str, proof: Option<String>) {
        self.claims.push((claim, proof));
    }
}

fn event(house: &House, turn: &Value, kind: &str) -> Option<Value> {
    house.mqtt_client.messages().find(0, |message: &Message| {
        let event = message.json();
        (event_kind(message) == Some(kind) && event["turn"] == *turn).then_some(event)
    })
}

fn lamp(house: &House, room: &str) -> Option<String> {
    let topic = format!("home/{room}/light/set");
    house
        .mqtt_client
        .messages()
        .find(0, |message| (message.topic == topic).then(|| message.to_string()))
}

fn signal(house: &House, turn: &Value) -> Option<String> {
    house.bus_client.signals().find(0, |signal: &Signal| {
        let fits = signal.path == PATH && signal.member == "ToolCalled";
        (fits && signal.argument(0) == *turn)
            .then(|| format!("{}  {}", signal.member, signal.text(3)))
    })
}

fn says(event: &Value, words: &str) -> Option<String> {
    event["text"].as_str().filter(|text| text.contains(words)).map(str::to_owned)
}

fn timing(figures: &Value) -> String {
    let number = |name: &str| figures[name].as_f64().unwrap_or_default();
    format!(
        "{:.0} ms to the first word, {:.0} ms in all, {:.0} tokens/s",
        number("first_text_ms"),
        number("total_ms"),
        number("tokens_per_second")
    )
}
