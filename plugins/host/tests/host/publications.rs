//! Messages: only to granted topics, only as many as allowed, and only claimed when accepted.

use gemma_types::ToolResult;
use serde_json::json;

use crate::workshop::{Open, PUBLICATIONS, Workshop, check_done, check_failed, check_refused};

const GRANT: &str = "[grants]\nmqtt = [\"home/+/light/set\"]";
const PUBLISH: &str = "(call $publish_light) (call $pass_on)";

/// Runs the tool while the daemon answers each message with `receipt`.
async fn run(open: &mut Open, receipt: Result<(), String>) -> ToolResult {
    let Open { host, publications } = open;
    let call = crate::workshop::tool_call("run", json!({}));
    let mut running = std::pin::pin!(host.call(&call));
    loop {
        tokio::select! {
            result = &mut running => return result,
            Some(publication) = publications.recv() => {
                let _stopped = publication.receipt.send(receipt.clone());
            }
        }
    }
}

#[tokio::test]
async fn a_granted_message_reaches_the_daemon() {
    let mut open = Workshop::with(GRANT, PUBLISH).open();
    let call = crate::workshop::tool_call("run", json!({}));
    let mut running = std::pin::pin!(open.host.call(&call));
    let publication = tokio::select! {
        result = &mut running => unreachable!("ended without a receipt: {result:?}"),
        publication = open.publications.recv() => publication.unwrap(),
    };
    assert_eq!(publication.plugin, "guest");
    assert_eq!(publication.topic, "home/kitchen/light/set");
    assert_eq!(publication.payload, br#"{"state":"ON"}"#);
    assert!(!publication.retain);
    publication.receipt.send(Ok(())).unwrap();
    check_done(&running.await, json!({"state": "ON"}));
}

#[tokio::test]
async fn a_topic_that_is_not_granted_is_refused() {
    let lock = "(call $publish (i32.const 320) (i32.const 21) (i32.const 14)) (call $pass_on)";
    let mut open = Workshop::with(GRANT, lock).open();
    let refusal = "plugin guest is not granted the topic home/kitchen/lock/set";
    check_refused(&run(&mut open, Ok(())).await, refusal);
    let mut open = Workshop::with("", PUBLISH).open();
    check_refused(&run(&mut open, Ok(())).await, "is not granted the topic");
    assert!(open.publications.try_recv().is_err());
}

#[tokio::test]
async fn a_wildcard_is_no_topic_even_where_it_equals_the_grant() {
    let wildcard = "(call $publish (i32.const 384) (i32.const 16) (i32.const 14)) (call $pass_on)";
    let mut open = Workshop::with(GRANT, wildcard).open();
    check_failed(&run(&mut open, Ok(())).await, "has a wildcard; a message goes to one topic");
    let empty = "(call $publish (i32.const 384) (i32.const 0) (i32.const 14)) (call $pass_on)";
    let mut open = Workshop::with(GRANT, empty).open();
    check_failed(&run(&mut open, Ok(())).await, "is empty");
}

#[tokio::test]
async fn the_clock_needs_its_grant() {
    let read = "(call $clock (i32.const 1040)) (call $pass_on)";
    check_refused(&Workshop::with("", read).open().run().await, "is not granted the clock");
    let granted = Workshop::with("[grants]\nclock = true", read);
    check_done(&granted.open().run().await, json!({"state": "ON"}));
}

#[tokio::test]
async fn a_call_publishes_few_messages_and_small_ones() {
    let flood = "(loop $again (call $publish_light)
        (br_if $again (i32.eqz (i32.load8_u (i32.const 1040))))) (call $pass_on)";
    let mut open = Workshop::with(&format!("{GRANT}\n[limits]\npublications = 3"), flood).open();
    check_failed(&run(&mut open, Ok(())).await, "limit publications = 3 reached");
    let limits = format!("{GRANT}\n[limits]\npublication_bytes = 13");
    let mut open = Workshop::with(&limits, PUBLISH).open();
    check_failed(&run(&mut open, Ok(())).await, "limit publication_bytes = 13 reached");
}

#[tokio::test]
async fn a_message_that_was_not_accepted_is_not_claimed() {
    let mut open = Workshop::with(GRANT, PUBLISH).open();
    check_failed(&run(&mut open, Err("the broker is away".into())).await, "the broker is away");
}

#[tokio::test]
async fn without_a_taker_the_guest_gets_an_error() {
    let Open { host, publications } = Workshop::with(GRANT, PUBLISH).open();
    drop(publications);
    let result = host.call(&crate::workshop::tool_call("run", json!({}))).await;
    check_failed(&result, "no MQTT connection takes messages");
}

#[tokio::test]
async fn a_receipt_that_is_dropped_is_an_error() {
    let mut open = Workshop::with(GRANT, PUBLISH).open();
    let call = crate::workshop::tool_call("run", json!({}));
    let (result, _) =
        tokio::join!(open.host.call(&call), async { drop(open.publications.recv().await) });
    check_failed(&result, "the message was dropped unsent");
}

#[tokio::test]
async fn a_full_queue_is_an_error() {
    let limits = format!("{GRANT}\n[limits]\nwall_ms = 20");
    let open = Workshop::with(&limits, PUBLISH).open();
    for _ in 0..PUBLICATIONS {
        check_failed(&open.run().await, "wall_ms = 20");
    }
    check_failed(&open.run().await, "too many messages wait to be sent");
}

#[tokio::test]
async fn waiting_for_a_receipt_counts_against_the_deadline() {
    let open = Workshop::with(&format!("{GRANT}\n[limits]\nwall_ms = 50"), PUBLISH).open();
    let result = open.run().await;
    check_failed(&result, "limit wall_ms = 50 reached; the message to home/kitchen/light/set may");
    assert!(result.cost.wall.as_millis() >= 50);
    assert!(result.cost.wall.as_secs() < 5, "{:?}", result.cost.wall);
}

#[tokio::test]
async fn a_dropped_call_stops_its_guest() {
    let mut open = Workshop::with(GRANT, PUBLISH).open();
    let call = crate::workshop::tool_call("run", json!({}));
    let publication = tokio::select! {
        result = open.host.call(&call) => unreachable!("ended without a receipt: {result:?}"),
        publication = open.publications.recv() => publication.unwrap(),
    };
    assert!(publication.receipt.is_closed(), "the guest still waits");
}
