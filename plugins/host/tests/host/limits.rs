//! Guests that take too much: each is stopped, and the outcome names the limit and its value.

use std::time::Duration;

use gemma_plugins::Limits;
use gemma_types::Outcome;
use serde_json::json;

use crate::workshop::{Workshop, check_done, check_failed};

const LOOP: &str = "(loop $again (br $again)) (unreachable)";
const ECHO: &str = "(call $answer (i32.const 0) (local.get $arguments) (local.get $arguments_len))";
/// More work than any test could finish.
const ENDLESS: Limits = Limits {
    fuel: 1 << 60,
    wall_ms: 3_600_000,
    memory_bytes: 33_554_432,
    table_elements: 10_000,
    host_calls: 1 << 60,
    publications: 16,
    publication_bytes: 65_536,
    log_lines: 64,
    log_line_bytes: 1_024,
    arguments_bytes: 65_536,
    result_bytes: 65_536,
};

/// The guest with this body must be stopped at the limit of its manifest.
async fn check(limit: &str, body: &str) {
    let result = Workshop::with(&format!("[limits]\n{limit}"), body).open().run().await;
    check_failed(&result, &format!("the tool was stopped: limit {limit} reached"));
}

#[tokio::test]
async fn a_loop_ends_when_its_fuel_is_used_up() {
    let result = Workshop::with("[limits]\nfuel = 1000000", LOOP).open().run().await;
    check_failed(&result, "limit fuel = 1000000 reached");
    assert_eq!(result.cost.fuel, 1_000_000);
}

#[tokio::test]
async fn a_loop_with_endless_fuel_ends_at_its_deadline() {
    let mut workshop = Workshop::with("[limits]\nwall_ms = 50", LOOP);
    workshop.limits = ENDLESS;
    let result = workshop.open().run().await;
    check_failed(&result, "limit wall_ms = 50 reached");
    assert!(result.cost.wall >= Duration::from_millis(50));
    assert!(result.cost.wall < Duration::from_secs(5), "{:?}", result.cost.wall);
    assert!(result.cost.fuel > 0);
}

#[tokio::test]
async fn copying_memory_costs_fuel_by_the_byte() {
    let fill = "(loop $again
        (memory.fill (i32.const 0) (i32.const 0) (i32.const 262144)) (br $again)) (unreachable)";
    let result = Workshop::with("[limits]\nfuel = 10000000", fill).open().run().await;
    check_failed(&result, "limit fuel = 10000000 reached");
    assert!(result.cost.wall < Duration::from_secs(1), "{:?}", result.cost.wall);
}

#[tokio::test]
async fn a_loop_lets_other_tasks_of_its_thread_run() {
    let mut workshop = Workshop::with("", LOOP);
    workshop.limits = ENDLESS;
    let open = workshop.open();
    let others = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        result = open.run() => unreachable!("the loop ended: {result:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn a_dropped_call_gives_its_turn_back() {
    let mut workshop = Workshop::with("", LOOP);
    workshop.limits = ENDLESS;
    workshop.add("echo", "echo", "", &crate::workshop::component(ECHO));
    let open = workshop.open();
    for _ in 0..20 {
        tokio::select! {
            biased;
            result = open.run() => unreachable!("the loop ended: {result:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    check_done(&open.call("echo", json!({"a": 1})).await, json!({"a": 1}));
}

#[tokio::test]
async fn a_guest_that_eats_memory_is_stopped() {
    let eater = "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) (unreachable)";
    let result = Workshop::with("[limits]\nmemory_bytes = 8388608", eater).open().run().await;
    check_failed(&result, "limit memory_bytes = 8388608 reached");
    assert!((7_000_000..=8_388_608).contains(&result.cost.memory_bytes), "{:?}", result.cost);
}

#[tokio::test]
async fn a_guest_that_starts_with_too_much_memory_is_stopped() {
    check("memory_bytes = 65536", ECHO).await;
}

#[tokio::test]
async fn a_guest_that_eats_tables_is_stopped() {
    check(
        "table_elements = 500",
        "(loop $again (drop (table.grow $table (ref.null func) (i32.const 100))) (br $again))
         (unreachable)",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_never_stops_asking_is_stopped() {
    check(
        "host_calls = 20",
        "(loop $again (call $clock (i32.const 1040)) (br $again)) (unreachable)",
    )
    .await;
}

#[tokio::test]
async fn a_result_that_is_too_long_is_not_read() {
    check(
        "result_bytes = 1000",
        "(memory.fill (i32.const 4096) (i32.const 49) (i32.const 1001))
         (call $answer (i32.const 0) (i32.const 4096) (i32.const 1001))",
    )
    .await;
}

#[tokio::test]
async fn a_result_far_beyond_the_limit_is_a_crash() {
    let body = "(memory.fill (i32.const 4096) (i32.const 49) (i32.const 200000))
         (call $answer (i32.const 0) (i32.const 4096) (i32.const 200000))";
    let result = Workshop::with("[limits]\nresult_bytes = 1000", body).open().run().await;
    assert!(matches!(result.outcome, Outcome::Failed(_)), "{result:?}");
}

#[tokio::test]
async fn the_log_takes_few_lines_and_short_ones() {
    let flood = "(loop $again
           (call $log (i32.const 1) (i32.const 448) (i32.const 14) (i32.const 1040))
           (br_if $again (i32.eqz (i32.load8_u (i32.const 1040)))))
         (call $pass_on)";
    let result = Workshop::with("[limits]\nlog_lines = 3", flood).open().run().await;
    check_failed(&result, "limit log_lines = 3 reached");
    let long = "(call $log (i32.const 1) (i32.const 4096) (i32.const 11) (i32.const 1040))
         (call $pass_on)";
    let result = Workshop::with("[limits]\nlog_line_bytes = 10", long).open().run().await;
    check_failed(&result, "limit log_line_bytes = 10 reached");
}

#[tokio::test]
async fn a_crash_is_told_apart_from_a_limit() {
    let check = async |body, expected| {
        check_failed(&Workshop::with("", body).open().run().await, expected);
    };
    check("(unreachable)", "the tool crashed: wasm trap: wasm `unreachable`").await;
    check("(i32.div_u (i32.const 1) (i32.const 0))", "integer divide by zero").await;
    check("(call $recurse (i32.const 0))", "call stack exhausted").await;
    check("(call $answer (i32.const 0) (i32.const -1) (i32.const 8))", "the tool crashed").await;
    check("(i32.const -4)", "the tool crashed").await;
}

#[tokio::test]
async fn a_call_tells_what_it_cost() {
    let open = Workshop::with("", ECHO).open();
    let result = open.run().await;
    check_done(&result, json!({}));
    assert!((1..10_000).contains(&result.cost.fuel), "{:?}", result.cost);
    assert_eq!(result.cost.memory_bytes, 4 * 65_536);
    assert!(result.cost.wall > Duration::ZERO);
}
