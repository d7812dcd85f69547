//! What is wrong with a model folder is said once, with the file and what would be right.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/demo.rs"]
mod demo;

use std::path::Path;

use demo::{demo_model, options};
use gemma_runtime::{EngineKind, FolderLayout, Model, Options};
use tempfile::TempDir;

/// A copy of the demo model that may be damaged.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("onnx")).unwrap();
    let demo = demo_model();
    for part in ["", "onnx"] {
        for entry in std::fs::read_dir(demo.join(part)).expect("the demo model is checked in") {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap();
                std::fs::copy(&path, folder.path().join(part).join(name)).unwrap();
            }
        }
    }
    folder
}

fn error(folder: &Path, engine: EngineKind) -> String {
    let opened = Model::open(folder, &options(engine));
    opened.err().expect("a damaged folder is refused").to_string()
}

/// Damages a copy of the demo model; both engines must say the same.
fn check(damage: impl Fn(&Path), expected: &str) {
    for engine in [EngineKind::Ort, EngineKind::Tract] {
        let folder = copy();
        damage(folder.path());
        let error = error(folder.path(), engine);
        assert!(error.contains(expected), "{engine}: {error}");
        assert!(!error.contains('\n'), "{engine}: more than one line: {error}");
    }
}

fn write(folder: &Path, file: &str, content: impl AsRef<[u8]>) {
    std::fs::write(folder.join(file), content).unwrap();
}

fn remove(folder: &Path, file: &str) {
    std::fs::remove_file(folder.join(file)).unwrap();
}

/// Cuts a file to a share of its length, in thousandths.
fn cut(folder: &Path, file: &str, thousandths: u64) {
    let file = std::fs::File::options().write(true).open(folder.join(file)).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length * thousandths / 1000).unwrap();
}

const DECODER: &str = "onnx/decoder_model_merged_fp16.onnx";
const EMBED: &str = "onnx/embed_tokens_fp16.onnx";
const VISION: &str = "onnx/vision_encoder_fp16.onnx";
const AUDIO: &str = "onnx/audio_encoder_fp16.onnx";

#[test]
fn the_undamaged_copy_opens() {
    let folder = copy();
    let model = Model::open(folder.path(), &options(EngineKind::Ort)).unwrap();
    let info = model.info();
    assert!(info.has_vision && info.has_audio && info.refusals.is_empty());
    let graphs: Vec<_> = info.graphs.iter().map(|graph| (graph.role, graph.dtype)).collect();
    let roles = ["embedding", "decoder", "vision", "audio"];
    assert_eq!(graphs, roles.map(|role| (role, "fp16")));
    assert_eq!(info.graphs.iter().map(|graph| graph.bytes).sum::<u64>(), info.bytes);
    assert_eq!(info.layout, FolderLayout::Merged);
    assert_eq!(info.variant.to_string(), "built like E2B, 10 layers of 128");
    assert!(info.vocabulary > 0 && info.layers > 0 && info.bytes > 1_000_000);
}

#[test]
fn a_missing_file_is_named() {
    check(|folder| remove(folder, "config.json"), "lacks its configuration; expected config.json");
    check(|folder| remove(folder, "tokenizer.json"), "tokenizer.json");
    check(
        |folder| remove(folder, DECODER),
        "lacks its decoder; expected onnx/decoder_model_merged",
    );
    let genai = r#"{"model": {"decoder": {"filename": "decoder/model.onnx"}}}"#;
    check(
        |folder| write(folder, "genai_config.json", genai),
        "lacks its decoder; expected decoder/model.onnx, which genai_config.json names",
    );
    check(|folder| remove(folder, EMBED), "lacks its token embeddings; expected onnx/embed_tokens");
    let data = format!("{DECODER}_data");
    check(|folder| remove(folder, &data), "_fp16.onnx_data, which is missing; download it again");
}

#[test]
fn malformed_settings_are_named() {
    check(|folder| write(folder, "config.json", "{"), "config.json: EOF while parsing");
    check(|folder| write(folder, "config.json", "{}"), "config.json: missing field `vocab_size`");
    check(|folder| write(folder, "generation_config.json", "[1"), "generation_config.json");
    check(|folder| write(folder, "tokenizer.json", "{}"), "tokenizer.json is malformed");
    check(
        |folder| write(folder, "chat_template.jinja", "{% if"),
        "chat_template.jinja is malformed",
    );
}

