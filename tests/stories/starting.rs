//! How long it takes to start, and what it takes.

use std::time::Duration;

use gemmad_tests::house::House;

crate::under_both_engines!(the_daemon_is_ready_soon);

/// The bar is 2 s on an idle machine; stories share theirs with others.
const READY_MAX: Duration = Duration::from_secs(10);

async fn the_daemon_is_ready_soon(engine: &str) -> anyhow::Result<()> {
    let mut house = House::build(engine).await?;
    let first = house.start().await?;
    let cold = house.bus_client.property("PeakRss").await?.as_f64().unwrap_or_default();
    house.stop().await?;
    let again = house.start().await?;
    house.answer_to("Turn on the light in the kitchen").await?;
    let peak = house.bus_client.property("PeakRss").await?.as_f64().unwrap_or_default();
    println!(
        "{engine}: ready in {} ms, in {} ms with compiled plugins; peak RSS {:.0} MB at the start, \
         {:.0} MB after an answer",
        first.as_millis(),
        again.as_millis(),
        cold / 1e6,
        peak / 1e6
    );
    assert!(first < READY_MAX, "ready only after {first:?}");
    assert!(peak > 1e6, "no peak RSS");
    Ok(())
}
