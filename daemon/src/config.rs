//! The configuration: checked, with units in the names. What a person types, and every default, is
//! in `config/raw.rs`; nothing else in the daemon reads the file.

mod check;
mod raw;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use gemma_runtime::{Device, EngineKind, Fast};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "/etc/gemmad/config.toml";
/// The environment variable that names a file.
pub const FILE_VARIABLE: &str = "GEMMAD_CONFIG";

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that was read; `None` if all is default because there was none.
    pub file: Option<PathBuf>,
    /// The model and its engine.
    pub model: Model,
    /// The assistant loop.
    pub assistant: Assistant,
    /// Where sound comes from.
    pub microphone: Microphone,
    /// How speech is found in sound.
    pub listening: Listening,
    /// Where pictures come from.
    pub camera: Camera,
    /// The message bus.
    pub bus: Bus,
    /// The MQTT broker.
    pub broker: Broker,
    /// The plugins.
    pub plugins: Plugins,
    /// What is logged.
    pub log: Log,
    /// How long everything together may take to stop.
    pub stop_deadline: Duration,
}

impl Config {
    /// Reads the file `named` on the command line, else the one in `$GEMMAD_CONFIG`, else
    /// [`DEFAULT_FILE`]; only the last may be absent, then everything has its default.
    ///
    /// # Errors
    /// If the file cannot be read or anything in it is wrong: file, line, key, what was found and
    /// what is accepted, for all problems at once.
    pub fn load(named: Option<&Path>) -> anyhow::Result<Self> {
        let variable = std::env::var_os(FILE_VARIABLE).map(PathBuf::from);
        let named = named.map(Path::to_path_buf).or(variable.filter(|path| path != Path::new("")));
        let file = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        match std::fs::read_to_string(&file) {
            Ok(text) => Self::parse(&text, &file),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(error) => Err(error)
                .with_context(|| format!("the configuration {} cannot be read", file.display())),
        }
    }

    /// Checks the `text` of `file`; relative paths in it start at the folder of the file.
    ///
    /// # Errors
    /// If anything in it is wrong, see [`Self::load`].
    pub fn parse(text: &str, file: &Path) -> anyhow::Result<Self> {
        let raw: raw::Raw = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(error) => {
                bail!(Problems { file: file.to_path_buf(), problems: vec![describe(&error, text)] })
            }
        };
        let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        let base = absolute.parent().unwrap_or(Path::new("/"));
        match check::check(&raw, text, base) {
            Ok(config) => Ok(Self { file: Some(absolute), ..config }),
            Err(problems) => bail!(Problems { file: file.to_path_buf(), problems }),
        }
    }
}

impl Default for Config {
    /// What holds where there is no file at all.
    fn default() -> Self {
        let raw = raw::Raw::default();
        match check::check(&raw, "", Path::new("/")) {
            Ok(config) => config,
            Err(problems) => unreachable!("the defaults are within their ranges: {problems:?}"),
        }
    }
}

/// All that is wrong with a configuration file.
#[derive(Debug)]
struct Problems {
    file: PathBuf,
    problems: Vec<String>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(formatter, "{line_end}{}: {problem}", self.file.display())?;
        }
        Ok(())
    }
}

/// What the parser refuses, with the line and what stands there.
fn describe(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().trim_end();
    let Some(span) = error.span() else { return message.to_owned() };
    let line = check::line_at(text, span.start);
    let content = text.lines().nth(line - 1).unwrap_or_default().trim();
    format!("line {line}: {message}, in: {content}")
}

/// The model and its engine.
#[derive(Clone, Debug)]
pub struct Model {
    /// The model folder.
    pub folder: PathBuf,
    /// The engine that runs its graphs.
    pub engine: EngineKind,
    /// Where they run.
    pub device: Device,
    /// libonnxruntime, where it is not found by itself.
    pub library: Option<PathBuf>,
    /// Element type of the graphs to prefer, by the suffix of the files: `q4`, `fp16`, ...
    pub dtype: Option<String>,
    /// Whether the decoder is the fast graph that `gemmad model optimize` writes.
    pub graph: Fast,
    /// Threads of the engine.
    pub threads: usize,
    /// Most tokens of a conversation, prompt and reply together.
    pub context_tokens: usize,
    /// Tokens of a prompt processed in one step.
    pub prefill_block_tokens: usize,
    /// Soft tokens of a picture at most: 70, 140, 280, 560 or 1120; the folder's own if unset.
    pub image_budget: Option<usize>,
    /// Bytes of the conversations that are kept beside the one that is answered.
    pub kept_bytes_max: Option<usize>,
    /// Folder for what every conversation begins with; kept in memory only if unset.
    pub prefix_folder: Option<PathBuf>,
}

