//! The private message bus: a real dbus-daemon with its own configuration and socket, which can go
//! away and come back at the same address.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::process::Process;

/// A message bus that everybody may own names on.
#[derive(Debug)]
pub struct Bus {
    socket: PathBuf,
    config: PathBuf,
    process: Option<Process>,
}

impl Bus {
    /// Starts a bus whose files lie in `folder`.
    ///
    /// # Errors
    /// When dbus-daemon cannot be started.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let socket = folder.join("bus");
        let config = folder.join("bus.conf");
        std::fs::write(&config, bus_config(&socket))?;
        let mut bus = Self { socket, config, process: None };
        bus.come_back().await?;
        Ok(bus)
    }

    /// Its D-Bus address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket.display())
    }

    /// Stops the bus: everybody on it is disconnected.
    pub fn go_away(&mut self) {
        self.process = None;
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Starts the bus again at the same address.
    ///
    /// # Errors
    /// When dbus-daemon cannot be started.
    pub async fn come_back(&mut self) -> anyhow::Result<()> {
        let config = format!("--config-file={}", self.config.display());
        let arguments = [config.as_str(), "--nofork", "--nopidfile", "--print-address=1"];
        let process = Process::start("dbus-daemon", &arguments, &[])
            .context("the stories need dbus-daemon (Debian: apt install dbus)")?;
        let printed = |line: &crate::process::Line| line.text.starts_with("unix:").then_some(());
        process.lines().wait(0, "address of the message bus", printed).await?;
        self.process = Some(process);
        Ok(())
    }
}

fn bus_config(socket: &Path) -> String {
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#,
        socket.display()
    )
}
