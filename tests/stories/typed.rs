//! A question in words: over D-Bus and over MQTT.

use gemmad_tests::house::{House, TOPICS};
use serde_json::json;

crate::under_both_engines!(
    a_typed_wish_switches_the_light_and_everybody_is_told,
    a_typed_wish_with_a_level_dims_the_light,
    a_question_about_the_time_is_answered_from_the_clock,
    a_question_over_mqtt_is_answered_on_the_response_topic,
    a_conversation_goes_on_in_its_session,
);

async fn a_typed_wish_switches_the_light_and_everybody_is_told(engine: &str) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    let (heard, said) = (house.mqtt_client.messages().mark(), house.bus_client.signals().mark());

    // A program asks what a person typed.
    let request = house.bus_client.ask("Turn on the light in the kitchen").await?;

    // The lamp is told by the broker.
    let lamp = house.mqtt_client.message(heard, "home/kitchen/light/set").await?;
    assert_eq!(lamp.json(), json!({"state": "ON"}));
    assert!(!lamp.retained);

    // The program that asked hears of the call and of what it really did.
    let called = house.bus_client.signal_of(&request, "ToolCalled").await?;
    assert_eq!(called.argument(0), "set_light");
    assert_eq!(called.json(1), json!({"room": "kitchen", "state": "on"}));
    let answered = house.bus_client.signal_of(&request, "ToolAnswered").await?;
    assert_eq!((answered.argument(0), answered.argument(1)), (json!("set_light"), json!("done")));
    assert_eq!(answered.json(2), json!({"room": "kitchen", "state": "on"}));

    // It gets the final sentence, whole and in pieces.
    let sentence = house.answer_of(&request).await?;
    assert_eq!(sentence, "The kitchen light is on.");
    let pieces = house.bus_client.signals_of(&request, "Text");
    let pieces: Vec<String> = pieces.iter().map(|piece| piece.text(0)).collect();
    assert_eq!(pieces.concat().trim(), sentence);

    // Everybody else on the bus and on the broker hears the same.
    let everybody = house.bus_client.signal(said, "ToolCalled").await?;
    assert!(everybody.to_string().contains("set_light"), "{everybody}");
    let everybody = house.bus_client.signal(said, "Answered").await?;
    assert!(everybody.to_string().contains(&sentence), "{everybody}");
    let event = house.event(heard, "tool_called").await?;
    assert_eq!(event["arguments"], json!({"room": "kitchen", "state": "on"}));
    let event = house.event(heard, "answered").await?;
    assert_eq!(event["text"], sentence);
    assert_eq!(event["receipts"][0]["outcome"], "done");
    assert!(event["receipts"][0]["fuel"].as_u64() > Some(0), "{event}");
    assert_eq!(house.bus_client.property("LastAnswer").await?, sentence);
    Ok(())
}

async fn a_typed_wish_with_a_level_dims_the_light(engine: &str) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    let mark = house.mqtt_client.messages().mark();
    let answer = house.answer_to("Dim the light in the bedroom to 40 percent").await?;
    let lamp = house.mqtt_client.message(mark, "home/bedroom/light/set").await?;
    assert_eq!(lamp.json(), json!({"state": "ON", "brightness": 102}));
    assert_eq!(answer, "The bedroom light is on at 40 percent.");
    Ok(())
}

async fn a_question_about_the_time_is_answered_from_the_clock(engine: &str) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    let request = house.bus_client.ask("What time is it?").await?;
    let answered = house.bus_client.signal_of(&request, "ToolAnswered").await?;
    let time = answered.json(2)["time"].as_str().unwrap_or("nothing").to_owned();
    assert_eq!(house.answer_of(&request).await?, format!("It is {time}."));
    Ok(())
}

async fn a_question_over_mqtt_is_answered_on_the_response_topic(
    engine: &str,
) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    let mark = house.mqtt_client.messages().mark();
    let ask = format!("{TOPICS}/ask");

    // Plain text, a response topic and correlation data: the answer comes there and carries them.
    let answer = house.mqtt_client.request(&ask, "Switch off the light in the garage").await?;
    assert_eq!(answer.json()["text"], "The garage light is off.");
    let lamp = house.mqtt_client.message(mark, "home/garage/light/set").await?;
    assert_eq!(lamp.json(), json!({"state": "OFF"}));

    // JSON without a response topic: the answer comes where everybody finds it.
    house.mqtt_client.publish(&ask, json!({"text": "hello"}).to_string()).await?;
    let answer = house.mqtt_client.message(mark, &format!("{TOPICS}/answer")).await?;
    assert_eq!(answer.json()["text"], "Hello, how can I help?");
    Ok(())
}

async fn a_conversation_goes_on_in_its_session(engine: &str) -> anyhow::Result<()> {
    let house = House::open(engine).await?;
    let ask = async |text: &str| {
        let options = [("text", text.into()), ("session", "sofa".into())];
        let request = house.bus_client.ask_with(&options).await?;
        house.answer_of(&request).await?;
        house.bus_client.signal_of(&request, "Response").await
    };
    let first = ask("Turn on the light in the office").await?;
    let second = ask("turn it off").await?;
    assert_eq!(second.argument(1)["text"], "The office light is off.");

    // The second prompt begins with the first conversation, which the engine still remembers.
    let cached = second.argument(1)["figures"]["cached_tokens"].as_f64();
    let before = first.argument(1)["figures"]["prompt_tokens"].as_f64();
    assert!(cached >= before, "{cached:?} of {before:?} tokens were remembered");
    Ok(())
}
