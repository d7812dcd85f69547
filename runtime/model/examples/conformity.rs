//! Holds both engines against transformers and prints what came of it as a page: one row for each
//! size, layout, precision, decoder and engine, one column for each kind of prompt.
//!
//! Usage: `cargo run --release -p gemma-runtime --example conformity > docs/conformity.md`, with
//! `GEMMAD_ONNXRUNTIME` naming the library. Ends with status 1 when a cell is not what it must be.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken fixture ends the program")]

#[path = "../tests/conformity/bar.rs"]
mod bar;
#[path = "../tests/conformity/cell.rs"]
mod cell;
#[path = "../tests/conformity/conversation.rs"]
mod conversation;
#[path = "../tests/conformity/fixture.rs"]
mod fixture;

use std::process::ExitCode;

use cell::{CONTINUED, Outcome};
use fixture::{CASES, Fixture, VARIANTS};
use gemma_runtime::EngineKind;

const HEAD: &str = "\
# Conformity

Made by `make conformity`. Do not edit: run it again.

Each size of Gemma 4 in miniature, with random weights, exported in every layout and precision
(`runtime/export/build_variants.py`), and asked the same questions as transformers, with the
published decoder and with the fast graph that `gemmad model optimize` makes of it. A cell gives the
largest absolute difference of a logit of the prompt from the reference, and how many of the 64
greedy tokens after it are the reference's before the first other one; 64 where only the difference
is given. `!` marks a cell that is not what `runtime/model/tests/conformity/bar.rs` says it must be.
A number in brackets is a refusal, with its reason below the table.
";

fn main() -> ExitCode {
    let mut page = Page::default();
    println!("{HEAD}");
    println!("| size | layout | precision | decoder | engine | {} |", CASES.join(" | "));
    println!("|---|---|---|---|---|{}", "---|".repeat(CASES.len()));
    for (variant, _) in VARIANTS {
        for fixture in fixture::of_variant(variant) {
            for engine in [EngineKind::Ort, EngineKind::Tract] {
                println!("{}", page.row(&fixture, engine));
            }
        }
    }
    println!();
    for (place, reason) in page.reasons.iter().enumerate() {
        println!("{}. {reason}", place + 1);
    }
    if page.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the rows so far have in common.
#[derive(Default)]
struct Page {
    /// Reasons of refusals, each once.
    reasons: Vec<String>,
    /// Cells that are not what they must be.
    wrong: usize,
}

impl Page {
    fn row(&mut self, fixture: &Fixture, engine: EngineKind) -> String {
        let cells = cell::run(fixture, engine);
        let cells = cells.into_iter().map(|cell| {
            let is_right = bar::bar(fixture, cell.case).allows(&cell.outcome);
            self.wrong += usize::from(!is_right);
            let mark = if is_right { "" } else { " !" };
            format!("{}{mark}", self.cell(cell.outcome))
        });
        let cells: Vec<String> = cells.collect();
        let (layout, dtype) = (fixture.layout.name(), fixture.dtype);
        let (size, decoder, cells) = (fixture.variant, fixture.decoder.name(), cells.join(" | "));
        format!("| {size} | {layout} | {dtype} | {decoder} | {engine} | {cells} |")
    }

    fn cell(&mut self, outcome: Outcome) -> String {
        match outcome {
            Outcome::Answered { difference, same: CONTINUED, .. } => format!("{difference:.0e}"),
            Outcome::Answered { difference, same, .. } => format!("{difference:.0e}, {same}"),
            Outcome::Invented => "answered".into(),
            Outcome::Refused(reason) => format!("[{}]", self.number(reason)),
        }
    }

    fn number(&mut self, reason: String) -> usize {
        let known = self.reasons.iter().position(|other| *other == reason);
        let place = known.unwrap_or_else(|| {
            self.reasons.push(reason);
            self.reasons.len() - 1
        });
        place + 1
    }
}
