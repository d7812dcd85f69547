//! The private broker: a real mosquitto on a free port, which forgets everything when it goes away
//! and can come back on the same port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use crate::process::{Line, Process};

/// Ports to choose from: below the range that the kernel gives to outgoing connections, so that
/// nobody takes the port while the broker is away.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// An MQTT broker: a private one that everybody may talk to, or one that is there already.
#[derive(Debug)]
pub struct Broker {
    host: String,
    port: u16,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    config: PathBuf,
    process: Option<Process>,
}

impl Broker {
    /// Starts a broker whose files lie in `folder`.
    ///
    /// # Errors
    /// When mosquitto cannot be started.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let config = folder.join("mosquitto.conf");
        let mut failure = None;
        for port in free_ports().take(5) {
            std::fs::write(&config, broker_config(port))?;
            let private = Private { config: config.clone(), process: None };
            let host = "127.0.0.1".to_owned();
            let mut broker = Self { host, port, private: Some(private) };
            match broker.come_back().await {
                Ok(()) => return Ok(broker),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("no free port for the broker")))
    }

    /// The broker at `url`, such as `mqtt://broker.lan:1883`, which is not ours to start or stop.
    ///
    /// # Errors
    /// When it is not such a URL.
    pub fn at(url: &str) -> anyhow::Result<Self> {
        let wrong = || anyhow!("broker {url:?}: expected mqtt://HOST or mqtt://HOST:PORT");
        let place = url.strip_prefix("mqtt://").ok_or_else(wrong)?.trim_end_matches('/');
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "1883"));
        let port = port.parse().map_err(|_| wrong())?;
        Ok(Self { host: host.to_owned(), port, private: None })
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as the daemon's configuration takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}:{}", self.host, self.port)
    }

    /// Stops a private broker: everybody is disconnected, retained messages are forgotten.
    pub fn go_away(&mut self) {
        if let Some(private) = &mut self.private {
            private.process = None;
        }
    }

    /// Starts a private broker again on the same port.
    ///
    /// # Errors
    /// When mosquitto cannot be started.
    pub async fn come_back(&mut self) -> anyhow::Result<()> {
        let Some(private) = &mut self.private else { return Ok(()) };
        let config = private.config.display().to_string();
        // Debian puts mosquitto where only administrators look for programs.
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let process = Process::start("mosquitto", &["-c", &config], &[("PATH", &path)])
            .context("this needs mosquitto (Debian: apt install mosquitto)")?;
        let said = |line: &Line| match () {
            () if line.text.ends_with(" running") => Some(true),
            () if line.text.contains("Error: ") => Some(false),
            () => None,
        };
        if !process.lines().wait(0, "word from the broker", said).await? {
            bail!("mosquitto does not start:\n{}", process.lines().tail(0));
        }
        private.process = Some(process);
        Ok(())
    }
}

fn free_ports() -> impl Iterator<Item = u16> {
    let start = u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    let (low, count) = (PORTS.start, PORTS.end - PORTS.start);
    let candidates = (0..count).map(move |step| low + (start + step * 37) % count);
    candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

fn broker_config(port: u16) -> String {
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
         log_dest stderr\nlog_type all\nconnection_messages true\n"
    )
}
