//! What every conversation begins with, computed once: kept in memory, and in a file where there is a
//! folder for that.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::cache::Slot;
use super::decoder::Decoder;
use super::generate::Limits;
use super::{Block, Gemma};
use crate::engine::{Engine, EngineKind};
use crate::error::Error;
use crate::sequence::saved::{Key, SavedError};
use crate::sequences::folder::PrefixFolder;

/// What has become of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixReport {
    /// Its tokens.
    pub tokens: usize,
    /// Where its keys and values came from.
    pub origin: PrefixOrigin,
    /// Why it is not saved; `None` where it is.
    pub unsaved: Option<String>,
    /// Whether there is still something to do: asking again goes on with it.
    pub again: bool,
}

/// Where the keys and values of a prefix came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixOrigin {
    /// They were there.
    Memory,
    /// They were saved.
    File,
    /// They were computed.
    Computed,
    /// The computation was stopped: they are not kept yet.
    Stopped,
}

/// Where prefixes are saved, or why they are not.
pub(crate) type Folder = Result<PrefixFolder, String>;

/// Makes sure that a prefix is kept and, where that is possible, saved. Stops before a step for which
/// `go_on` says no.
///
/// # Errors
/// When the engine fails.
pub(crate) fn keep<E: Engine>(
    gemma: &mut Gemma<E>,
    folder: &Folder,
    prefix: &[u32],
    limits: Limits,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<PrefixReport, Error> {
    let slots: Vec<Slot> = prefix.iter().map(|&id| Slot::Token(id)).collect();
    let origin = if gemma.decoder.is_pinned(&slots) {
        PrefixOrigin::Memory
    } else if load(gemma, folder, &slots) {
        PrefixOrigin::File
    } else if compute(gemma, prefix, &slots, limits, go_on)? {
        PrefixOrigin::Computed
    } else {
        PrefixOrigin::Stopped
    };
    let again = match origin {
        PrefixOrigin::File => false,
        PrefixOrigin::Stopped => true,
        PrefixOrigin::Memory | PrefixOrigin::Computed => !go_on(),
    };
    let unsaved = match again {
        true => Some("there was something else to do".to_owned()),
        false => save(gemma, folder, &slots).err(),
    };
    Ok(PrefixReport { tokens: prefix.len(), origin, unsaved, again })
}

/// Pins a saved prefix, if there is one.
fn load<E: Engine>(gemma: &mut Gemma<E>, folder: &Folder, slots: &[Slot]) -> bool {
    let (Ok(folder), Decoder::Fast(decoder)) = (folder, &mut gemma.decoder) else { return false };
    match decoder.load_prefix(folder, slots) {
        Ok(()) => true,
        Err(SavedError::Missing(_)) => false,
        Err(error) => {
            tracing::warn!("a saved prefix is not used, but computed again: {error}");
            false
        }
    }
}

/// Takes a prefix through the decoder, block by block, and pins it; whether it came to the end.
fn compute<E: Engine>(
    gemma: &mut Gemma<E>,
    prefix: &[u32],
    slots: &[Slot],
    limits: Limits,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<bool, Error> {
    let mut done = gemma.resume(slots)?;
    while done < slots.len() {
        if !go_on() {
            return Ok(false);
        }
        let end = slots.len().min(done + limits.block_tokens);
        let ids: Vec<i64> = prefix[done..end].iter().copied().map(i64::from).collect();
        let placeholder_ids = ids.clone();
        let block = Block { slots: &slots[done..end], ids, placeholder_ids, features: Vec::new() };
        gemma.forward(&block, 0)?;
        done = end;
    }
    gemma.remember()?;
    gemma.decoder.pin(&gemma.engine)?;
    Ok(true)
}

fn save<E: Engine>(gemma: &mut Gemma<E>, folder: &Folder, slots: &[Slot]) -> Result<(), String> {
    let folder = folder.as_ref().map_err(String::clone)?;
    match &mut gemma.decoder {
        Decoder::Fast(decoder) => {
            decoder.save_prefix(folder, slots).map_err(|error| error.to_string())
        }
        Decoder::Published(_) => Err(PUBLISHED.to_owned()),
    }
}

/// The keys and values of a published decoder are tensors of the engine, which are made anew by each
/// step; there is nothing that could be mapped.
const PUBLISHED: &str =
    "the published decoder has its own form of keys and values; run `gemmad model optimize`";

/// Opens the folder of saved prefixes for a model.
pub(crate) fn open_folder<E: Engine>(
    gemma: &Gemma<E>,
    path: Option<&Path>,
    graphs: &[PathBuf],
    model: &Path,
) -> Folder {
    let path = path.ok_or("there is no folder for it")?;
    match gemma.decoder {
        Decoder::Fast(_) => {}
        Decoder::Published(_) => return Err(PUBLISHED.to_owned()),
    }
    let identity = identity(E::KIND, graphs, model).map_err(|error| error.to_string())?;
    PrefixFolder::open(path, identity).map_err(|error| error.to_string())
}

/// What the keys and values of a token depend on, beside the tokens before it: the files of the model
/// by name, length and time of the last change, since the weights are too long to be read for this;
/// the engine, and the version of our operators.
fn identity(engine: EngineKind, graphs: &[PathBuf], model: &Path) -> std::io::Result<Key> {
    let mut key = Sha256::new();
    key.update(format!("{} {engine}\n", env!("CARGO_PKG_VERSION")));
    let folders = graphs.iter().filter_map(|graph| graph.parent());
    let mut folders: Vec<&Path> = folders.chain([model]).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            // A model folder consists of links where it comes from a cache of downloads.
            let metadata = std::fs::metadata(&path)?;
            if metadata.is_file() {
                let changed = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH);
                let changed = changed.unwrap_or_default().as_nanos();
                files.push(format!("{} {} {changed}\n", path.display(), metadata.len()));
            }
        }
        files.sort_unstable();
        files.iter().for_each(|file| key.update(file));
    }
    Ok(key.finalize().into())
}
