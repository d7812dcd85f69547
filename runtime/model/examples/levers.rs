//! What each lossy lever of the fast graph costs beside what four bits cost: both held against the same
//! weights in fp32, all sizes in miniature, as a table for `docs/speed.md`.
//!
//! Usage: `cargo run --release -p gemma-runtime --example levers`, with `GEMMAD_ONNXRUNTIME` naming the
//! library.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken fixture ends the program")]

#[allow(dead_code, reason = "the conformity table uses all of it")]
#[path = "../tests/conformity/cell.rs"]
mod cell;
#[path = "../tests/conformity/conversation.rs"]
mod conversation;
#[allow(dead_code, reason = "the conformity table uses all of it")]
#[path = "../tests/conformity/fixture.rs"]
mod fixture;

use fixture::{Decoder, Fixture, Layout, VARIANTS};
use gemma_runtime::{EngineKind, Fast, Model, OptimizeOptions, Options, Trace, optimize};

/// What is compared with fp32: a name, and what the fast graph is made with; none is published.
const WAYS: [(&str, Option<&[&str]>); 5] = [
    ("q4 as published", None),
    ("fast, all levers without loss", Some(&["scales=published"])),
    ("`scales=f16`, as it is made unless a lever is set", Some(&["scales=f16"])),
    ("`kv=f16`", Some(&["scales=published", "kv=f16"])),
    ("`int8=on`", Some(&["scales=published", "int8=on"])),
];

/// Conversations whose prompts are compared.
const CASES: [&str; 2] = ["text", "long"];

/// Tokens of the greedy continuations.
const TOKENS: usize = 64;

fn main() {
    // In a mixture of experts a token goes to other experts for less than any of this.
    let sizes = VARIANTS.map(|(variant, _)| variant).into_iter().filter(|size| *size != "26b");
    let sizes: Vec<&str> = sizes.collect();
    let references: Vec<Vec<Trace>> = sizes.iter().map(|size| traces(size, "fp32", None)).collect();
    let published: Vec<Vec<Trace>> = sizes.iter().map(|size| traces(size, "q4", None)).collect();
    println!(
        "| | divergence from fp32 | likeliest as fp32 | from q4 as published | as q4 | greedy |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, levers) in WAYS {
        let (mut exact, mut quantised) = (Sum::default(), Sum::default());
        for (at, size) in sizes.iter().enumerate() {
            for (case, trace) in traces(size, "q4", levers).iter().enumerate() {
                exact.add(&references[at][case], trace);
                quantised.add(&published[at][case], trace);
            }
        }
        let (greedy, all) = quantised.greedy;
        println!("| {name} | {} | {} | {greedy} of {all} |", exact.cells(), quantised.cells());
    }
}

/// What a size makes of the conversations in a precision.
fn traces(variant: &'static str, dtype: &'static str, levers: Option<&[&str]>) -> Vec<Trace> {
    let decoder = if levers.is_some() { Decoder::Fast } else { Decoder::Published };
    let fixture = Fixture { variant, layout: Layout::A, dtype, decoder };
    let folder = fixture.assemble();
    let options = cell::options(&fixture, EngineKind::Ort);
    let mut fast = Fast::Off;
    if let Some(levers) = levers {
        let (dtype, library) = (options.dtype.clone(), options.library.clone());
        let mut made = OptimizeOptions { dtype, library, ..OptimizeOptions::default() };
        levers.iter().for_each(|lever| made.levers.set(lever).unwrap());
        optimize(folder.path(), &made).unwrap();
        fast = Fast::Required;
    }
    let mut model = Model::open(folder.path(), &Options { fast, ..options }).unwrap();
    let ask = |case| {
        let messages = conversation::read(&fixture::folder(), case);
        model.trace(&messages, &[], false, TOKENS).unwrap()
    };
    CASES.map(ask).into()
}

/// What all positions of all sizes have in common.
#[derive(Default)]
struct Sum {
    positions: f64,
    divergence: f64,
    likeliest: f64,
    /// Tokens that are the same before the first other, of how many.
    greedy: (usize, usize),
}

impl Sum {
    fn add(&mut self, reference: &Trace, trace: &Trace) {
        assert_eq!(reference.prompt_ids, trace.prompt_ids);
        let width = reference.logits.len() / reference.rows;
        let rows = reference.logits.chunks(width).zip(trace.logits.chunks(width));
        for (reference, other) in rows {
            self.positions += 1.0;
            self.divergence += divergence(reference, other);
            self.likeliest += f64::from(u8::from(likeliest(reference) == likeliest(other)));
        }
        let pairs = reference.continuation.iter().zip(&trace.continuation);
        self.greedy.0 += pairs.take_while(|(one, other)| one == other).count();
        self.greedy.1 += reference.continuation.len();
    }

    /// Mean divergence, and how often the likeliest token is the same.
    fn cells(&self) -> String {
        let likeliest = 100.0 * self.likeliest / self.positions;
        format!("{:.1e} | {likeliest:.1} %", self.divergence / self.positions)
    }
}

/// Kullback and Leibler's divergence of what other logits say from what the reference says, in nats.
fn divergence(reference: &[f32], other: &[f32]) -> f64 {
    let (reference, other) = (logarithms(reference), logarithms(other));
    let pairs = reference.iter().zip(other);
    pairs.map(|(reference, other)| reference.exp() * (reference - other)).sum::<f64>().max(0.0)
}

/// Logarithms of the probabilities.
fn logarithms(logits: &[f32]) -> Vec<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    let whole: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit) - largest - whole.ln()).collect()
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&one, &other| logits[one].total_cmp(&logits[other]))
}
