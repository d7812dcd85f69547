//! What is computed once: the instruction and the tools that every conversation begins with.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use gemmad_tests::daemon::bare_command;
use gemmad_tests::house::House;
use gemmad_tests::workspace::{demo_model, onnxruntime};
use tempfile::TempDir;

crate::under_both_engines!(the_first_question_after_a_restart_finds_its_beginning);

async fn the_first_question_after_a_restart_finds_its_beginning(
    engine: &str,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let prefixes = folder.path().join("prefixes");
    let mut house = House::build(engine).await?;
    house.settings.set_path("model.folder", &fast_model(&folder, engine).await?);
    house.settings.set_path("model.prefix_folder", &prefixes);
    house.start().await?;
    let kept = kept_ready(&house).await?;
    let file = only_file(&prefixes)?;
    let saved = std::fs::read(&file)?;
    assert!(kept > 100, "instruction and tools have {kept} tokens");
    assert_eq!(cached_tokens_of(&house, "Good morning").await?, kept);
    house.stop().await?;

    house.start().await?;
    assert_eq!(kept_ready(&house).await?, kept);
    assert_eq!(cached_tokens_of(&house, "How are you?").await?, kept);
    house.stop().await?;

    let mut damaged = saved.clone();
    let last = damaged.last_mut().context("an empty file")?;
    *last ^= 1;
    std::fs::write(&file, damaged)?;
    house.start().await?;
    assert_eq!(kept_ready(&house).await?, kept);
    assert_eq!(cached_tokens_of(&house, "How are you?").await?, kept);
    house.stop().await?;
    // What was said is not in it: it is the file of before, byte by byte.
    assert!(std::fs::read(only_file(&prefixes)?)? == saved, "the file was not computed again");
    Ok(())
}

/// The demo model with a fast graph.
async fn fast_model(folder: &TempDir, engine: &str) -> anyhow::Result<PathBuf> {
    let model = folder.path().join("model");
    copy(&demo_model()?, &model)?;
    let (path, library) = (model.display().to_string(), onnxruntime()?.display().to_string());
    let arguments = ["model", "optimize", &path, "--engine", engine, "--library", &library];
    let said = bare_command(&arguments, &[]).await?;
    assert_eq!(said.code, 0, "{said:?}");
    Ok(model)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(std::fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}

/// Waits until the beginning of every conversation is kept ready; how many tokens it has.
async fn kept_ready(house: &House) -> anyhow::Result<usize> {
    let detail = house.parts_that(|parts| {
        let detail = parts["model"][1].as_str()?;
        let (before, _) = detail.split_once(" tokens kept ready")?;
        before.rsplit_once(' ')?.1.parse().ok()
    });
    detail.await
}

fn only_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<anyhow::Result<Vec<_>>>()?;
    assert_eq!(files.len(), 1, "{files:?}");
    files.pop().context("no file")
}

/// Asks something that is answered in words at once.
async fn cached_tokens_of(house: &House, text: &str) -> anyhow::Result<usize> {
    let request = house.bus_client.ask(text).await?;
    let response = house.bus_client.signal_of(&request, "Response").await?;
    let tokens = response.argument(1)["figures"]["cached_tokens"].as_f64();
    tokens.map(|tokens| tokens as usize).with_context(|| format!("no figures in {response}"))
}
