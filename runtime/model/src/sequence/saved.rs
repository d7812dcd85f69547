//! A sequence in a file, from which it goes on after a restart: a header, then the blocks of every
//! layer as they lie in memory, from a place where pages begin. The file is mapped, and written to
//! only by copies. Whatever is not exactly as expected is refused.
//!
//! All numbers are little-endian. The header: `gemmadkv`, then as u32 the version of the form, rows
//! of a block, bytes of a number, layers, tokens, and 0; the key and the checksum of all that follows
//! the header, 32 bytes each; for each layer as u32 heads, width, window (0 for none), blocks dropped
//! in front, blocks; the ids of the tokens as u32; the SHA-256 of the header so far; zeros.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gemma_kernels::Rows;
use sha2::{Digest, Sha256};

use super::block::{BLOCK_ROWS, Block};
use super::layer::{Layer, first_seen};
use super::{LayerShape, Sequence, Slot, Step, Store};
use crate::mapped::Mapped;

const MAGIC: &[u8; 8] = b"gemmadkv";
/// The form of files that is written and understood.
const VERSION: u32 = 1;
/// Rows begin at a multiple of this; pages are no larger on any processor that we know.
const PAGE_BYTES: usize = 1 << 16;
/// Bytes of the header before the layers.
const FIXED_BYTES: usize = 96;
const LAYER_BYTES: usize = 20;
const CHECKSUM_BYTES: usize = 32;

/// What a saved sequence depends on, in 32 bytes.
pub(crate) type Key = [u8; 32];

/// What a file is expected to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    /// What the rows depend on.
    pub(crate) key: &'a Key,
    /// The layers.
    pub(crate) shapes: &'a [LayerShape],
    /// The numbers.
    pub(crate) store: Store,
    /// The tokens.
    pub(crate) slots: &'a [Slot],
}

/// Why a sequence is not saved, or a file not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SavedError {
    /// There is no such file.
    #[error("{0} does not exist")]
    Missing(PathBuf),
    /// The system refuses.
    #[error("{path}: {source}")]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is a picture or sound in the sequence.
    #[error("pictures and sound are not saved, only words are")]
    Media,
}

impl Sequence {
    /// Bytes of the file that [`save`](Self::save) makes.
    pub(crate) fn saved_bytes(&self) -> usize {
        let layer = |layer: &Layer| layer.blocks().count() * block_bytes(layer.shape(), self.store);
        header_bytes(self.layers.len(), self.len()) + self.layers.iter().map(layer).sum::<usize>()
    }

    /// Writes the sequence to a file that only its owner may read. The file is there as a whole or
    /// not at all. Rows behind the last token are zeros in it, whatever was there before.
    ///
    /// # Errors
    /// When there are soft tokens in it, or the system refuses.
    pub(crate) fn save(&self, path: &Path, key: &Key) -> Result<(), SavedError> {
        let header = self.header(key)?;
        let unfinished = path.with_extension(format!("{}.part", std::process::id()));
        let written = self.write_file(&unfinished, &header).and_then(|()| {
            std::fs::rename(&unfinished, path)?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        });
        written.map_err(|source| {
            let _ = std::fs::remove_file(&unfinished);
            SavedError::System { path: path.to_owned(), source }
        })
    }

    /// Maps a file that [`save`](Self::save) has written, once all of it was read and is as expected.
    ///
    /// # Errors
    /// When there is none, the system refuses it, or it is not as expected.
    pub(crate) fn open(path: &Path, expected: Expected<'_>) -> Result<Self, SavedError> {
        let system = |source: io::Error| match source.kind() == io::ErrorKind::NotFound {
            true => SavedError::Missing(path.to_owned()),
            false => SavedError::System { path: path.to_owned(), source },
        };
        let damaged = |reason| SavedError::Damaged { path: path.to_owned(), reason };
        let file = File::open(path).map_err(system)?;
        let mode = file.metadata().map_err(system)?.mode();
        if mode & 0o077 != 0 {
            let mode = mode & 0o777;
            return Err(damaged(format!("others may use it (mode {mode:o}); accepted: 600")));
        }
        let mapping = Mapped::of(&file).map_err(system)?;
        Self::from_mapping(mapping, expected).map_err(damaged)
    }

    /// The header of a file.
    fn header(&self, key: &Key) -> Result<Vec<u8>, SavedError> {
        let id = |slot: &Slot| match slot {
            Slot::Token(id) => Ok(*id),
            Slot::Soft { .. } => Err(SavedError::Media),
        };
        let ids = self.slots.iter().map(id).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Sha256::new();
        self.each_block(|bytes| {
            rows.update(bytes);
            Ok(())
        })
        .map_err(|source| SavedError::System { path: PathBuf::new(), source })?;
        let layer = |layer: &Layer| {
            let LayerShape { heads, width, window } = layer.shape();
            [heads, width, window.unwrap_or(0), layer.first() / BLOCK_ROWS, layer.blocks().count()]
        };
        let sizes = [BLOCK_ROWS, self.store.bytes(), self.layers.len(), ids.len(), 0];
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend(sizes.into_iter().flat_map(word));
        header.extend(key);
        header.extend(rows.finalize());
        header.extend(self.layers.iter().flat_map(layer).flat_map(word));
        header.extend(ids.into_iter().flat_map(u32::to_le_bytes));
        let checksum = Sha256::digest(&header);
        header.extend(checksum);
        header.resize(header.len().next_multiple_of(PAGE_BYTES), 0);
        Ok(header)
    }

