//! A model's folder by itself: no daemon, no bus, no broker, no configuration.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use gemmad_tests::daemon::{Said, bare_command};
use gemmad_tests::workspace::{demo_model, fixture, onnxruntime, pictures};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the demo model's publisher computed with the reference implementation.
fn reference() -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(fixture("reference.json")?)?)?)
}

/// Runs `gemmad model` and gives what it printed.
async fn model(arguments: &[&str]) -> anyhow::Result<Said> {
    let library = onnxruntime()?.display().to_string();
    // A configuration that is not there is not missed.
    let all = [&["model"], arguments, &["--config", "/nonexistent/config.toml"]].concat();
    bare_command(&all, &[("GEMMAD_ONNXRUNTIME", &library)]).await
}

/// The same, with the demo model's folder after the first word.
async fn demo(arguments: &[&str]) -> anyhow::Result<Said> {
    let folder = demo_model()?.display().to_string();
    let (first, rest) = arguments.split_first().context("a command")?;
    model(&[&[*first, folder.as_str()], rest].concat()).await
}

/// Writes a case of the reference as a conversation beside its medium; media have the path `file`.
fn conversation(folder: &TempDir, case: &Value) -> anyhow::Result<String> {
    let mut messages = case["messages"].clone();
    for message in messages.as_array_mut().into_iter().flatten() {
        for part in message["content"].as_array_mut().into_iter().flatten() {
            if part["type"] != "text" {
                part["path"] = case["file"].clone();
            }
        }
    }
    if let Some(name) = case["file"].as_str() {
        std::fs::copy(fixture(name)?, folder.path().join(name))?;
    }
    let file = json!({
        "messages": messages,
        "tools": case["tools"],
        "enable_thinking": case["enable_thinking"],
        "add_generation_prompt": true,
    });
    let path = folder.path().join("conversation.json");
    std::fs::write(&path, file.to_string())?;
    Ok(path.display().to_string())
}

#[tokio::test]
async fn render_prints_the_text_and_ids_of_the_reference() -> anyhow::Result<()> {
    let reference = reference()?;
    for case in reference["text"].as_array().context("cases")? {
        let folder = tempfile::tempdir()?;
        let file = conversation(&folder, case)?;
        let said = demo(&["render", &file, "--json"]).await?;
        assert_eq!(said.code, 0, "{}", said.error);
        let printed: Value = serde_json::from_str(&said.out)?;
        assert_eq!(printed["text"], case["prompt"], "{}", case["name"]);
        assert_eq!(printed["ids"], case["prompt_ids"], "{}", case["name"]);
        assert_eq!(printed["expanded_ids"], case["prompt_ids"], "{}", case["name"]);
        let normal = demo(&["render", &file, "--json", "--normalise"]).await?;
        let normal: Value = serde_json::from_str(&normal.out)?;
        assert_eq!(normal["ids"], case["prompt_ids"], "{}", case["name"]);
        let people = demo(&["render", &file]).await?;
        assert!(people.out.starts_with(case["prompt"].as_str().unwrap_or_default()));
    }
    Ok(())
}

#[tokio::test]
async fn media_of_a_conversation_are_as_many_tokens_as_in_the_reference() -> anyhow::Result<()> {
    let reference = reference()?;
    for kind in ["image", "audio"] {
        let folder = tempfile::tempdir()?;
        let file = conversation(&folder, &reference[kind])?;
        let said = demo(&["render", &file, "--json"]).await?;
        let printed: Value = serde_json::from_str(&said.out)?;
        assert_eq!(printed["expanded_ids"], reference[kind]["prompt_ids"], "{kind}");
        assert_eq!(printed["media"][0]["type"], kind);
    }
    Ok(())
}

crate::under_both_engines!(run_prints_pieces_and_the_logits_of_the_reference);

async fn run_prints_pieces_and_the_logits_of_the_reference(engine: &str) -> anyhow::Result<()> {
    let reference = reference()?;
    let case = &reference["text"][0];
    let folder = tempfile::tempdir()?;
    let file = conversation(&folder, case)?;
    let logits = folder.path().join("logits.npy");
    let said = demo(&[
        "run",
        &file,
        "--greedy",
        "--engine",
        engine,
        "--logits",
        &logits.display().to_string(),
    ])
    .await?;
    assert_eq!(said.code, 0, "{}", said.error);
    let pieces = said.out.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let (end, pieces) = pieces.split_last().context("pieces")?;
    assert_eq!((&end["type"], &end["finish"]), (&json!("end"), &json!("tool_calls")), "{end}");
    let tokens = case["prompt_ids"].as_array().context("ids")?.len();
    assert_eq!(end["usage"]["prompt_tokens"], tokens);
    assert!(pieces.iter().any(|piece| {
        *piece == json!({"type": "tool_call", "name": "get_time", "arguments": {}})
    }));

    let expected = case["last_logits"].as_array().context("logits")?;
    let (shape, found) = read_floats(&logits)?;
    assert_eq!(shape, format!("({tokens}, {})", expected.len()));
    let last = &found[found.len() - expected.len()..];
    for (found, expected) in last.iter().zip(expected) {
        let expected = expected.as_f64().context("a number")?;
        assert!((f64::from(*found) - expected).abs() < 1e-3, "{found} instead of {expected}");
    }
    Ok(())
}

