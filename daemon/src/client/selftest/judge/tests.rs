#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::overlap::overlap;
use super::*;

fn expected(value: Value) -> Expected {
    serde_json::from_value(value).unwrap()
}

fn said(text: &str) -> Given {
    Given { text: text.to_owned(), ..Given::default() }
}

fn called(name: &str, arguments: Value) -> Given {
    let Value::Object(arguments) = arguments else { panic!("arguments") };
    Given { calls: vec![ToolCall { name: name.to_owned(), arguments }], ..Given::default() }
}

/// The only figure of a measure, as the table shows it.
fn figure(expected: &Expected, given: &Given, measure: Measure) -> f64 {
    let judged = expected.judge(given);
    let (_, share) = judged.iter().find(|(found, _)| *found == measure).unwrap();
    measure.scale() * share.part / share.whole
}

#[test]
fn words_are_compared_as_they_are_said() {
    let check = |text: &str, expected: &str| assert_eq!(spoken(text).join(" "), expected);
    check("Dim it to 40 percent, please.", "dim it to forty percent please");
    check("It's 7:05", "it's seven five");
    check("100 115 999 0", "one hundred one hundred fifteen nine hundred ninety nine zero");
    check("20 degrees", "twenty degrees");
    check("room2", "room two");
    check("12345678901234567890123", "12345678901234567890123");
    check(" ... ", "");
}

#[test]
fn word_errors_are_replaced_dropped_and_added_words() {
    let check = |heard: &str, said: &str, wrong: usize| {
        assert_eq!(errors(&spoken(heard), &spoken(said)), wrong, "{heard:?} for {said:?}");
    };
    check("turn on the light", "turn on the light", 0);
    check("turn off the light", "turn on the light", 1);
    check("turn on light", "turn on the light", 1);
    check("turn on the the light", "turn on the light", 1);
    check("", "turn on the light", 4);
    check("turn on the light", "", 4);
    check("the light turn on", "turn on the light", 4);
}

#[test]
fn the_rate_of_word_errors_is_over_the_words_that_were_said() {
    let words = expected(json!({"judged": "words", "text": "dim the lamp to 40"}));
    assert_eq!(figure(&words, &said("Dim the lamp to forty."), Measure::WordErrors), 0.0);
    assert_eq!(figure(&words, &said("dim the lamps to 40"), Measure::WordErrors), 20.0);
    assert!(!words.is_right(&said("dim the lamps to 40")));
}

#[test]
fn a_call_is_right_only_with_every_argument_and_nothing_beside_it() {
    let call = json!({"name": "set_light", "arguments": {"room": "hall", "brightness": 40}});
    let right = expected(json!({"judged": "exact", "calls": [call]}));
    let check = |given: &Given, is_right: bool| {
        assert_eq!(right.is_right(given), is_right, "{}", given.shown());
        let percent = if is_right { 100.0 } else { 0.0 };
        assert_eq!(figure(&right, given, Measure::Exact), percent);
    };
    check(&called("set_light", json!({"brightness": 40, "room": "hall"})), true);
    check(&called("set_light", json!({"brightness": 41, "room": "hall"})), false);
    check(&called("set_light", json!({"room": "hall"})), false);
    check(&called("set_lights", json!({"brightness": 40, "room": "hall"})), false);
    check(&said("The light is on."), false);
    let words = Given {
        text: "Yes.".into(),
        ..called("set_light", json!({"brightness": 40, "room": "hall"}))
    };
    check(&words, false);
    check(&Given::default(), false);
}

#[test]
fn thoughts_and_words_are_right_in_every_character() {
    let right = expected(json!({"judged": "exact", "thought": "I look.", "text": "Red."}));
    let thought = |thought: &str, text: &str| Given { thought: thought.into(), ..said(text) };
    assert!(right.is_right(&thought("I look.\n", "Red.")));
    assert!(!right.is_right(&thought("", "Red.")));
    assert!(!right.is_right(&thought("I look.", "red.")));
}

