//! Files of a plugin's folder: opened only where they are regular files inside that folder, and
//! read only up to a size.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a file of a plugin was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system said no.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A link that leads out of the folder.
    #[error("lies outside the plugin's folder, at {0}; accepted: a file inside it")]
    Outside(PathBuf),
    /// A folder, a pipe, a device.
    #[error("is no regular file")]
    NoFile,
    /// More bytes than are read.
    #[error("has more than {0} bytes")]
    Large(u64),
}

/// Reads the file `name` of `folder`, at most `bytes_max` bytes.
pub(crate) fn read(folder: &Path, name: &str, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let folder = fs::canonicalize(folder)?;
    let path = fs::canonicalize(folder.join(name))?;
    if path.parent() != Some(folder.as_path()) {
        return Err(FileError::Outside(path));
    }
    if !fs::symlink_metadata(&path)?.is_file() {
        return Err(FileError::NoFile);
    }
    let mut bytes = Vec::new();
    File::open(&path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= bytes_max) {
        return Ok(bytes);
    }
    Err(FileError::Large(bytes_max))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugin")).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        fs::write(folder.path().join("plugin/inside"), "inside").unwrap();
        folder
    }

    #[test]
    fn a_file_of_the_folder_is_read_up_to_its_limit() {
        let folder = folder();
        let plugin = folder.path().join("plugin");
        assert_eq!(read(&plugin, "inside", 6).unwrap(), b"inside");
        assert!(matches!(read(&plugin, "inside", 5), Err(FileError::Large(5))));
    }

    #[test]
    fn nothing_outside_the_folder_is_read() {
        let folder = folder();
        let plugin = folder.path().join("plugin");
        symlink("../secret", plugin.join("link")).unwrap();
        symlink("inside", plugin.join("within")).unwrap();
        assert!(matches!(read(&plugin, "link", 99), Err(FileError::Outside(_))));
        assert!(matches!(read(&plugin, "../secret", 99), Err(FileError::Outside(_))));
        assert_eq!(read(&plugin, "within", 99).unwrap(), b"inside");
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = folder();
        assert!(matches!(read(folder.path(), "plugin", 99), Err(FileError::NoFile)));
        assert!(matches!(read(folder.path(), "absent", 99), Err(FileError::Io(_))));
    }
}
