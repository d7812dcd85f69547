//! Manifests that are accepted, and what is said about those that are not.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::json;

use super::*;

const GOOD: &str = r#"name = "lights"
version = "1.0.0"
description = "Switches lights."

[[tools]]
name = "set_light"
description = "Switch a light."
risk = "confirm"
parameters = '{"type":"object","properties":{"room":{"type":"string"}},"required":["room"]}'

[grants]
clock = true
mqtt = ["home/+/light/set", "home/#"]

[limits]
wall_ms = 100
"#;

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text, &Limits::default())
}

#[test]
fn a_manifest_is_read_with_its_grants_and_limits() {
    let manifest = parse(GOOD).unwrap();
    assert_eq!(manifest.component, "lights.wasm");
    assert_eq!(manifest.tools[0].0.risk, Risk::Confirm);
    assert_eq!(manifest.grants.in_words(), ["clock", "mqtt home/+/light/set", "mqtt home/#"]);
    assert_eq!(manifest.limits, Limits { wall_ms: 100, ..Limits::default() });
}

#[test]
fn without_a_grants_table_nothing_is_granted() {
    let text = GOOD.split("[grants]").next().unwrap();
    let manifest = parse(text).unwrap();
    assert_eq!(manifest.grants, Grants::default());
    assert_eq!(manifest.limits, Limits::default());
}

#[test]
fn a_schema_may_be_a_table_and_keeps_its_order() {
    let text = GOOD.replace(
        r#"'{"type":"object","properties":{"room":{"type":"string"}},"required":["room"]}'"#,
        r#"{ type = "object", properties = { z = { type = "string" }, a = { type = "string" } } }"#,
    );
    let manifest = parse(&text).unwrap();
    let expected =
        json!({"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}});
    assert_eq!(manifest.tools[0].0.spec.parameters.to_string(), expected.to_string());
}

/// Replaces `from` by `to` in the good manifest; the error must be on `line` and say `expected`.
fn check(from: &str, to: &str, line: usize, expected: &str) {
    assert!(GOOD.contains(from), "the manifest has no {from}");
    let error = parse(&GOOD.replace(from, to)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(expected), "{text:?} should contain {expected:?}");
    assert_eq!(error.line, line, "{text}");
}

#[test]
fn an_error_names_line_and_key_and_what_is_accepted() {
    check(r#"name = "lights""#, r#"name = "Li ghts""#, 1, "accepted: 1 to 64 of a-z 0-9 -");
    check(r#"name = "lights""#, "", 1, "missing field `name`");
    check(r#"version = "1.0.0""#, "version = 1", 2, "expected a string");
    check(r#"version = "1.0.0""#, r#"version = """#, 2, "version has 0 bytes; accepted: 1 to 64");
    check("risk =", "risks =", 8, "unknown field `risks`, expected one of");
    check(r#""confirm""#, r#""maybe""#, 8, "accepted: safe, confirm, never-unattended");
    check(r#""set_light""#, r#""set light""#, 6, "tools.name is \"set light\"");
    check(r#""required":["room"]"#, r#""oneOf":[]"#, 9, "unknown keyword oneOf");
    check(r#"'{"type""#, r#"'{type""#, 9, "is not JSON");
    check("home/#", "home/#/x", 13, "has a # that is not the last level");
    check("clock = true", "http = true", 12, "unknown field `http`, expected `clock` or `mqtt`");
    check("wall_ms = 100", "wall_ms = 6000", 16, "accepted: 1 to 5000, the host's ceiling");
    check("wall_ms = 100", "wall_ms = 0", 16, "limits.wall_ms is 0; accepted: 1 to 5000");
    check("wall_ms = 100", "wall_ms = -1", 16, "plugin.toml cannot be read");
    check("wall_ms = 100", "wall = 100", 16, "limits.wall is no limit; accepted: wall_ms,");
    check("wall_ms = 100", "wall_ms 100", 16, "plugin.toml cannot be read");
}

#[test]
fn a_component_outside_the_folder_is_refused() {
    for component in ["../other.wasm", "/etc/passwd", "..", "a/b.wasm", ""] {
        let text = format!("component = {component:?}\n{GOOD}");
        let error = parse(&text).unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (1, "component"), "{component}");
    }
}

#[test]
fn a_tool_is_declared_once() {
    let again = GOOD.split("[grants]").next().unwrap().split("[[tools]]").nth(1).unwrap();
    let error = parse(&GOOD.replace("[grants]", &format!("[[tools]]{again}[grants]"))).unwrap_err();
    assert_eq!(error.cause, ManifestCause::Twice("set_light".into()));
    assert_eq!(error.line, 12);
}

#[test]
fn a_plugin_has_at_least_one_tool() {
    let text = "name = \"a\"\nversion = \"1\"\ndescription = \"x\"\ntools = []\n";
    let error = parse(text).unwrap_err();
    assert_eq!(
        (error.line, error.cause),
        (4, ManifestCause::Count { given: 0, least: 1, most: 32 })
    );
}
