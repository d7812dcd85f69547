//! The end in the middle of something.

use std::time::{Duration, Instant};

use gemmad_tests::house::House;

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
