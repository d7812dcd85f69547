#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

const EXACT: &str = "```json\n[\n  {\"box_2d\": [100, 200, 500, 1000], \"label\": \"cup\"},\n  \
                     {\"box_2d\": [0, 0, 1, 1], \"label\": \"red pen\"}\n]\n```";

fn detected(label: &str, edges: [u32; 4]) -> DetectedBox {
    let [x_min_px, y_min_px, x_max_px, y_max_px] = edges;
    DetectedBox { label: label.into(), x_min_px, y_min_px, x_max_px, y_max_px }
}

/// Labels and edges on the grid itself: a picture of 1000 by 1000 pixels.
fn check(answer: &str, expected: &[(&str, [u32; 4])], problems: usize) {
    let boxes = Boxes::read(answer, 1000, 1000, Reading::Forgiving).unwrap();
    let expected: Vec<_> = expected.iter().map(|(label, edges)| detected(label, *edges)).collect();
    assert_eq!(boxes.found, expected, "{answer}");
    assert_eq!(boxes.passed_over.len(), problems, "{:?}", boxes.passed_over);
}

fn check_error(answer: &str, how: Reading, expected: &str) {
    let error = Boxes::read(answer, 10, 10, how).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn boxes_are_in_pixels_of_the_picture_as_it_was_given() {
    let expected = [detected("cup", [128, 48, 640, 240]), detected("red pen", [0, 0, 1, 0])];
    for how in [Reading::Strict, Reading::Forgiving] {
        assert_eq!(Boxes::read(EXACT, 640, 480, how).unwrap().found, expected);
    }
    let whole = r#"[{"box_2d": [0, 0, 1000, 1000], "label": "all"}]"#;
    let boxes = Boxes::read(whole, 4001, 3, Reading::Strict).unwrap();
    assert_eq!(boxes.found, [detected("all", [0, 0, 4001, 3])]);
}

#[test]
fn an_empty_list_is_an_answer() {
    for how in [Reading::Strict, Reading::Forgiving] {
        assert_eq!(Boxes::read("```json\n[]\n```", 9, 9, how).unwrap(), Boxes::default());
    }
}

#[test]
fn a_strict_reading_says_what_is_wrong() {
    let check = |answer: &str, expected: &str| check_error(answer, Reading::Strict, expected);
    check("Here: [{}]", "it is no JSON list");
    check("[{\"box_2d\": [1, 2, 3, 4], \"label\": \"a\"}", "it is no JSON list");
    check("[3]", "object 1: 3 is no object");
    check(r#"[{"label": "a"}]"#, "object 1: it has no box_2d");
    check(r#"[{"box_2d": [1, 2, 3, 4]}]"#, "object 1: it has no label");
    check(r#"[{"box_2d": [1, 2, 3, 4], "label": " "}]"#, "expected words");
    check(r#"[{"box_2d": [1, 2, 3], "label": "a"}]"#, "expected four whole numbers");
    check(r#"[{"box_2d": [1, 2, 3, 4.5], "label": "a"}]"#, "expected four whole numbers");
    check(r#"[{"box_2d": [1, 2, 3, 1001], "label": "a"}]"#, "from 0 to 1000");
    check(r#"[{"box_2d": [3, 2, 1, 4], "label": "a"}]"#, "longer than 0");
    check(r#"[{"box_2d": [1, 2, 3, 4], "label": "a", "score": 1}]"#, "it has \"score\"");
}

#[test]
fn a_forgiving_reading_takes_what_can_be_made_out() {
    check(
        "Sure!\n```json\n[{\"box_2d\": [1, 2, 3, 4], \"label\": \"a\"}]\n```\nDone.",
        &[("a", [2, 1, 4, 3])],
        0,
    );
    check("{\"box_2d\": [1, 2, 3, 4], \"label\": \"a\"}", &[("a", [2, 1, 4, 3])], 0);
    check("{\"objects\": [{\"bbox\": [1, 2, 3, 4], \"name\": \"a\"}]}", &[("a", [2, 1, 4, 3])], 0);
    check("[{'box_2d': [1, 2, 3, 4], 'label': 'a'},]", &[("a", [2, 1, 4, 3])], 0);
    check("[{\"box_2d\": [1, 2, 3, 4,], \"label\": \"a\",}]", &[("a", [2, 1, 4, 3])], 0);
    check("[{\"box_2d\": [3.4, 4, 1, 2000]}]", &[("", [4, 1, 1000, 3])], 0);
    let cut = "[{\"box_2d\": [1, 2, 3, 4], \"label\": \"a\"}, {\"box_2d\": [5, 6";
    check(cut, &[("a", [2, 1, 4, 3])], 1);
    let flat = "[{\"box_2d\": [1, 2, 1, 4], \"label\": \"a\"}, {\"box_2d\": [1, 2, 3, 4]}]";
    check(flat, &[("", [2, 1, 4, 3])], 1);
}

#[test]
fn an_answer_without_boxes_says_why() {
    let check = |answer: &str, expected: &str| check_error(answer, Reading::Forgiving, expected);
    check("I see nothing.", "there is no JSON in it");
    check("[{\"label\": \"a\"}]", "it has no box");
    check("[{\"box_2d\": [1, 2]}]", "are not four numbers");
    check("[{\"box_2d\": [1, 2", "it was cut");
    check("[{nonsense}]", "{nonsense}: ");
}

proptest! {
    #[test]
    fn what_the_pattern_allows_is_read(
        answer in proptest::string::string_regex(&pattern()).unwrap(),
    ) {
        match Boxes::read(&answer, 100, 100, Reading::Forgiving) {
            Ok(boxes) => prop_assert!(
                boxes.passed_over.iter().all(|what| what.ends_with("a side has no length"))
            ),
            Err(error) => prop_assert!(error.to_string().contains("a side has no length")),
        }
    }

    #[test]
    fn any_answer_is_read_or_refused_and_boxes_lie_on_the_picture(
        answer in "[\\[\\]{}\"':,0-9 a-e._-]{0,200}|([\\[{,]?\\{\"box_2d\": ?\\[[0-9, .e-]{0,20}\\]?\\}?){0,9}",
        width in 1_u32..5000,
        height in 1_u32..5000,
    ) {
        for how in [Reading::Strict, Reading::Forgiving] {
            for found in Boxes::read(&answer, width, height, how).unwrap_or_default().found {
                prop_assert!(found.x_min_px <= found.x_max_px && found.x_max_px <= width);
                prop_assert!(found.y_min_px <= found.y_max_px && found.y_max_px <= height);
            }
        }
    }
}
