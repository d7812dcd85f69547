//! A house without this or that: the daemon starts all the same and says what is missing.

use gemmad_tests::house::{House, TOPICS};
use serde_json::Value;

#[tokio::test]
async fn without_a_model_it_starts_degraded_and_refuses_questions() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    house.settings.set("model.folder", "/nonexistent/model");
    house.launch()?;
    house.reaches(&["degraded"]).await?;
    let refusal = house.bus_client.ask("hello").await.err().map(|error| error.to_string());
    let refusal = refusal.unwrap_or_default();
    assert!(refusal.starts_with("org.gemmad.Gemmad1.Error.NoModel"), "{refusal}");
    assert!(refusal.contains("/nonexistent/model"), "{refusal}");
    let answer = house.mqtt_client.request(&format!("{TOPICS}/ask"), "hello").await?;
    assert!(answer.json()["error"].to_string().contains("/nonexistent/model"), "{answer}");
    says(&house, "model", "/nonexistent/model").await
}

#[tokio::test]
async fn without_an_engine_library_it_starts_degraded_and_says_how_to_mend_it() -> anyhow::Result<()>
{
    let mut house = House::build("ort").await?;
    house.settings.set("model.library", "/nonexistent/libonnxruntime.so");
    house.launch()?;
    house.reaches(&["degraded"]).await?;
    says(&house, "model", "/nonexistent/libonnxruntime.so").await
}

#[tokio::test]
async fn without_a_microphone_it_starts_and_says_so() -> anyhow::Result<()> {
    let house = house_with("microphone.source", "alsa:nonexistent").await?;
    says(&house, "microphone", "nonexistent").await
}

#[tokio::test]
async fn without_a_camera_it_starts_and_says_so() -> anyhow::Result<()> {
    let house = house_with("camera.source", "v4l2:/dev/nonexistent").await?;
    says(&house, "camera", "/dev/nonexistent").await
}

#[tokio::test]
async fn without_a_broker_it_starts_and_says_so() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    house.broker.go_away();
    house.start().await?;
    says(&house, "broker", &house.broker.port().to_string()).await?;
    assert_eq!(house.answer_to("hello").await?, "Hello, how can I help?");
    Ok(())
}

#[tokio::test]
async fn without_the_password_for_the_broker_it_starts_and_says_so() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    house.settings.set("broker.user", "house");
    house.settings.set("broker.password_file", "/nonexistent/password");
    house.start().await?;
    says(&house, "broker", "/nonexistent/password").await?;
    // A client has no business with the password either.
    let said = house.command(&["ask", "hello"]).await?;
    assert_eq!((said.code, said.out.trim()), (0, "Hello, how can I help?"), "{}", said.error);
    Ok(())
}

#[tokio::test]
async fn without_a_bus_it_starts_and_answers_over_mqtt() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    house.settings.set("bus.address", "unix:path=/nonexistent/bus");
    let mark = house.mqtt_client.messages().mark();
    house.launch()?;
    let state = format!("{TOPICS}/state");
    let ready = |message: &gemmad_tests::mqtt_client::Message| {
        (message.topic == state && message.json()["state"] == "ready").then(|| message.json())
    };
    let state = house.mqtt_client.messages().wait(mark, "state ready", ready).await?;
    assert_eq!(state["parts"]["bus"]["working"], false, "{state}");
    assert!(state["parts"]["bus"]["detail"].to_string().contains("/nonexistent/bus"), "{state}");
    let answer = house.mqtt_client.request(&format!("{TOPICS}/ask"), "hello").await?;
    assert_eq!(answer.json()["text"], "Hello, how can I help?");
    Ok(())
}

#[tokio::test]
async fn without_plugins_it_starts_and_says_so() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    house.settings.set("plugins.folders", vec!["/nonexistent/plugins"]);
    house.start().await?;
    says(&house, "plugins", "/nonexistent/plugins").await?;
    assert_eq!(house.bus_client.property("Tools").await?, Value::Array(Vec::new()));
    assert_eq!(house.answer_to("hello").await?, "Hello, how can I help?");
    Ok(())
}

/// Starts a house that lacks one thing; it is ready and answers.
async fn house_with(key: &str, value: &str) -> anyhow::Result<House> {
    let mut house = House::build("ort").await?;
    house.settings.set(key, value);
    house.start().await?;
    assert_eq!(house.answer_to("hello").await?, "Hello, how can I help?");
    Ok(house)
}

/// The daemon says that `part` is missing, naming `what`; and so does the status line.
async fn says(house: &House, part: &str, what: &str) -> anyhow::Result<()> {
    let named = |parts: &Value| {
        let found = &parts[part];
        (found[0] == false && found[1].to_string().contains(what)).then(|| found.clone())
    };
    let found = house.parts_that(named).await?;
    println!("{part}: {found}");
    let said = house.command(&["status"]).await?;
    assert!(said.out.contains(what), "{}", said.out);
    Ok(())
}
