#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use super::*;

#[test]
fn a_pattern_is_found_anywhere_unless_it_says_where() {
    let check = |pattern: &str, expected: &str| assert_eq!(searched(pattern), expected);
    check("a+", "(?s:.*)(?:a+)(?s:.*)");
    check("^a+$", "(?:a+)");
    check("^a+", "(?:a+)(?s:.*)");
    check("a\\$", "(?s:.*)(?:a\\$)(?s:.*)");
}

#[test]
fn literals_are_escaped() {
    let check = |text: &str, expected: &str| assert_eq!(literal(text), expected);
    check("a\"b\\\n", r#""a\"b\\\n""#);
    check("\u{7f}\u{0}é", r#""\u007f\u0000é""#);
}

#[test]
fn names_that_a_call_cannot_hold_are_refused() {
    for name in ["", "a b", "a{", "a\n", "é", &"x".repeat(65)] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
    for name in ["get_weather", "mcp.server-1/tool", "a:b"] {
        assert!(check_name(name).is_ok(), "{name:?}");
    }
}
