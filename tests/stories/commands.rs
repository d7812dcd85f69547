//! The command line: what it prints and how it ends.

use gemmad_tests::house::House;
use serde_json::{Value, json};

#[tokio::test]
async fn ask_prints_the_answer_and_what_was_done() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let said = house.command(&["ask", "Turn on the light in the kitchen"]).await?;
    assert_eq!(said.code, 0);
    assert!(said.out.contains("The kitchen light is on."), "{}", said.out);
    assert!(format!("{}{}", said.out, said.error).contains("set_light"), "{}", said.error);

    let said = house.command(&["ask", "--json", "What time is it?"]).await?;
    let answer: Value = serde_json::from_str(&said.out)?;
    assert!(answer["text"].as_str().unwrap_or_default().starts_with("It is "), "{answer}");
    Ok(())
}

#[tokio::test]
async fn ask_takes_pictures_and_recordings() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let picture = house.picture()?.display().to_string();
    let said = house.command(&["ask", "--image", &picture, "What do you see?"]).await?;
    assert_eq!(said.code, 0);
    assert_ne!(said.out.trim(), "");
    let recording = gemmad_tests::workspace::fixture("kitchen_light.wav")?.display().to_string();
    let said = house.command(&["ask", "--audio", &recording]).await?;
    assert_eq!(said.code, 0);
    assert_ne!(said.out.trim(), "");

    let said = house.command(&["ask", "--image", "/nonexistent.png", "What is it?"]).await?;
    assert_eq!(said.code, 1);
    assert!(said.error.contains("/nonexistent.png"), "{}", said.error);
    Ok(())
}

#[tokio::test]
async fn without_a_daemon_ask_and_status_say_so() -> anyhow::Result<()> {
    let house = House::build("ort").await?;
    for arguments in [&["ask", "hello"][..], &["status"][..]] {
        let said = house.command(arguments).await?;
        assert_eq!(said.code, 3, "{}", said.error);
        assert!(said.error.contains("no daemon"), "{}", said.error);
    }
    Ok(())
}

#[tokio::test]
async fn status_shows_state_parts_and_memory() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    house.answer_to("hello").await?;
    let said = house.command(&["status"]).await?;
    assert_eq!(said.code, 0);
    for word in ["ready", "ort", "model", "broker", "plugins", "MiB"] {
        assert!(said.out.contains(word), "no {word} in {}", said.out);
    }
    let said = house.command(&["status", "--json"]).await?;
    let status: Value = serde_json::from_str(&said.out)?;
    assert!(said.out.contains("ready"), "{status}");
    Ok(())
}

#[tokio::test]
async fn doctor_finds_nothing_in_a_healthy_house() -> anyhow::Result<()> {
    let house = House::build("ort").await?;
    let said = house.command(&["doctor"]).await?;
    assert_eq!(said.code, 0, "{}", said.out);
    for word in ["model", "library", "broker", "bus", "plugins"] {
        assert!(said.out.contains(word), "no {word} in {}", said.out);
    }
    Ok(())
}

#[tokio::test]
async fn doctor_leaves_devices_to_the_running_daemon() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    let pictures = house.pictures()?.display().to_string();
    house.settings.set("camera.source", format!("replay:{pictures}"));
    house.start().await?;
    house.part("camera", true).await?;
    let said = house.command(&["doctor"]).await?;
    assert_eq!(said.code, 0, "{}", said.out);
    let camera = said.out.lines().find(|line| line.starts_with("camera")).unwrap_or_default();
    assert!(camera.contains(&pictures), "{camera}");
    assert!(camera.ends_with("the running daemon has it"), "{camera}");
    Ok(())
}

#[tokio::test]
async fn nothing_is_written_into_the_home_of_who_starts_it() -> anyhow::Result<()> {
    let mut house = House::open("ort").await?;
    house.answer_to("hello").await?;
    house.stop().await?;
    assert_eq!(house.command(&["doctor"]).await?.code, 0);
    assert!(!house.home().exists(), "there are files in {}", house.home().display());
    Ok(())
}

#[tokio::test]
async fn doctor_says_how_to_mend_what_is_missing() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    house.settings.set("model.library", "/nonexistent/libonnxruntime.so");
    house.settings.set("microphone.source", "alsa:nonexistent");
    house.settings.set("camera.source", "v4l2:/dev/nonexistent");
    house.settings.set("plugins.folders", vec!["/nonexistent/plugins"]);
    house.broker.go_away();
    let said = house.command(&["doctor"]).await?;
    assert_ne!(said.code, 0);
    let port = house.broker.port().to_string();
    for word in [
        "/nonexistent/libonnxruntime.so",
        "alsa",
        "/dev/nonexistent",
        "/nonexistent/plugins",
        &port,
    ] {
        assert!(said.out.contains(word), "no {word} in {}", said.out);
    }
    Ok(())
}

#[tokio::test]
async fn plugins_are_listed_with_their_tools_and_grants() -> anyhow::Result<()> {
    let house = House::build("ort").await?;
    let said = house.command(&["plugin", "list"]).await?;
    assert_eq!(said.code, 0);
    for word in ["clock", "get_time", "lights", "set_light", "home/+/light/set"] {
        assert!(said.out.contains(word), "no {word} in {}", said.out);
    }
    Ok(())
}

#[tokio::test]
async fn a_tool_can_be_called_by_hand() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let mark = house.mqtt_client.messages().mark();
    let arguments = json!({"room": "living room", "state": "off"}).to_string();
    let said = house.command(&["plugin", "call", "set_light", &arguments]).await?;
    assert_eq!(said.code, 0);
    assert!(said.out.contains("living room"), "{}", said.out);
    house.mqtt_client.message(mark, "home/living_room/light/set").await?;

    let wrong = json!({"room": "hall", "state": "blue"}).to_string();
    let said = house.command(&["plugin", "call", "set_light", &wrong]).await?;
    assert_eq!(said.code, 1);
    let words = format!("{}{}", said.out, said.error);
    assert!(words.contains("state") && words.contains("on"), "{words}");

    let said = house.command(&["plugin", "call", "no_such_tool"]).await?;
    assert_eq!(said.code, 1);
    assert!(format!("{}{}", said.out, said.error).contains("no_such_tool"));
    Ok(())
}
