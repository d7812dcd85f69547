//! Ready-made tasks over D-Bus, over MQTT and typed. The demo model is no good at them: what is told
//! here is that a task's answer comes read into its type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gemmad_tests::bus_client::Signal;
use gemmad_tests::film;
use gemmad_tests::house::{House, TOPICS};
use gemmad_tests::process::Line;
use gemmad_tests::workspace::fixture;
use serde_json::{Value, json};
use zbus::wire::Variant;

crate::under_both_engines!(
    a_task_over_d_bus_has_its_answer_read_into_a_type,
    a_task_over_mqtt_has_its_answer_read_into_a_type,
    boxes_lie_in_the_picture_that_was_sent,
);

/// Does a task over D-Bus; its last signal.
async fn done(house: &House, options: &[(&str, Variant<'_>)]) -> anyhow::Result<Signal> {
    let request = house.bus_client.ask_with(options).await?;
    house.bus_client.signal_of(&request, "Response").await
}

/// The answer of a task, out of its last signal.
fn result(response: &Signal) -> anyhow::Result<Value> {
    assert_eq!(response.argument(0), 0, "{response}");
    let results = response.argument(1);
    Ok(serde_json::from_str(results["result"].as_str().unwrap_or_default())?)
}

fn small_room() -> anyhow::Result<Vec<u8>> {
    Ok(std::fs::read(fixture("small_room.png")?)?)
}

async fn a_task_over_d_bus_has_its_answer_read_into_a_type(engine: &str) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    let (heard, said) = (house.mqtt_client.messages().mark(), house.bus_client.signals().mark());
    let task = json!({"name": "caption", "image_budget": 70}).to_string();
    let pictures = || -> anyhow::Result<Variant<'static>> { Ok(vec![small_room()?].into()) };
    let options = [("task", task.as_str().into()), ("images", pictures()?)];
    let response = done(&house, &options).await?;
    let caption = result(&response)?;
    assert_eq!((&caption["task"], &caption["thought"]), (&json!("caption"), &Value::Null));
    assert_eq!(caption["text"], response.argument(1)["text"]);
    assert!(caption["text"].as_str().is_some_and(|text| !text.is_empty()), "{caption}");
    assert_eq!(response.argument(1)["receipts"], "[]");

    // Everybody is told the same.
    let everybody = house.bus_client.signal(said, "Answered").await?;
    assert_eq!(everybody.json(4), caption);
    let event = house.event(heard, "answered").await?;
    assert_eq!(event["result"], caption);
    let seen = house.event(heard, "seen").await?;
    assert_eq!((&seen["width"], &seen["height"]), (&json!(200), &json!(150)));

    // A task knows neither instruction nor tools: its prompt is shorter than that of a question.
    let tokens = |response: &Signal| response.argument(1)["figures"]["prompt_tokens"].as_f64();
    let talk = done(&house, &[("text", "hello".into())]).await?;
    let ask = done(&house, &[("text", "hello".into()), ("task", "ask".into())]).await?;
    assert_eq!(result(&ask)?["task"], "ask");
    assert_eq!(talk.argument(1)["result"], Value::Null);
    assert!(tokens(&ask) < tokens(&talk), "{ask}\n{talk}");
    Ok(())
}

async fn a_task_over_mqtt_has_its_answer_read_into_a_type(engine: &str) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    let topic = format!("{TOPICS}/ask");
    let ask = async |question: Value| -> anyhow::Result<Value> {
        Ok(house.mqtt_client.request(&topic, question.to_string()).await?.json())
    };
    let sound = STANDARD.encode(std::fs::read(fixture("what_time.wav")?)?);
    let answer = ask(json!({"task": "transcribe", "audio": [sound]})).await?;
    let transcript = &answer["result"];
    assert_eq!((&answer["code"], &transcript["task"]), (&json!("answered"), &json!("transcribe")));
    assert_eq!(transcript["segments"][0]["text"], transcript["text"], "{answer}");
    assert_eq!(transcript["segments"][0]["start_s"], 0.0);
    let end = transcript["segments"][0]["end_s"].as_f64().unwrap_or_default();
    assert!((1.0..2.0).contains(&end), "{answer}");

    let picture = STANDARD.encode(small_room()?);
    let task = json!({"name": "ocr", "image_budget": 70});
    let answer = ask(json!({"task": task, "image": picture})).await?;
    assert_eq!(answer["result"]["task"], "ocr", "{answer}");
    assert_eq!(answer["result"]["text"], answer["text"]);
    Ok(())
}

