//! What can be typed to test a model's folder.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gemma_runtime::EngineKind;

use super::graphs::Graphs;

/// A folder to test.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "A held-out set is a folder with a selftest.json, which names conversations, \
                        what is right to answer, and the marks that must be reached. Exit code 1 \
                        says that a mark was missed."
)]
pub struct Selftest {
    /// The model's folder [default: the configuration's]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Conversations that the model never saw, with what is right to answer [default: the folder
    /// held-out beside the model's, if it was made for the model]
    #[arg(long, value_name = "FOLDER")]
    pub held_out: Option<PathBuf>,
    /// What runs the graphs: ort, tract or both
    #[arg(long, value_name = "ENGINE", default_value = "both")]
    pub engine: Engines,
    /// Which graphs, and how they run.
    #[command(flatten)]
    pub graphs: Graphs,
    /// Tasks of the held-out set, and checks, by their names; nothing else is run [default: all]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub tasks: Vec<String>,
    /// Conversations of each task at most
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// Write all figures, and every answer that was not right, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Which engines are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engines {
    /// ONNX Runtime.
    Ort,
    /// tract.
    Tract,
    /// One after the other, and one against the other.
    Both,
}

impl Engines {
    /// The engines, in the order of the columns.
    #[must_use]
    pub const fn kinds(self) -> &'static [EngineKind] {
        match self {
            Self::Ort => &[EngineKind::Ort],
            Self::Tract => &[EngineKind::Tract],
            Self::Both => &[EngineKind::Ort, EngineKind::Tract],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use crate::cli::{Arguments, Command};

    use super::*;

    fn parse(typed: &[&str]) -> Result<Selftest, clap::Error> {
        let arguments = Arguments::try_parse_from([&["gemmad", "selftest"], typed].concat())?;
        let Command::Selftest(selftest) = arguments.command else { panic!("selftest") };
        Ok(selftest)
    }

    #[test]
    fn both_engines_and_all_tasks_are_tested_unless_less_is_asked_for() {
        let plain = parse(&[]).unwrap();
        assert_eq!(plain.engine.kinds(), [EngineKind::Ort, EngineKind::Tract]);
        assert!(plain.folder.is_none() && plain.tasks.is_empty() && plain.count.is_none());
        let less = parse(&["m", "--engine", "tract", "--tasks", "typed,sound", "--count", "3"]);
        let less = less.unwrap();
        assert_eq!((less.engine, less.count), (Engines::Tract, Some(3)));
        assert_eq!(less.tasks, ["typed", "sound"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for typed in [&["--count", "0"][..], &["--engine", "onnx"], &["--threads", "-1"]] {
            assert!(parse(typed).is_err(), "{typed:?}");
        }
    }
}
