//! What can be typed about a model's folder.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gemma_runtime::{EngineKind, KNOWN_LEVERS};

use super::Output;
use super::graphs::Graphs;

/// What to do with a model's folder.
#[derive(Clone, Debug, Subcommand)]
pub enum Model {
    /// Show what a folder holds, how much memory it takes and whether this machine has that much
    Info(Info),
    /// Fetch a model from Hugging Face, or from the hub named by HF_ENDPOINT
    Pull(Pull),
    /// Print the prompt and the token ids of a conversation
    Render(Render),
    /// Print the reply to a conversation, one JSON object in a line for each piece
    Run(Run),
    /// Show what the model gets of a picture, of sound or of a film
    Media(Media),
    /// Write a fast graph beside a model's decoder, once it is known to give the decoder's numbers
    Optimize(Optimize),
    /// Do a ready-made task: transcribe, translate, caption, ocr, detect, video, ask
    Task(Task),
}

/// Which of a folder's graphs run, and on what.
#[derive(Args, Clone, Debug)]
pub struct Engine {
    /// What runs the graphs: ort or tract
    #[arg(long, global = true, value_name = "ENGINE", default_value = "ort")]
    pub engine: EngineKind,
    /// Which graphs, and how they run.
    #[command(flatten)]
    pub graphs: Graphs,
    /// Tokens of prompt and reply together
    #[arg(long, global = true, value_name = "TOKENS", default_value_t = 8192)]
    pub context_tokens: usize,
}