async fn boxes_lie_in_the_picture_that_was_sent(engine: &str) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    // The demo model knows no boxes, but cannot but write some: the reply is held to their form.
    let task = json!({"name": "detect", "labels": ["lamp"], "image_budget": 70, "max_tokens": 400});
    let options = [("task", task.to_string().into()), ("images", vec![small_room()?].into())];
    let response = done(&house, &options).await?;
    let found = result(&response)?;
    assert_eq!(found["task"], "detect");
    let boxes = found["boxes"].as_array().cloned().unwrap_or_default();
    assert!(!boxes.is_empty(), "{found}");
    for found in boxes {
        let edge = |name: &str| found[name].as_u64().unwrap_or(u64::MAX);
        assert!(edge("x_min_px") <= edge("x_max_px") && edge("x_max_px") <= 200, "{found}");
        assert!(edge("y_min_px") <= edge("y_max_px") && edge("y_max_px") <= 150, "{found}");
        assert!(found["label"].is_string(), "{found}");
    }
    Ok(())
}

#[tokio::test]
async fn a_task_can_think_first() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let ask = async |thinking: bool| -> anyhow::Result<f64> {
        let options =
            [("text", "hello".into()), ("task", "ask".into()), ("thinking", thinking.into())];
        let request = house.bus_client.ask_with(&options).await?;
        let response = house.bus_client.signal_of(&request, "Response").await?;
        let thoughts = house.bus_client.signals_of(&request, "Thought");
        let thought: String = thoughts.iter().map(|piece| piece.text(0)).collect();
        let thought = Some(thought.trim()).filter(|thought| !thought.is_empty());
        assert_eq!(result(&response)?["thought"].as_str(), thought, "{response}");
        let tokens = response.argument(1)["figures"]["prompt_tokens"].as_f64();
        Ok(tokens.unwrap_or_default())
    };
    let (thinks, does_not) = (ask(true).await?, ask(false).await?);
    assert_ne!(thinks, does_not, "the prompt asks for a thought");
    Ok(())
}

#[tokio::test]
async fn long_sound_is_transcribed_in_windows() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let options = [("task", "transcribe".into()), ("audio", vec![film::hum(65)].into())];
    let response = done(&house, &options).await?;
    let transcript = result(&response)?;
    let segments = transcript["segments"].as_array().cloned().unwrap_or_default();
    assert_eq!(segments.len(), 3, "{transcript}");
    assert_eq!(segments[2]["end_s"], 65.0);

    let options = [("text", "What is it?".into()), ("audio", vec![film::hum(65)].into())];
    let refusal = house.bus_client.ask_with(&options).await.err().map(|error| error.to_string());
    assert!(refusal.unwrap_or_default().contains("longer than 30 seconds"));
    Ok(())
}

#[tokio::test]
async fn a_task_is_cancelled_and_limited_like_a_question() -> anyhow::Result<()> {
    let mut house = House::build_talkative("ort").await?;
    house.settings.set("assistant.task_tokens_max", 100_000);
    house.start().await?;
    let options = [("text", "Tell me everything".into()), ("task", "ask".into())];
    let unlimited = json!({"name": "ask", "max_tokens": 60_000}).to_string();
    let long = [("text", "Tell me everything".into()), ("task", unlimited.into())];
    let request = house.bus_client.ask_with(&long).await?;
    house.bus_client.signal_of(&request, "Text").await?;
    house.bus_client.cancel(&request).await?;
    let response = house.bus_client.signal_of(&request, "Response").await?;
    assert_eq!(response.argument(0), 1, "{response}");
    house.stop().await?;

    // The owner of the machine says how long a reply may be, whatever the task would like.
    house.settings.set("assistant.task_tokens_max", 20);
    house.start().await?;
    let response = done(&house, &options).await?;
    assert_eq!(response.argument(0), 2, "{response}");
    let error = response.argument(1)["error"].to_string();
    assert!(error.contains("the answer was cut after 20 tokens"), "{error}");
    // What the model said is told to whoever asked, and not to the log.
    let cut = |line: &Line| line.text.contains("the answer was cut").then(|| line.text.clone());
    let logged = house.daemon()?.process().lines().wait(0, "the failure in the log", cut).await?;
    assert!(logged.ends_with("the answer was cut after 20 tokens\""), "{logged}");
    Ok(())
}

