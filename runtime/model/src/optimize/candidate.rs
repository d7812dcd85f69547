//! The file of a fast graph that is not yet known to be right. It takes its place when it is, and is
//! removed when it is not.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{OptimizeError, candidate_path, fast_path};

/// A file that is removed unless it is kept. Only one process has it at a time.
pub(super) struct Candidate {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl Candidate {
    /// Takes the file for a decoder. What a killed run has left is written over.
    ///
    /// # Errors
    /// When another run has it, or it cannot be made.
    pub(super) fn open(decoder: &Path) -> Result<Self, OptimizeError> {
        let path = candidate_path(decoder);
        let unwritten = |source| OptimizeError::Write { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(unwritten)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, file, is_kept: false }),
            Err(TryLockError::WouldBlock) => Err(OptimizeError::Busy { path }),
            Err(TryLockError::Error(source)) => Err(OptimizeError::Write { path, source }),
        }
    }

    /// Writes the file anew.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), OptimizeError> {
        let mut write = || {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(bytes)?;
            self.file.sync_all()
        };
        write().map_err(|source| OptimizeError::Write { path: self.path.clone(), source })
    }

    /// Puts the file in the place of the fast graph.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(super) fn keep(mut self, decoder: &Path) -> Result<PathBuf, OptimizeError> {
        let path = fast_path(decoder);
        std::fs::rename(&self.path, &path)
            .map_err(|source| OptimizeError::Write { path: path.clone(), source })?;
        self.is_kept = true;
        Ok(path)
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!("{} is left behind: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn only_what_is_kept_stays() {
        let folder = tempfile::tempdir().unwrap();
        let decoder = folder.path().join("model.onnx");
        let mut candidate = Candidate::open(&decoder).unwrap();
        candidate.write(b"long").unwrap();
        candidate.write(b"new").unwrap();
        drop(candidate);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut candidate = Candidate::open(&decoder).unwrap();
        candidate.write(b"long").unwrap();
        candidate.write(b"new").unwrap();
        let kept = candidate.keep(&decoder).unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_runs_do_not_write_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let decoder = folder.path().join("model.onnx");
        let first = Candidate::open(&decoder).unwrap();
        let error = Candidate::open(&decoder).err().unwrap().to_string();
        assert!(error.contains("is being written by another gemmad"), "{error}");
        drop(first);
        assert!(Candidate::open(&decoder).is_ok());
    }
}
