//! A model from a hub: checked, taken up where it broke, and never half there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gemmad_tests::daemon::{Said, bare_command};
use gemmad_tests::hub::{Habits, Hub, REPOSITORY};
use gemmad_tests::workspace::demo_model;
use tempfile::TempDir;

/// Files that lie beside the model, none of which is wanted.
const BESIDE: [(&str, &[u8]); 4] = [
    ("onnx/decoder_model_merged_q4.onnx", b"another precision"),
    ("onnx/decoder_model_merged_q4.onnx_data", b"and its weights"),
    ("model.safetensors", b"another format"),
    ("../outside.json", b"{}"),
];

/// Length of the weights of the largest graph, which the second server keeps.
const WEIGHTS: &str = "onnx/decoder_model_merged_fp16.onnx_data";

fn hub(habits: Habits) -> anyhow::Result<Hub> {
    Hub::serve(&demo_model()?, &BESIDE, habits)
}

fn place() -> anyhow::Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("model");
    Ok((folder, target))
}

async fn pull(hub: &Hub, target: &Path, token: &str) -> anyhow::Result<Said> {
    let target = target.display().to_string();
    let arguments = ["model", "pull", REPOSITORY, "--dtype", "fp16", "--to", &target];
    let endpoint = hub.endpoint();
    let variables = [
        ("HF_ENDPOINT", endpoint.as_str()),
        ("HF_TOKEN", token),
        ("NO_PROXY", "127.0.0.1"),
        ("no_proxy", "127.0.0.1"),
    ];
    bare_command(&arguments, &variables).await
}

/// The files of a folder, by their paths.
fn files(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.strip_prefix(folder)?.to_owned())),
            }
        }
    }
    Ok(found)
}

/// The fetched folder is the demo model without what nobody needs.
fn check_whole(target: &Path) -> anyhow::Result<()> {
    let mut expected = files(&demo_model()?)?;
    expected.remove(Path::new("README.md"));
    assert_eq!(files(target)?, expected);
    for file in expected {
        assert_eq!(std::fs::read(target.join(&file))?, std::fs::read(demo_model()?.join(&file))?);
    }
    Ok(())
}

#[tokio::test]
async fn a_model_is_fetched_in_one_precision_and_can_be_used() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    let hub = hub(Habits::default())?;
    let said = pull(&hub, &target, "").await?;
    assert_eq!(said.code, 0, "{}", said.error);
    assert_eq!(said.out.trim(), target.display().to_string());
    check_whole(&target)?;
    let info = bare_command(&["model", "info", &target.display().to_string()], &[]).await?;
    assert_eq!(info.code, 0, "{}", info.error);

    let before = hub.fetched().len();
    let again = pull(&hub, &target, "").await?;
    assert_eq!(again.code, 0, "{}", again.error);
    assert_eq!(hub.fetched().len(), before, "nothing is fetched twice");
    Ok(())
}

#[tokio::test]
async fn a_broken_connection_goes_on_where_it_broke() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    let hub = hub(Habits { breaks_after: Some(700_000), ..Habits::default() })?;
    let said = pull(&hub, &target, "").await?;
    assert_eq!(said.code, 0, "{}", said.error);
    check_whole(&target)?;
    let fetched = hub.fetched().into_iter().filter(|fetched| fetched.path == WEIGHTS);
    let from: Vec<usize> = fetched.map(|fetched| fetched.from).collect();
    assert!(from.len() > 2 && from.is_sorted() && from[1] > 0, "{from:?}");
    Ok(())
}

#[tokio::test]
async fn an_interrupted_download_goes_on_later_and_is_no_model_until_then() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    let habits = Habits { breaks_after: Some(900_000), leaves_after: Some(2), ..Habits::default() };
    let leaving = hub(habits)?;
    let said = pull(&leaving, &target, "").await?;
    assert_eq!(said.code, 1);
    assert!(said.error.contains("cannot be fetched"), "{}", said.error);
    assert!(!target.exists());

    let staying = hub(Habits::default())?;
    let said = pull(&staying, &target, "").await?;
    assert_eq!(said.code, 0, "{}", said.error);
    check_whole(&target)?;
    let fetched = |hub: &Hub| -> BTreeSet<String> {
        hub.fetched().into_iter().filter(|one| one.from == 0).map(|one| one.path).collect()
    };
    let twice: Vec<String> = fetched(&leaving).intersection(&fetched(&staying)).cloned().collect();
    assert!(twice.is_empty(), "fetched twice from the beginning: {twice:?}");
    Ok(())
}

#[tokio::test]
async fn a_hub_that_gives_no_parts_is_taken_from_the_beginning() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    let part = target.with_file_name("model.part");
    std::fs::create_dir_all(part.join("onnx"))?;
    std::fs::write(part.join(format!("{WEIGHTS}.part")), b"what another attempt left")?;
    let hub = hub(Habits { knows_no_ranges: true, ..Habits::default() })?;
    let said = pull(&hub, &target, "").await?;
    assert_eq!(said.code, 0, "{}", said.error);
    check_whole(&target)
}