#[tokio::test]
async fn a_task_that_cannot_be_done_is_refused_with_the_reason() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let topic = format!("{TOPICS}/ask");
    let picture = small_room()?;
    let check = async |task: Value, more: (&str, &str), expected: &str| -> anyhow::Result<()> {
        let text = task.as_str().map_or_else(|| task.to_string(), str::to_owned);
        let options = [
            ("task", text.into()),
            ("images", vec![picture.clone()].into()),
            (more.0, more.1.into()),
        ];
        let refusal = house.bus_client.ask_with(&options).await.err().map(|e| e.to_string());
        let refusal = refusal.unwrap_or_default();
        assert!(refusal.starts_with("org.gemmad.Gemmad1.Error.Invalid"), "{task}: {refusal}");
        assert!(refusal.contains(expected), "{task}: no {expected:?} in {refusal}");

        let mut question = json!({"task": task, "image": STANDARD.encode(&picture)});
        question[more.0] = more.1.into();
        let answer = house.mqtt_client.request(&topic, question.to_string()).await?.json();
        assert_eq!(answer["code"], "invalid", "{task}: {answer}");
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(error.contains(expected), "{task}: no {expected:?} in {error}");
        Ok(())
    };
    let nothing = ("text", "");
    check(json!("dance"), nothing, "\"dance\" is no task; expected one of transcribe").await?;
    check(json!({"name": "ocr", "speed": 1}), nothing, "unknown field `speed`").await?;
    check(json!({"labels": ["cup"]}), nothing, "missing field `name`").await?;
    let foreign = json!({"name": "ocr", "labels": ["cup"]});
    check(foreign, nothing, "the task ocr: it has no option \"labels\"").await?;
    check(json!({"name": "detect"}), nothing, "cannot look for \"\"").await?;
    let many = json!({"name": "detect", "labels": vec!["cup"; 33]});
    check(many, nothing, "expected 1 to 32 names").await?;
    check(json!({"name": "ocr", "image_budget": 71}), nothing, "71 is none of [70").await?;
    check(json!({"name": "ocr", "max_tokens": 0}), nothing, "accepted: 1 to").await?;
    let language = json!({"name": "caption", "language": "x\ny"});
    check(language, nothing, "no name of a language").await?;
    check(json!("transcribe"), nothing, "a picture came along where sound is expected").await?;
    check(json!("video"), nothing, "a picture came along where a film is expected").await?;
    check(json!("ocr"), ("text", "What is it?"), "it takes no words").await?;
    check(json!("ocr"), ("session", "sofa"), "a task belongs to no conversation").await?;
    assert_eq!(house.answer_to("hello").await?, "Hello, how can I help?");
    Ok(())
}

#[tokio::test]
async fn ask_does_tasks() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let picture = fixture("small_room.png")?.display().to_string();
    let caption = ["ask", "--task", "caption", "--image", &picture, "--image-budget", "70"];
    let said = house.command(&caption).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    let printed = house.command(&[&caption[..], &["--json"]].concat()).await?;
    let answer: Value = serde_json::from_str(&printed.out)?;
    assert_eq!(answer["result"]["task"], "caption", "{answer}");
    assert_eq!(said.out.trim(), answer["result"]["text"], "{answer}");

    // The daemon and `gemmad model` say the same, and refuse the same.
    let model = gemmad_tests::workspace::demo_model()?.display().to_string();
    let library = gemmad_tests::workspace::onnxruntime()?.display().to_string();
    let task = ["model", "task", &model, "caption", &picture, "--image-budget", "70", "--greedy"];
    let alone =
        [&task[..], &["--json", "--library", &library, "--context-tokens", "4096"]].concat();
    let alone = house.command(&alone).await?;
    assert_eq!(serde_json::from_str::<Value>(&alone.out)?, answer["result"]);

    let large = ["ask", "--task", "ocr", "--image", &picture];
    let said = house.command(&large).await?;
    assert_eq!(said.code, 1);
    assert!(said.error.contains("try an image budget of 70"), "{}", said.error);
    let said = house.command(&["ask", "--task", "detect", "--image", &picture]).await?;
    assert_eq!(said.code, 1);
    assert!(said.error.contains("expected 1 to 32 names"), "{}", said.error);
    Ok(())
}