/// A folder to look at.
#[derive(Args, Clone, Debug)]
pub struct Info {
    /// The model's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Precision of the graphs to prefer: fp32, fp16, q8, q4, q4f16 ...; or decoder=q4,vision=fp16
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// A model to fetch.
#[derive(Args, Clone, Debug)]
pub struct Pull {
    /// The repository, such as onnx-community/gemma-4-E2B-it-ONNX
    #[arg(value_name = "REPO")]
    pub repository: String,
    /// Precision to fetch: fp32, fp16, q8, q4, q4f16 ...; or decoder=q4,vision=fp16 [default: the
    /// best for each graph]
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<String>,
    /// Folder for it [default: one named after the repository]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Branch, tag or commit
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub revision: String,
}

/// A conversation in a file.
#[derive(Args, Clone, Debug)]
pub struct Conversation {
    /// The model's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// JSON with `messages` as for transformers' chat templates, and `tools`, `enable_thinking`,
    /// `add_generation_prompt`; media by `path`, relative to this file, or as data: URL
    #[arg(value_name = "CONVERSATION.json")]
    pub file: PathBuf,
    /// Write it as the daemon would: results parsed, declarations mended, an answer asked for
    #[arg(long)]
    pub normalise: bool,
    /// Most soft tokens of a picture: 70, 140, 280, 560 or 1120 [default: the folder's]
    #[arg(long, value_name = "TOKENS")]
    pub image_budget: Option<usize>,
}

/// A conversation to write as a prompt.
#[derive(Args, Clone, Debug)]
#[command(after_help = "The template gets the file as it is: without \"add_generation_prompt\": \
                        true the prompt does not ask for an answer.")]
pub struct Render {
    /// The conversation.
    #[command(flatten)]
    pub conversation: Conversation,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// A conversation to reply to.
#[derive(Args, Clone, Debug)]
#[command(after_help = "An answer is asked for unless the file says \"add_generation_prompt\": \
                        false.")]
pub struct Run {
    /// The conversation.
    #[command(flatten)]
    pub conversation: Conversation,
    /// Which graphs, on what.
    #[command(flatten)]
    pub engine: Engine,
    /// Always take the likeliest token
    #[arg(long, conflicts_with = "seed")]
    pub greedy: bool,
    /// Make the draws repeatable
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Most tokens of the reply; 0 for none
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub max_tokens: usize,
    /// Write the logits of every token of the prompt, [rows, vocabulary] float32, as NumPy reads them
    #[arg(long, value_name = "FILE.npy")]
    pub logits: Option<PathBuf>,
    /// Print the steps that have nothing to show, too
    #[arg(long)]
    pub progress: bool,
}

/// A medium to prepare.
#[derive(Args, Clone, Debug)]
pub struct Media {
    /// The model's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// A picture, sound or film; a folder of pictures is a film
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Most soft tokens of a picture: 70, 140, 280, 560 or 1120 [default: the folder's]
    #[arg(long, value_name = "TOKENS")]
    pub image_budget: Option<usize>,
    /// Pictures a second of a folder or a Motion JPEG film
    #[arg(long, value_name = "NUMBER")]
    pub fps: Option<f64>,
    /// Write the prepared tensors into this folder, as NumPy reads them
    #[arg(long, value_name = "OUT")]
    pub npy: Option<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// A model to make fast.
#[derive(Args, Clone, Debug)]
#[command(after_help = format!("Levers: {KNOWN_LEVERS}"))]
pub struct Optimize {
    /// The model's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// What compares both graphs: ort or tract
    #[arg(long, value_name = "ENGINE", default_value = "ort")]
    pub engine: EngineKind,
    /// Which graphs, and how they run.
    #[command(flatten)]
    pub graphs: Graphs,
    /// Set a lever of the fast graph; several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub lever: Vec<String>,
    /// Write and compare again, even if a fast graph that fits is there
    #[arg(long)]
    pub force: bool,
    /// Remove the fast graph
    #[arg(long, conflicts_with_all = ["force", "lever"])]
    pub remove: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// A ready-made task.
#[derive(Args, Clone, Debug)]
pub struct Task {
    /// The model's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub kind: TaskKind,
    /// Which graphs, on what.
    #[command(flatten)]
    pub engine: Engine,
    /// Most soft tokens of a picture: 70, 140, 280, 560 or 1120 [default: the task's]
    #[arg(long, global = true, value_name = "TOKENS")]
    pub image_budget: Option<usize>,
    /// Most tokens of a reply [default: the task's]
    #[arg(long, global = true, value_name = "TOKENS")]
    pub max_tokens: Option<usize>,
    /// Always take the likeliest token
    #[arg(long, global = true)]
    pub greedy: bool,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum TaskKind {
    /// Write down what is said; long sound is heard in windows of 30 seconds
    Transcribe {
        /// The sound
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// English name of the language that is spoken [default: the model listens for itself]
        #[arg(long, value_name = "LANGUAGE")]
        language: Option<String>,
    },
    /// Write down what is said, and in another language
    Translate {
        /// The sound
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// English name of the language that is spoken
        #[arg(long, value_name = "LANGUAGE")]
        from: String,
        /// English name of the language that is wanted
        #[arg(long, value_name = "LANGUAGE")]
        to: String,
    },
    /// Say what is on a picture
    Caption {
        /// The picture
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// English name of the language of the caption [default: English]
        #[arg(long, value_name = "LANGUAGE")]
        language: Option<String>,
        /// Let the model think first
        #[arg(long)]
        thinking: bool,
    },
    /// Read the text on a picture
    Ocr {
        /// The picture
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Find things on a picture; boxes are in its pixels
    Detect {
        /// The picture
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What to look for; one name or several
        #[arg(value_name = "NAME", required = true)]
        labels: Vec<String>,
        /// Refuse an answer that is not exactly in the form that was asked for
        #[arg(long)]
        strict: bool,
    },
    /// Say what happens in a film
    Video {
        /// The film; a folder of pictures is one
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A question about it [default: what happens]
        #[arg(long, value_name = "TEXT")]
        question: Option<String>,
        /// Pictures a second of a folder or a Motion JPEG film
        #[arg(long, value_name = "NUMBER")]
        fps: Option<f64>,
        /// Let the model think first
        #[arg(long)]
        thinking: bool,
    },
    /// Ask anything, with or without pictures, sound and films
    Ask {
        /// The question; several words need no quotes
        #[arg(value_name = "TEXT", required_unless_present = "file")]
        words: Vec<String>,
        /// A picture, sound or film to go with it; several times
        #[arg(long, value_name = "FILE")]
        file: Vec<PathBuf>,
        /// Let the model think first
        #[arg(long)]
        thinking: bool,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use crate::cli::{Arguments, Command};

    use super::*;

    fn parse(typed: &[&str]) -> Result<Model, clap::Error> {
        let typed = ["gemmad", "model"].iter().chain(typed);
        let arguments = Arguments::try_parse_from(typed)?;
        let Command::Model(model) = arguments.command else { panic!("model") };
        Ok(model)
    }

    #[test]
    fn options_of_a_task_may_stand_anywhere() {
        for typed in [
            &["task", "--engine", "tract", "--json", "m", "detect", "a.png", "cup", "pen"][..],
            &["task", "m", "detect", "a.png", "cup", "pen", "--json", "--engine", "tract"][..],
        ] {
            let Model::Task(task) = parse(typed).unwrap() else { panic!("task") };
            assert!(task.json && task.engine.engine == EngineKind::Tract);
            assert!(
                matches!(task.kind, TaskKind::Detect { labels, .. } if labels == ["cup", "pen"])
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for typed in [
            &["run", "m", "c.json", "--greedy", "--seed", "3"][..],
            &["run", "m", "c.json", "--engine", "onnx"][..],
            &["task", "m", "detect", "a.png"][..],
            &["task", "m", "translate", "a.wav", "--from", "French"][..],
            &["task", "m", "ask"][..],
            &["pull"][..],
            &["optimize", "m", "--remove", "--force"][..],
        ] {
            assert!(parse(typed).is_err(), "{typed:?}");
        }
        assert!(parse(&["task", "m", "ask", "--file", "a.wav"]).is_ok());
    }
}
