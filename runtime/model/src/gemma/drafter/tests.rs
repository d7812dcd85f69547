//! What is drafted is what transformers drafts behind the same tokens.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;
use tempfile::TempDir;

use super::likeliest;
use crate::engine::ort::set_up::{library, ort};
use crate::engine::tract::Tract;
use crate::engine::{Engine, EngineKind};
use crate::fixture::{self, Decoder, Fixture, Layout};
use crate::folder::{Dtypes, Folder};
use crate::gemma::cache::Slot;
use crate::gemma::config::Config;
use crate::gemma::fast::Fast;
use crate::gemma::open::Use;
use crate::gemma::{Block, Gemma};
use crate::optimize::{OptimizeOptions, optimize};

#[derive(Deserialize)]
struct Drafted {
    /// Tokens of the answer before the one that the draft follows.
    after: usize,
    draft: Vec<u32>,
}

/// The published folder of a size with its drafter.
fn assembled(fixture: &Fixture) -> TempDir {
    let published = fixture.assemble();
    let packed = File::open(fixture::folder().join(fixture.variant).join("assistant.onnx.gz"));
    let mut graph = Vec::new();
    GzDecoder::new(packed.unwrap()).read_to_end(&mut graph).unwrap();
    std::fs::create_dir(published.path().join("assistant")).unwrap();
    std::fs::write(published.path().join("assistant/model.onnx"), graph).unwrap();
    published
}

fn open<E: Engine>(engine: E, folder: &Path, fast: Fast) -> Gemma<E> {
    let used = Use { all_logits: false, context_tokens: 448, fast, kv_bytes_max: None };
    let found = Folder::find(folder, Dtypes::default(), false).unwrap();
    Gemma::open(engine, &found, Config::open(folder).unwrap(), used).unwrap().0
}

fn forward<E: Engine>(gemma: &mut Gemma<E>, tokens: &[u32]) {
    let slots: Vec<Slot> = tokens.iter().map(|&id| Slot::Token(id)).collect();
    let ids: Vec<i64> = tokens.iter().map(|&id| i64::from(id)).collect();
    let placeholder_ids = ids.clone();
    let block = Block { slots: &slots, ids, placeholder_ids, features: Vec::new() };
    gemma.forward(&block, 1).unwrap();
}

/// Two conversations of a size, the second of them far longer than the window.
fn check<E: Engine>(variant: &'static str, engine: E) {
    let all = fixture::of_variant(variant).into_iter();
    let mut fast = all.filter(|one| one.decoder == Decoder::Fast && one.layout == Layout::A);
    let fixture = fast.find(|one| one.dtype == "fp32").unwrap();
    let folder = assembled(&fixture);
    let library = Some(library());
    let options = OptimizeOptions {
        engine: EngineKind::Ort,
        library,
        threads: 1,
        ..OptimizeOptions::default()
    };
    optimize(folder.path(), &options).unwrap();
    let mut gemma = open(engine, folder.path(), Fast::Required);
    let path = fixture::folder().join(variant).join("drafts.json");
    let drafts: BTreeMap<String, Vec<Drafted>> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for name in ["text", "long"] {
        let answer = fixture.expected().answer(name).unwrap();
        for Drafted { after, draft } in &drafts[name] {
            let (seen, coming) = answer.continuation_ids.split_at(*after);
            gemma.truncate(0).unwrap();
            forward(&mut gemma, &[&answer.prompt_ids, seen].concat());
            let drafted = gemma.draft(draft.len(), coming[0], 0);
            assert_eq!(gemma.refusals()[2], ("drafts", None), "{variant} {name} after {after}");
            assert_eq!(&drafted, draft, "{variant} {name} after {after}");
            assert!(gemma.draft(1, coming[0], 1).is_empty(), "there is no such state");
        }
    }
}

#[test]
fn a_draft_is_that_of_the_reference_on_ort() {
    check("e2b", ort());
    check("31b", ort());
}

#[test]
fn a_draft_is_that_of_the_reference_on_tract() {
    check("e2b", Tract::open(1));
    check("31b", Tract::open(1));
}

#[test]
fn a_drafter_without_a_fast_graph_is_refused_and_nothing_else() {
    let all = fixture::of_variant("e2b").into_iter();
    let mut published = all.filter(|one| one.layout == Layout::A && one.dtype == "fp32");
    let folder = assembled(&published.next().unwrap());
    let mut gemma = open(ort(), folder.path(), Fast::Off);
    let [.., (what, reason)] = gemma.refusals();
    assert_eq!(what, "drafts");
    assert!(reason.unwrap().contains("`gemmad model optimize` writes it"), "{reason:?}");
    forward(&mut gemma, &[2, 7]);
    assert!(gemma.draft(3, 8, 0).is_empty());
}

#[test]
fn the_first_of_the_likeliest_is_taken() {
    assert_eq!(likeliest(&[1.0, 3.0, 3.0, f32::NAN]).unwrap(), 1);
    assert_eq!(likeliest(&[f32::NEG_INFINITY]).unwrap(), 0);
    assert!(likeliest(&[]).is_err());
}
