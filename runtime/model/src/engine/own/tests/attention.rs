//! Attention against its plain form, step by step, and what it refuses.

use super::*;
use crate::engine::own::ATTENTION;
use crate::sequence::handles::{self, Handle};
use crate::sequence::{LayerShape, Sequence, Slot, Store};

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const WIDTH: usize = 8;
const ROTATED: usize = 3;
const THETA: f32 = 100.0;
const EPSILON: f32 = 1e-6;
const WINDOW: usize = 4;

/// All tokens of a conversation, and what an attention makes of them.
struct Conversation {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    norms: [Vec<f32>; 2],
    expected: Vec<f32>,
}

impl Conversation {
    fn new(tokens: usize) -> Self {
        let mut noise = Noise(3);
        let mut rows = |heads: usize| noise.row(tokens * heads * WIDTH);
        let [query, key, value] = [rows(HEADS), rows(KV_HEADS), rows(KV_HEADS)];
        let norms = [noise.row(WIDTH), noise.row(WIDTH)];
        let queries = prepared(&query, HEADS, Some(&norms[0]));
        let keys = prepared(&key, KV_HEADS, Some(&norms[1]));
        let values = prepared(&value, KV_HEADS, None);
        let mut expected = Vec::new();
        for at in 0..tokens {
            for head in 0..HEADS {
                let of = |rows: &[Vec<f32>], at: usize, heads: usize, head: usize| {
                    rows[at * heads + head].clone()
                };
                let query = of(&queries, at, HEADS, head);
                let seen = (at + 1).saturating_sub(WINDOW)..at + 1;
                let kv_head = head / (HEADS / KV_HEADS);
                let score = |other: usize| {
                    let key = of(&keys, other, KV_HEADS, kv_head);
                    query.iter().zip(&key).map(|(query, key)| query * key).sum::<f32>().exp()
                };
                let scores: Vec<f32> = seen.clone().map(score).collect();
                let total: f32 = scores.iter().sum();
                let mut sum = vec![0.0; WIDTH];
                for (score, other) in scores.iter().zip(seen) {
                    let value = of(&values, other, KV_HEADS, kv_head);
                    sum.iter_mut()
                        .zip(&value)
                        .for_each(|(sum, value)| *sum += score / total * value);
                }
                expected.extend(sum);
            }
        }
        Self { query, key, value, norms, expected }
    }

    /// The graph of a step of some tokens, `keep` of whose queries are wanted.
    fn step(&self, handle: i64, tokens: std::ops::Range<usize>, keep: usize) -> Single {
        let part = |data: &[f32], heads: usize, from: usize| {
            data[from * heads * WIDTH..tokens.end * heads * WIDTH].to_vec()
        };
        let inputs = vec![
            rows("query", HEADS * WIDTH, part(&self.query, HEADS, tokens.end - keep)),
            other_rows("key", part(&self.key, KV_HEADS, tokens.start)),
            other_rows("value", part(&self.value, KV_HEADS, tokens.start)),
            numbers("handle", vec![handle]),
            numbers("rows", [tokens.start, tokens.len()].map(|at| at as i64).to_vec()),
        ];
        let names = ["query", "key", "value", "query_norm", "key_norm", "handle", "rows"];
        let constants = [
            floats("query_norm", &[WIDTH], &self.norms[0]),
            floats("key_norm", &[WIDTH], &self.norms[1]),
        ];
        let node = node(ATTENTION, &names, &attributes());
        Single::write(node, HEADS * WIDTH, &constants, inputs, false)
    }
}

/// Keys and values, of which there may be more rows than of queries.
fn other_rows(name: &'static str, data: Vec<f32>) -> Input {
    let (name, tensor, mut dims) = rows(name, KV_HEADS * WIDTH, data);
    dims[1] = Dim::Past;
    (name, tensor, dims)
}

