#![allow(clippy::unwrap_used)]
use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A folder with one good task and one good conversation.
fn good() -> (TempDir, Value, Value) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = json!({
        "made_by": "a test",
        "seed": 1,
        "tokenizer_sha256": "0",
        "tasks": [{"name": "typed", "title": "tool call", "marks": {"exact": 98},
                   "files": ["typed-00.json"]}],
    });
    let lesson = json!({
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [],
        "thinking": false,
        "expected": {"judged": "exact", "text": "Hello."},
    });
    (folder, manifest, lesson)
}

/// Opens the set in a folder and reads its conversations; why it is refused.
fn refusal(folder: &Path) -> String {
    let set = match HeldOut::open(folder) {
        Ok(set) => set,
        Err(error) => return format!("{error:#}"),
    };
    let refused = set.lessons(&set.tasks[0], 10).find_map(Result::err);
    refused.map_or_else(String::new, |error| format!("{error:#}"))
}

/// Writes both files as they are after a change, and checks why they are refused.
fn check(change: impl FnOnce(&mut Value, &mut Value), expected: &[&str]) {
    let (folder, mut manifest, mut lesson) = good();
    change(&mut manifest, &mut lesson);
    fs::write(folder.path().join(MANIFEST), manifest.to_string()).unwrap();
    fs::write(folder.path().join("typed-00.json"), lesson.to_string()).unwrap();
    let refusal = refusal(folder.path());
    for words in expected {
        assert!(refusal.contains(words), "no {words:?} in {refusal:?}");
    }
    assert_eq!(expected.is_empty(), refusal.is_empty(), "{refusal:?}");
}

#[test]
fn a_set_in_order_is_read() {
    check(|_, _| {}, &[]);
    check(|manifest, _| manifest["tasks"][0]["marks"]["exact"] = Value::Null, &[]);
}

#[test]
fn an_unknown_field_is_refused_with_its_file_and_place() {
    check(|manifest, _| manifest["extra"] = json!(1), &[MANIFEST, "extra"]);
    check(|manifest, _| manifest["tasks"][0]["extra"] = json!(1), &[MANIFEST, "extra"]);
    check(|_, lesson| lesson["extra"] = json!(1), &["typed-00.json", "extra is not known"]);
    check(
        |_, lesson| lesson["messages"][0]["name"] = json!("x"),
        &["typed-00.json", "messages[0].name is not known"],
    );
    let part = json!([{"type": "text", "text": "x", "colour": "red"}]);
    check(
        |_, lesson| lesson["messages"][0]["content"] = part,
        &["typed-00.json", "messages[0].content[0].colour is not known"],
    );
    check(
        |_, lesson| lesson["expected"]["extra"] = json!(1),
        &["typed-00.json", "expected", "extra"],
    );
    check(
        |_, lesson| lesson["order"] = json!({"name": "detect", "label": "x"}),
        &["typed-00.json", "order", "label"],
    );
}

#[test]
fn marks_that_nothing_could_reach_or_measure_are_refused() {
    let marks = |marks: Value| {
        move |manifest: &mut Value, _: &mut Value| manifest["tasks"][0]["marks"] = marks
    };
    check(marks(json!({})), &[MANIFEST, "no marks"]);
    check(marks(json!({"exact": 101})), &["exact is 101; accepted: 0 to 100"]);
    check(marks(json!({"exact": "98"})), &["exact is \"98\""]);
    check(marks(json!({"overlap": 60})), &["overlap is 60; accepted: 0 to 1"]);
    check(marks(json!({"speed": 1})), &["\"speed\" is not measured; expected one of exact"]);
    check(marks(json!({"overlap": 0.5})), &["typed-00.json", "has no measure \"overlap\""]);
}

#[test]
fn tasks_have_names_and_files() {
    let task = |field: &'static str, value: Value| {
        move |manifest: &mut Value, _: &mut Value| manifest["tasks"][0][field] = value
    };
    check(task("name", json!("Typed!")), &["tasks[0]", "name \"Typed!\"; accepted: a-z"]);
    check(task("name", json!("")), &["name \"\"; accepted"]);
    check(task("title", json!("x".repeat(61))), &["tasks[0]", "accepted: 1 to 60 letters"]);
    check(task("files", json!([])), &["0 files; accepted: 1 to 1000"]);
    check(|manifest, _| manifest["tasks"] = json!([]), &["0 tasks; expected 1 to 64"]);
    check(
        |manifest, _| manifest["tasks"] = json!([manifest["tasks"][0], manifest["tasks"][0]]),
        &["two tasks are named \"typed\""],
    );
}

#[test]
fn a_path_out_of_the_folder_is_refused_before_it_is_opened() {
    for path in ["../typed-00.json", "/etc/passwd", "a/b.json", ".", "..", "", "./typed-00.json"] {
        check(
            |manifest, _| manifest["tasks"][0]["files"][0] = json!(path),
            &["leads out of the folder"],
        );
        let part = json!([{"type": "image", "path": path}]);
        check(
            |_, lesson| lesson["messages"][0]["content"] = part,
            &["typed-00.json", "messages[0].content[0].path", "leads out of the folder"],
        );
    }
    let remote = json!([{"type": "image", "url": "file:///etc/passwd"}]);
    check(
        |_, lesson| lesson["messages"][0]["content"] = remote,
        &["messages[0].content[0].url is not known"],
    );
}

