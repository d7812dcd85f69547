//! The command line: what can be typed, and nothing of what it does.

pub mod bench; // how fast a model is
pub mod graphs; // which of a folder's graphs run, and how
pub mod model; // what can be done with a model's folder
pub mod selftest; // whether a model does what it must
pub mod task; // ready-made tasks of the daemon

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Bus, Config};

/// What was typed.
#[derive(Clone, Debug, Parser)]
#[command(name = "gemmad", version, about, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Configuration file [default: $GEMMAD_CONFIG, else /etc/gemmad/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Bus of the daemon, whatever the configuration says: system, session, none or an address
    #[arg(long, global = true, value_name = "BUS", value_parser = parse_bus)]
    pub bus: Option<Bus>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong use, 3 no daemon, 130 cancelled";

impl Arguments {
    /// Puts what was typed above what the configuration says.
    pub fn apply(&self, config: &mut Config) {
        if let Some(bus) = &self.bus {
            config.bus = bus.clone();
        }
    }
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Run,
    /// Ask the running daemon; the answer is printed as it comes
    Ask(Ask),
    /// Show what the running daemon does, what is missing and how to mend it
    Status(Output),
    /// Check everything the daemon needs, without a running daemon
    Doctor(Output),
    /// List the plugins, or call one of their tools by hand
    #[command(subcommand)]
    Plugin(Plugin),
    /// Look at a model's folder, fetch one, or use it, without daemon and configuration
    #[command(subcommand)]
    Model(model::Model),
    /// Measure how fast a model's folder is on this machine, and what it takes
    Bench(bench::Bench),
    /// Test a model's folder: held-out conversations with pass marks, and checks that fit any model
    Selftest(selftest::Selftest),
}

/// A question.
#[derive(Args, Clone, Debug)]
pub struct Ask {
    /// The question; several words need no quotes
    #[arg(value_name = "TEXT", required_unless_present_any = ["image", "audio", "film", "look"])]
    pub text: Vec<String>,
    /// A picture file to go with it (JPEG, PNG, WebP, BMP); up to 8 times
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// A WAV, FLAC, MP3 or Ogg file to go with it, at most 30 seconds (10 minutes for the tasks
    /// transcribe and translate); up to 4 times
    #[arg(long, value_name = "FILE")]
    pub audio: Vec<PathBuf>,
    /// A film to go with it: an animated GIF, WebP or PNG, a y4m file, or a folder of pictures
    #[arg(long, value_name = "FILE")]
    pub film: Option<PathBuf>,
    /// Pictures a second of a folder or a Motion JPEG film
    #[arg(long, value_name = "NUMBER", requires = "film")]
    pub fps: Option<f64>,
    /// What to do, if it is a ready-made task.
    #[command(flatten)]
    pub task: task::Task,
    /// Conversation to go on with
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// Take the camera's latest picture along
    #[arg(long)]
    pub look: bool,
    /// Let the model think aloud first
    #[arg(long)]
    pub thinking: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// How to print.
#[derive(Args, Clone, Copy, Debug)]
pub struct Output {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with plugins.
#[derive(Clone, Debug, Subcommand)]
pub enum Plugin {
    /// List the plugins in the configured folders, with their tools, rights and limits
    List(Output),
    /// Call a tool: through the daemon if it runs, else here, without a broker
    Call {
        /// Name of the tool
        name: String,
        /// Its arguments, a JSON object
        #[arg(default_value = "{}")]
        arguments: String,
    },
}

fn parse_bus(text: &str) -> Result<Bus, String> {
    match text {
        "none" => Ok(Bus::None),
        "system" => Ok(Bus::System),
        "session" => Ok(Bus::Session),
        address if address.contains(':') => Ok(Bus::Address(address.to_owned())),
        _ => {
            Err("expected system, session, none or a D-Bus address such as unix:path=/run/bus"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_question_needs_no_quotes() {
        let arguments = Arguments::try_parse_from(["gemmad", "ask", "what", "is", "it"]).unwrap();
        assert!(matches!(arguments.command, Command::Ask(ask) if ask.text == ["what", "is", "it"]));
    }

    #[test]
    fn a_question_is_not_empty() {
        assert!(Arguments::try_parse_from(["gemmad", "ask"]).is_err());
        assert!(Arguments::try_parse_from(["gemmad", "ask", "--look"]).is_ok());
    }

    #[test]
    fn a_bus_on_the_command_line_beats_the_configuration() {
        fn check(typed: &str, expected: Option<&Bus>) {
            let parsed = Arguments::try_parse_from(["gemmad", "status", "--bus", typed]);
            assert_eq!(parsed.ok().and_then(|arguments| arguments.bus).as_ref(), expected);
        }
        check("system", Some(&Bus::System));
        check("none", Some(&Bus::None));
        check("unix:path=/tmp/bus", Some(&Bus::Address("unix:path=/tmp/bus".into())));
        check("sistem", None);
    }
}