fn attributes() -> Vec<Attribute> {
    let sizes = [("layer", 0), ("heads", HEADS), ("kv_heads", KV_HEADS), ("width", WIDTH)];
    let more = [("window", WINDOW), ("rotated", ROTATED)];
    let sizes = sizes.into_iter().chain(more).map(|(name, size)| Attribute::size(name, size));
    let fractions = [("theta", THETA), ("epsilon", EPSILON)];
    sizes.chain(fractions.map(|(name, value)| Attribute::float(name, value))).collect()
}

/// Heads with their norm, and turned by their positions where they have weights for it.
fn prepared(data: &[f32], heads: usize, norm: Option<&Vec<f32>>) -> Vec<Vec<f32>> {
    let head = |(at, head): (usize, &[f32])| {
        let mean = head.iter().map(|value| value * value).sum::<f32>() / WIDTH as f32;
        let weight = |at: usize| norm.map_or(1.0, |norm| norm[at]);
        let scaled = head.iter().enumerate();
        let scaled = scaled.map(|(at, value)| value / (mean + EPSILON).sqrt() * weight(at));
        let mut scaled: Vec<f32> = scaled.collect();
        for pair in (0..ROTATED).filter(|_| norm.is_some()) {
            let frequency = THETA.powf(-2.0 * pair as f32 / WIDTH as f32);
            let (sine, cosine) = ((at / heads) as f32 * frequency).sin_cos();
            let (low, high) = (scaled[pair], scaled[pair + WIDTH / 2]);
            scaled[pair] = low * cosine - high * sine;
            scaled[pair + WIDTH / 2] = high * cosine + low * sine;
        }
        scaled
    };
    data.chunks(WIDTH).enumerate().map(head).collect()
}

fn sequence(window: Option<usize>) -> Handle {
    let shape = LayerShape { heads: KV_HEADS, width: WIDTH, window };
    handles::enter(Sequence::new(&[shape], Store::F32))
}

fn begin(handle: &Handle, tokens: usize) {
    handle.with(|sequence| sequence.begin(&vec![Slot::Token(0); tokens], &[]));
}

/// Steps of so many tokens, with logits wanted for so many of each.
fn check<E: Engine>(engine: &E, window: Option<usize>, steps: &[(usize, usize)]) {
    let tokens = steps.iter().map(|(tokens, _)| tokens).sum();
    let conversation = Conversation::new(tokens);
    let handle = sequence(window);
    let mut first = 0;
    for &(tokens, keep) in steps {
        let end = first + tokens;
        begin(&handle, tokens);
        let found = conversation.step(handle.number(), first..end, keep).run(engine).unwrap();
        handle.with(Sequence::commit).unwrap();
        let row = HEADS * WIDTH;
        let expected = &conversation.expected[(end - keep) * row..end * row];
        check_close(&format!("{steps:?} at {first}"), &found, expected);
        first = end;
    }
}

#[test]
fn attention_is_what_it_is_in_its_plain_form() {
    let ort = ort();
    for window in [Some(WINDOW), None] {
        check(&ort, window, &[(7, 7), (1, 1), (5, 2), (1, 1)]);
        check(&ort, window, &[(20, 20)]);
        // Nothing is wanted of a block of a prompt but its keys and values.
        check(&ort, window, &[(6, 0), (3, 1)]);
        check(&Tract::open(1), window, &[(7, 7), (1, 1), (5, 2)]);
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_operator_and_the_reason() {
    let conversation = Conversation::new(8);
    let handle = sequence(Some(WINDOW));
    let check = |number: i64, tokens: std::ops::Range<usize>, expected: &str| {
        begin(&handle, 2);
        for (engine, found) in conversation.step(number, tokens.clone(), 1).run_on_both() {
            let error = found.unwrap_err();
            assert!(error.contains(ATTENTION) && error.contains(expected), "{engine}: {error}");
        }
        handle.with(Sequence::abort);
    };
    check(-1, 0..2, "no sequence has the handle -1");
    check(handle.number(), 0..3, "layer 0 was given");
    check(handle.number(), 4..6, "from position 4 on");
    assert_eq!(handle.with(|sequence| sequence.len()), 0);
}
