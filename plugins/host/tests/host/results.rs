//! What a call leads to when nobody is hostile, only wrong.

use serde_json::json;

use crate::workshop::{Workshop, check_done, check_failed, check_refused, component};

const ECHO: &str = "(call $answer (i32.const 0) (local.get $arguments) (local.get $arguments_len))";
const LIGHT: &str = r#"name = "guest"
version = "1"
description = "x"
[[tools]]
name = "set_light"
description = "Switch a light."
risk = "never-unattended"
parameters = '{"type":"object","properties":{"room":{"type":"string"}},"required":["room"]}'
[limits]
arguments_bytes = 40
"#;

fn light() -> Workshop {
    let workshop = Workshop::with("", ECHO);
    std::fs::write(workshop.path("guest/plugin.toml"), LIGHT).unwrap();
    workshop
}

#[tokio::test]
async fn arguments_reach_the_guest_and_its_result_comes_back() {
    let arguments = json!({"room": "küche \u{1f4a1}"});
    check_done(&light().open().call("set_light", arguments.clone()).await, arguments);
    let echo = Workshop::with("", ECHO).open();
    check_done(&echo.call("run", json!({"percent": 40.0})).await, json!({"percent": 40}));
}

#[tokio::test]
async fn wrong_arguments_are_refused_before_the_guest_runs() {
    let open = light().open();
    let result = open.call("set_light", json!({"rom": "x"})).await;
    check_refused(&result, "wrong arguments: room is missing; rom is unknown; there are room");
    assert_eq!(result.cost.fuel, 0);
    let result = open.call("set_light", json!({"room": "x".repeat(40)})).await;
    check_refused(&result, "limit arguments_bytes = 40");
}

#[tokio::test]
async fn an_unknown_tool_is_answered_with_those_that_exist() {
    let workshop = light();
    workshop.add("other", "get_time", "", &component(ECHO));
    let result = workshop.open().call("set_lights", json!({})).await;
    check_refused(&result, "there is no tool set_lights; there are: set_light, get_time");
    let result = Workshop::new().open().call("x", json!({})).await;
    check_refused(&result, "there is no tool x; there are no tools at all");
}

#[tokio::test]
async fn a_result_that_is_not_json_is_a_failure() {
    let body = "(call $answer (i32.const 0) (i32.const 256) (i32.const 4))";
    check_failed(&Workshop::with("", body).open().run().await, "the tool's result is not JSON");
}

#[tokio::test]
async fn the_words_of_a_guest_that_fails_reach_the_model() {
    let body = "(call $answer (i32.const 1) (i32.const 256) (i32.const 12))";
    check_failed(&Workshop::with("", body).open().run().await, "home/kitchen");
}

#[tokio::test]
async fn two_calls_share_no_state() {
    let count = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.store8 (i32.const 4000) (global.get $calls))
        (call $answer (i32.const 0) (i32.const 4000) (i32.const 1))";
    let open = Workshop::with("", count).open();
    check_done(&open.run().await, json!(1));
    check_done(&open.run().await, json!(1));
}

#[tokio::test]
async fn many_calls_run_side_by_side() {
    let open = std::sync::Arc::new(light().open());
    let mut calls = tokio::task::JoinSet::new();
    for room in 0..50 {
        let open = std::sync::Arc::clone(&open);
        calls.spawn(async move {
            let arguments = json!({"room": room.to_string()});
            check_done(&open.call("set_light", arguments.clone()).await, arguments);
        });
    }
    let finished = calls.join_all().await;
    assert_eq!(finished.len(), 50);
}
