//! One file, from where an earlier attempt stopped to its checked end.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;

use super::checksum::Summer;
use super::hub::{Failure, Hub, Patience, RemoteFile};
use crate::client::aside;

/// Bytes that are taken at a time.
const BLOCK_BYTES: usize = 256 << 10;

/// A file that is being fetched.
struct Part<'a> {
    remote: &'a RemoteFile,
    /// Length of the whole file.
    bytes: u64,
    file: File,
    have: u64,
    summer: Summer,
    bar: &'a ProgressBar,
}

/// Fetches a file to `part`, which may hold its beginning, and checks it.
///
/// # Errors
/// When the hub does not give it, the disk does not take it, or it comes out wrong twice.
pub(super) fn fetch(
    hub: &Hub,
    remote: &RemoteFile,
    part: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut part = Part::open(remote, part, bar)?;
    let mut fresh = part.have == 0;
    loop {
        part.complete(hub)?;
        let Some(wrong) = part.wrong() else { break };
        if fresh {
            part.restart()?;
            bail!("{} came out wrong, it is removed: {wrong}", remote.path);
        }
        // What an earlier attempt left may have been damaged since.
        aside(&format!("{} came out wrong, it is fetched again: {wrong}", remote.path));
        part.restart()?;
        fresh = true;
    }
    if remote.checksum.is_none() {
        aside(&format!("{}: the hub names no checksum, only its length is right", remote.path));
    }
    part.file.sync_all().with_context(|| format!("{} cannot be written", remote.path))
}

impl<'a> Part<'a> {
    /// Takes up what an earlier attempt left.
    fn open(remote: &'a RemoteFile, path: &Path, bar: &'a ProgressBar) -> anyhow::Result<Self> {
        let named = || format!("{} cannot be opened", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).with_context(named)?;
        let bytes = remote.bytes.context("a file without a length")?;
        let summer = Summer::new(remote.checksum, bytes);
        let mut part = Self { remote, bytes, file, have: 0, summer, bar };
        part.take_up().with_context(named)?;
        Ok(part)
    }

    fn take_up(&mut self) -> std::io::Result<()> {
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let room = usize::try_from(self.bytes - self.have).unwrap_or(BLOCK_BYTES);
            let count = self.file.read(&mut block[..room.min(BLOCK_BYTES)])?;
            if count == 0 {
                break;
            }
            self.summer.update(&block[..count]);
            self.have += count as u64;
        }
        self.file.set_len(self.have)?;
        self.bar.inc(self.have);
        Ok(())
    }

    /// Forgets what is there.
    fn restart(&mut self) -> anyhow::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.bar.dec(self.have);
        self.have = 0;
        self.summer = Summer::new(self.remote.checksum, self.bytes);
        Ok(())
    }

    /// Fetches what is missing, over as many connections as it takes.
    fn complete(&mut self, hub: &Hub) -> anyhow::Result<()> {
        let mut patience = Patience::default();
        while self.have < self.bytes {
            let before = self.have;
            let failure = match self.attempt(hub) {
                Ok(()) => anyhow::anyhow!("the connection ended early"),
                Err(Failure::Passing(error)) => error,
                Err(failure) => return Err(hub.explain(failure, &self.remote.path)),
            };
            if self.have > before {
                patience.restore();
            } else if let Err(failure) = patience.wait(failure) {
                return Err(hub.explain(failure, &self.remote.path));
            }
        }
        Ok(())
    }

    /// Fetches over one connection.
    fn attempt(&mut self, hub: &Hub) -> Result<(), Failure> {
        let content = hub.open(self.remote, self.have)?;
        if content.bytes.is_some_and(|bytes| bytes != self.bytes) {
            let (listed, given) = (self.bytes, content.bytes.unwrap_or_default());
            return Err(Failure::Last(anyhow::anyhow!(
                "it has {given} bytes where the list says {listed}"
            )));
        }
        if content.start != self.have {
            // A server that knows no ranges gives everything once more.
            self.restart().map_err(Failure::Last)?;
        }
        if content.start > 0 && content.start != self.have {
            return Err(Failure::Last(anyhow::anyhow!("the server gives another part of it")));
        }
        let mut content = content.reader.take(self.bytes - self.have);
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let count = match content.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) => return Err(Failure::Passing(error.into())),
            };
            self.file.write_all(&block[..count]).map_err(|error| Failure::Last(error.into()))?;
            self.summer.update(&block[..count]);
            self.have += count as u64;
            self.bar.inc(count as u64);
        }
    }

    /// What is wrong with the whole file.
    fn wrong(&self) -> Option<String> {
        let expected = self.remote.checksum?;
        let found = self.summer.clone().finish()?;
        (found != expected).then(|| format!("{found} instead of {expected}"))
    }
}
