//! The second scene: the camera looks at the front door, before which a parcel comes to lie. A watch
//! asks every second what is there, and publishes the model's answer as JSON. What it says is held
//! against what the picture that it was asked about shows.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::checks::Checks;
use super::stage::Stage;
use crate::house::{House, TOPICS};
use crate::mqtt_client::Message;
use crate::workspace;

/// Where the watch publishes.
const TOPIC: &str = "home/door/watch";
/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it looks at most.
const LOOKS_MAX: usize = 20;
/// How often each picture is shown before the next, half a second each.
const SHOWN: usize = 4;

/// What came of one look.
struct Look {
    /// Which picture it was, counted in `watch.json`.
    picture: usize,
    /// What the model said.
    said: Value,
}

/// Plays it.
pub(super) async fn play(
    house: &mut House,
    checks: &mut Checks,
    stage: &Stage,
) -> anyhow::Result<()> {
    let path = workspace::door("watch.json")?;
    let watch: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let question = watch["question"].as_str().context("watch.json has no question")?;
    let pictures = watch["pictures"].as_array().context("watch.json has no pictures")?;
    let camera = replayed_camera(house, pictures)?;
    stage.line("camera", &format!("replays {camera}"));
    house.settings.set("microphone.source", "none");
    house.settings.set("camera.source", format!("replay:{camera}"));
    stage.start(house).await?;
    house.part("camera", true).await?;

    let mut looks: Vec<Look> = Vec::new();
    let mut clock = tokio::time::interval(INTERVAL);
    let seen = |looks: &[Look], at: usize| looks.iter().any(|look| look.picture == at);
    while looks.len() < LOOKS_MAX && !(0..pictures.len()).all(|at| seen(&looks, at)) {
        clock.tick().await;
        let look = look(house, question, pictures).await?;
        if look.said.is_object() {
            house.mqtt_client.publish(TOPIC, look.said.to_string()).await?;
        }
        let shows = &pictures[look.picture]["shows"];
        if look.said != *shows {
            stage.line("wrong", &format!("it says {}, the picture shows {shows}", look.said));
        }
        looks.push(look);
    }
    judge(checks, pictures, &looks);
    let told = match looks.last().filter(|look| look.said.is_object()) {
        Some(look) => Some(told(house, &look.said).await?),
        None => None,
    };
    checks.claim("door: the broker delivered the watch's JSON", told);
    Ok(())
}

/// Asks once, and finds out by its size which picture the camera showed.
async fn look(house: &House, question: &str, pictures: &[Value]) -> anyhow::Result<Look> {
    let mark = house.mqtt_client.messages().mark();
    // As a task it is asked by itself, without instruction, tools and what was said before.
    let ask = json!({"task": "ask", "text": question, "look": true}).to_string();
    let answer = house.mqtt_client.request(&format!("{TOPICS}/ask"), ask).await?.json();
    let turn = &answer["turn"];
    let seen = house.event_that(mark, "seen", |event| event["turn"] == *turn).await;
    let seen = seen.with_context(|| format!("what was seen for {answer}"))?;
    let size =
        |picture: &Value| picture["width"] == seen["width"] && picture["height"] == seen["height"];
    let picture = pictures.iter().position(size).context("a picture of another size was seen")?;
    let text = answer["text"].as_str().unwrap_or_default();
    // What is no JSON is told as the text that it is.
    let said = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    Ok(Look { picture, said })
}

/// Each picture was looked at, and every answer about it is what it shows.
fn judge(checks: &mut Checks, pictures: &[Value], looks: &[Look]) {
    let claims = ["door: the watch said that nothing was there", "door: the watch saw the parcel"];
    for (at, (claim, picture)) in claims.into_iter().zip(pictures).enumerate() {
        let mut about = looks.iter().filter(|look| look.picture == at).peekable();
        let proof = about.peek().map(|look| look.said.to_string());
        let all_right = about.all(|look| look.said == picture["shows"]);
        checks.claim(claim, proof.filter(|_| all_right));
    }
}

/// The message with what the watch has published last.
async fn told(house: &House, said: &Value) -> anyhow::Result<String> {
    let is_it = |message: &Message| {
        (message.topic == TOPIC && message.json() == *said).then(|| message.to_string())
    };
    house.mqtt_client.messages().wait(0, "what the watch published", is_it).await
}

/// A folder in which each picture stands several times, so that the watch has time to see it.
fn replayed_camera(house: &House, pictures: &[Value]) -> anyhow::Result<String> {
    let folder = house.folder().join("door");
    std::fs::create_dir_all(&folder)?;
    for (at, picture) in pictures.iter().enumerate() {
        let file = workspace::door(picture["file"].as_str().unwrap_or_default())?;
        for again in 0..SHOWN {
            std::fs::copy(&file, folder.join(format!("{at}-{again}.png")))?;
        }
    }
    Ok(folder.display().to_string())
}