/// The assistant loop.
#[derive(Clone, Debug)]
pub struct Assistant {
    /// The instruction that precedes every conversation.
    pub system: String,
    /// Rounds of tool calls in one turn at most.
    pub steps_max: u32,
    /// Tokens of one reply at most.
    pub reply_tokens_max: usize,
    /// Tokens of one reply of a ready-made task at most.
    pub task_tokens_max: usize,
    /// Whether a spoken question takes the camera's latest picture along.
    pub look_on_speech: bool,
    /// How long a conversation is kept after its last turn.
    pub session_idle: Duration,
    /// Temperature of sampling; 0 always picks the likeliest token. The folder's own if unset.
    pub temperature: Option<f32>,
    /// Share of probability to sample from. The folder's own if unset.
    pub top_p: Option<f32>,
    /// Number of tokens to sample from. The folder's own if unset.
    pub top_k: Option<usize>,
    /// Seed of sampling; a fresh one for every reply if unset.
    pub seed: Option<u64>,
}

/// Where sound comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Microphone {
    /// There is none.
    None,
    /// An ALSA device by name, such as `default` or `plughw:CARD=Device`.
    Alsa {
        /// The name.
        device: String,
    },
    /// Sound files, played once in the order of their names, at the speed of sound. A text file of
    /// the same name with the ending `.txt` is the caption.
    Replay {
        /// A sound file or a folder of them.
        path: PathBuf,
    },
}

/// How speech is found in sound.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Probability of speech, 0 to 1, from which a frame counts as speech.
    pub threshold: f32,
    /// Sound kept from before the first frame of speech.
    pub pre_roll: Duration,
    /// Pause that ends an utterance.
    pub hang_over: Duration,
    /// Shortest speech that counts as an utterance.
    pub utterance_min: Duration,
    /// Longest utterance; at most 30 s. What follows is a new one.
    pub utterance_max: Duration,
}

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Camera {
    /// There is none.
    None,
    /// A V4L2 device, best by its stable path under `/dev/v4l/by-id`.
    V4l2 {
        /// The device file.
        device: PathBuf,
        /// Wanted width in pixels.
        width: u32,
        /// Wanted height in pixels.
        height: u32,
        /// Time between two pictures.
        interval: Duration,
    },
    /// Picture files, shown in the order of their names, again and again.
    Replay {
        /// A picture file or a folder of them.
        path: PathBuf,
        /// Time between two pictures.
        interval: Duration,
    },
}

/// The message bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// No D-Bus service.
    None,
    /// The system bus.
    System,
    /// The bus of the user's session.
    Session,
    /// A bus at this D-Bus address.
    Address(String),
}

/// The MQTT broker.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Where it is; `None` is no MQTT at all.
    pub server: Option<Server>,
    /// First part of every topic of ours.
    pub prefix: String,
    /// Second part of every topic of ours: the name of this machine.
    pub node: String,
    /// Who we are to the broker.
    pub credentials: Option<Credentials>,
    /// The folder where accepted results wait while the broker is away; in memory only if `None`.
    pub outbox_folder: Option<PathBuf>,
    /// Messages that wait while the broker is away; beyond that the oldest non-critical leaves.
    pub outbox_messages_max: usize,
}

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS, where the URL is `mqtts://`.
    pub tls: bool,
    /// Certificates to trust, PEM; the system's if unset.
    pub ca_file: Option<PathBuf>,
}

/// Who we are to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// File with the password, none if unset. Only who connects to the broker reads it, so that
    /// everybody else may use the configuration.
    pub password_file: Option<PathBuf>,
}

/// The plugins.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// Folders that hold one folder for each plugin.
    pub folders: Vec<PathBuf>,
    /// The folder for compiled code; compiled anew at every start if `None`.
    pub cache_folder: Option<PathBuf>,
    /// Longest time that one call may take, whatever its manifest says.
    pub call_max: Duration,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Filter in the form of `tracing`, such as `info` or `gemmad=debug`.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

#[cfg(test)]
mod tests;
