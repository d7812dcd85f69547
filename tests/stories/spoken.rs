//! A question in speech: a recording is replayed as a microphone.

use gemmad_tests::house::House;
use gemmad_tests::workspace::fixture;
use serde_json::json;

#[tokio::test]
async fn a_spoken_wish_is_heard_and_switches_the_light() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    // Without its text beside it: whoever wants to know what is said must hear it.
    let recording = house.folder().join("wish.wav");
    std::fs::copy(fixture("kitchen_light.wav")?, &recording)?;
    house.settings.set("microphone.source", format!("replay:{}", recording.display()));
    let mark = house.mqtt_client.messages().mark();
    house.start().await?;

    // The microphone is open, and speech is found in its sound.
    let heard = house.event(mark, "heard").await?;
    assert!(heard["caption"].is_null(), "{heard}");
    let seconds = heard["seconds"].as_f64().unwrap_or_default();
    assert!((0.5..=10.0).contains(&seconds), "{seconds} s of speech");
    let turn = heard["turn"].clone();

    // It goes through the audio tower to the model, which calls the tool.
    let called = house.event_that(mark, "tool_called", |event| event["turn"] == turn).await?;
    assert_eq!(called["name"], "set_light");
    let lamp = house.mqtt_client.message(mark, "home/kitchen/light/set").await?;
    assert_eq!(lamp.json(), json!({"state": "ON"}));
    let answered = house.event_that(mark, "answered", |event| event["turn"] == turn).await?;
    assert_eq!(answered["text"], "The kitchen light is on.");

    // The sound became soft tokens of the prompt: about 25 a second.
    let tokens = answered["figures"]["prompt_tokens"].as_f64().unwrap_or_default();
    let words = house.prompt_tokens_of("Turn on the light in the kitchen").await?;
    assert!(tokens > words + 10.0 * seconds, "{tokens} tokens for speech, {words} without");
    Ok(())
}

#[tokio::test]
async fn a_spoken_question_takes_the_cameras_picture_along() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    let recording = fixture("kitchen_light.wav")?;
    house.settings.set("microphone.source", format!("replay:{}", recording.display()));
    house.settings.set("camera.source", format!("replay:{}", house.pictures()?.display()));
    house.settings.set("camera.interval_ms", 100);
    house.settings.set("assistant.look_on_speech", true);
    let mark = house.mqtt_client.messages().mark();
    house.start().await?;

    let heard = house.event(mark, "heard").await?;
    let seen = house.event_that(mark, "seen", |event| event["turn"] == heard["turn"]).await?;
    assert!(seen["age_ms"].as_u64() < Some(60_000), "{seen}");
    let answered = house.event_that(mark, "answered", |event| event["turn"] == heard["turn"]);
    assert_ne!(answered.await?["text"], "");
    Ok(())
}
