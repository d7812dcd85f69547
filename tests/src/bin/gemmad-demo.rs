//! The main job, shown to a person: see `gemmad_tests::demo`.

use std::process::ExitCode;

use clap::Parser as _;
use gemmad_tests::demo::{Arguments, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gemmad-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
