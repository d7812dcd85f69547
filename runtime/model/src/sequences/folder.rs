//! The folder of saved prefixes: files named by what they depend on, that nobody but their owner may
//! read. It stays below a number of files and bytes; the oldest leave.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::digest::hexadecimal;
use crate::sequence::saved::{Expected, Key, SavedError};
use crate::sequence::{LayerShape, Sequence, Slot, Store};

const EXTENSION: &str = "prefix";
/// Files that are kept.
const FILES_MAX: usize = 8;
/// Bytes that they may take together.
const BYTES_MAX: u64 = 2 << 30;

/// A folder of saved prefixes of one model.
#[derive(Debug)]
pub(crate) struct PrefixFolder {
    path: PathBuf,
    /// What the rows depend on beside the tokens.
    model: Key,
}

impl PrefixFolder {
    /// Opens the folder, and makes it where it does not exist. `model` tells all that the rows of a
    /// prefix depend on, beside its tokens.
    ///
    /// # Errors
    /// When it cannot be made, or others than its owner may use it.
    pub(crate) fn open(path: &Path, model: Key) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let mode = fs::metadata(path)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let text = format!("others may use {} (mode {mode:o}); accepted: 700", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self { path: path.to_owned(), model })
    }

    /// The saved prefix of these tokens. A file that is not as expected is removed.
    ///
    /// # Errors
    /// When there is none, it cannot be read, or it is damaged.
    pub(crate) fn load(
        &self,
        shapes: &[LayerShape],
        store: Store,
        slots: &[Slot],
    ) -> Result<Sequence, SavedError> {
        let key = self.key(shapes, store, slots);
        let path = self.file(&key);
        let loaded = Sequence::open(&path, Expected { key: &key, shapes, store, slots });
        if let Err(SavedError::Damaged { path, .. }) = &loaded {
            let _ = fs::remove_file(path);
        }
        loaded
    }

    /// Saves a prefix, and removes the oldest where there are too many.
    ///
    /// # Errors
    /// When there is a picture or sound in it, it is too large, or the system refuses.
    pub(crate) fn save(&self, prefix: &Sequence) -> Result<(), SavedError> {
        let key = self.key(&prefix.shapes(), prefix.store(), prefix.slots());
        let path = self.file(&key);
        let bytes = prefix.saved_bytes() as u64;
        let room = match bytes > BYTES_MAX {
            true => {
                Err(io::Error::other(format!("{bytes} bytes are too many; at most {BYTES_MAX}")))
            }
            false => self.make_room(bytes),
        };
        room.map_err(|source| SavedError::System { path: path.clone(), source })?;
        prefix.save(&path, &key)
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.path.join(format!("{}.{EXTENSION}", hexadecimal(key)))
    }

    /// All that the rows depend on.
    fn key(&self, shapes: &[LayerShape], store: Store, slots: &[Slot]) -> Key {
        let mut key = Sha256::new();
        key.update(self.model);
        key.update([store.bytes() as u8]);
        for LayerShape { heads, width, window } in shapes {
            let numbers = [*heads, *width, window.unwrap_or(0)];
            numbers.iter().for_each(|number| key.update((*number as u64).to_le_bytes()));
        }
        for slot in slots {
            match slot {
                Slot::Token(id) => key.update(id.to_le_bytes()),
                Slot::Soft { media, row, .. } => {
                    key.update(media.to_le_bytes());
                    key.update(row.to_le_bytes());
                }
            }
        }
        key.finalize().into()
    }

    /// Removes what was left unfinished, and the oldest files until so many bytes fit in.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let path = entry.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(EXTENSION) => {
                    let metadata = entry.metadata()?;
                    files.push((metadata.modified()?, metadata.len(), path));
                }
                Some("part") => fs::remove_file(path)?,
                Some(_) | None => {}
            }
        }
        files.sort_unstable();
        let mut all: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        let mut count = files.len();
        for (_, taken, path) in files {
            if count < FILES_MAX && all + bytes <= BYTES_MAX {
                break;
            }
            fs::remove_file(path)?;
            all -= taken;
            count -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
