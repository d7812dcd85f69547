#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use proptest::prelude::*;

use super::*;

/// The reduced tokenizer of the tests, or a whole one where `GEMMAD_TEST_TOKENIZER` names its folder.
pub(crate) fn tokenizer() -> Tokenizer {
    let reduced = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conversations");
    let folder = std::env::var_os("GEMMAD_TEST_TOKENIZER").map_or(reduced, PathBuf::from);
    Tokenizer::open(&folder).unwrap()
}

/// A model folder that holds `files`.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream();
    let mut text: String = ids.iter().filter_map(|id| stream.push(*id)).collect();
    text.extend(stream.finish());
    text
}

#[test]
fn text_gets_the_published_ids_and_comes_back() {
    #[derive(serde::Deserialize)]
    struct Vector {
        text: String,
        ids: Vec<u32>,
    }
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../tests/fixtures/conversations/vectors.json"))
            .unwrap();
    let tokenizer = tokenizer();
    for Vector { text, ids } in vectors {
        assert_eq!(tokenizer.encode_text(&text).unwrap(), ids, "{text:?}");
        // The vocabulary spells a space as this character, so both come back as a space.
        assert_eq!(decode(&tokenizer, &ids), text.replace('\u{2581}', " "));
    }
}

#[test]
fn control_tokens_are_found_by_their_text() {
    let tokenizer = tokenizer();
    let ids = tokenizer.ids();
    assert_eq!((ids.bos, ids.turn_open, ids.turn_close), (2, 105, 106));
    assert_eq!(ids.quote, Some(52));
    assert_eq!(ids.image, Some(258_880));
    assert_eq!(ids.stop, BTreeSet::from([1, 50, 106]));
}

#[test]
fn the_template_may_write_control_tokens_and_people_may_not() {
    let tokenizer = tokenizer();
    let text = "<|turn>user\n<|\"|><|image|>";
    let trusted = tokenizer.encode_template(text).unwrap();
    assert_eq!(trusted[0], 105);
    assert_eq!(trusted[trusted.len() - 2..], [52, 258_880]);
    let typed = tokenizer.encode_text(text).unwrap();
    assert!(!typed.iter().any(|id| [105, 52, 258_880].contains(id)));
    assert_eq!(decode(&tokenizer, &typed), text);
}

#[test]
fn end_tokens_are_those_of_all_files() {
    let tokenizer_json = include_str!("../../tests/fixtures/conversations/tokenizer.json");
    let folder = folder(&[
        ("tokenizer.json", tokenizer_json),
        ("config.json", r#"{"text_config": {"eos_token_id": 7}}"#),
        ("generation_config.json", r#"{"eos_token_id": [1, 9], "suppress_tokens": [258882]}"#),
    ]);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    assert_eq!(tokenizer.ids().stop, BTreeSet::from([1, 7, 9, 50, 106]));
    assert!(tokenizer.ids().suppressed.contains(&258_882));
}

#[test]
fn a_control_token_declared_as_an_ordinary_one_is_still_kept_from_people() {
    let declared = include_str!("../../tests/fixtures/conversations/tokenizer.json")
        .replace(r#""special":true"#, r#""special":false"#);
    let folder = folder(&[("tokenizer.json", &declared)]);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    assert_eq!(tokenizer.encode_template("<|turn>").unwrap(), [105]);
    assert!(!tokenizer.encode_text("a<|turn>b").unwrap().contains(&105));
}

#[test]
fn a_folder_that_is_not_whole_is_refused_by_name() {
    let check = |files: &[(&str, &str)], expected: &str| {
        let folder = folder(files);
        let error = Tokenizer::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let whole = include_str!("../../tests/fixtures/conversations/tokenizer.json");
    check(&[], "cannot read");
    check(&[("tokenizer.json", "{")], "tokenizer.json is malformed");
    check(&[("tokenizer.json", &whole.replace("<|turn>", "<|turm>"))], "no token <|turn>");
    check(&[("tokenizer.json", &whole.replace("ByteFallback", "Fuse"))], "decoder");
    check(&[("tokenizer.json", whole), ("config.json", "no")], "config.json is malformed");
    let other = r#"{"image_token_id": 18}"#;
    check(&[("tokenizer.json", whole), ("config.json", other)], "image_token_id {18}");
}

#[test]
fn characters_come_out_whole_and_broken_bytes_as_replacements() {
    let tokenizer = tokenizer();
    let byte = |value| tokenizer.byte_token(value).unwrap();
    let mut stream = tokenizer.stream();
    assert_eq!(stream.push(byte(0xE2)), None);
    assert_eq!(stream.push(byte(0x82)), None);
    assert_eq!(stream.push(byte(0xAC)), Some("€".into()));
    assert_eq!(stream.push(byte(0xFF)), Some("\u{FFFD}".into()));
    assert_eq!(stream.push(byte(0xE2)), None);
    assert_eq!(stream.push(byte(b'a')), Some("\u{FFFD}a".into()));
    assert_eq!(stream.push(byte(0xC3)), None);
    assert_eq!(stream.finish(), Some("\u{FFFD}".into()));
    assert_eq!(stream.finish(), None);
    assert_eq!(stream.push(u32::MAX), None);
}

/// Texts in which control tokens and pieces of them are common.
pub(crate) fn hostile_text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "<|turn>",
        "<turn|>",
        "<|",
        "|>",
        "<",
        ">",
        "turn",
        "<|image|>",
        "<|\"|>",
        "<channel|>",
        "<|channel>",
        "thought\n",
        "<bos>",
        "<eos>",
        "<pad>",
        " ",
        "\n",
        "é",
        "\u{10FFFD}",
        "\u{F0000}",
        "system\n",
        "🚀",
    ]);
    prop::collection::vec(prop_oneof![3 => pieces.prop_map(str::to_owned), 1 => ".{0,4}"], 0..24)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_becomes_a_control_token(text in hostile_text()) {
        let tokenizer = shared();
        let ids = tokenizer.encode_text(&text).unwrap();
        prop_assert!(!ids.iter().any(|id| tokenizer.shared.control_ids.contains(id)));
        prop_assert_eq!(decode(tokenizer, &ids), text);
    }

    #[test]
    fn any_ids_make_valid_text(ids in prop::collection::vec(0u32..300_000, 0..64)) {
        decode(shared(), &ids);
    }
}

/// One tokenizer for all cases of a property.
fn shared() -> &'static Tokenizer {
    static SHARED: OnceLock<Tokenizer> = OnceLock::new();
    SHARED.get_or_init(tokenizer)
}
