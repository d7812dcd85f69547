//! One cell of the conformity table: what an engine makes of one case of one fixture, and what it
//! must make of it.

use std::path::PathBuf;

use gemma_runtime::{EngineKind, Fast, Model, OptimizeOptions, Options, Stored, Trace, optimize};

use crate::conversation;
use crate::fixture::{self, Answer, CASES, Decoder, Fixture, Layout};

/// Tokens of the greedy continuations.
pub(crate) const CONTINUED: usize = 64;

/// Tokens of a prefill step: fewer than most prompts have, more than any picture.
const BLOCK_TOKENS: usize = 96;

/// What an engine makes of a case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It answers.
    Answered {
        /// Largest absolute difference of a logit of the prompt.
        difference: f32,
        /// How many of the continuation's ids are those of the reference, before the first other.
        same: usize,
        /// Margin of the reference where the first other one stands; what is closer than twice the
        /// difference of the logits may well fall the other way.
        margin: f32,
    },
    /// The model is not opened, or opened without what the case needs; the reason that is given.
    Refused(String),
    /// There is an answer where the reference has none.
    Invented,
}

/// One cell: a case, and what became of it.
pub(crate) struct Cell {
    /// Name of the case.
    pub(crate) case: &'static str,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// Runs all cases of a fixture on an engine.
pub(crate) fn run(fixture: &Fixture, engine: EngineKind) -> Vec<Cell> {
    let folder = fixture.assemble();
    let expected = fixture.expected();
    let options = options(fixture, engine);
    let fast = match fixture.decoder {
        Decoder::Published => Fast::Off,
        Decoder::Fast | Decoder::Halved => {
            let dtype = options.dtype.clone();
            let mut options = OptimizeOptions { dtype, ..OptimizeOptions::default() };
            if fixture.decoder == Decoder::Fast {
                options.levers.scales = Stored::Published;
            }
            optimize(folder.path(), &options).unwrap();
            Fast::Required
        }
    };
    let mut model = Model::open(folder.path(), &Options { fast, ..options });
    let place = format!("{}/", folder.path().display());
    let cells = CASES.map(|case| {
        let outcome = match &mut model {
            Err(error) => Err(error.to_string()),
            Ok(model) => ask(model, case, expected.answer(case).as_ref()),
        };
        let refused = |reason: String| Outcome::Refused(reason.replace(&place, ""));
        Cell { case, outcome: outcome.unwrap_or_else(refused) }
    });
    cells.into()
}

/// How a fixture is opened.
pub(crate) fn options(fixture: &Fixture, engine: EngineKind) -> Options {
    Options {
        engine,
        library: Some(library()),
        threads: 1,
        dtype: (fixture.layout == Layout::A).then(|| fixture.dtype.to_owned()),
        // One step, because activations that are quantised as they come depend on how it is cut.
        prefill_block_tokens: if fixture.dtype == "q8" { 1024 } else { BLOCK_TOKENS },
        all_logits: true,
        ..Options::default()
    }
}

/// The library of ONNX Runtime that set-up fetched.
fn library() -> PathBuf {
    let fetched =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../.setup/onnxruntime/libonnxruntime.so");
    std::env::var_os("GEMMAD_ONNXRUNTIME").map_or_else(|| fetched.into(), PathBuf::from)
}

/// Asks one case; the reason where it is refused.
fn ask(model: &mut Model, case: &str, answer: Option<&Answer>) -> Result<Outcome, String> {
    let messages = conversation::read(&fixture::folder(), case);
    let trace = model.trace(&messages, &[], false, CONTINUED).map_err(|error| error.to_string())?;
    Ok(answer.map_or(Outcome::Invented, |answer| compare(&trace, case, answer)))
}

fn compare(trace: &Trace, case: &str, answer: &Answer) -> Outcome {
    assert_eq!(trace.prompt_ids, answer.prompt_ids, "{case}: the prompt");
    let last = trace.logits.len() - answer.logits.len();
    let differences = trace.logits[last..].iter().zip(&answer.logits).map(|(a, b)| (a - b).abs());
    // What is no number counts as the largest difference; `f32::max` would pass over it.
    let difference = differences.fold(0.0, |worst: f32, d| match d.is_nan() {
        true => f32::INFINITY,
        false => worst.max(d),
    });
    let pairs = trace.continuation.iter().zip(&answer.continuation_ids);
    let same = pairs.take_while(|(ours, theirs)| ours == theirs).count();
    let margin = answer.margins.get(same).copied().unwrap_or(f32::INFINITY);
    Outcome::Answered { difference, same, margin }
}
