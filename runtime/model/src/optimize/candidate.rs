//! The files of a fast graph that is not yet known to be right. They take their places when it is, and
//! are removed when it is not.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{OptimizeError, beside, candidate_path, fast_path};

/// A graph, and perhaps scales beside it, that are removed unless they are kept. Only one process has
/// them at a time.
pub(super) struct Candidate {
    path: PathBuf,
    file: File,
    /// Where scales lie that the graph reads.
    pub(super) scales: PathBuf,
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
            Ok(()) => {
                let scales = path.with_extension("onnx_data");
                Ok(Self { path, file, scales, is_kept: false })
            }
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

    /// Puts the graph in the place of the fast graph, after the scales that it reads under this name,
    /// and removes those that no graph reads any more.
    ///
    /// # Errors
    /// When a file cannot be renamed.
    pub(super) fn keep(
        mut self,
        decoder: &Path,
        scales: Option<&str>,
    ) -> Result<PathBuf, OptimizeError> {
        let rename = |from: &Path, path: PathBuf| match std::fs::rename(from, &path) {
            Ok(()) => Ok(path),
            Err(source) => Err(OptimizeError::Write { path, source }),
        };
        if let Some(name) = scales {
            rename(&self.scales, decoder.with_file_name(name))?;
        }
        let path = rename(&self.path, fast_path(decoder))?;
        self.is_kept = true;
        let stale = beside(decoder).into_iter();
        stale
            .filter(|path| path.file_name().is_none_or(|name| Some(name) != scales.map(OsStr::new)))
            .for_each(|path| remove(&path));
        Ok(path)
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if !self.is_kept {
            remove(&self.path);
        }
        if self.scales.exists() {
            remove(&self.scales);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!("{} is left behind: {error}", path.display());
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
        let kept = candidate.keep(&decoder, None).unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn scales_that_no_graph_reads_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let decoder = folder.path().join("model.onnx");
        let keep = |scales: Option<&str>| {
            let candidate = Candidate::open(&decoder).unwrap();
            std::fs::write(&candidate.scales, b"scales").unwrap();
            candidate.keep(&decoder, scales).unwrap();
            let names = std::fs::read_dir(folder.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let one = ["model.fast.onnx", "model.fast-1.onnx_data"].map(str::to_owned);
        assert_eq!(keep(Some("model.fast-1.onnx_data")), one.into());
        let other = ["model.fast.onnx", "model.fast-2.onnx_data"].map(str::to_owned);
        assert_eq!(keep(Some("model.fast-2.onnx_data")), other.into());
        assert_eq!(keep(None), ["model.fast.onnx".to_owned()].into());
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
