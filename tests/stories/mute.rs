//! A microphone that is closed: what is said then is not heard.

use std::path::PathBuf;
use std::time::Duration;

use gemmad_tests::house::{House, TOPICS};
use gemmad_tests::workspace::fixture;

/// Longer than from one replayed sentence to the next.
const LONGER_THAN_A_SENTENCE: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_muted_microphone_hears_nothing_until_it_is_unmuted() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    let sentences = many_sentences(&house)?;
    house.settings.set("microphone.source", format!("replay:{}", sentences.display()));
    let mark = house.mqtt_client.messages().mark();
    house.start().await?;
    house.event(mark, "heard").await?;

    // Mute, by a property: the device is closed, and everybody can see it.
    house.bus_client.set_muted(true).await?;
    house.bus_client.state(&["muted"]).await?;
    assert_eq!(house.bus_client.property("Muted").await?, true);
    let mark = house.mqtt_client.messages().mark();
    let heard = house.event_within(LONGER_THAN_A_SENTENCE, mark, "heard").await;
    assert!(heard.is_err(), "heard while muted: {heard:?}");

    // Typed questions are answered all the same.
    assert_eq!(house.answer_to("hello").await?, "Hello, how can I help?");

    // Unmute, over MQTT: it hears again.
    let mark = house.mqtt_client.messages().mark();
    house.mqtt_client.publish(&format!("{TOPICS}/mute/set"), "OFF").await?;
    house.event(mark, "heard").await?;
    assert_eq!(house.bus_client.property("Muted").await?, false);
    Ok(())
}

/// A folder in which the same sentence is said many times.
fn many_sentences(house: &House) -> anyhow::Result<PathBuf> {
    let folder = house.folder().join("sentences");
    std::fs::create_dir(&folder)?;
    let recording = fixture("kitchen_light.wav")?;
    for number in 10..40 {
        std::os::unix::fs::symlink(&recording, folder.join(format!("{number}.wav")))?;
    }
    Ok(folder)
}