    fn write_file(&self, path: &Path, header: &[u8]) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(header)?;
        self.each_block(|bytes| file.write_all(bytes))?;
        file.sync_all()
    }

    /// The bytes of every block, layer by layer, front to back.
    fn each_block(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for layer in &self.layers {
            let shape = layer.shape();
            for (block, segment) in layer.blocks().zip(layer.segments()) {
                let mut bytes = Vec::with_capacity(block_bytes(shape, self.store));
                for rows in block.rows(segment.rows, shape.numbers()) {
                    let half = bytes.len() + block_bytes(shape, self.store) / 2;
                    match rows {
                        Rows::F32(rows) => bytes.extend(rows.iter().flat_map(|n| n.to_le_bytes())),
                        Rows::F16(rows) => bytes.extend(rows.iter().flat_map(|n| n.to_le_bytes())),
                    }
                    bytes.resize(half, 0);
                }
                take(&bytes)?;
            }
        }
        Ok(())
    }

    fn from_mapping(mapping: Mapped, expected: Expected<'_>) -> Result<Self, String> {
        if cfg!(target_endian = "big") {
            return Err("its numbers cannot be read in place by this processor".into());
        }
        let dropped = check(mapping.bytes(), expected)?;
        let Expected { shapes, store, slots, .. } = expected;
        let mapping = Arc::new(mapping);
        let mut at = header_bytes(shapes.len(), slots.len());
        let mut layers = Vec::new();
        for (&shape, [dropped, blocks]) in shapes.iter().zip(dropped) {
            let bytes = block_bytes(shape, store);
            let block = |place: usize| {
                let start = at + place * bytes;
                Arc::new(Block::mapped(mapping.clone(), store, start..start + bytes))
            };
            let blocks_here = (0..blocks).map(block).collect();
            layers.push(Layer::with_blocks(shape, store, dropped, blocks_here, slots.len()));
            at += blocks * bytes;
        }
        let mut new =
            Self { store, layers, slots: slots.to_vec(), step: Step::default(), mark: None };
        new.remember();
        Ok(new)
    }
}

/// Checks all bytes of a file. For each layer the blocks dropped in front, and the blocks.
fn check(bytes: &[u8], expected: Expected<'_>) -> Result<Vec<[usize; 2]>, String> {
    let Expected { key, shapes, store, slots } = expected;
    let length = header_bytes(shapes.len(), slots.len());
    let Some((header, rows)) = bytes.split_at_checked(length) else {
        return Err(format!("{} bytes are too few; expected a header of {length}", bytes.len()));
    };
    let fixed = [BLOCK_ROWS, store.bytes(), shapes.len(), slots.len(), 0];
    let fixed: Vec<u8> = fixed.into_iter().flat_map(word).collect();
    let begin = [MAGIC.as_slice(), &VERSION.to_le_bytes(), &fixed, key].concat();
    if !header.starts_with(&begin) {
        return Err("it was saved by another version, for another model or other tokens".into());
    }
    let (checked, rest) = header.split_at(unpadded_bytes(shapes.len(), slots.len()));
    let (checksum, padding) = rest.split_at(CHECKSUM_BYTES);
    if Sha256::digest(checked).as_slice() != checksum || padding.iter().any(|&byte| byte != 0) {
        return Err("its header is damaged".into());
    }
    let (layers, ids) = checked[FIXED_BYTES..].split_at(shapes.len() * LAYER_BYTES);
    let same =
        |(slot, id): (&Slot, &[u8])| matches!(slot, Slot::Token(at) if at.to_le_bytes() == id);
    if !slots.iter().zip(ids.chunks_exact(4)).all(same) {
        return Err("it holds other tokens".into());
    }
    let layers = shapes.iter().zip(layers.chunks_exact(LAYER_BYTES));
    let layers = layers.map(|(&shape, words)| check_layer(words, shape, slots.len()));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    let sizes = shapes.iter().zip(&layers);
    let due: usize = sizes.map(|(&shape, [_, blocks])| blocks * block_bytes(shape, store)).sum();
    if rows.len() != due {
        return Err(format!("it holds {} bytes of rows; expected {due}", rows.len()));
    }
    match Sha256::digest(rows).as_slice() == &header[FIXED_BYTES - CHECKSUM_BYTES..FIXED_BYTES] {
        true => Ok(layers),
        false => Err("its rows are damaged".into()),
    }
}

/// The blocks dropped in front of a layer, and its blocks, if they are all that is needed.
fn check_layer(words: &[u8], shape: LayerShape, tokens: usize) -> Result<[usize; 2], String> {
    let mut words = words.chunks_exact(4).map(|word| {
        let word = word.iter().rev().fold(0u32, |all, &byte| all << 8 | u32::from(byte));
        word as usize
    });
    let mut next = || words.next().unwrap_or(0);
    let [heads, width, window, dropped, blocks] = [next(), next(), next(), next(), next()];
    let window = (window > 0).then_some(window);
    if shape != (LayerShape { heads, width, window }) {
        return Err("its layers have other shapes".into());
    }
    let whole = dropped.checked_add(blocks) == Some(tokens.div_ceil(BLOCK_ROWS));
    match whole && dropped * BLOCK_ROWS <= first_seen(tokens, window) {
        true => Ok([dropped, blocks]),
        false => Err("it lacks rows".into()),
    }
}

/// Bytes of the header, to where the rows begin.
fn header_bytes(layers: usize, tokens: usize) -> usize {
    (unpadded_bytes(layers, tokens) + CHECKSUM_BYTES).next_multiple_of(PAGE_BYTES)
}

/// Bytes of the header that its checksum is of.
fn unpadded_bytes(layers: usize, tokens: usize) -> usize {
    FIXED_BYTES + layers * LAYER_BYTES + tokens * 4
}

fn block_bytes(shape: LayerShape, store: Store) -> usize {
    2 * BLOCK_ROWS * shape.numbers() * store.bytes()
}

/// A size as it stands in a header; none is near the limit.
fn word(size: usize) -> [u8; 4] {
    u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests;
