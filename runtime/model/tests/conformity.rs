//! Both engines against transformers: every size, layout and precision, every kind of prompt. Each
//! cell of the table in `docs/conformity.md` is pinned here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "conformity/bar.rs"]
mod bar;
#[path = "conformity/cell.rs"]
mod cell;
#[path = "conformity/conversation.rs"]
mod conversation;
#[path = "conformity/fixture.rs"]
mod fixture;

use std::fs;

use gemma_runtime::{EngineKind, KvInfo, Model};
use serde_json::Value;

/// Runs all fixtures of a size on an engine and names every cell that is not what it must be.
fn check(variant: &'static str, engine: EngineKind) {
    let mut wrong = Vec::new();
    for fixture in fixture::of_variant(variant) {
        for cell in cell::run(&fixture, engine) {
            let bar = bar::bar(&fixture, cell.case);
            if !bar.allows(&cell.outcome) {
                let decoder = fixture.decoder.name();
                let name = (fixture.layout.name(), fixture.dtype, decoder, cell.case);
                wrong.push(format!("{name:?} must be {bar:?}, is {:?}", cell.outcome));
            }
        }
    }
    assert!(wrong.is_empty(), "{variant} on {engine:?}:\n{}", wrong.join("\n"));
}

#[test]
fn e2b_answers_like_the_reference_on_ort() {
    check("e2b", EngineKind::Ort);
}

#[test]
fn e4b_answers_like_the_reference_on_ort() {
    check("e4b", EngineKind::Ort);
}

#[test]
fn the_12b_answers_like_the_reference_on_ort() {
    check("12b", EngineKind::Ort);
}

#[test]
fn the_26b_answers_like_the_reference_on_ort() {
    check("26b", EngineKind::Ort);
}

#[test]
fn the_31b_answers_like_the_reference_on_ort() {
    check("31b", EngineKind::Ort);
}

#[test]
fn e2b_answers_like_the_reference_on_tract() {
    check("e2b", EngineKind::Tract);
}

#[test]
fn e4b_answers_like_the_reference_on_tract() {
    check("e4b", EngineKind::Tract);
}

#[test]
fn the_12b_answers_like_the_reference_on_tract() {
    check("12b", EngineKind::Tract);
}

#[test]
fn the_26b_answers_like_the_reference_on_tract() {
    check("26b", EngineKind::Tract);
}

#[test]
fn the_31b_answers_like_the_reference_on_tract() {
    check("31b", EngineKind::Tract);
}

#[test]
fn the_table_in_the_docs_has_a_row_for_every_fixture_and_engine() {
    let page = fs::read_to_string(fixture::folder().join("../../../../../docs/conformity.md"));
    let page = page.unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let found: Vec<String> =
        rows.map(|row| row.split(" | ").take(5).collect::<Vec<_>>().join(" | ")).collect();
    let mut expected = Vec::new();
    for (variant, _) in fixture::VARIANTS {
        for fixture in fixture::of_variant(variant) {
            for engine in [EngineKind::Ort, EngineKind::Tract] {
                let (layout, dtype) = (fixture.layout.name(), fixture.dtype);
                let decoder = fixture.decoder.name();
                expected.push(format!("| {variant} | {layout} | {dtype} | {decoder} | {engine}"));
            }
        }
    }
    assert_eq!(found, expected);
    assert!(!page.contains('!') || page.matches('!').count() == 1, "a cell is not what it must be");
}

/// The exporter's packages, one `NAME==VERSION` a line.
const PINNED: &str = include_str!("../../export/requirements.txt");

#[test]
fn the_fixtures_were_made_by_the_packages_that_the_exporter_pins() {
    let made = fs::read(fixture::folder().join("made_with.json")).unwrap();
    let made: Value = serde_json::from_slice(&made).unwrap();
    let packages = made["packages"].as_object().unwrap();
    assert!(packages.contains_key("transformers") && packages.contains_key("torch"));
    for (name, version) in packages {
        // A build of torch for one kind of processor says so behind a plus.
        let version = version.as_str().unwrap().split('+').next().unwrap();
        let line = format!("{name}=={version}");
        assert!(PINNED.lines().any(|pinned| pinned == line), "{line} is none of\n{PINNED}");
    }
    let seeded = made["seeds"].as_object().unwrap();
    assert!(fixture::VARIANTS.iter().all(|(variant, _)| seeded.contains_key(*variant)));
}

#[test]
fn the_fixtures_stay_below_ten_megabytes() {
    assert!(bytes_below(&fixture::folder()) < 10_000_000);
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let bytes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => bytes_below(&entry.path()),
        false => entry.metadata().unwrap().len(),
    });
    bytes.sum()
}

/// Opens all fixtures on an engine and lets each read a conversation of several windows: sliding
/// layers keep the rows of their window, and those to go back to, but not the whole conversation.
fn check_memory(engine: EngineKind) {
    for (variant, _) in fixture::VARIANTS {
        for fixture in fixture::of_variant(variant) {
            let folder = fixture.assemble();
            let mut model = Model::open(folder.path(), &cell::options(&fixture, engine)).unwrap();
            let messages = conversation::read(&fixture::folder(), "long");
            let tokens = model.trace(&messages, &[], false, 1).unwrap().prompt_ids.len();
            let KvInfo { local_bytes, global_bytes, window_tokens, keeps_window } = model.info().kv;
            assert!(keeps_window, "{fixture:?} on {engine} keeps everything");
            assert!(tokens >= 4 * window_tokens, "{tokens} tokens are no long conversation");
            let rows = (model.kv_bytes() - global_bytes * tokens).div_ceil(local_bytes);
            assert!(rows < tokens / 2, "{fixture:?} on {engine} keeps {rows} rows of {tokens}");
        }
    }
}

#[test]
fn sliding_layers_of_a_long_conversation_keep_their_window_on_ort() {
    check_memory(EngineKind::Ort);
}

#[test]
fn sliding_layers_of_a_long_conversation_keep_their_window_on_tract() {
    check_memory(EngineKind::Tract);
}
