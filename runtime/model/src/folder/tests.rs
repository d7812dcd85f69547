//! Folders of all layouts, and folders of none.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    folder
}

fn find(folder: &Path, dtypes: Option<&str>) -> Result<Folder, Error> {
    let dtypes = dtypes.map(Dtypes::parse).transpose()?.unwrap_or_default();
    Folder::find(folder, dtypes, false)
}

const MINIMAL: [&str; 2] = ["onnx/decoder_model_merged.onnx", "onnx/embed_tokens.onnx"];

fn check_dtypes(extra: &[&str], dtypes: Option<&str>, decoder: &str, embed: &str) {
    let files: Vec<&str> = MINIMAL.iter().chain(extra).copied().collect();
    let folder = folder(&files);
    let found = find(folder.path(), dtypes).unwrap();
    let embedding = found.embed.unwrap();
    assert_eq!((found.decoder.dtype, embedding.dtype), (Some(decoder), Some(embed)));
}

#[test]
fn precision_is_chosen_per_graph() {
    check_dtypes(&[], None, "fp32", "fp32");
    check_dtypes(&["onnx/decoder_model_merged_q4.onnx"], None, "q4", "fp32");
    check_dtypes(&["onnx/decoder_model_merged_q4.onnx"], Some("fp32"), "fp32", "fp32");
    check_dtypes(&["onnx/embed_tokens_fp16.onnx"], Some("fp16"), "fp32", "fp16");
    check_dtypes(&["decoder_model_merged_q4f16.onnx"], Some("q8"), "q4f16", "fp32");
    let both = ["onnx/decoder_model_merged_q4.onnx", "onnx/embed_tokens_q4.onnx"];
    check_dtypes(&both, Some("decoder=fp32"), "fp32", "q4");
    check_dtypes(&both, Some("fp32,embedding=q4"), "fp32", "q4");
}

#[test]
fn encoders_are_optional() {
    let text = folder(&MINIMAL);
    let found = find(text.path(), None).unwrap();
    assert_eq!((found.vision, found.audio), (None, None));
    assert_eq!(found.layout, FolderLayout::Merged);
}

#[test]
fn encoders_that_overflow_are_taken_in_more_than_sixteen_bits() {
    let vision = ["vision_encoder_fp16.onnx", "vision_encoder.onnx"];
    let folder = folder(&[MINIMAL.as_slice(), &vision].concat());
    let dtype = |overflows| {
        let found = Folder::find(folder.path(), Dtypes::default(), overflows).unwrap();
        found.vision.unwrap().dtype
    };
    assert_eq!((dtype(false), dtype(true)), (Some("fp16"), Some("fp32")));
}

const SPLIT: [&str; 4] = [
    "decoder/model.onnx",
    "embedding/model.onnx",
    "vision_encoder/model.onnx",
    "audio_encoder/model.onnx",
];

#[test]
fn a_folder_per_graph_is_found_with_and_without_its_configuration() {
    let plain = folder(&SPLIT);
    let found = find(plain.path(), None).unwrap();
    assert_eq!(found.layout, FolderLayout::Split);
    assert!(found.embed.is_some() && found.vision.is_some() && found.audio.is_some());
    assert_eq!(found.decoder.dtype, None);
    let config = r#"{"model": {"decoder": {"filename": "decoder/model.onnx",
        "inputs": {"inputs_embeds": "embeds"}},
        "embedding": {"filename": "embedding/model.onnx"}}}"#;
    std::fs::write(plain.path().join(genai::FILE), config).unwrap();
    let found = find(plain.path(), None).unwrap();
    assert_eq!((found.vision, found.audio), (None, None));
    assert_eq!(found.names.inputs_embeds, "embeds");
}

#[test]
fn a_single_graph_is_found() {
    for (file, dtype) in
        [("model.onnx", "fp32"), ("model_q4.onnx", "q4"), ("onnx/model_q4f16.onnx", "q4f16")]
    {
        let folder = folder(&[file]);
        let found = find(folder.path(), None).unwrap();
        assert_eq!(found.layout, FolderLayout::Single, "{file}");
        assert_eq!((found.decoder.dtype, found.embed), (Some(dtype), None), "{file}");
    }
    let folder = folder(&["model.onnx"]);
    let config = r#"{"model": {"decoder": {"filename": "model.onnx"}}}"#;
    std::fs::write(folder.path().join(genai::FILE), config).unwrap();
    let found = find(folder.path(), None).unwrap();
    assert_eq!((found.layout, found.decoder.dtype), (FolderLayout::Single, None));
}

fn check_error(files: &[&str], dtypes: Option<&str>, expected: &str) {
    let folder = folder(files);
    let error = find(folder.path(), dtypes).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn errors_name_what_is_missing_and_what_would_do() {
    check_error(&[], None, "lacks its decoder; expected onnx/decoder_model_merged.onnx");
    check_error(&[], None, "or decoder/model.onnx, or a single model.onnx");
    check_error(&MINIMAL[..1], None, "lacks its token embeddings; expected onnx/embed_tokens");
    check_error(&SPLIT[..1], None, "lacks its token embeddings; expected embedding/model.onnx");
    check_error(&MINIMAL, Some("q3"), "option dtype: \"q3\" is none of fp32, fp16");
    check_error(&MINIMAL, Some("decoder=q4"), "option dtype: decoder=q4, but ");
    check_error(&SPLIT, Some("decoder=fp32"), "has no decoder graph that is named so");
}

#[test]
fn a_graph_that_the_configuration_names_must_be_there() {
    let folder = folder(&SPLIT[..1]);
    let config = r#"{"model": {"decoder": {"filename": "decoder/model.onnx"},
        "embedding": {"filename": "embedding/model.onnx"}}}"#;
    std::fs::write(folder.path().join(genai::FILE), config).unwrap();
    let error = find(folder.path(), None).unwrap_err().to_string();
    let expected = "expected embedding/model.onnx, which genai_config.json names";
    assert!(error.ends_with(expected), "{error}");
}
