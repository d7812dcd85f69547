//! Files of a folder that somebody else wrote: only what lies in it, plain, and not too large.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// Bytes of a text at most.
pub(super) const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a picture or a sound at most.
pub(super) const MEDIUM_BYTES_MAX: u64 = 16 << 20;
/// Pictures of a film at most.
const PICTURES_MAX: usize = 64;

/// The file of this name.
///
/// # Errors
/// When the name leads elsewhere, or there is no plain file of at most `bytes_max` bytes.
pub(super) fn file(folder: &Path, name: &str, bytes_max: u64) -> anyhow::Result<PathBuf> {
    let path = inside(folder, name)?;
    plain(&path, bytes_max)?;
    Ok(path)
}

/// The text in the file of this name.
///
/// # Errors
/// As [`file`], and when it cannot be read.
pub(super) fn text(folder: &Path, name: &str) -> anyhow::Result<String> {
    let path = file(folder, name, TEXT_BYTES_MAX)?;
    fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
}

/// The picture or sound of this name, or the folder with the pictures of a film.
///
/// # Errors
/// As [`file`], for each picture of a film.
pub(super) fn medium(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = inside(folder, name)?;
    let found = fs::symlink_metadata(&path).with_context(|| format!("{}", path.display()))?;
    if !found.is_dir() {
        return file(folder, name, MEDIUM_BYTES_MAX);
    }
    let mut pictures = 0;
    for entry in fs::read_dir(&path).with_context(|| format!("{}", path.display()))? {
        pictures += 1;
        ensure!(pictures <= PICTURES_MAX, "{}: more than {PICTURES_MAX} pictures", path.display());
        plain(&entry?.path(), MEDIUM_BYTES_MAX)?;
    }
    Ok(path)
}

/// A name directly in the folder.
fn inside(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(folder.join(name)),
        _ => bail!("{name:?} leads out of the folder; expected the name of a file that lies in it"),
    }
}

fn plain(path: &Path, bytes_max: u64) -> anyhow::Result<()> {
    let shown = path.display();
    let found = fs::symlink_metadata(path).with_context(|| format!("{shown}"))?;
    ensure!(found.is_file(), "{shown} is no plain file");
    let bytes = found.len();
    ensure!(bytes <= bytes_max, "{shown}: {bytes} bytes, at most {bytes_max} are read");
    Ok(())
}
