//! A question about a film: frame by frame over D-Bus, as a file over MQTT, as a folder typed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gemmad_tests::bus_client::Request;
use gemmad_tests::film;
use gemmad_tests::house::{House, TOPICS};
use gemmad_tests::workspace::pictures;
use serde_json::{Value, json};
use zbus::wire::Variant;

crate::under_both_engines!(
    a_film_over_d_bus_is_seen_frame_by_frame,
    a_film_over_mqtt_is_seen_frame_by_frame,
);

/// The house's picture so many times, a second apart.
fn frames(house: &House, count: u32) -> anyhow::Result<Vec<(f64, Vec<u8>)>> {
    let picture = std::fs::read(house.picture()?)?;
    Ok((0..count).map(|at| (f64::from(at), picture.clone())).collect())
}

async fn ask(house: &House, name: &str, film: Variant<'_>) -> anyhow::Result<Request> {
    house.bus_client.ask_with(&[("text", "What happens?".into()), (name, film)]).await
}

async fn prompt_tokens(house: &House, request: &Request) -> anyhow::Result<f64> {
    let response = house.bus_client.signal_of(request, "Response").await?;
    assert_eq!(response.argument(0), 0, "{response}");
    Ok(response.argument(1)["figures"]["prompt_tokens"].as_f64().unwrap_or_default())
}

/// Every frame took the same number of tokens, and more than its time alone.
fn each_frame_counts(tokens: [f64; 3]) {
    let [one, two, three] = tokens;
    assert!(two - one > 16.0, "{tokens:?}");
    assert_eq!(three - two, two - one, "{tokens:?}");
}

async fn a_film_over_d_bus_is_seen_frame_by_frame(engine: &str) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    let (heard, mark) = (house.bus_client.signals().mark(), house.mqtt_client.messages().mark());
    let mut tokens = Vec::new();
    for count in 1..=3 {
        let request = ask(&house, "frames", frames(&house, count)?.into()).await?;
        tokens.push(prompt_tokens(&house, &request).await?);
    }
    each_frame_counts([tokens[0], tokens[1], tokens[2]]);

    // Everybody is told what came along.
    let watched = house.bus_client.signal(heard, "Watched").await?;
    assert_eq!((watched.argument(1), watched.argument(2)), (json!(1), json!(0.0)));
    house
        .event_that(mark, "watched", |event| event["frames"] == 3 && event["seconds"] == 2.0)
        .await?;

    // The same as one file.
    let request = ask(&house, "film", film::gif(2).into()).await?;
    prompt_tokens(&house, &request).await?;
    house
        .event_that(mark, "watched", |event| event["frames"] == 2 && event["seconds"] == 0.5)
        .await?;
    Ok(())
}

async fn a_film_over_mqtt_is_seen_frame_by_frame(engine: &str) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    let topic = format!("{TOPICS}/ask");
    let ask = async |name: &str, film: Value| -> anyhow::Result<f64> {
        let mut question = json!({"text": "What happens?"});
        question[name] = film;
        let answer = house.mqtt_client.request(&topic, question.to_string()).await?.json();
        assert_eq!(answer["code"], "answered", "{answer}");
        Ok(answer["figures"]["prompt_tokens"].as_f64().unwrap_or_default())
    };
    let mark = house.mqtt_client.messages().mark();
    let mut tokens = Vec::new();
    for count in 1..=3 {
        tokens.push(ask("film", STANDARD.encode(film::y4m(count)).into()).await?);
    }
    each_frame_counts([tokens[0], tokens[1], tokens[2]]);
    house
        .event_that(mark, "watched", |event| event["frames"] == 3 && event["seconds"] == 1.0)
        .await?;

    let picture = STANDARD.encode(std::fs::read(house.picture()?)?);
    let frame = |seconds: f64| json!({"seconds": seconds, "image": picture});
    ask("frames", json!([frame(0.0), frame(2.5)])).await?;
    house
        .event_that(mark, "watched", |event| event["frames"] == 2 && event["seconds"] == 2.5)
        .await?;
    Ok(())
}

