//! A question about a picture: sent along, or taken by the camera.

use gemmad_tests::house::{House, TOPICS};
use serde_json::json;

#[tokio::test]
async fn a_picture_that_is_sent_along_goes_through_the_vision_tower() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let picture = std::fs::read(house.picture()?)?;
    let options = [("text", "What do you see?".into()), ("images", vec![picture].into())];
    let request = house.bus_client.ask_with(&options).await?;
    let answer = house.answer_of(&request).await?;
    assert_ne!(answer, "");

    // The picture became soft tokens of the prompt.
    let response = house.bus_client.signal_of(&request, "Response").await?;
    let tokens = response.argument(1)["figures"]["prompt_tokens"].as_f64().unwrap_or_default();
    let words = house.prompt_tokens_of("What do you see?").await?;
    assert!(tokens >= words + 16.0, "{tokens} tokens with the picture, {words} without");
    Ok(())
}

#[tokio::test]
async fn a_question_that_looks_takes_the_cameras_latest_picture() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    house.settings.set("camera.source", format!("replay:{}", house.pictures()?.display()));
    house.settings.set("camera.interval_ms", 50);
    let mark = house.mqtt_client.messages().mark();
    house.start().await?;
    house
        .event_that(mark, "part", |part| part["part"] == "camera" && part["working"] == true)
        .await?;

    let options = [("text", "What do you see?".into()), ("look", true.into())];
    let request = house.bus_client.ask_with(&options).await?;
    assert_ne!(house.answer_of(&request).await?, "");
    let seen = house.event(mark, "seen").await?;
    assert!(seen["width"].as_u64() > Some(0) && seen["height"].as_u64() > Some(0), "{seen}");
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_picture_is_refused_and_named() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let options = [("text", "What is it?".into()), ("images", vec![b"no picture".to_vec()].into())];
    let refusal = house.bus_client.ask_with(&options).await.err().map(|error| error.to_string());
    let refusal = refusal.unwrap_or_default();
    assert!(refusal.starts_with("org.gemmad.Gemmad1.Error.Invalid"), "{refusal}");

    let ask = json!({"text": "What is it?", "image": "bm8gcGljdHVyZQ=="}).to_string();
    let answer = house.mqtt_client.request(&format!("{TOPICS}/ask"), ask).await?;
    assert!(answer.json()["error"].is_string(), "{answer}");
    assert_eq!(house.answer_to("hello").await?, "Hello, how can I help?");
    Ok(())
}
