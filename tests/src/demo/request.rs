//! The first scene: a house hears a recording, sees pictures, calls a tool, publishes; then it is
//! asked in words.

use std::path::PathBuf;

use anyhow::Context as _;

use super::checks::Checks;
use super::stage::{self, Stage};
use super::words;
use crate::house::House;
use crate::workspace;

/// What is asked in words.
const QUESTION: &str = "Dim the light in the bedroom to 40 percent";

/// Plays it.
pub(super) async fn play(
    house: &mut House,
    checks: &mut Checks,
    stage: &Stage,
) -> anyhow::Result<()> {
    let microphone = replayed_microphone(house)?;
    let pictures = house.pictures()?;
    stage.line("microphone", &format!("replays {}", microphone.display()));
    stage.line("camera", &format!("replays {}", pictures.display()));
    house.settings.set("microphone.source", format!("replay:{}", microphone.display()));
    house.settings.set("camera.source", format!("replay:{}", pictures.display()));
    house.settings.set("assistant.look_on_speech", true);
    let ready = stage.start(house).await?;
    let engine = house.bus_client.property("Engine").await?;

    let heard = house.event(0, "heard").await.context("nothing was heard")?;
    let spoken = stage::answered(house, &heard["turn"]).await?;
    stage.line("typed", QUESTION);
    let request = house.bus_client.ask(QUESTION).await?;
    let typed = house.bus_client.signal_of(&request, "Response").await?;
    stage::answered(house, &typed.argument(1)["turn"]).await?;

    checks.gather(house, &spoken, &request);
    checks.figure("engine", words(&engine));
    checks.figure("ready after", format!("{} ms", ready.as_millis()));
    let peak = house.bus_client.property("PeakRss").await?.as_f64().unwrap_or_default();
    checks.figure("peak memory", format!("{:.0} MiB", peak / 1024.0 / 1024.0));
    Ok(())
}

/// A folder with the recording, and without its text: whoever wants to know what is said must hear it.
fn replayed_microphone(house: &House) -> anyhow::Result<PathBuf> {
    let folder = house.folder().join("recordings");
    std::fs::create_dir_all(&folder)?;
    let name = "kitchen_light.wav";
    std::fs::copy(workspace::fixture(name)?, folder.join(name))?;
    Ok(folder)
}
