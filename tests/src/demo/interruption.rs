//! The third scene: a long recording is being written down, word by word, when the user thinks better
//! of it. The daemon stops in the middle of its answer and does what it is asked instead.

use std::time::Instant;

use serde_json::Value;

use super::checks::Checks;
use super::stage::{self, Stage};
use crate::film;
use crate::house::House;
use crate::workspace;

/// How often the recording is said again: a few minutes of it.
const TIMES: usize = 40;
/// What is asked instead.
const INSTEAD: &str = "Turn off the light in the garage";
/// Where the lamp listens.
const LAMP: &str = "home/garage/light/set";

/// Plays it, with the daemon that runs, if one does.
pub(super) async fn play(
    house: &mut House,
    checks: &mut Checks,
    stage: &Stage,
) -> anyhow::Result<()> {
    if house.daemon().is_err() {
        stage.start(house).await?;
    }
    let mark = house.mqtt_client.messages().mark();
    let recording = std::fs::read(workspace::fixture("kitchen_light.wav")?)?;
    let long = film::repeated(&recording, TIMES);
    stage.line("typed", "write down what is said in this recording");
    let options = [("task", "transcribe".into()), ("audio", vec![long].into())];
    let request = house.bus_client.ask_with(&options).await?;
    let begun = house.bus_client.signal_of(&request, "Text").await?;
    checks.claim("interruption: an answer had begun", Some(begun.text(0)));

    stage.line("typed", "no, stop");
    let stopping = Instant::now();
    house.bus_client.cancel(&request).await?;
    let response = house.bus_client.signal_of(&request, "Response").await?;
    let stopped = format!("after {} ms", stopping.elapsed().as_millis());
    checks.claim("interruption: it stopped", (response.argument(0) == 1).then_some(stopped));

    stage.line("typed", INSTEAD);
    let instead = house.bus_client.ask(INSTEAD).await?;
    let answer = house.bus_client.signal_of(&instead, "Response").await?;
    let turn = &answer.argument(1)["turn"];
    let answered = stage::answered(house, turn).await?;
    let text = answered["text"].as_str().filter(|text| text.contains("garage"));
    checks.claim("interruption: the new request was answered", text.map(str::to_owned));
    let lamp = house.mqtt_client.messages().find(mark, |message| {
        let is_off = message.topic == LAMP && message.json()["state"] == "OFF";
        is_off.then(|| message.to_string())
    });
    checks.claim("interruption: the broker delivered it", lamp);
    let silent = only_cancelled(house, mark, turn);
    checks.claim("interruption: the first was never answered", silent);
    Ok(())
}

/// The event that ended the first turn, if it is the only answer beside that of the second.
fn only_cancelled(house: &House, mark: usize, second: &Value) -> Option<String> {
    let messages = house.mqtt_client.messages();
    let other = messages.find(mark, |message| {
        let other = message.topic.ends_with("/event/answered") && message.json()["turn"] != *second;
        other.then_some(())
    });
    let cancelled = messages.find(mark, |message| {
        message.topic.ends_with("/event/cancelled").then(|| message.to_string())
    });
    cancelled.filter(|_| other.is_none())
}
