//! What can be checked of any model, without conversations and without a reference implementation:
//! its graphs open, its media are not garbled, two ways of running it give the same numbers.

use std::path::Path;

use gemma_runtime::parity::{self, FastParity, Parity};
use gemma_runtime::tasks::{self, TaskError, Transcribe};
use gemma_runtime::{Checked, Model, Options};

use super::judge::{Expected, Given, Measure};
use super::known::{self, MEL_TOLERANCE, PIXEL_TOLERANCE};
use super::progress;
use super::report::{Cell, Mark, Row};

/// The names of the checks, in the order of the table.
pub(super) const NAMES: [&str; 6] = ["graphs", "picture", "sound", "hears", "fast", "engines"];

/// Those for which no model is opened, or which open one for themselves.
pub(super) const WITHOUT_MODEL: [&str; 4] = ["picture", "sound", "fast", "engines"];

/// The rows of the checks, empty.
pub(super) fn rows(wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let difference = "largest difference of a logit";
    let all = [
        Row::new("graphs", "graphs of the folder", "opened", 0, None),
        Row::new(
            "picture",
            "a known picture, prepared",
            "difference",
            7,
            Some(Mark::AtMost(PIXEL_TOLERANCE)),
        ),
        Row::new(
            "sound",
            "a known sentence, prepared",
            "difference",
            7,
            Some(Mark::AtMost(MEL_TOLERANCE)),
        ),
        Row::new("hears", "a known sentence, transcribed", Measure::WordErrors.title(), 1, None),
        Row::new("fast", "fast graph against published", difference, 5, None),
        Row::new("engines", "ort against tract", difference, 5, None),
    ];
    all.into_iter().filter(|row| wanted(&row.name)).collect()
}

/// The preparation of the known media, which no engine has a part in.
pub(super) fn media(name: &str) -> Cell {
    let difference = match name {
        "picture" => known::picture_difference(),
        _ => known::sound_difference(),
    };
    match difference {
        Ok(difference) => Cell::Figure(difference),
        Err(error) => Cell::Broken(format!("{error:#}")),
    }
}

/// How many graphs a model that could be opened has.
pub(super) fn graphs(model: &Model) -> Cell {
    Cell::Figure(model.info().graphs.len() as f64)
}

/// Lets a model write down the known sentence: wrong words in percent. Only models that were made for
/// it can, so there is no mark.
pub(super) fn hears(model: &mut Model) -> Cell {
    if !model.info().has_audio {
        return Cell::Absent("it takes no sound".to_owned());
    }
    let known = known::speech().and_then(|speech| Ok((speech, known::sentence()?)));
    let (samples, text) = match known {
        Ok((speech, sentence)) => (speech.samples, sentence),
        Err(error) => return Cell::Broken(format!("{error:#}")),
    };
    match tasks::run(model, &Transcribe { samples, language: None }) {
        Ok(heard) => {
            progress(&format!("  it writes down: {}", heard.text.trim()));
            let given = Given { text: heard.text, ..Given::default() };
            let judged = Expected::Words { text }.judge(&given);
            let percent = judged.first().map(|(measure, share)| share.times(measure.scale()));
            Cell::Figure(percent.unwrap_or(f64::NAN))
        }
        Err(TaskError::Model(error)) => Cell::Broken(error.to_string()),
        Err(other) => Cell::Absent(other.unquoted()),
    }
}

/// The fast graph of a folder against its published decoder.
pub(super) fn fast(folder: &Path, options: &Options) -> (Cell, Option<Mark>) {
    match parity::fast_against_published(folder, options) {
        Ok(FastParity::Compared(parity)) => compared(parity),
        Ok(FastParity::None(reason)) => {
            (Cell::Absent(format!("{reason}; gemmad model optimize writes one")), None)
        }
        Err(error) => (Cell::Broken(error.to_string()), None),
    }
}

/// What ONNX Runtime computes against what tract computes, from a picture and a sound to the logits.
pub(super) fn engines(folder: &Path, options: &Options) -> (Cell, Option<Mark>) {
    match parity::ort_against_tract(folder, options) {
        Ok(parity) => compared(parity),
        Err(error) => (Cell::Broken(error.to_string()), None),
    }
}

fn compared(parity: Parity) -> (Cell, Option<Mark>) {
    let Checked { difference, tolerance, tokens, same } = parity.checked;
    let (difference, tolerance) = (f64::from(difference), f64::from(tolerance));
    let mark = Some(Mark::AtMost(tolerance));
    if !parity.holds && difference <= tolerance {
        let reason = format!("{same} of {tokens} likeliest tokens are the same");
        return (Cell::Broken(reason), mark);
    }
    (Cell::Figure(difference), mark)
}