#[tokio::test]
async fn the_same_seed_gives_the_same_reply() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = conversation(&folder, &reference()?["text"][0])?;
    let mut replies = Vec::new();
    for _ in 0..2 {
        let said = demo(&["run", &file, "--seed", "7", "--max-tokens", "20"]).await?;
        assert_eq!(said.code, 0, "{}", said.error);
        let pieces = said.out.lines().filter(|line| !line.contains("\"end\""));
        replies.push(pieces.map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(replies[0], replies[1]);
    Ok(())
}

#[tokio::test]
async fn run_keeps_to_the_choice_and_the_format_that_the_file_asks_for() -> anyhow::Result<()> {
    let parameters = json!({
        "type": "object",
        "properties": {"room": {"enum": ["hall", "attic"]}, "level": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["room", "level"],
    });
    let tools = json!([{"name": "dim", "description": "Dims a light.", "parameters": parameters}]);
    let answer = async |field: &str, value: Value| -> anyhow::Result<Value> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("conversation.json");
        let mut file = json!({
            "messages": [{"role": "user", "content": "What time is it?"}],
            "tools": tools,
        });
        file[field] = value;
        std::fs::write(&path, file.to_string())?;
        let said = demo(&["run", &path.display().to_string(), "--greedy"]).await?;
        assert_eq!(said.code, 0, "{}", said.error);
        let pieces: Vec<Value> =
            said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let call = pieces.iter().find(|piece| piece["type"] == "tool_call");
        let text = pieces.iter().filter_map(|piece| piece["text"].as_str()).collect::<String>();
        Ok(call.cloned().unwrap_or(json!(text)))
    };
    let call = answer("tool_choice", json!("required")).await?;
    assert_eq!(call["name"], "dim", "{call}");
    assert!(["hall", "attic"].map(Value::from).contains(&call["arguments"]["room"]), "{call}");
    assert!(call["arguments"]["level"].is_i64(), "{call}");
    let choice = json!({"type": "choice", "choices": ["never", "always"]});
    let text = answer("response_format", choice).await?;
    assert!(text == "never" || text == "always", "{text}");
    Ok(())
}

#[tokio::test]
async fn media_prints_shapes_and_writes_what_the_model_gets() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("tensors").display().to_string();
    let picture = fixture("small_room.png")?.display().to_string();
    let said = demo(&["media", &picture, "--npy", &out, "--json"]).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    let printed: Value = serde_json::from_str(&said.out)?;
    let patches = printed["soft_tokens"].as_u64().context("tokens")? * 9;
    assert_eq!(printed["tensors"][0]["shape"], json!([1, patches, 768]));
    assert_eq!(printed["tensors"][1]["shape"], json!([1, patches, 2]));
    let (shape, pixels) = read_floats(&folder.path().join("tensors/pixel_values.npy"))?;
    assert_eq!(shape, format!("(1, {patches}, 768)"));
    assert!(pixels.iter().all(|value| (0.0..=1.0).contains(value)));
    let more = demo(&["media", &picture, "--image-budget", "280", "--json"]).await?;
    let more: Value = serde_json::from_str(&more.out)?;
    assert!(more["soft_tokens"].as_u64() > printed["soft_tokens"].as_u64());

    let sound = fixture("what_time.wav")?.display().to_string();
    let said = demo(&["media", &sound, "--npy", &out]).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    assert!(said.out.contains("input_features [1, "), "{}", said.out);
    let (shape, _) = read_floats(&folder.path().join("tensors/input_features.npy"))?;
    assert!(shape.ends_with(", 128)"), "{shape}");
    Ok(())
}

#[tokio::test]
async fn info_shows_what_a_folder_holds_and_whether_it_fits() -> anyhow::Result<()> {
    let said = demo(&["info"]).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    for word in ["built like E2B", "fp16", "4096", "global layers", "fits", "memory"] {
        assert!(said.out.contains(word), "no {word} in {}", said.out);
    }
    let printed: Value = serde_json::from_str(&demo(&["info", "--json"]).await?.out)?;
    assert_eq!(printed["graphs"].as_array().map(Vec::len), Some(4));
    assert_eq!(printed["fits"][0]["fits"], true);
    Ok(())
}