#[test]
fn a_missing_file_is_named() {
    check(|manifest, _| manifest["tasks"][0]["files"][0] = json!("lost.json"), &["lost.json"]);
    let part = json!([{"type": "image", "path": "lost.png"}]);
    check(
        |_, lesson| lesson["messages"][0]["content"] = part,
        &["typed-00.json", "content[0].path", "lost.png"],
    );
    assert!(refusal(Path::new("/nonexistent")).contains("/nonexistent/selftest.json"));
}

#[test]
fn text_that_is_no_json_is_refused_with_its_line() {
    let (folder, manifest, _) = good();
    fs::write(folder.path().join(MANIFEST), "{\n\"tasks\": [").unwrap();
    assert!(refusal(folder.path()).contains("line 2"), "{}", refusal(folder.path()));
    fs::write(folder.path().join(MANIFEST), manifest.to_string()).unwrap();
    fs::write(folder.path().join("typed-00.json"), "[1, 2]").unwrap();
    assert!(refusal(folder.path()).contains("typed-00.json"));
    fs::write(folder.path().join("typed-00.json"), [0xFF, 0xFE]).unwrap();
    assert!(refusal(folder.path()).contains("typed-00.json"));
}

#[test]
fn a_huge_file_a_link_and_a_pipe_are_not_read() {
    let (folder, manifest, lesson) = good();
    let path = |name: &str| folder.path().join(name);
    fs::write(path(MANIFEST), manifest.to_string()).unwrap();
    // A hole: the file system gives it no room.
    let huge = fs::File::create(path("typed-00.json")).unwrap();
    huge.set_len(1 << 40).unwrap();
    assert!(refusal(folder.path()).contains("1099511627776 bytes, at most 1048576 are read"));
    fs::remove_file(path("typed-00.json")).unwrap();
    symlink("/etc/passwd", path("typed-00.json")).unwrap();
    assert!(refusal(folder.path()).contains("typed-00.json is no plain file"));
    fs::remove_file(path("typed-00.json")).unwrap();
    fs::create_dir(path("typed-00.json")).unwrap();
    assert!(refusal(folder.path()).contains("typed-00.json is no plain file"));
    fs::remove_dir(path("typed-00.json")).unwrap();

    let mut seeing = lesson;
    seeing["messages"][0]["content"] = json!([{"type": "video", "path": "film"}]);
    fs::write(path("typed-00.json"), seeing.to_string()).unwrap();
    fs::create_dir(path("film")).unwrap();
    symlink("/dev/zero", path("film/0.png")).unwrap();
    assert!(refusal(folder.path()).contains("film/0.png is no plain file"));
    fs::remove_file(path("film/0.png")).unwrap();
    for at in 0..65 {
        fs::write(path(&format!("film/{at}.png")), "").unwrap();
    }
    assert!(refusal(folder.path()).contains("more than 64 pictures"));
}

#[test]
fn an_order_asks_what_the_conversation_asks() {
    let words = "detect cup, output only ```json";
    let mut picture = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(2, 2).write_to(&mut picture, image::ImageFormat::Png).unwrap();
    let refused = |label: &str| {
        let (folder, mut manifest, mut lesson) = good();
        manifest["tasks"][0]["marks"] = json!({"valid": 100, "overlap": 0.6});
        lesson["messages"][0]["content"] =
            json!([{"type": "image", "path": "0.png"}, {"type": "text", "text": words}]);
        lesson["order"] = json!({"name": "detect", "labels": [label]});
        lesson["expected"] = json!({"judged": "boxes", "boxes": []});
        fs::write(folder.path().join("0.png"), picture.get_ref()).unwrap();
        fs::write(folder.path().join(MANIFEST), manifest.to_string()).unwrap();
        fs::write(folder.path().join("typed-00.json"), lesson.to_string()).unwrap();
        refusal(folder.path())
    };
    assert_eq!(refused("cup"), "");
    assert!(refused("pen").contains("the task asks \"detect pen"), "{}", refused("pen"));
}

#[test]
fn a_set_beside_a_model_is_taken_only_if_it_is_for_the_model() {
    let (root, mut manifest, _) = good();
    let (model, set) = (root.path().join("model"), root.path().join("held-out"));
    fs::create_dir(&model).unwrap();
    fs::write(model.join("tokenizer.json"), "abc").unwrap();
    let found = Found::of(&model, None).unwrap();
    assert!(matches!(&found, Found::Nothing(place) if place.ends_with("held-out")), "{found:?}");
    fs::create_dir(&set).unwrap();
    fs::write(set.join(MANIFEST), manifest.to_string()).unwrap();
    assert!(matches!(Found::of(&model, None).unwrap(), Found::ForAnother(_)));
    // Who names it knows why.
    assert!(matches!(Found::of(&model, Some(&set)).unwrap(), Found::Set(_)));
    manifest["tokenizer_sha256"] =
        json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    fs::write(set.join(MANIFEST), manifest.to_string()).unwrap();
    assert!(matches!(Found::of(&model, None).unwrap(), Found::Set(_)));
    assert!(Found::of(&model, Some(&model)).is_err());
    fs::write(set.join(MANIFEST), "{").unwrap();
    assert!(Found::of(&model, None).is_err(), "a set that is broken is not passed over");
}
