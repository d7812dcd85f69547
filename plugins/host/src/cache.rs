//! Compiled plugins on disk, so that a board compiles each only once. An entry is named by the
//! component and by everything that its code depends on (engine version, settings, CPU features),
//! and begins with a checksum: a damaged entry is compiled anew, a foreign one is never found.

use std::fs::{self, DirBuilder};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

mod native;

const CHECKSUM_BYTES: usize = 32;
const EXTENSION: &str = "compiled";
/// Entries that are kept; the oldest leave.
const ENTRIES_MAX: usize = 64;

/// A folder of compiled plugins that only its owner may write to.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// Where the code of a plugin came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An intact entry.
    Cache,
    /// The compiler.
    Compiler,
}

impl Cache {
    /// Opens the folder and makes it where it does not exist.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mode = fs::metadata(folder)?.mode();
        if mode & 0o022 != 0 {
            let text = format!("others may write to it (mode {:o}); accepted: 700", mode & 0o777);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The compiled form of `component`, from an entry where there is an intact one.
    pub(crate) fn load(
        &self,
        engine: &Engine,
        component: &[u8],
    ) -> wasmtime::Result<(Component, Origin)> {
        let path = self.path(engine, component);
        if let Some(code) = read(&path) {
            match native::load(engine, &code) {
                Ok(component) => return Ok((component, Origin::Cache)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "cache entry refused"),
            }
        }
        let code = engine.precompile_component(component)?;
        if let Err(error) = self.write(&path, &code) {
            tracing::warn!(path = %path.display(), %error, "compiled plugin not cached");
        }
        Ok((native::load(engine, &code)?, Origin::Compiler))
    }

    fn path(&self, engine: &Engine, component: &[u8]) -> PathBuf {
        let mut key = Key(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut key);
        component.hash(&mut key);
        self.folder.join(format!("{:x}.{EXTENSION}", key.0.finalize()))
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        self.make_room()?;
        let unfinished = path.with_extension(format!("{}.part", std::process::id()));
        let checksum = Sha256::digest(code);
        fs::write(&unfinished, [checksum.as_slice(), code].concat())?;
        fs::rename(&unfinished, path)
    }

    fn make_room(&self) -> io::Result<()> {
        let mut entries: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            entries.push((entry.metadata()?.modified()?, entry.path()));
        }
        entries.sort_unstable();
        let surplus = entries.len().saturating_sub(ENTRIES_MAX - 1);
        for (_, path) in entries.iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// The code of an entry; nothing where there is none, or a damaged one.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut entry = fs::read(path).ok()?;
    let code = entry.split_off(CHECKSUM_BYTES.min(entry.len()));
    if entry == Sha256::digest(&code).as_slice() {
        return Some(code);
    }
    tracing::warn!(path = %path.display(), "damaged cache entry, compiling anew");
    None
}

/// Hashes what `Hash` walks over with SHA-256.
struct Key(Sha256);

impl Hasher for Key {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const COMPONENT: &str = r#"(component (core module (func (export "f"))))"#;

    fn only_entry(folder: &Path) -> PathBuf {
        let mut entries: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0)
    }

    #[test]
    fn a_component_is_compiled_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let (engine, bytes) = (Engine::default(), wat::parse_str(COMPONENT).unwrap());
        assert_eq!(cache.load(&engine, &bytes).unwrap().1, Origin::Compiler);
        assert_eq!(cache.load(&engine, &bytes).unwrap().1, Origin::Cache);
    }

    #[test]
    fn a_damaged_entry_is_compiled_anew_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let (engine, bytes) = (Engine::default(), wat::parse_str(COMPONENT).unwrap());
        cache.load(&engine, &bytes).unwrap();
        let path = only_entry(&cache.folder);
        let intact = fs::read(&path).unwrap();
        let flipped = |at: usize| {
            let mut bytes = intact.clone();
            bytes[at] ^= 1;
            bytes
        };
        let damaged =
            [flipped(0), flipped(40), flipped(intact.len() - 1), intact[..50].to_vec(), vec![]];
        for entry in damaged {
            fs::write(&path, entry).unwrap();
            assert_eq!(cache.load(&engine, &bytes).unwrap().1, Origin::Compiler);
            assert_eq!(cache.load(&engine, &bytes).unwrap().1, Origin::Cache);
        }
    }

    #[test]
    fn code_of_other_settings_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let bytes = wat::parse_str(COMPONENT).unwrap();
        cache.load(&Engine::default(), &bytes).unwrap();
        let fuelled = Engine::new(wasmtime::Config::new().consume_fuel(true)).unwrap();
        assert_eq!(cache.load(&fuelled, &bytes).unwrap().1, Origin::Compiler);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_no_cache() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("mode 777"), "{error}");
    }

    #[test]
    fn the_cache_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        for name in 0..2 * ENTRIES_MAX {
            fs::write(cache.folder.join(name.to_string()), "").unwrap();
        }
        let bytes = wat::parse_str(COMPONENT).unwrap();
        cache.load(&Engine::default(), &bytes).unwrap();
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), ENTRIES_MAX);
    }
}
