//! The private message bus: a real dbus-daemon with its own configuration and socket, which can go
//! away and come back at the same address.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::process::{Line, Process};
use crate::workspace;

/// A message bus: a private one on which everybody may own names, or one that is there already.
#[derive(Debug)]
pub struct Bus {
    address: String,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    socket: PathBuf,
    process: Option<Process>,
}

impl Bus {
    /// Starts a bus whose files lie in `folder`.
    ///
    /// # Errors
    /// When dbus-daemon cannot be started.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let socket = folder.join("bus");
        let address = format!("unix:path={}", socket.display());
        let mut bus = Self { address, private: Some(Private { socket, process: None }) };
        bus.come_back().await?;
        Ok(bus)
    }

    /// The bus at `address`, such as `system`, which is not ours to start or stop.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned(), private: None }
    }

    /// Its D-Bus address, as the daemon's configuration takes it.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Stops a private bus: everybody on it is disconnected.
    pub fn go_away(&mut self) {
        if let Some(private) = &mut self.private {
            private.process = None;
            let _ = std::fs::remove_file(&private.socket);
        }
    }

    /// Starts a private bus again at the same address.
    ///
    /// # Errors
    /// When dbus-daemon cannot be started.
    pub async fn come_back(&mut self) -> anyhow::Result<()> {
        let Some(private) = &mut self.private else { return Ok(()) };
        let config = format!("--config-file={}", workspace::bus_config()?.display());
        let address = format!("--address={}", self.address);
        let arguments =
            [config.as_str(), address.as_str(), "--nofork", "--nopidfile", "--print-address=1"];
        let process = Process::start("dbus-daemon", &arguments, &[])
            .context("this needs dbus-daemon (Debian: apt install dbus)")?;
        let printed = |line: &Line| line.text.starts_with("unix:").then_some(());
        process.lines().wait(0, "address of the message bus", printed).await?;
        private.process = Some(process);
        Ok(())
    }
}
