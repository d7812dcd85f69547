//! The folder gives back what it was given, and stays small.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;

use super::*;

const SHAPES: [LayerShape; 1] = [LayerShape { heads: 1, width: 4, window: None }];

fn prefix(ids: &[u32]) -> Sequence {
    let mut prefix = Sequence::new(&SHAPES, Store::F16);
    let slots: Vec<Slot> = ids.iter().map(|&id| Slot::Token(id)).collect();
    prefix.begin(&slots, &[]);
    let rows = vec![1.0; 4 * ids.len()];
    prefix.write(0, 0, &rows, &rows).unwrap();
    prefix.commit().unwrap();
    prefix
}

fn load(folder: &PrefixFolder, of: &Sequence) -> Result<Sequence, SavedError> {
    folder.load(&SHAPES, Store::F16, of.slots())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_prefix_is_found_by_its_model_and_tokens() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("cache/prefixes");
    let folder = PrefixFolder::open(&path, [1; 32]).unwrap();
    folder.save(&prefix(&[1, 2, 3])).unwrap();
    assert!(load(&folder, &prefix(&[1, 2, 3])).is_ok());
    assert!(matches!(load(&folder, &prefix(&[1, 2])), Err(SavedError::Missing(_))));
    let other = PrefixFolder::open(&path, [2; 32]).unwrap();
    assert!(matches!(load(&other, &prefix(&[1, 2, 3])), Err(SavedError::Missing(_))));
}

#[test]
fn a_damaged_file_is_refused_and_removed() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("prefixes");
    let folder = PrefixFolder::open(&path, [1; 32]).unwrap();
    folder.save(&prefix(&[1, 2, 3])).unwrap();
    let file = files(&path).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let error = load(&folder, &prefix(&[1, 2, 3])).unwrap_err();
    assert!(error.to_string().ends_with("its rows are damaged"), "{error}");
    assert!(files(&path).is_empty());
}

#[test]
fn the_oldest_files_leave() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("prefixes");
    let folder = PrefixFolder::open(&path, [1; 32]).unwrap();
    fs::write(path.join("left.part"), "unfinished").unwrap();
    let count = u32::try_from(FILES_MAX).unwrap() + 1;
    for id in 0..count {
        folder.save(&prefix(&[id])).unwrap();
    }
    assert_eq!(files(&path).len(), FILES_MAX);
    assert!(load(&folder, &prefix(&[0])).is_err());
    (1..count).for_each(|id| assert!(load(&folder, &prefix(&[id])).is_ok()));
}

#[test]
fn a_folder_that_others_may_use_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let check = |mode: u32, accepted: bool| {
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(mode)).unwrap();
        let opened = PrefixFolder::open(temporary.path(), [1; 32]);
        assert_eq!(opened.is_ok(), accepted, "{mode:o}");
    };
    check(0o700, true);
    check(0o750, false);
    check(0o701, false);
}
