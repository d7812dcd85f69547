//! What people write and copy wrongly: the configuration, and the model folder.

use std::path::{Path, PathBuf};

use gemmad_tests::daemon::command;
use gemmad_tests::house::House;
use gemmad_tests::workspace::demo_model;

#[tokio::test]
async fn a_mistake_in_the_configuration_is_one_error_with_its_place() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.toml");
    let check = async |text: &str, expected: &[&str]| -> anyhow::Result<()> {
        std::fs::write(&file, text)?;
        let said = command(&file, &["run"]).await?;
        assert_ne!(said.code, 0, "{text}");
        assert_eq!(said.out, "", "{text}");
        let place = format!("{}: line ", file.display());
        assert_eq!(said.error.matches(&place).count(), 1, "{}", said.error);
        for part in expected {
            assert!(said.error.contains(part), "no {part:?} in {}", said.error);
        }
        Ok(())
    };
    check("[model]\nthreads = -1\n", &["line 2", "model.threads", "-1", "0 to 1024"]).await?;
    check("[model]\nengine = \"onnx\"\n", &["line 2", "model.engine", "onnx", "tract"]).await?;
    check("\n\n[modell]\n", &["line 3", "modell", "model"]).await?;
    check("[model]\nfoldr = \"x\"\n", &["line 2", "foldr", "folder"]).await?;
    check("[log]\njson = \"yes\"\n", &["line 2", "json"]).await?;
    check("[broker]\nurl = \"broker:1883\"\n", &["line 2", "broker.url", "mqtt://"]).await?;
    check("[listening]\nthreshold = 2.0\n", &["line 2", "listening.threshold", "0 to 1"]).await?;
    check("[microphone]\nsource = \"usb\"\n", &["line 2", "microphone.source", "alsa:NAME"])
        .await?;
    check("[camera]\nwidth = 0\n", &["line 2", "camera.width", "16 to 8192"]).await?;
    check("stop_deadline_ms = 0\n", &["line 1", "stop_deadline_ms", "100"]).await?;
    check("[model\n", &["line 1"]).await?;
    check("[model]\nfolder = \"a\"\nfolder = \"b\"\n", &["line 3", "folder"]).await
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[camera]\nwidth = 1\n[model]\nthreads = -1\n[bus]\naddress = \"x\"\n")?;
    let said = command(&file, &["run"]).await?;
    assert_ne!(said.code, 0);
    for key in ["camera.width", "model.threads", "bus.address"] {
        assert!(said.error.contains(key), "no {key} in {}", said.error);
    }
    Ok(())
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_named() -> anyhow::Result<()> {
    let said = command(Path::new("/nonexistent/gemmad.toml"), &["run"]).await?;
    assert_ne!(said.code, 0);
    assert!(said.error.contains("/nonexistent/gemmad.toml"), "{}", said.error);
    Ok(())
}

crate::under_both_engines!(a_broken_model_folder_degrades_the_daemon_and_doctor_names_it);

async fn a_broken_model_folder_degrades_the_daemon_and_doctor_names_it(
    engine: &str,
) -> anyhow::Result<()> {
    let decoder = graph("decoder_model_merged")?;
    let weights = format!("{decoder}_data");
    let mut broken: Vec<(&str, Break)> = vec![
        (&decoder, Break::Remove),
        (&decoder, Break::Truncate(1_000)),
        (&decoder, Break::Replace("this is no graph")),
        ("tokenizer.json", Break::Replace("{\"model\": ")),
        ("tokenizer.json", Break::Remove),
        ("config.json", Break::Replace("[1, 2]")),
        ("config.json", Break::Replace("not json")),
        ("chat_template.jinja", Break::Replace("{% if %}")),
    ];
    if demo_model()?.join(&weights).is_file() {
        broken.push((&weights, Break::Remove));
        broken.push((&weights, Break::Truncate(1_000)));
    }
    let mut house = House::build(engine).await?;
    for (number, (file, breakage)) in broken.into_iter().enumerate() {
        println!("-- {file}: {breakage:?}");
        let folder = house.folder().join(format!("model-{number}"));
        copy_but(&demo_model()?, &folder, file, &breakage)?;
        house.settings.set_path("model.folder", &folder);
        house.launch()?;
        house.reaches(&["degraded"]).await?;
        let refusal = house.bus_client.ask("hello").await.err().map(|error| error.to_string());
        let refusal = refusal.unwrap_or_default();
        println!("{refusal}");
        assert!(refusal.starts_with("org.gemmad.Gemmad1.Error.NoModel"), "{refusal}");
        // Of a graph that is missing, the precision is not known: any would do.
        let named = file.split("_fp16").next().unwrap_or(file);
        assert!(refusal.contains(named), "{named} is not named in {refusal}");

        let said = house.command(&["doctor"]).await?;
        assert_ne!(said.code, 0, "{file}");
        assert!(said.out.contains(named), "doctor does not name {named}: {}", said.out);
        assert!(house.daemon()?.process().is_running());
        house.stop().await?;
    }
    Ok(())
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Break {
    Remove,
    Truncate(u64),
    Replace(&'static str),
}

/// The path of a graph inside the demo model, whatever its element type.
fn graph(role: &str) -> anyhow::Result<String> {
    let folder = demo_model()?.join("onnx");
    for entry in std::fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(role) && name.ends_with(".onnx") {
            return Ok(format!("onnx/{name}"));
        }
    }
    anyhow::bail!("no {role} in {}", folder.display())
}

/// Copies the folder `from` to `to`, and breaks one of its files.
fn copy_but(from: &Path, to: &Path, file: &str, breakage: &Break) -> anyhow::Result<()> {
    copy(from, to)?;
    let path: PathBuf = to.join(file);
    match breakage {
        Break::Remove => std::fs::remove_file(path)?,
        Break::Truncate(bytes) => {
            std::fs::OpenOptions::new().write(true).open(path)?.set_len(*bytes)?;
        }
        Break::Replace(text) => std::fs::write(path, text)?,
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
