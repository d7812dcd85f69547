//! What can be typed after `gemmad-demo`.

use std::path::PathBuf;

/// The main job on replayed sound and pictures: hear, see, call a tool, publish.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "gemmad-demo", version)]
pub struct Arguments {
    /// Stay up afterwards and say how to talk to the house
    #[arg(long)]
    pub stay: bool,
    /// Use the system's message bus instead of a private one
    #[arg(long)]
    pub system_bus: bool,
    /// Use this broker, such as mqtt://localhost:1883, instead of a private one
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// Engine that runs the model: ort or tract
    #[arg(long, default_value = "ort")]
    pub engine: String,
    /// Model folder to use instead of the demo model
    #[arg(long, value_name = "FOLDER")]
    pub model: Option<PathBuf>,
    /// Play this scene only: request, door or interruption; several times for several
    #[arg(long, value_name = "SCENE")]
    pub scene: Vec<String>,
    /// Print the daemon's log at the end
    #[arg(long)]
    pub log: bool,
}

impl Arguments {
    /// Address of the bus to use; none is a private one.
    pub(super) fn bus(&self) -> Option<String> {
        self.system_bus.then(|| "system".to_owned())
    }
}
