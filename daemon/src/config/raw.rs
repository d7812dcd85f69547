//! The configuration as a person types it: one TOML file, unknown keys refused. Every default of
//! the daemon is in this file, and `systemd/config.toml` shows them all.

use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) stop_deadline_ms: i64,
    pub(super) model: Model,
    pub(super) assistant: Assistant,
    pub(super) microphone: Microphone,
    pub(super) listening: Listening,
    pub(super) camera: Camera,
    pub(super) bus: Bus,
    pub(super) broker: Broker,
    pub(super) plugins: Plugins,
    pub(super) log: Log,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            stop_deadline_ms: 5_000,
            model: Model::default(),
            assistant: Assistant::default(),
            microphone: Microphone::default(),
            listening: Listening::default(),
            camera: Camera::default(),
            bus: Bus::default(),
            broker: Broker::default(),
            plugins: Plugins::default(),
            log: Log::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Model {
    pub(super) folder: String,
    pub(super) engine: String,
    pub(super) device: String,
    pub(super) library: Option<String>,
    pub(super) dtype: Option<String>,
    pub(super) graph: String,
    /// 0 is one for each core.
    pub(super) threads: i64,
    pub(super) context_tokens: i64,
    pub(super) prefill_block_tokens: i64,
    pub(super) image_budget: Option<i64>,
    pub(super) kept_megabytes_max: Option<i64>,
    pub(super) prefix_folder: Option<String>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            folder: "/var/lib/gemmad/models/default".to_owned(),
            engine: "ort".to_owned(),
            device: "auto".to_owned(),
            library: None,
            dtype: None,
            graph: "auto".to_owned(),
            threads: 0,
            context_tokens: 4_096,
            prefill_block_tokens: 128,
            image_budget: None,
            kept_megabytes_max: None,
            prefix_folder: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Assistant {
    pub(super) system: String,
    pub(super) steps_max: i64,
    pub(super) reply_tokens_max: i64,
    pub(super) task_tokens_max: i64,
    pub(super) look_on_speech: bool,
    pub(super) session_idle_s: i64,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) seed: Option<i64>,
}

impl Default for Assistant {
    fn default() -> Self {
        Self {
            system: "You are the voice assistant of this house. Answer in one short sentence."
                .to_owned(),
            steps_max: 4,
            reply_tokens_max: 512,
            task_tokens_max: 4_096,
            look_on_speech: false,
            session_idle_s: 300,
            temperature: None,
            top_p: None,
            top_k: None,
            seed: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Microphone {
    pub(super) source: String,
}

impl Default for Microphone {
    fn default() -> Self {
        Self { source: "none".to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Listening {
    pub(super) threshold: f64,
    pub(super) pre_roll_ms: i64,
    pub(super) hang_over_ms: i64,
    pub(super) utterance_min_ms: i64,
    pub(super) utterance_max_ms: i64,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            pre_roll_ms: 300,
            hang_over_ms: 700,
            utterance_min_ms: 250,
            utterance_max_ms: 30_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Camera {
    pub(super) source: String,
    pub(super) width: i64,
    pub(super) height: i64,
    pub(super) interval_ms: i64,
}

impl Default for Camera {
    fn default() -> Self {
        Self { source: "none".to_owned(), width: 640, height: 480, interval_ms: 1_000 }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Bus {
    pub(super) address: String,
}

impl Default for Bus {
    fn default() -> Self {
        Self { address: "system".to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Broker {
    pub(super) url: String,
    pub(super) prefix: String,
    /// The host name if unset.
    pub(super) node: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) ca_file: Option<String>,
    /// A folder of the systemd service if unset, else none.
    pub(super) outbox_folder: Option<String>,
    pub(super) outbox_messages_max: i64,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            url: "none".to_owned(),
            prefix: "gemmad".to_owned(),
            node: None,
            user: None,
            password_file: None,
            ca_file: None,
            outbox_folder: None,
            outbox_messages_max: 1_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Plugins {
    pub(super) folders: Vec<String>,
    /// A folder of the systemd service if unset, else none.
    pub(super) cache_folder: Option<String>,
    pub(super) call_max_ms: i64,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            folders: vec![
                "/usr/lib/gemmad/plugins".to_owned(),
                "/var/lib/gemmad/plugins".to_owned(),
            ],
            cache_folder: None,
            call_max_ms: 10_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) filter: String,
    pub(super) json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), json: false }
    }
}