#[tokio::test]
async fn of_a_long_film_the_model_is_shown_thirty_two_frames() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let mark = house.mqtt_client.messages().mark();
    let request = ask(&house, "film", film::y4m(64).into()).await?;
    prompt_tokens(&house, &request).await?;
    let watched = house.event(mark, "watched").await?;
    assert_eq!((&watched["frames"], &watched["seconds"]), (&json!(32), &json!(31.0)));
    Ok(())
}

#[tokio::test]
async fn a_folder_of_pictures_is_a_film_for_ask() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let mark = house.mqtt_client.messages().mark();
    let folder = house.pictures()?.display().to_string();
    let said = house.command(&["ask", "--film", &folder, "--fps", "2", "What happens?"]).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    assert_ne!(said.out.trim(), "");
    let count = pictures()?.len();
    let last = (count - 1) as f64 / 2.0;
    house
        .event_that(mark, "watched", |event| event["frames"] == count && event["seconds"] == last)
        .await?;

    let path = house.folder().join("film.gif");
    std::fs::write(&path, film::gif(3))?;
    let film = path.display().to_string();
    let said = house.command(&["ask", "--task", "video", "--film", &film, "--json"]).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    let answer: Value = serde_json::from_str(&said.out)?;
    assert_eq!(answer["result"]["task"], "video", "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_film_that_is_none_is_refused_with_the_reason() -> anyhow::Result<()> {
    let house = House::open("ort").await?;
    let check = async |name: &str, film: Variant<'_>, expected: &str| {
        let refusal = ask(&house, name, film).await.err().map(|error| error.to_string());
        let refusal = refusal.unwrap_or_default();
        assert!(refusal.starts_with("org.gemmad.Gemmad1.Error.Invalid"), "{name}: {refusal}");
        assert!(refusal.contains(expected), "{name}: no {expected:?} in {refusal}");
    };
    let some = frames(&house, 2)?;
    check("frames", frames(&house, 33)?.into(), "more than 32 pictures").await;
    check(
        "frames",
        vec![(1.0, some[0].1.clone()), (0.5, some[1].1.clone())].into(),
        "frame 2 is at",
    )
    .await;
    check("frames", vec![(f64::NAN, some[0].1.clone())].into(), "frame 1 is at NaN").await;
    check("frames", vec![(0.0, b"none".to_vec())].into(), "frame 1: ").await;
    check("film", b"none".to_vec().into(), "film: ").await;
    check("film", some[0].1.clone().into(), "it does not move").await;
    check("film", film::y4m(3)[..9_000].to_vec().into(), "film: ").await;
    check("film", "a name".into(), "option \"film\"").await;

    let topic = format!("{TOPICS}/ask");
    let frame = json!({"seconds": 0, "image": STANDARD.encode(&some[0].1)});
    let film = STANDARD.encode(film::gif(2));
    for (question, expected) in [
        (json!({"text": "a", "frames": vec![frame.clone(); 33]}), "33 frames; at most 32"),
        (json!({"text": "a", "frames": [{"seconds": -1, "image": "AA=="}]}), "frame 1 is at -1"),
        (json!({"text": "a", "frames": [{"seconds": 0, "image": "AA=="}]}), "frame 1: "),
        (json!({"text": "a", "frames": [{"image": "AA=="}]}), "missing field `seconds`"),
        (json!({"text": "a", "film": "%%%"}), "film: no base64"),
        (json!({"text": "a", "film": "AAAA"}), "film: "),
        (json!({"text": "a", "film": film, "frames": [frame]}), "expected one of them"),
        (json!({"text": "a", "film": film, "fps": "fast"}), "invalid type"),
        (json!({"text": "a", "fps": 2}), "fps: expected a film"),
    ] {
        let answer = house.mqtt_client.request(&topic, question.to_string()).await?.json();
        assert_eq!(answer["code"], "invalid", "{answer}");
        assert!(answer["error"].to_string().contains(expected), "no {expected:?} in {answer}");
    }
    assert_eq!(house.answer_to("hello").await?, "Hello, how can I help?");
    Ok(())
}
