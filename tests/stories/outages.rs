//! The broker, the bus and the daemon itself go and come back.

use gemmad_tests::bus_client::BusClient;
use gemmad_tests::house::House;
use rustix::process::Signal;
use serde_json::json;

crate::under_both_engines!(
    what_was_accepted_while_the_broker_was_away_arrives_afterwards,
    the_daemon_owns_its_name_again_when_the_bus_is_back,
);

async fn what_was_accepted_while_the_broker_was_away_arrives_afterwards(
    engine: &str,
) -> anyhow::Result<()> {
    let mut house = House::open(engine).await?;
    house.broker.go_away();
    house.part("broker", false).await?;

    // The house goes on: the light's message is accepted and waits.
    let answer = house.answer_to("Turn on the light in the kitchen").await?;
    assert_eq!(answer, "The kitchen light is on.");

    // The broker is back. The daemon is held until the listener has subscribed again: a message
    // that nobody waits for would be gone.
    let (mark, connections) =
        (house.mqtt_client.messages().mark(), house.mqtt_client.connections());
    house.daemon()?.process().signal(Signal::STOP)?;
    house.broker.come_back().await?;
    house.mqtt_client.subscribed(connections).await?;
    house.daemon()?.process().signal(Signal::CONT)?;
    house.status(mark, "online").await?;
    let lamp = house.mqtt_client.message(mark, "home/kitchen/light/set").await?;
    assert_eq!(lamp.json(), json!({"state": "ON"}));
    house.part("broker", true).await
}

#[tokio::test]
async fn what_was_accepted_is_not_lost_when_the_daemon_is_killed_too() -> anyhow::Result<()> {
    let mut house = House::open("ort").await?;
    house.broker.go_away();
    house.part("broker", false).await?;
    house.answer_to("Turn on the light in the kitchen").await?;
    house.daemon()?.kill();

    let (mark, connections) =
        (house.mqtt_client.messages().mark(), house.mqtt_client.connections());
    house.broker.come_back().await?;
    house.mqtt_client.subscribed(connections).await?;
    house.start().await?;
    let lamp = house.mqtt_client.message(mark, "home/kitchen/light/set").await?;
    assert_eq!(lamp.json(), json!({"state": "ON"}));
    Ok(())
}

#[tokio::test]
async fn the_broker_says_offline_when_the_daemon_is_killed() -> anyhow::Result<()> {
    let mut house = House::build("ort").await?;
    let mark = house.mqtt_client.messages().mark();
    house.start().await?;
    house.status(mark, "online").await?;

    let mark = house.mqtt_client.messages().mark();
    house.daemon()?.kill();
    house.status(mark, "offline").await?;

    let mark = house.mqtt_client.messages().mark();
    house.start().await?;
    house.status(mark, "online").await?;
    Ok(())
}

async fn the_daemon_owns_its_name_again_when_the_bus_is_back(engine: &str) -> anyhow::Result<()> {
    let mut house = House::open(engine).await?;
    let mark = house.mqtt_client.messages().mark();
    let bus_is = |wanted: bool| {
        move |part: &serde_json::Value| part["part"] == "bus" && part["working"] == wanted
    };
    house.bus.go_away();
    house.event_that(mark, "part", bus_is(false)).await?;

    // Over the broker the house still answers.
    let answer = house.mqtt_client.request("gemmad/test/ask", "hello").await?;
    assert_eq!(answer.json()["text"], "Hello, how can I help?");

    house.bus.come_back().await?;
    house.bus_client = BusClient::connect(&house.bus.address()).await?;
    house.bus_client.owned().await?;
    house.event_that(mark, "part", bus_is(true)).await?;
    assert_eq!(house.answer_to("hello").await?, "Hello, how can I help?");
    Ok(())
}