#[test]
fn json_is_equal_whatever_its_order_and_blanks() {
    let right = expected(json!({"judged": "json", "value": {"parcel": true, "people": 2}}));
    let check = |text: &str, valid: f64, is_right: f64| {
        assert_eq!(figure(&right, &said(text), Measure::Valid), valid, "{text}");
        assert_eq!(figure(&right, &said(text), Measure::Right), is_right, "{text}");
    };
    check("{\"people\":2, \"parcel\": true}", 100.0, 100.0);
    check("```json\n{\"people\": 2, \"parcel\": true}\n```", 100.0, 100.0);
    check("{\"people\": 3, \"parcel\": true}", 100.0, 0.0);
    check("{\"people\": 2, \"parcel\": true, \"lamp\": \"on\"}", 100.0, 0.0);
    check("{\"people\": 2, \"parcel\":", 0.0, 0.0);
    check("", 0.0, 0.0);
}

#[test]
fn boxes_overlap_by_area() {
    let check = |one: [f64; 4], other: [f64; 4], expected: f64| {
        assert!((overlap(one, other) - expected).abs() < 1e-9, "{one:?} and {other:?}");
        assert!((overlap(other, one) - expected).abs() < 1e-9, "{other:?} and {one:?}");
    };
    check([0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0], 1.0);
    check([0.0, 0.0, 10.0, 10.0], [0.0, 5.0, 10.0, 15.0], 1.0 / 3.0);
    check([0.0, 0.0, 10.0, 10.0], [2.0, 2.0, 4.0, 4.0], 0.04);
    check([0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0], 0.0);
    check([0.0; 4], [0.0; 4], 0.0);
    check([9.0, 9.0, 1.0, 1.0], [0.0, 0.0, 10.0, 10.0], 0.0);
}

#[test]
fn each_right_box_wants_one_of_its_name_and_a_box_too_many_counts() {
    let cup = json!({"box_2d": [0, 0, 100, 100], "label": "cup"});
    let pen = json!({"box_2d": [500, 500, 600, 600], "label": "pen"});
    let right = expected(json!({"judged": "boxes", "boxes": [cup, pen]}));
    let check = |text: Value, valid: f64, overlap: f64| {
        let given = said(text.as_str().map_or(text.to_string(), str::to_owned).as_str());
        assert_eq!(figure(&right, &given, Measure::Valid), valid, "{text}");
        assert_eq!(figure(&right, &given, Measure::Overlap), overlap, "{text}");
    };
    check(json!([cup, pen]), 100.0, 1.0);
    check(json!([cup]), 100.0, 0.5);
    check(json!([cup, pen, pen, pen]), 100.0, 0.5);
    check(json!([{"box_2d": [0, 0, 100, 100], "label": "pen"}]), 100.0, 0.0);
    check(json!([]), 100.0, 0.0);
    check(json!("[{\"box_2d\": [0, 0,"), 0.0, 0.0);
    check(json!("nothing"), 0.0, 0.0);
    let nothing = expected(json!({"judged": "boxes", "boxes": []}));
    assert_eq!(figure(&nothing, &said("```json\n[]\n```"), Measure::Overlap), 1.0);
}

#[test]
fn what_is_right_has_no_other_fields() {
    for (value, named) in [
        (json!({"judged": "exact", "txet": "x"}), "txet"),
        (json!({"judged": "words"}), "text"),
        (json!({"judged": "smell", "text": "x"}), "smell"),
        (json!({"judged": "boxes", "boxes": [{"box_2d": [1, 2, 3], "label": "x"}]}), "length"),
        (json!({"judged": "boxes", "boxes": [{"box_2d": [1, 2, 3, 4], "name": "x"}]}), "name"),
        (json!({"text": "x"}), "judged"),
    ] {
        let error = serde_json::from_value::<Expected>(value).unwrap_err().to_string();
        assert!(error.contains(named), "no {named} in {error}");
    }
}
