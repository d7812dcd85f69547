//! A child process that never outlives its test: it has a process group of its own, which is
//! killed when the value is dropped, and the kernel kills it when the test itself is killed. What
//! it prints is recorded.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal};
use tokio::sync::watch;

use crate::record::Record;

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// One line that a process printed.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where.
    pub stream: Stream,
    /// The line without its end; what is not UTF-8 is replaced.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Variables of the person who runs the stories that would change what the daemon does.
const REMOVED: [&str; 5] = [
    "GEMMAD_CONFIG",
    "NOTIFY_SOCKET",
    "ORT_DISABLE_TELEMETRY",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
];

/// A running or finished child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    lines: Record<Line>,
    exit: watch::Receiver<Option<ExitStatus>>,
    waiter: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `program` with `arguments` and the additional environment `variables`; what the
    /// person who runs the stories has set for the daemon does not reach it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        program: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]).args(arguments);
        for variable in REMOVED {
            command.env_remove(variable);
        }
        command.envs(variables.iter().copied()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Self::watch(program, child)
    }

    fn watch(name: &str, mut child: Child) -> anyhow::Result<Self> {
        let raw = i32::try_from(child.id())?;
        let pid = Pid::from_raw(raw).ok_or_else(|| anyhow!("{name} has no process id"))?;
        let lines = Record::default();
        let readers = [
            child.stdout.take().map(|pipe| read_lines(pipe, Stream::Out, lines.clone())),
            child.stderr.take().map(|pipe| read_lines(pipe, Stream::Error, lines.clone())),
        ];
        let (sender, exit) = watch::channel(None);
        let waiter = std::thread::spawn(move || {
            let status = child.wait().ok();
            for reader in readers.into_iter().flatten() {
                let _ = reader.join();
            }
            sender.send_replace(status);
        });
        Ok(Self { name: name.to_owned(), pid, lines, exit, waiter: Some(waiter) })
    }

    /// Everything that the process printed.
    #[must_use]
    pub fn lines(&self) -> &Record<Line> {
        &self.lines
    }

    /// What the process printed to `stream`, as one text.
    #[must_use]
    pub fn text(&self, stream: Stream) -> String {
        let lines = self.lines.since(0);
        let chosen = lines.iter().filter(|line| line.stream == stream);
        chosen.map(|line| format!("{}\n", line.text)).collect()
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends `signal` to the process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        rustix::process::kill_process(self.pid, signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// When it has not ended within `patience`; the error holds what it printed last.
    pub async fn ended(&self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let mut exit = self.exit.clone();
        let ended = tokio::time::timeout(patience, exit.wait_for(Option::is_some)).await;
        let status = ended.ok().and_then(Result::ok).and_then(|status| *status);
        status.with_context(|| {
            let (name, seconds) = (&self.name, patience.as_secs());
            format!("{name} still runs after {seconds} s; it said:\n{}", self.lines.tail(0))
        })
    }

    /// Kills the process without any warning and waits until it is gone.
    pub fn kill(&mut self) {
        if self.is_running() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_lines(
    pipe: impl Read + Send + 'static,
    stream: Stream,
    lines: Record<Line>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            let text = String::from_utf8_lossy(&line).into_owned();
            lines.push(Line { stream, text });
        }
    })
}