#[tokio::test]
async fn what_an_earlier_attempt_left_is_checked_too() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    let part = target.with_file_name("model.part");
    std::fs::create_dir_all(part.join("onnx"))?;
    std::fs::write(part.join(format!("{WEIGHTS}.part")), b"damaged beginning")?;
    let hub = hub(Habits::default())?;
    let said = pull(&hub, &target, "").await?;
    assert_eq!(said.code, 0, "{}", said.error);
    assert!(said.error.contains("fetched again"), "{}", said.error);
    check_whole(&target)
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_there_is_no_model() -> anyhow::Result<()> {
    for file in [WEIGHTS, "generation_config.json"] {
        let (_folder, target) = place()?;
        let hub = hub(Habits { damages: Some(file.to_owned()), ..Habits::default() })?;
        let said = pull(&hub, &target, "").await?;
        assert_eq!(said.code, 1);
        assert!(said.error.contains(file), "{}", said.error);
        assert!(said.error.contains("came out wrong"), "{}", said.error);
        assert!(!target.exists());
    }
    Ok(())
}

#[tokio::test]
async fn a_list_without_checksums_is_made_up_for_by_the_files_themselves() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    let habits = Habits { lists_names_only: true, ..Habits::default() };
    let said = pull(&hub(habits.clone())?, &target, "").await?;
    assert_eq!(said.code, 0, "{}", said.error);
    check_whole(&target)?;
    let (_folder, target) = place()?;
    let habits = Habits { damages: Some(WEIGHTS.to_owned()), ..habits };
    let said = pull(&hub(habits)?, &target, "").await?;
    assert!(said.error.contains("came out wrong"), "{}", said.error);
    Ok(())
}

#[tokio::test]
async fn what_is_not_public_needs_a_token_which_only_the_hub_sees() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    let hub = hub(Habits { token: Some("hf_secret".to_owned()), ..Habits::default() })?;
    for token in ["", "hf_wrong"] {
        let said = pull(&hub, &target, token).await?;
        assert_eq!(said.code, 1);
        assert!(said.error.contains("HF_TOKEN"), "{}", said.error);
        assert!(!said.error.contains("hf_wrong"), "{}", said.error);
    }
    let said = pull(&hub, &target, "hf_secret").await?;
    assert_eq!(said.code, 0, "{}", said.error);
    check_whole(&target)?;
    assert!(!hub.leaked_token());
    Ok(())
}

#[tokio::test]
async fn a_refusal_says_what_to_do() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    let check = async |refuses: (u16, &'static str), expected: &[&str]| -> anyhow::Result<()> {
        let hub = hub(Habits { refuses: Some(refuses), ..Habits::default() })?;
        let said = pull(&hub, &target, "").await?;
        assert_eq!(said.code, 1);
        for part in expected.iter().chain(&[REPOSITORY]) {
            assert!(said.error.contains(part), "no {part:?} in {}", said.error);
        }
        Ok(())
    };
    check((403, "GatedRepo"), &["gated", "accept its terms", "HF_TOKEN"]).await?;
    check((401, ""), &["not there or not public", "HF_TOKEN"]).await?;
    check((404, ""), &["404", "owner"]).await?;
    check((404, "RevisionNotFound"), &["no such revision"]).await?;
    check((418, "teapot"), &["418", "teapot"]).await?;

    let gated = Habits { refuses_files: Some((403, "GatedRepo")), ..Habits::default() };
    let said = pull(&hub(gated)?, &target, "").await?;
    let terms = format!("/{REPOSITORY}, and set HF_TOKEN");
    assert!(said.error.contains(&terms), "{}", said.error);
    Ok(())
}

#[tokio::test]
async fn a_disk_without_room_is_seen_before() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    let hub = hub(Habits { lists_giants: true, ..Habits::default() })?;
    let said = pull(&hub, &target, "").await?;
    assert_eq!(said.code, 1);
    assert!(said.error.contains("GB more"), "{}", said.error);
    assert_eq!(hub.fetched().len(), 0);
    Ok(())
}

#[tokio::test]
async fn a_folder_with_something_else_in_it_is_left_alone() -> anyhow::Result<()> {
    let (_folder, target) = place()?;
    std::fs::create_dir(&target)?;
    std::fs::write(target.join("diary.txt"), "dear diary")?;
    let hub = hub(Habits::default())?;
    let said = pull(&hub, &target, "").await?;
    assert_eq!(said.code, 1);
    assert!(said.error.contains("something else"), "{}", said.error);
    assert_eq!(files(&target)?.len(), 1);
    std::fs::remove_file(target.join("diary.txt"))?;
    let said = pull(&hub, &target, "").await?;
    assert_eq!(said.code, 0, "an empty folder will do: {}", said.error);
    check_whole(&target)
}
