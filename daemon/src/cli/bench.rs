//! What can be typed to measure a model's folder.

use std::path::PathBuf;

use clap::Args;
use gemma_runtime::{EngineKind, Fast};

use super::graphs::Graphs;

/// A folder to measure.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Nothing else should run meanwhile. Figures are medians, with the least and \
                        the largest beside them."
)]
pub struct Bench {
    /// The model's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// What runs the graphs: ort or tract
    #[arg(long, value_name = "ENGINE", default_value = "ort")]
    pub engine: EngineKind,
    /// Which graphs, and how they run.
    #[command(flatten)]
    pub graphs: Graphs,
    /// Which decoder: auto, published, or fast, which `gemmad model optimize` writes
    #[arg(long, value_name = "GRAPH", default_value = "auto")]
    pub graph: Fast,
    /// Write everything that was measured as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Measure each thing once, and nothing beyond 2,048 tokens
    #[arg(long)]
    pub quick: bool,
    /// How often each thing is measured [default: 3]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub rounds: Option<u16>,
    /// Lengths of the prompts whose processing is measured
    #[arg(long, value_name = "TOKENS,...", value_delimiter = ',', default_value = "128,512,2048")]
    pub prompt: Vec<usize>,
    /// Tokens that precede those whose making is measured
    #[arg(
        long,
        value_name = "TOKENS,...",
        value_delimiter = ',',
        default_value = "0,512,2048,8192"
    )]
    pub past: Vec<usize>,
    /// Leave out the first word, media and the loading again
    #[arg(long)]
    pub speed_only: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use crate::cli::{Arguments, Command};

    fn check(typed: &[&str], expected: Option<(&[usize], Option<u16>)>) {
        let words = ["gemmad", "bench", "model"].iter().chain(typed);
        let parsed = Arguments::try_parse_from(words).ok().map(|arguments| arguments.command);
        let found = parsed.as_ref().and_then(|command| match command {
            Command::Bench(bench) => Some((bench.past.as_slice(), bench.rounds)),
            Command::Run
            | Command::Ask(_)
            | Command::Status(_)
            | Command::Doctor(_)
            | Command::Plugin(_)
            | Command::Model(_)
            | Command::Selftest(_) => None,
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn lengths_are_lists() {
        check(&[], Some((&[0, 512, 2048, 8192], None)));
        check(&["--past", "0,64", "--rounds", "5"], Some((&[0, 64], Some(5))));
        check(&["--past", "many"], None);
        check(&["--rounds", "0"], None);
    }
}
