//! The end in the middle of something.

use std::path::Path;
use std::time::{Duration, Instant};

use gemmad_tests::house::House;
use gemmad_tests::workspace::demo_model;
use rustix::fs::{CWD, FileType, Mode, mknodat};

crate::under_both_engines!(
    a_stop_in_the_middle_of_a_long_reply_is_clean,
    a_stop_with_nothing_to_do_is_clean,
);

/// The deadline of the configuration, and some time to notice.
const STOPPED_MAX: Duration = Duration::from_secs(7);

async fn a_stop_in_the_middle_of_a_long_reply_is_clean(engine: &str) -> anyhow::Result<()> {
    let mut house = House::build_talkative(engine).await?;
    house.settings.set("stop_deadline_ms", 5_000);
    let mark = house.mqtt_client.messages().mark();
    house.start().await?;
    let request = house.bus_client.ask("Tell me everything").await?;
    house.bus_client.signal_of(&request, "Text").await?;

    house.daemon()?.terminate()?;
    let stopping = Instant::now();
    let status = house.daemon()?.ended().await?;
    let took = stopping.elapsed();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < STOPPED_MAX, "stopped only after {took:?}");

    // Nobody is left in the dark: the asker, the listeners, the house.
    let response = house.bus_client.signal_of(&request, "Response").await?;
    assert_eq!(response.argument(0), 1, "{response}");
    house.event(mark, "cancelled").await?;
    house.status(mark, "offline").await?;
    println!("{engine}: stopped in {} ms", took.as_millis());
    Ok(())
}

async fn a_stop_with_nothing_to_do_is_clean(engine: &str) -> anyhow::Result<()> {
    let mut house = House::build(engine).await?;
    let mark = house.mqtt_client.messages().mark();
    house.start().await?;
    house.daemon()?.terminate()?;
    let status = house.daemon()?.ended().await?;
    assert_eq!(status.code(), Some(0), "{status}");
    house.status(mark, "offline").await?;
    Ok(())
}

#[tokio::test]
async fn a_stop_while_the_model_opens_keeps_its_deadline() -> anyhow::Result<()> {
    let mut house = opening_for_ever().await?;
    house.settings.set("stop_deadline_ms", 500);
    house.launch()?;
    house.reaches(&["loading"]).await?;
    let mark = house.mqtt_client.messages().mark();
    house.daemon()?.terminate()?;
    let status = house.daemon()?.ended().await?;
    // EX_TEMPFAIL: what hangs was left alone, and the goodbye was said all the same.
    assert_eq!(status.code(), Some(75), "{status}");
    house.status(mark, "offline").await?;
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() -> anyhow::Result<()> {
    let mut house = opening_for_ever().await?;
    house.settings.set("stop_deadline_ms", 60_000);
    house.launch()?;
    house.reaches(&["loading"]).await?;
    let stopping = Instant::now();
    while house.daemon()?.terminate().is_ok() {
        assert!(stopping.elapsed() < STOPPED_MAX, "still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = house.daemon()?.ended().await?;
    assert_eq!(status.code(), Some(130), "{status}");
    Ok(())
}

/// A house whose model never opens, as on a network disk that hangs: its tokenizer is a pipe into
/// which nobody writes.
async fn opening_for_ever() -> anyhow::Result<House> {
    let mut house = House::build("ort").await?;
    let folder = house.folder().join("model");
    link_but(&demo_model()?, &folder, "tokenizer.json")?;
    let pipe = folder.join("tokenizer.json");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    house.settings.set_path("model.folder", &folder);
    Ok(house)
}

/// Makes a folder of links to all that is in the folder `from`, but for one name.
fn link_but(from: &Path, to: &Path, left_out: &str) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != left_out {
            std::os::unix::fs::symlink(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