#[test]
fn a_cut_file_is_named() {
    for file in [DECODER, EMBED, VISION, AUDIO] {
        let name = file.strip_prefix("onnx/").unwrap();
        let expected = format!("{name} is not a whole ONNX file: ");
        check(|folder| cut(folder, file, 0), &expected);
        check(|folder| cut(folder, file, 500), &expected);
        check(|folder| cut(folder, file, 999), &expected);
    }
    for file in [DECODER, EMBED] {
        let data = format!("{file}_data");
        check(|folder| cut(folder, &data, 0), "_data, which has 0; download it again");
        check(|folder| cut(folder, &data, 900), "; download it again");
    }
}

#[test]
fn a_graph_in_anothers_place_is_refused() {
    let swap = |from: &'static str, to: &'static str| {
        move |folder: &Path| {
            std::fs::copy(folder.join(from), folder.join(to)).unwrap();
        }
    };
    check(swap(EMBED, DECODER), "is not a Gemma 4 decoder graph: it takes no past_key_values");
    check(swap(DECODER, EMBED), "is not a Gemma 4 embedding graph: it takes inputs_embeds");
    check(swap(EMBED, VISION), "is not a Gemma 4 vision graph: it takes input_ids");
    let other = |folder: &Path| {
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        write(
            folder,
            "config.json",
            config.replace("\"hidden_size\": 128", "\"hidden_size\": 136"),
        );
    };
    check(other, "inputs_embeds has width 128, but hidden_size in config.json is 136");
}

#[test]
fn an_operator_that_no_engine_has_is_named_at_load() {
    let rename = |folder: &Path| {
        let mut bytes = std::fs::read(folder.join(DECODER)).unwrap();
        let places: Vec<usize> =
            (0..bytes.len() - 7).filter(|&at| &bytes[at..at + 7] == b"Softmax").collect();
        assert!(!places.is_empty());
        places.iter().for_each(|&at| bytes[at..at + 7].copy_from_slice(b"Softmox"));
        write(folder, DECODER, bytes);
    };
    check(rename, "Softmox");
    check(rename, "cannot load ");
}

#[test]
fn a_folder_for_text_alone_opens() {
    for engine in [EngineKind::Ort, EngineKind::Tract] {
        let folder = copy();
        remove(folder.path(), VISION);
        remove(folder.path(), AUDIO);
        remove(folder.path(), "preprocessor_config.json");
        remove(folder.path(), "processor_config.json");
        remove(folder.path(), "generation_config.json");
        let model = Model::open(folder.path(), &options(engine)).unwrap();
        assert!(!model.info().has_vision && !model.info().has_audio);
        let (what, why) = &model.info().refusals[0];
        assert_eq!(*what, "pictures");
        assert!(why.starts_with("its folder has no vision_encoder"), "{why}");
    }
}

#[test]
fn options_out_of_range_are_named() {
    let demo = demo_model();
    let check = |change: fn(&mut Options), expected: &str| {
        let mut options = options(EngineKind::Tract);
        change(&mut options);
        let error = Model::open(&demo, &options).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(|options| options.context_tokens = 0, "option context_tokens: 0 is too few");
    check(|options| options.prefill_block_tokens = 0, "option prefill_block_tokens: 0 is too few");
    check(|options| options.image_budget = Some(100), "option image_budget: 100 soft tokens");
    check(|options| options.dtype = Some("f16".into()), "option dtype: \"f16\" is none of fp32");
    let one_graph = |options: &mut Options| options.dtype = Some("decoder=q4".into());
    check(one_graph, "option dtype: decoder=q4, but ");
    check(one_graph, "has no decoder graph that is named so");
}

#[test]
fn damaged_bytes_never_bring_the_program_down() {
    let whole = std::fs::read(demo_model().join(EMBED)).unwrap();
    let folder = copy();
    remove(folder.path(), VISION);
    remove(folder.path(), AUDIO);
    for at in (0..whole.len()).step_by(19) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        write(folder.path(), EMBED, &bytes);
        // Some bytes are names that nobody reads: opening may as well succeed.
        for engine in [EngineKind::Ort, EngineKind::Tract] {
            let _ = Model::open(folder.path(), &options(engine));
        }
    }
}
