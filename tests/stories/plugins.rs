//! Tools that misbehave: the call is refused or fails, everybody is told so, the model reads it,
//! and the daemon goes on.

use gemmad_tests::house::House;
use serde_json::Value;

use crate::guests;

/// Asks for light with a misbehaving `set_light`; gives the receipt that was published.
async fn receipt_of(code: &str, limits: &str) -> anyhow::Result<(House, Value)> {
    let mut house = House::build("ort").await?;
    let plugins = guests::write(house.folder(), code, limits)?;
    house.settings.set("plugins.folders", vec![plugins.display().to_string()]);
    house.start().await?;
    let receipt = wish_for_light(&house).await?;
    Ok((house, receipt))
}

async fn wish_for_light(house: &House) -> anyhow::Result<Value> {
    let mark = house.mqtt_client.messages().mark();
    let request = house.bus_client.ask("Turn on the light in the kitchen").await?;
    let event = house.event(mark, "tool_answered").await?;
    let signal = house.bus_client.signal_of(&request, "ToolAnswered").await?;
    assert_eq!(signal.argument(1), event["receipt"]["outcome"], "{signal}");

    // The model reads what happened and says something; no light was switched.
    let answer = house.answer_of(&request).await?;
    assert_ne!(answer, "The kitchen light is on.");
    let switched = house
        .mqtt_client
        .messages()
        .find(mark, |message| message.topic.starts_with("home/").then(|| message.to_string()));
    assert_eq!(switched, None);
    println!("{} | the model: {answer}", event["receipt"]);
    Ok(event["receipt"].clone())
}

/// The daemon still answers.
async fn is_well(house: &mut House) -> anyhow::Result<()> {
    assert_eq!(house.answer_to("hello").await?, "Hello, how can I help?");
    assert!(house.daemon()?.process().is_running());
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_loops_is_stopped_when_its_fuel_is_used_up() -> anyhow::Result<()> {
    let (mut house, receipt) = receipt_of(guests::LOOPS, "fuel = 1_000_000").await?;
    assert_eq!(receipt["outcome"], "failed");
    assert!(receipt["fuel"].as_u64() >= Some(900_000), "{receipt}");
    is_well(&mut house).await
}

#[tokio::test]
async fn a_plugin_that_loops_is_stopped_at_its_deadline() -> anyhow::Result<()> {
    let (mut house, receipt) = receipt_of(guests::LOOPS, "wall_ms = 200").await?;
    assert_eq!(receipt["outcome"], "failed");
    let wall_ms = receipt["wall_ms"].as_f64().unwrap_or_default();
    assert!((190.0..4_000.0).contains(&wall_ms), "{receipt}");
    is_well(&mut house).await
}

#[tokio::test]
async fn a_plugin_that_eats_memory_is_stopped_at_its_limit() -> anyhow::Result<()> {
    let (mut house, receipt) = receipt_of(guests::EATS_MEMORY, "memory_bytes = 4_194_304").await?;
    assert_eq!(receipt["outcome"], "failed");
    assert!(receipt["memory_bytes"].as_u64() <= Some(4_194_304), "{receipt}");
    is_well(&mut house).await
}

#[tokio::test]
async fn a_plugin_that_asks_for_a_topic_it_was_not_granted_is_refused() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    let plugins = guests::write_lights(house.folder(), &["home/bedroom/light/set"])?;
    house.settings.set("plugins.folders", vec![plugins.display().to_string()]);
    house.start().await?;
    let receipt = wish_for_light(&house).await?;
    assert_ne!(receipt["outcome"], "done");
    assert!(receipt["value"].to_string().contains("home/kitchen/light/set"), "{receipt}");
    is_well(&mut house).await?;

    // What it was granted works.
    let mark = house.mqtt_client.messages().mark();
    house.answer_to("Turn on the light in the bedroom").await?;
    house.mqtt_client.message(mark, "home/bedroom/light/set").await?;
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_falls_over_has_failed() -> anyhow::Result<()> {
    let (mut house, receipt) = receipt_of(guests::TRAPS, "").await?;
    assert_eq!(receipt["outcome"], "failed");
    is_well(&mut house).await
}

#[tokio::test]
async fn a_plugin_that_talks_nonsense_has_failed() -> anyhow::Result<()> {
    let (mut house, receipt) = receipt_of(guests::TALKS_NONSENSE, "").await?;
    assert_eq!(receipt["outcome"], "failed");
    is_well(&mut house).await
}

#[tokio::test]
async fn a_broken_plugin_is_left_out_and_named() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    let plugins = guests::write(house.folder(), guests::TRAPS, "fuel = 0")?;
    let bundled = gemmad_tests::workspace::plugins()?;
    let folders = [bundled, plugins].map(|folder| folder.display().to_string());
    house.settings.set("plugins.folders", folders.to_vec());
    house.start().await?;
    let parts = house.bus_client.property("Parts").await?;
    assert!(parts["plugins"].to_string().contains("guest"), "{parts}");
    assert_eq!(
        house.answer_to("Turn on the light in the kitchen").await?,
        "The kitchen light is on."
    );
    Ok(())
}
