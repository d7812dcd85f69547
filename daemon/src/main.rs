//! The executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    gemmad::program::main()
}
