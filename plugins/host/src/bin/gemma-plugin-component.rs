//! `gemma-plugin-component IN OUT`: turns the core module IN into the component OUT.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(module), Some(component), None) = (paths.next(), paths.next(), paths.next()) else {
        eprintln!("usage: gemma-plugin-component MODULE COMPONENT");
        return ExitCode::from(2);
    };
    match run(&module, &component) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {}: {error}", module.display());
            ExitCode::FAILURE
        }
    }
}

fn run(module: &PathBuf, component: &PathBuf) -> Result<(), Box<dyn Error>> {
    let bytes = gemma_plugins::componentize(&std::fs::read(module)?)?;
    Ok(std::fs::write(component, bytes)?)
}
