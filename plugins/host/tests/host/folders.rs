//! Plugins on disk: broken ones are left out and told, the others work.

use std::fs;

use gemma_plugins::{Host, Options, Risk};
use serde_json::json;
use tokio::sync::mpsc;

use crate::workshop::{Workshop, check_done, component, module};

const ECHO: &str = "(call $answer (i32.const 0) (local.get $arguments) (local.get $arguments_len))";

/// A plugin with these bytes must be left out with this problem, and its neighbour must work.
async fn check(wasm: &[u8], expected: &str) {
    let workshop = Workshop::new();
    workshop.add("broken", "broken", "", wasm);
    workshop.add("neighbour", "run", "", &component(ECHO));
    let open = workshop.open();
    let problems = open.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let place = workshop.path("broken/broken.wasm");
    assert!(problems[0].starts_with(&place.display().to_string()), "{problems:?}");
    assert!(problems[0].contains(expected), "{problems:?} should contain {expected:?}");
    check_done(&open.call("run", json!({})).await, json!({}));
}

#[tokio::test]
async fn a_file_that_is_no_component_is_left_out() {
    let good = component(ECHO);
    check(b"", "is no valid component").await;
    check(b"hello", "is no valid component").await;
    check(&good[..good.len() / 2], "is no valid component").await;
    check(&module(ECHO), "is a core module; accepted: a component").await;
    let mut flipped = good;
    let middle = flipped.len() / 3;
    flipped[middle..middle + 64].fill(0xff);
    check(&flipped, "is no valid component").await;
}

#[tokio::test]
async fn a_component_of_another_world_is_left_out() {
    let check = async |text: &str, expected| check(&wat::parse_str(text).unwrap(), expected).await;
    check("(component)", "exports no function call; accepted: the world gemmad:plugin/plugin")
        .await;
    check(
        r#"(component
            (core module $m (func (export "call")))
            (core instance $i (instantiate $m))
            (func (export "call") (canon lift (core func $i "call"))))"#,
        "does not fit the world gemmad:plugin/plugin@0.1.0",
    )
    .await;
    check(
        r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#,
        "imports wasi:cli/environment@0.2.0; accepted: gemmad:plugin/log@0.1.0",
    )
    .await;
    check(
        r#"(component (import "gemmad:plugin/log@0.1.0" (instance
            (export "erase" (func)))))"#,
        "does not fit the world",
    )
    .await;
}

#[test]
fn a_wrong_manifest_is_told_with_its_line() {
    let workshop = Workshop::with("[limits]\nwall_ms = 0", ECHO);
    let place = workshop.path("guest/plugin.toml");
    let expected = format!(
        "{}:12: limits.wall_ms is 0; accepted: 1 to 5000, the host's ceiling",
        place.display()
    );
    assert_eq!(workshop.open().problems(), [expected]);
}

#[test]
fn a_missing_file_is_told() {
    let workshop = Workshop::with("", ECHO);
    fs::remove_file(workshop.path("guest/guest.wasm")).unwrap();
    let problems = workshop.open().problems();
    assert!(problems[0].contains("guest.wasm cannot be read: No such file"), "{problems:?}");
    fs::remove_file(workshop.path("guest/plugin.toml")).unwrap();
    let problems = workshop.open().problems();
    assert!(problems[0].contains("plugin.toml cannot be read: No such file"), "{problems:?}");
}

#[test]
fn a_link_out_of_the_folder_is_not_followed() {
    let workshop = Workshop::with("", ECHO);
    let inside = workshop.path("guest/guest.wasm");
    let outside = workshop.path("outside.wasm");
    fs::rename(&inside, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &inside).unwrap();
    let problems = workshop.open().problems();
    assert!(problems[0].contains("lies outside the plugin's folder"), "{problems:?}");
}

#[test]
fn a_folder_that_does_not_exist_is_told() {
    let workshop = Workshop::new();
    let (sender, _receiver) = mpsc::channel(1);
    let options = Options { folders: vec![workshop.path("absent")], ..Options::default() };
    let host = Host::open(&options, sender).unwrap();
    let problem = host.problems()[0].to_string();
    assert!(problem.contains("absent cannot be listed: No such file"), "{problem}");
}

#[tokio::test]
async fn the_first_of_two_tools_with_one_name_wins() {
    let workshop = Workshop::new();
    workshop.add("b-second", "run", "", &component("(unreachable)"));
    workshop.add("a-first", "run", "", &component(ECHO));
    let open = workshop.open();
    let problems = open.problems();
    assert!(
        problems[0].contains("declares the tool run, as plugin a-first does; that one is used"),
        "{problems:?}"
    );
    assert_eq!(open.host.tools().len(), 1);
    check_done(&open.call("run", json!({"a": 1})).await, json!({"a": 1}));
}

#[test]
fn the_first_of_two_plugins_with_one_name_wins() {
    let (first, second) = (Workshop::with("", ECHO), Workshop::with("", ECHO));
    let (sender, _receiver) = mpsc::channel(1);
    let folders = vec![first.path(""), second.path("")];
    let host = Host::open(&Options { folders, ..Options::default() }, sender).unwrap();
    assert_eq!(host.plugins().len(), 1);
    assert!(host.plugins()[0].path.starts_with(first.path("")));
    assert!(host.problems()[0].to_string().contains("declares the plugin guest, as"));
}

#[test]
fn a_plugin_is_told_with_all_that_it_may_do() {
    let tables = "[grants]\nclock = true\nmqtt = [\"home/#\"]\n[limits]\nwall_ms = 70";
    let open = Workshop::with(tables, ECHO).open();
    let plugin = &open.host.plugins()[0];
    assert_eq!((plugin.name.as_str(), plugin.version.as_str()), ("guest", "1.0.0"));
    assert_eq!(plugin.grants, ["clock", "mqtt home/#"]);
    assert_eq!(plugin.limits.wall_ms, 70);
    assert_eq!(plugin.tools[0].spec, open.host.tools()[0]);
    assert_eq!(open.host.risk("run"), Some(Risk::Safe));
    assert_eq!(open.host.risk("walk"), None);
}

#[tokio::test]
async fn a_plugin_survives_damage_to_the_cache() {
    let mut workshop = Workshop::with("", ECHO);
    let cache = tempfile::tempdir().unwrap();
    workshop.cache = Some(cache.path().join("code"));
    check_done(&workshop.open().run().await, json!({}));
    let entries = || fs::read_dir(cache.path().join("code")).unwrap().map(|e| e.unwrap().path());
    let entry = entries().next().unwrap();
    let intact = fs::read(&entry).unwrap();
    let mut damaged = intact.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    fs::write(&entry, &damaged).unwrap();
    check_done(&workshop.open().run().await, json!({}));
    assert_ne!(fs::read(&entry).unwrap(), damaged);
    assert_eq!(entries().count(), 1);
}

#[test]
fn a_cache_that_cannot_be_used_is_told_and_done_without() {
    let mut workshop = Workshop::with("", ECHO);
    workshop.cache = Some(workshop.path("guest/plugin.toml"));
    let open = workshop.open();
    assert!(open.problems()[0].contains("is not used as cache"), "{:?}", open.problems());
    assert_eq!(open.host.tools().len(), 1);
}
