//! A model's folder, tested: what the demo model must reach on conversations that it never saw, on
//! both engines, and what is said where a mark is missed or a file is not in order.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use gemmad_tests::daemon::{Said, bare_command, patient_command};
use gemmad_tests::workspace::{demo_model, held_out, onnxruntime};
use serde_json::{Value, json};

crate::under_both_engines!(the_demo_model_reaches_every_mark_of_its_held_out_set);

/// Conversations of each task that are asked here, the first ones; `gemmad selftest` asks all.
const COUNT: usize = 20;
/// Longest time for them on one engine.
const SET_MAX: Duration = Duration::from_secs(170);

async fn selftest(patience: Duration, arguments: &[&str]) -> anyhow::Result<Said> {
    let library = onnxruntime()?.display().to_string();
    let all = [&["selftest"], arguments].concat();
    patient_command(patience, &all, &[("GEMMAD_ONNXRUNTIME", &library)]).await
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Copies the files of a folder, and those of the folders in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

async fn the_demo_model_reaches_every_mark_of_its_held_out_set(engine: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("report.json");
    let model = demo_model()?.display().to_string();
    let path = file.display().to_string();
    let count = COUNT.to_string();
    let options = ["--engine", engine, "--count", &count, "--json", &path];
    let said = selftest(SET_MAX, &[&[model.as_str()], &options[..]].concat()).await?;
    assert_eq!(said.code, 0, "{}{}", said.out, said.error);
    let report = read(&file)?;
    assert_eq!(report["passed"], true);

    // Every task was asked, and every mark was compared.
    let set = read(&held_out()?.join("selftest.json"))?;
    let rows = report["rows"].as_array().context("rows")?;
    let mut marks = 0;
    for task in set["tasks"].as_array().context("tasks")? {
        let (name, files) = (&task["name"], task["files"].as_array().context("files")?);
        for (_, mark) in task["marks"].as_object().context("marks")? {
            let fits = |row: &&Value| row["name"] == *name && row["mark"].as_f64() == mark.as_f64();
            let row = rows.iter().find(fits).with_context(|| format!("{name} at {mark}"))?;
            assert_eq!(row["conversations"], files.len().min(COUNT), "{row}");
            assert!(row["engines"][engine]["figure"].is_f64(), "{row}");
            let passed = if mark.is_null() { Value::Null } else { json!(true) };
            assert_eq!(row["engines"][engine]["passed"], passed, "{row}");
            marks += usize::from(!mark.is_null());
        }
    }
    assert!(marks > 0, "no mark in {set}");
    Ok(())
}

#[tokio::test]
async fn a_missed_mark_fails_and_the_answer_is_kept() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let write =
        |name: &str, value: &Value| std::fs::write(folder.path().join(name), value.to_string());
    let lesson = |text: &str| {
        json!({
            "messages": [{"role": "user", "content": "hello"}],
            "tools": [],
            "thinking": false,
            "expected": {"judged": "exact", "text": text},
        })
    };
    write("right.json", &lesson("Hello, how can I help?"))?;
    write("wrong.json", &lesson("Go away."))?;
    let set = |mark: u32| {
        let task = json!({"name": "talk", "title": "small talk", "marks": {"exact": mark},
                          "files": ["right.json", "wrong.json"]});
        json!({"made_by": "a story", "seed": 0, "tokenizer_sha256": "", "tasks": [task]})
    };
    let (model, set_folder) =
        (demo_model()?.display().to_string(), folder.path().display().to_string());
    let file = folder.path().join("report.json");
    let path = file.display().to_string();
    let arguments = [&model, "--held-out", &set_folder, "--tasks", "talk", "--json", &path]
        .map(|one| one as &str);

    write("selftest.json", &set(51))?;
    let said = selftest(SET_MAX, &arguments).await?;
    assert_eq!(said.code, 1, "{}", said.out);
    let row = said.out.lines().find(|line| line.starts_with("talk")).context("a row")?;
    assert_eq!(row.matches("50.0 FAIL").count(), 2, "{row}");
    assert!(said.out.ends_with("\nFAILED\n"), "{}", said.out);
    let report = read(&file)?;
    assert_eq!(report["passed"], false);
    assert_eq!(report["misses"][0]["file"], "wrong.json");
    assert_eq!(report["misses"][0]["right"], "Go away.");
    assert_eq!(report["misses"][0]["given"], "Hello, how can I help?");

    write("selftest.json", &set(50))?;
    assert_eq!(selftest(SET_MAX, &arguments).await?.code, 0);
    // One of two is all that is right, but only the first is asked.
    write("selftest.json", &set(100))?;
    let first = [&arguments[..], &["--count", "1", "--engine", "ort"]].concat();
    assert_eq!(selftest(SET_MAX, &first).await?.code, 0);
    Ok(())
}

#[tokio::test]
async fn a_folder_without_a_held_out_set_is_checked_all_the_same() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("somebodys-model");
    copy(&demo_model()?, &model)?;
    let model = model.display().to_string();
    let said = selftest(SET_MAX, &[&model, "--tasks", "graphs,picture,sound,fast,engines"]).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    let looked = folder.path().join("held-out").display().to_string();
    assert!(said.error.contains(&looked), "{}", said.error);
    assert!(said.out.contains("gemmad model optimize writes one"), "{}", said.out);
    for name in ["picture", "sound", "engines"] {
        let row = said.out.lines().find(|line| line.starts_with(name)).context("a row")?;
        assert_eq!(row.matches(" pass").count(), 2, "{row}");
    }

    let library = onnxruntime()?.display().to_string();
    let optimized =
        bare_command(&["model", "optimize", &model], &[("GEMMAD_ONNXRUNTIME", &library)]).await?;
    assert_eq!(optimized.code, 0, "{}", optimized.error);
    let said = selftest(SET_MAX, &[&model, "--tasks", "fast"]).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    let row = said.out.lines().find(|line| line.starts_with("fast")).context("a row")?;
    assert_eq!(row.matches(" pass").count(), 2, "{row}");
    Ok(())
}

#[tokio::test]
async fn mistakes_are_named_with_where_they_are() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let model = demo_model()?.display().to_string();
    let check = async |arguments: &[&str], expected: &str| -> anyhow::Result<()> {
        let said = selftest(SET_MAX, arguments).await?;
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}");
        assert!(said.error.contains(expected), "no {expected:?} in {}", said.error);
        Ok(())
    };
    check(&["/nonexistent"], "/nonexistent").await?;
    check(&[&model, "--held-out", "/nonexistent"], "/nonexistent/selftest.json").await?;
    check(&[&model, "--tasks", "typed,dance"], "\"dance\" is none of graphs").await?;
    check(&[&model, "--dtype", "q3"], "is none of").await?;
    std::fs::write(folder.path().join("selftest.json"), "{\"tasks\": 3}")?;
    let broken = folder.path().display().to_string();
    check(&[&model, "--held-out", &broken], "selftest.json").await?;
    // Without a folder it is that of the configuration.
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[model]\nfolder = \"/nonexistent/configured\"\n")?;
    let config = config.display().to_string();
    check(&["--config", &config], "/nonexistent/configured").await
}