#[tokio::test]
async fn tasks_are_done_on_pictures_sound_and_films() -> anyhow::Result<()> {
    let picture = fixture("small_room.png")?.display().to_string();
    let sound = fixture("kitchen_light.wav")?.display().to_string();
    let frames = tempfile::tempdir()?;
    for frame in pictures()? {
        std::fs::copy(&frame, frames.path().join(frame.file_name().context("a name")?))?;
    }
    let film = frames.path().display().to_string();
    // The demo model takes the smallest pictures only.
    let options = ["--image-budget", "70", "--greedy", "--json"];
    for arguments in [
        &["transcribe", sound.as_str(), "--language", "English"][..],
        &["caption", &picture],
        &["ocr", &picture],
        &["video", &film, "--fps", "2"],
        &["ask", "What", "do", "you", "see?", "--file", &picture, "--file", &sound],
        &["ask", "hello", "--thinking"],
    ] {
        let said = demo(&[&["task"], arguments, &options].concat()).await?;
        assert_eq!(said.code, 0, "{}", said.error);
        let printed: Value = serde_json::from_str(&said.out)?;
        assert_eq!(printed["task"], arguments[0], "{printed}");
        assert!(printed["text"].as_str().is_some_and(|text| !text.is_empty()), "{printed}");
    }
    // The demo model knows no boxes, but cannot but write some: the reply is held to their form.
    let detect = ["task", "detect", &picture, "lamp", "--max-tokens", "400"];
    let said = demo(&[&detect[..], &options].concat()).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    let printed: Value = serde_json::from_str(&said.out)?;
    assert!(printed["boxes"][0]["x_max_px"].as_u64() <= Some(200), "{printed}");
    Ok(())
}

#[tokio::test]
async fn a_task_that_fails_says_why() -> anyhow::Result<()> {
    let picture = fixture("small_room.png")?.display().to_string();
    let sound = fixture("kitchen_light.wav")?.display().to_string();
    let check = async |arguments: &[&str], expected: &str| -> anyhow::Result<()> {
        let said = demo(&[&["task"], arguments].concat()).await?;
        assert_eq!(said.code, 1, "{arguments:?}");
        assert!(said.error.contains(expected), "no {expected:?} in {}", said.error);
        Ok(())
    };
    // The demo model knows no French.
    let translate = ["translate", &sound, "--from", "English", "--to", "French"];
    check(&translate, "no line begins with \"French: \"").await?;
    check(&["caption", &picture], "try an image budget of 70").await?;
    check(&["ocr", &picture, "--image-budget", "70", "--max-tokens", "2"], "after 2 tokens")
        .await?;
    check(&["caption", &sound], "sound where a picture is expected").await?;
    check(&["transcribe", &sound, "--language", "x\ny"], "no name of a language").await
}

#[tokio::test]
async fn mistakes_are_named_with_what_would_do() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| -> anyhow::Result<String> {
        let path: PathBuf = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let good = write("good.json", r#"[{"role": "user", "content": "hello"}]"#)?;
    let broken = write("broken.json", r#"{"messages": "#)?;
    let wrong = write("wrong.json", r#"[{"role": "user", "content": [{"type": "smell"}]}]"#)?;
    let lost = write("lost.json", r#"[{"role": "user", "content": [{"type": "image"}]}]"#)?;
    let text = write("text.png", "no picture")?;
    let check = async |arguments: &[&str], expected: &str| -> anyhow::Result<()> {
        let said = demo(arguments).await?;
        assert_eq!(said.code, 1, "{arguments:?}");
        assert_eq!(said.out, "", "{arguments:?}");
        assert!(said.error.contains(expected), "no {expected:?} in {}", said.error);
        Ok(())
    };
    check(&["render", "/nonexistent.json"], "/nonexistent.json").await?;
    check(&["render", &broken], "broken.json").await?;
    check(&["render", &wrong], "messages[0].content[0]: type \"smell\"").await?;
    check(&["run", &lost], "does not say where the medium is").await?;
    check(&["run", &good, "--image-budget", "100"], "is none of [70").await?;
    check(&["run", &good, "--dtype", "q3"], "is none of").await?;
    check(&["media", &text], "text.png").await?;
    check(&["task", "transcribe", &text], "text.png").await?;
    let said = model(&["info", "/nonexistent/model"]).await?;
    assert_eq!(said.code, 1);
    assert!(said.error.contains("/nonexistent/model"), "{}", said.error);
    Ok(())
}

/// Shape, as the file spells it, and numbers of a NumPy file of 32-bit floats.
fn read_floats(path: &Path) -> anyhow::Result<(String, Vec<f32>)> {
    let bytes = std::fs::read(path)?;
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + length])?;
    anyhow::ensure!(header.contains("'<f4'"), "{header}");
    let shape = header.split("'shape': ").nth(1).and_then(|rest| rest.split(", }").next());
    let numbers = bytes[10 + length..].chunks_exact(4);
    let numbers = numbers.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    Ok((shape.context("a shape")?.to_owned(), numbers.collect()))
}
