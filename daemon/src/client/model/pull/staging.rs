//! The folder that a model is gathered in, beside the one that it will be: `NAME.part`. It gets its
//! name when it is complete, in one step, so nobody ever opens half a model.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::hub::RemoteFile;

/// Name of the file that shows that somebody is at work.
const LOCK: &str = ".lock";

/// Room that is left on the disk.
const SPARE_BYTES: u64 = 64 << 20;

/// A folder that is being filled.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    target: PathBuf,
    /// Held until the end of the process, or of the work.
    lock: File,
}

/// How far a file is.
#[derive(Debug)]
pub(super) enum Staged {
    /// It was checked and kept before.
    Whole,
    /// Its beginning is here, or will be.
    Part(PathBuf),
}

/// Whether a folder holds all of these files, by name and length.
pub(super) fn holds(folder: &Path, files: &[RemoteFile]) -> bool {
    let there = |file: &RemoteFile| {
        let length = fs::metadata(folder.join(&file.path)).map(|found| found.len());
        length.is_ok_and(|length| file.bytes.is_none_or(|bytes| bytes == length))
    };
    files.iter().all(there)
}

impl Staging {
    /// Opens the folder beside `target`, whatever an earlier attempt left in it.
    ///
    /// # Errors
    /// When there is something at `target`, or somebody else is at work.
    pub(super) fn open(target: &Path) -> anyhow::Result<Self> {
        let there = target.display();
        match fs::read_dir(target) {
            Ok(mut entries) => ensure!(
                entries.next().is_none(),
                "{there} holds something else already; name another folder with --to"
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => bail!("{there} cannot be a model's folder: {error}"),
        }
        let name = target.file_name().with_context(|| format!("{there} has no name"))?;
        let mut name = name.to_owned();
        name.push(".part");
        let folder = target.with_file_name(name);
        let named = || format!("{} cannot be made", folder.display());
        fs::create_dir_all(&folder).with_context(named)?;
        let lock = File::create(folder.join(LOCK)).with_context(named)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, target: target.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => bail!("another download to {there} is at work"),
            Err(TryLockError::Error(error)) => Err(error).with_context(named),
        }
    }

    /// Makes sure that the disk can take what is missing.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn check_room(&self, files: &[RemoteFile]) -> anyhow::Result<()> {
        let missing: u64 = files.iter().map(|file| self.missing(file)).sum();
        let disk = rustix::fs::statvfs(&self.folder)
            .with_context(|| format!("{} cannot be looked at", self.folder.display()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if missing.saturating_add(SPARE_BYTES) <= free || missing == 0 {
            return Ok(());
        }
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        bail!(
            "{} needs {:.2} GB more, and {:.2} GB are free on its disk; make room, or name a folder \
             on another disk with --to",
            self.target.display(),
            gigabytes(missing + SPARE_BYTES),
            gigabytes(free)
        )
    }

    /// Bytes of a file that are not here yet.
    fn missing(&self, file: &RemoteFile) -> u64 {
        let length = |path: PathBuf| fs::metadata(path).map_or(0, |found| found.len());
        let have = length(self.path(file)).max(length(self.part(file)));
        file.bytes.unwrap_or(0).saturating_sub(have)
    }

    /// How far a file is.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub(super) fn staged(&self, file: &RemoteFile) -> anyhow::Result<Staged> {
        let path = self.path(file);
        if fs::metadata(&path).is_ok_and(|found| Some(found.len()) == file.bytes) {
            return Ok(Staged::Whole);
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        Ok(Staged::Part(self.part(file)))
    }

    /// Gives a file that was fetched its name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(super) fn keep(&self, file: &RemoteFile) -> anyhow::Result<()> {
        match fs::rename(self.part(file), self.path(file)) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.path(file).is_file() => {
                Ok(())
            }
            renamed => renamed.with_context(|| format!("{} cannot be kept", file.path)),
        }
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// When something has taken its place meanwhile.
    pub(super) fn publish(self) -> anyhow::Result<()> {
        fs::remove_file(self.folder.join(LOCK)).context("the lock cannot be removed")?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).context("the disk fails")?;
        fs::rename(&self.folder, &self.target).with_context(|| {
            format!("{} cannot become {}", self.folder.display(), self.target.display())
        })?;
        drop(self.lock);
        Ok(())
    }

    fn path(&self, file: &RemoteFile) -> PathBuf {
        self.folder.join(&file.path)
    }

    fn part(&self, file: &RemoteFile) -> PathBuf {
        self.folder.join(format!("{}.part", file.path))
    }
}
