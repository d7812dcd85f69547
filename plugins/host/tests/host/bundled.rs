//! The bundled tools, as `make plugins` leaves them.

use std::path::{Path, PathBuf};

use gemma_plugins::{Limits, Publication, Risk};
use gemma_types::{Outcome, ToolResult};
use serde_json::{Value, json};

use crate::workshop::{Open, check_failed, check_refused, open, tool_call};

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.setup/plugins");
    let built = folder.join("clock/clock.wasm").is_file();
    assert!(built, "the bundled plugins are not built: run `make plugins` first");
    folder
}

fn bundled() -> Open {
    let open = open(&folder(), Limits::default(), None);
    assert!(open.host.problems().is_empty(), "{:?}", open.problems());
    open
}

/// Switches a light; the daemon accepts every message.
async fn set_light(open: &mut Open, arguments: Value) -> (ToolResult, Vec<Publication>) {
    let call = tool_call("set_light", arguments);
    let mut running = std::pin::pin!(open.host.call(&call));
    let mut publications = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(mut publication) = open.publications.recv() => {
                let (unused, _) = tokio::sync::oneshot::channel();
                let receipt = std::mem::replace(&mut publication.receipt, unused);
                receipt.send(Ok(())).unwrap();
                publications.push(publication);
            }
            result = &mut running => return (result, publications),
        }
    }
}

/// These arguments must lead to this message and this result.
async fn check(arguments: Value, topic: &str, payload: Value, expected: Value) {
    let (result, publications) = set_light(&mut bundled(), arguments).await;
    assert_eq!(result.outcome, Outcome::Done(expected));
    assert_eq!(publications.len(), 1);
    assert_eq!(publications[0].topic, topic);
    assert_eq!(serde_json::from_slice::<Value>(&publications[0].payload).unwrap(), payload);
}

#[test]
fn the_bundled_tools_are_declared_as_the_models_know_them() {
    let tools = bundled().host.tools();
    let declared: Vec<_> =
        tools.iter().map(|tool| (tool.name.as_str(), &*tool.description)).collect();
    let expected = [("get_time", "Tell the time and date."), ("set_light", "Switch a light.")];
    assert_eq!(declared, expected);
    let parameters: Vec<String> = tools.iter().map(|tool| tool.parameters.to_string()).collect();
    assert_eq!(parameters[0], r#"{"type":"object","properties":{},"required":[]}"#);
    let light = concat!(
        r#"{"type":"object","properties":{"room":{"type":"string","description":"Room name"},"#,
        r#""state":{"type":"string","enum":["on","off"]},"#,
        r#""brightness":{"type":"integer","description":"Percent"}},"required":["room","state"]}"#,
    );
    assert_eq!(parameters[1], light);
    assert_eq!(bundled().host.risk("set_light"), Some(Risk::Safe));
}

#[tokio::test]
async fn the_clock_tells_the_time_of_the_device() {
    let now = || jiff::Zoned::now().strftime("%F %H:%M %A").to_string();
    let before = now();
    let result = bundled().call("get_time", json!({})).await;
    let after = now();
    let Outcome::Done(told) = result.outcome else { unreachable!("{result:?}") };
    let text = |key: &str| told[key].as_str().unwrap().to_owned();
    let told = format!("{} {} {}", text("date"), text("time"), text("weekday"));
    assert!([before, after].contains(&told), "{told}");
}

#[tokio::test]
async fn a_light_is_switched_by_a_message() {
    check(
        json!({"room": "kitchen", "state": "on"}),
        "home/kitchen/light/set",
        json!({"state": "ON"}),
        json!({"room": "kitchen", "state": "on"}),
    )
    .await;
    check(
        json!({"room": "Living Room", "state": "on", "brightness": 40}),
        "home/living_room/light/set",
        json!({"state": "ON", "brightness": 102}),
        json!({"room": "Living Room", "state": "on", "brightness": 40}),
    )
    .await;
    check(
        json!({"room": "hall", "state": "off"}),
        "home/hall/light/set",
        json!({"state": "OFF"}),
        json!({"room": "hall", "state": "off"}),
    )
    .await;
}

#[tokio::test]
async fn a_room_cannot_lead_to_another_topic() {
    for room in ["kitchen/../lock", "+", "#", "", " ", "a/b", "x\u{0}"] {
        let (result, publications) =
            set_light(&mut bundled(), json!({"room": room, "state": "on"})).await;
        check_failed(&result, "no such room");
        assert!(publications.is_empty());
    }
}

#[tokio::test]
async fn a_wrong_brightness_or_state_switches_nothing() {
    let mut open = bundled();
    let bright = json!({"room": "hall", "state": "on", "brightness": 300});
    let (result, publications) = set_light(&mut open, bright).await;
    check_failed(&result, "brightness is a percentage from 0 to 100");
    let (result, more) = set_light(&mut open, json!({"room": "hall", "state": "dim"})).await;
    check_refused(&result, r#"state must be "on" or "off", not "dim""#);
    assert!(publications.is_empty() && more.is_empty());
}
