//! The computation against the reference: same logits, same greedy continuation, whatever the
//! engine, however the prompt is cut, and whatever the cache held before.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gemma_types::{Frame, Utterance};
use serde::Deserialize;

use super::*;
use crate::engine::ort::set_up::ort;
use crate::engine::tract::Tract;
use crate::folder::{Dtypes, Folder};
use crate::gemma::config::Config;
use crate::gemma::fast::Fast;
use crate::gemma::open::Use;
use crate::gemma::trace::Trace;
use crate::prompt::Segment;
use crate::tokens::ControlTokens;

/// Largest difference of a logit: fp16 weights, f32 arithmetic in another order.
const TOLERANCE: f32 = 1e-3;

#[derive(Deserialize)]
struct Reference {
    text: Vec<Case>,
    image: Case,
    audio: Case,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    prompt_ids: Vec<u32>,
    continuation_ids: Vec<u32>,
    last_logits: Vec<f32>,
    file: Option<String>,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn fixture(name: &str) -> PathBuf {
    workspace().join("tests/fixtures/demo").join(name)
}

fn reference() -> Reference {
    let text = std::fs::read(fixture("reference.json")).expect("tests/fixtures/demo is checked in");
    serde_json::from_slice(&text).unwrap()
}

fn open<E: Engine>(engine: E) -> (Gemma<E>, Tokenizer) {
    open_with(engine, false)
}

fn open_with<E: Engine>(engine: E, all_logits: bool) -> (Gemma<E>, Tokenizer) {
    open_for(engine, Use { all_logits, context_tokens: 4096, fast: Fast::Off, kv_bytes_max: None })
}

fn open_for<E: Engine>(engine: E, used: Use) -> (Gemma<E>, Tokenizer) {
    let path = workspace().join("runtime/demo-model");
    let folder = Folder::find(&path, Dtypes::default(), false).unwrap();
    let config = Config::open(&path).unwrap();
    let tokenizer = Tokenizer::open(&path).unwrap();
    (Gemma::open(engine, &folder, config, used).unwrap().0, tokenizer)
}

/// The prompt of a case, with runs of placeholders as the media they stand for.
fn prompt(case: &Case, ids: &ControlTokens) -> Prompt {
    let mut segments = Vec::new();
    let mut tokens = Vec::new();
    let mut previous = None;
    for &id in &case.prompt_ids {
        let medium = [(ids.image, Segment::Image(0)), (ids.audio, Segment::Audio(0))];
        match medium.into_iter().find(|(placeholder, _)| *placeholder == Some(id)) {
            Some((_, segment)) if previous != Some(id) => {
                segments.extend([Segment::Tokens(std::mem::take(&mut tokens)), segment]);
            }
            Some(_) => {}
            None => tokens.push(id),
        }
        previous = Some(id);
    }
    segments.push(Segment::Tokens(tokens));
    let file = case.file.as_deref();
    let images = file.filter(|name| name.ends_with(".png")).map(picture).into_iter().collect();
    let audio = file.filter(|name| name.ends_with(".wav")).map(sound).into_iter().collect();
    Prompt { segments, images, audio, clips: Vec::new(), thought_open: false }
}

fn picture(name: &str) -> Frame {
    let rgb = image::open(fixture(name)).unwrap().to_rgb8();
    let (width, height) = rgb.dimensions();
    Frame { width, height, rgb: rgb.into_raw().into(), captured_at: Duration::ZERO }
}

/// Samples of a WAV file of 16-bit mono sound at 16 kHz.
fn sound(name: &str) -> Utterance {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let at = bytes.windows(4).position(|chunk| chunk == b"data").unwrap() + 8;
    let pairs = bytes[at..].chunks_exact(2);
    let samples: Vec<i16> = pairs.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    Utterance { samples: Arc::from(samples), started_at: Duration::ZERO, caption: None }
}

fn limits(block_tokens: usize) -> Limits {
    Limits { context_tokens: 4096, block_tokens, image_budget: 70, guesses: Guesses::Never }
}

/// Takes a prompt through the decoder; the logits of its end, and what the cache spared.
fn prefill<E: Engine>(
    gemma: &mut Gemma<E>,
    tokenizer: &Tokenizer,
    case: &Case,
    block_tokens: usize,
) -> (Vec<f32>, usize) {
    let prompt = prompt(case, tokenizer.ids());
    let options = ReplyOptions { sampling: Sampling::greedy(), ..ReplyOptions::default() };
    let limits = limits(block_tokens);
    let request = Request { prompt: &prompt, tools: &[], options: &options };
    let mut steps = Steps::begin(gemma, tokenizer, limits, &request).unwrap();
    while matches!(steps.next, Next::Prefill(_)) {
        steps.step().unwrap();
    }
    assert_eq!(steps.usage.prompt_tokens, case.prompt_ids.len(), "{}", case.name);
    (steps.gemma.logits().to_vec(), steps.usage.cached_tokens)
}

fn greedy(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
    u32::try_from(best.0).unwrap()
}

fn check_close(name: &str, logits: &[f32], expected: &[f32]) {
    assert_eq!(logits.len(), expected.len(), "{name}");
    let differences = logits.iter().zip(expected).map(|(ours, theirs)| (ours - theirs).abs());
    let most = differences.fold(0.0, |most: f32, next| if next > most { next } else { most });
    assert!(logits.iter().all(|logit| logit.is_finite()), "{name}: a logit is no number");
    assert!(most < TOLERANCE, "{name}: a logit differs by {most}");
}

fn check_case<E: Engine>(gemma: &mut Gemma<E>, tokenizer: &Tokenizer, case: &Case) {
    let (logits, _) = prefill(gemma, tokenizer, case, 256);
    check_close(&case.name, &logits, &case.last_logits);
    let mut ids = vec![greedy(&logits)];
    while ids.len() < case.continuation_ids.len() {
        let id = ids[ids.len() - 1];
        gemma.forward(&Block::token(&[Slot::Token(id)], id), 1).unwrap();
        ids.push(greedy(gemma.logits()));
    }
    assert_eq!(ids, case.continuation_ids, "{}", case.name);
}

#[test]
fn onnxruntime_answers_text_as_the_reference_does() {
    let (mut gemma, tokenizer) = open(ort());
    for case in &reference().text {
        check_case(&mut gemma, &tokenizer, case);
    }
}

#[test]
fn onnxruntime_sees_as_the_reference_does() {
    let (mut gemma, tokenizer) = open(ort());
    check_case(&mut gemma, &tokenizer, &reference().image);
}

#[test]
fn onnxruntime_hears_as_the_reference_does() {
    let (mut gemma, tokenizer) = open(ort());
    check_case(&mut gemma, &tokenizer, &reference().audio);
}

#[test]
fn tract_answers_text_as_the_reference_does() {
    let (mut gemma, tokenizer) = open(Tract::open(1));
    for case in &reference().text {
        check_case(&mut gemma, &tokenizer, case);
    }
}

#[test]
fn tract_sees_as_the_reference_does() {
    let (mut gemma, tokenizer) = open(Tract::open(1));
    check_case(&mut gemma, &tokenizer, &reference().image);
}

#[test]
fn tract_hears_as_the_reference_does() {
    let (mut gemma, tokenizer) = open(Tract::open(1));
    check_case(&mut gemma, &tokenizer, &reference().audio);
}

/// A trace is the reference's numbers, with those of every position where they are asked for.
fn check_trace<E: Engine>(engine: impl Fn() -> E, cases: &[&Case]) {
    let (mut last, tokenizer) = open_with(engine(), false);
    let (mut all, _) = open_with(engine(), true);
    for case in cases {
        let prompt = prompt(case, tokenizer.ids());
        let tokens = case.continuation_ids.len();
        for (gemma, rows) in [(&mut last, 1), (&mut all, case.prompt_ids.len())] {
            let trace = Trace::take(gemma, &tokenizer, limits(7), &prompt, tokens).unwrap();
            assert_eq!(trace.prompt_ids, case.prompt_ids, "{}", case.name);
            assert_eq!(trace.rows, rows, "{}", case.name);
            let vocabulary = case.last_logits.len();
            assert_eq!(trace.logits.len(), rows * vocabulary);
            check_close(&case.name, &trace.logits[(rows - 1) * vocabulary..], &case.last_logits);
            assert_eq!(trace.continuation, case.continuation_ids, "{}", case.name);
        }
    }
}

#[test]
fn a_trace_holds_the_numbers_of_the_reference() {
    let reference = reference();
    check_trace(ort, &[&reference.text[0], &reference.image, &reference.audio]);
    check_trace(|| Tract::open(1), &[&reference.text[1]]);
}

#[test]
fn a_trace_beyond_the_context_is_refused() {
    let (mut gemma, tokenizer) = open(Tract::open(1));
    let case = &reference().text[0];
    let prompt = prompt(case, tokenizer.ids());
    let limits = Limits { context_tokens: case.prompt_ids.len() + 3, ..limits(256) };
    let error = Trace::take(&mut gemma, &tokenizer, limits, &prompt, 4).unwrap_err();
    assert!(matches!(error, Error::PromptTooLong { .. }), "{error}");
}

#[test]
fn sliding_layers_keep_their_window_and_the_numbers_stay() {
    let case = &reference().image;
    let (mut short, tokenizer) = open(ort());
    let window = short.config().window_tokens;
    // A conversation that fits into the window needs nothing cut off.
    let (mut long, _) = open_for(
        ort(),
        Use { all_logits: false, context_tokens: window, fast: Fast::Off, kv_bytes_max: None },
    );
    assert!(case.prompt_ids.len() > 2 * window, "the prompt is too short for this test");
    assert!(short.decoder().keeps_window() && !long.decoder().keeps_window());
    let prompt = prompt(case, tokenizer.ids());
    let tokens = 2 * window;
    let traces = [&mut short, &mut long]
        .map(|gemma| Trace::take(gemma, &tokenizer, limits(32), &prompt, tokens).unwrap());
    check_close("kept short", &traces[0].logits, &traces[1].logits);
    assert_eq!(traces[0].continuation, traces[1].continuation);
    let (sliding, global) = short.decoder().token_bytes();
    let length = long.decoder().len();
    assert_eq!(long.decoder().bytes(), (sliding + global) * length);
    let most = sliding * (2 * window + 66) + global * length;
    assert!(short.decoder().bytes() <= most, "{} of {most} bytes", short.decoder().bytes());
}

/// Each cut of the prompt gives the logits of the whole, from an empty cache each time.
fn check_blocks<E: Engine>(engine: E, case: &Case, blocks: &[usize]) {
    let (mut gemma, tokenizer) = open(engine);
    for &block_tokens in blocks {
        gemma.truncate(0).unwrap();
        let (logits, cached) = prefill(&mut gemma, &tokenizer, case, block_tokens);
        assert_eq!(cached, 0);
        check_close(&format!("blocks of {block_tokens}"), &logits, &case.last_logits);
    }
}

#[test]
fn a_prompt_in_blocks_gives_the_logits_of_the_whole() {
    check_blocks(ort(), &reference().text[0], &[1, 7, 64, 4096]);
    check_blocks(ort(), &reference().image, &[13, 64, 4096]);
    check_blocks(ort(), &reference().audio, &[13]);
    check_blocks(Tract::open(1), &reference().text[0], &[1, 64, 4096]);
}

/// Whatever prompt came before, the logits are those of a fresh start.
fn check_reuse<E: Engine>(engine: E, cases: &[&Case]) {
    let (mut gemma, tokenizer) = open(engine);
    let mut spared = 0;
    for first in cases {
        for second in cases {
            prefill(&mut gemma, &tokenizer, first, 256);
            let (logits, cached) = prefill(&mut gemma, &tokenizer, second, 256);
            let name = format!("{} after {}", second.name, first.name);
            check_close(&name, &logits, &second.last_logits);
            assert!(cached < second.prompt_ids.len(), "{name}");
            spared += cached;
        }
    }
    assert!(spared > 0, "nothing was reused");
}

#[test]
fn a_reused_prefix_gives_the_logits_of_a_fresh_start() {
    let reference = reference();
    let text = &reference.text;
    check_reuse(ort(), &[&text[0], &text[1], &reference.image, &reference.audio]);
    check_reuse(Tract::open(1), &[&text[0], &text[1], &text[2]]);
}

#[test]
fn a_media_prompt_repeated_encodes_nothing() {
    let (mut gemma, tokenizer) = open(ort());
    let case = reference().image;
    prefill(&mut gemma, &tokenizer, &case, 256);
    let (_, cached) = prefill(&mut gemma, &tokenizer, &case, 256);
    assert_eq!(cached, case.prompt_ids.len() - 1);
}

fn refusal<E: Engine>(
    gemma: &mut Gemma<E>,
    tokenizer: &Tokenizer,
    limits: Limits,
    prompt: &Prompt,
) -> Error {
    let options = ReplyOptions::default();
    let request = Request { prompt, tools: &[], options: &options };
    Steps::begin(gemma, tokenizer, limits, &request).err().unwrap()
}

#[test]
fn a_prompt_beyond_the_context_is_refused() {
    let (mut gemma, tokenizer) = open(Tract::open(1));
    let case = &reference().text[0];
    let prompt = prompt(case, tokenizer.ids());
    let limits = Limits { context_tokens: case.prompt_ids.len(), ..limits(256) };
    let error = refusal(&mut gemma, &tokenizer, limits, &prompt);
    assert!(matches!(error, Error::PromptTooLong { .. }), "{error}");
}

mod fast;
