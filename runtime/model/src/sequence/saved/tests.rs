//! What is saved comes back as it was, and nothing else does.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;

use super::*;

const SHAPES: [LayerShape; 2] = [
    LayerShape { heads: 1, width: 2, window: Some(150) },
    LayerShape { heads: 2, width: 2, window: None },
];
const KEY: Key = [7; 32];

fn add(sequence: &mut Sequence, ids: &[u32]) {
    let slots: Vec<Slot> = ids.iter().map(|&id| Slot::Token(id)).collect();
    let first = sequence.len();
    sequence.begin(&slots, &[]);
    for (layer, shape) in SHAPES.iter().enumerate() {
        let row = |&id: &u32| vec![id as f32; shape.numbers()];
        let keys: Vec<f32> = ids.iter().flat_map(row).collect();
        let values: Vec<f32> = keys.iter().map(|number| -number).collect();
        sequence.write(layer, first, &keys, &values).unwrap();
    }
    sequence.commit().unwrap();
}

fn sequence(tokens: u32, store: Store) -> Sequence {
    let mut sequence = Sequence::new(&SHAPES, store);
    (0..tokens).for_each(|id| add(&mut sequence, &[id]));
    sequence
}

fn expected(of: &Sequence) -> Expected<'_> {
    Expected { key: &KEY, shapes: &SHAPES, store: of.store(), slots: of.slots() }
}

/// All rows that are kept, as 32-bit floats.
fn rows(sequence: &Sequence) -> Vec<(usize, Vec<f32>)> {
    let floats = |rows: Rows<'_>| match rows {
        Rows::F32(rows) => rows.to_vec(),
        Rows::F16(rows) => rows.iter().map(|number| number.to_f32()).collect::<Vec<_>>(),
    };
    let segments = sequence.layers.iter().flat_map(Layer::segments);
    segments.map(|of| (of.first, [floats(of.keys), floats(of.values)].concat())).collect()
}

#[test]
fn a_saved_sequence_comes_back_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for (store, tokens) in [(Store::F32, 700), (Store::F16, 700), (Store::F32, 0)] {
        let path = folder.path().join(format!("{tokens}{store:?}"));
        let mut saved = sequence(tokens, store);
        saved.save(&path, &KEY).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        assert_eq!(length, saved.saved_bytes() as u64);
        let mut opened = Sequence::open(&path, expected(&saved)).unwrap();
        assert_eq!((rows(&opened), opened.is_saved()), (rows(&saved), true));
        for sequence in [&mut saved, &mut opened] {
            add(sequence, &[1, 2, 3]);
            sequence.truncate(tokens as usize + 1).unwrap();
            (0..400).for_each(|id| add(sequence, &[id]));
        }
        assert_eq!(rows(&opened), rows(&saved));
        opened.truncate(tokens as usize).unwrap();
        assert_eq!(rows(&opened), rows(&sequence(tokens, store)));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_file_holds_nothing_of_what_came_after() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str, sequence: &Sequence| {
        let path = folder.path().join(name);
        sequence.save(&path, &KEY).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::read(path).unwrap()
    };
    let mut longer = sequence(140, Store::F32);
    add(&mut longer, &[2_000; 9]);
    longer.truncate(140).unwrap();
    assert!(save("plain", &sequence(140, Store::F32)) == save("longer", &longer));
}

#[test]
fn every_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved");
    let saved = sequence(200, Store::F16);
    saved.save(&path, &KEY).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8], reason: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = Sequence::open(&path, expected(&saved)).unwrap_err();
        assert!(matches!(error, SavedError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.ends_with(reason), "{text}");
    };
    let header = header_bytes(SHAPES.len(), 200);
    let begin = [0, 8, 30, 40].map(|place| (place, "other tokens"));
    let middle = [70, 100, 300, header - 1].map(|place| (place, "header is damaged"));
    let rows = [header, whole.len() - 1].map(|place| (place, "rows are damaged"));
    for (place, reason) in begin.into_iter().chain(middle).chain(rows) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        check(&bytes, reason);
    }
    check(&whole[..header - 1], "expected a header of 65536");
    check(&whole[..whole.len() - 1], &format!("expected {}", whole.len() - header));
    check(&[&whole[..], &[0]].concat(), &format!("expected {}", whole.len() - header));
    std::fs::write(&path, &whole).unwrap();
    assert!(Sequence::open(&path, expected(&saved)).is_ok());
}

#[test]
fn a_file_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved");
    let saved = sequence(20, Store::F32);
    saved.save(&path, &KEY).unwrap();
    let right = expected(&saved);
    let check = |expected: Expected<'_>, reason: &str| {
        let error = Sequence::open(&path, expected).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    check(Expected { key: &[8; 32], ..right }, "other tokens");
    check(Expected { store: Store::F16, ..right }, "other tokens");
    check(Expected { slots: &right.slots[..19], ..right }, "other tokens");
    let mut other = right.slots.to_vec();
    other[3] = Slot::Token(99);
    check(Expected { slots: &other, ..right }, "it holds other tokens");
    let mut shapes = SHAPES;
    shapes[0].window = None;
    check(Expected { shapes: &shapes, ..right }, "other shapes");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    check(right, "others may use it (mode 640)");
    std::fs::remove_file(&path).unwrap();
    check(right, "does not exist");
}

#[test]
fn pictures_are_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut sequence = Sequence::new(&[], Store::F32);
    sequence.begin(&[Slot::Soft { media: 1, row: 0, of: 1 }], &[]);
    sequence.commit().unwrap();
    let error = sequence.save(&folder.path().join("saved"), &KEY).unwrap_err();
    assert!(matches!(error, SavedError::Media));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
