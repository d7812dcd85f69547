//! The fast graph of the demo model against the reference, and against what it remembers.

use tempfile::TempDir;

use super::*;
use crate::optimize::{OptimizeOptions, optimize};

/// A copy of the demo model with its fast graph.
fn folder() -> TempDir {
    let (from, copy) = (workspace().join("runtime/demo-model"), tempfile::tempdir().unwrap());
    std::fs::create_dir(copy.path().join("onnx")).unwrap();
    for part in ["", "onnx"] {
        for entry in std::fs::read_dir(from.join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let to = copy.path().join(part).join(entry.file_name());
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    optimize(copy.path(), &OptimizeOptions::default()).unwrap();
    copy
}

fn open<E: Engine>(engine: E, all_logits: bool) -> (TempDir, Gemma<E>, Tokenizer) {
    let copy = folder();
    let folder = Folder::find(copy.path(), Dtypes::default(), false).unwrap();
    let config = Config::open(copy.path()).unwrap();
    let tokenizer = Tokenizer::open(copy.path()).unwrap();
    let fast = Fast::Required;
    let used = Use { all_logits, context_tokens: 4096, fast, kv_bytes_max: None };
    let (gemma, infos) = Gemma::open(engine, &folder, config, used).unwrap();
    assert!(infos.iter().any(|info| info.file.to_string_lossy().ends_with(".fast.onnx")));
    (copy, gemma, tokenizer)
}

fn check_answers<E: Engine>(engine: E, cases: &[&Case]) {
    let (_copy, mut gemma, tokenizer) = open(engine, false);
    for case in cases {
        check_case(&mut gemma, &tokenizer, case);
    }
}

#[test]
fn the_fast_graph_answers_as_the_reference_does() {
    let reference = reference();
    let Reference { text, image, audio } = &reference;
    check_answers(ort(), &[&text[0], &text[1], image, audio]);
    check_answers(Tract::open(1), &[&text[0], image]);
}

#[test]
fn a_prompt_in_blocks_gives_the_logits_of_the_whole_with_the_fast_graph() {
    let (_copy, mut gemma, tokenizer) = open(ort(), false);
    for (case, blocks) in [(&reference().text[0], [1, 7, 4096]), (&reference().image, [1, 13, 64])]
    {
        for block_tokens in blocks {
            gemma.truncate(0).unwrap();
            let (logits, cached) = prefill(&mut gemma, &tokenizer, case, block_tokens);
            assert_eq!(cached, 0);
            check_close(&format!("blocks of {block_tokens}"), &logits, &case.last_logits);
        }
    }
}

#[test]
fn a_reused_prefix_gives_the_logits_of_a_fresh_start_with_the_fast_graph() {
    let (_copy, mut gemma, tokenizer) = open(ort(), false);
    let Reference { text, image, audio } = reference();
    let cases = [&text[0], &text[1], &image, &audio];
    let mut spared = 0;
    for first in cases {
        for second in cases {
            prefill(&mut gemma, &tokenizer, first, 256);
            let (logits, cached) = prefill(&mut gemma, &tokenizer, second, 256);
            check_close(
                &format!("{} after {}", second.name, first.name),
                &logits,
                &second.last_logits,
            );
            spared += cached;
        }
    }
    assert!(spared > 0, "nothing was reused");
}

#[test]
fn a_trace_of_the_fast_graph_holds_logits_of_every_position() {
    let (_copy, mut gemma, tokenizer) = open(ort(), true);
    let case = &reference().text[0];
    let prompt = prompt(case, tokenizer.ids());
    let trace = Trace::take(&mut gemma, &tokenizer, limits(7), &prompt, 4).unwrap();
    assert_eq!(trace.rows, case.prompt_ids.len());
    assert_eq!(trace.continuation, case.continuation_ids[..4]);
}

#[test]
fn a_step_that_fails_leaves_what_was_seen_as_it_was() {
    let (_copy, mut gemma, tokenizer) = open(ort(), false);
    let case = &reference().text[0];
    let (expected, _) = prefill(&mut gemma, &tokenizer, case, 256);
    let seen = gemma.decoder().len();
    let slots = [Slot::Token(5); 3];
    let ids = vec![5; 3];
    let block = Block { slots: &slots, placeholder_ids: ids.clone(), ids, features: Vec::new() };
    // More logits than tokens: the graph cannot take so many rows.
    let error = gemma.forward(&block, 5).unwrap_err();
    assert_eq!(gemma.decoder().len(), seen, "{error}");
    let (logits, cached) = prefill(&mut gemma, &tokenizer, case, 256);
    assert_eq!(cached, case.prompt_ids.len() - 1);
    check_close("after a step that failed", &logits, &expected);
}
