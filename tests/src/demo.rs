//! The main job, live: a house hears a recording, sees pictures, calls a tool, publishes; then it
//! is asked in words. Every step is one line, and at the end stands which of them really happened.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::broker::Broker;
use crate::bus::Bus;
use crate::bus_client::Signal;
use crate::house::{House, SETTLED, private_folder};
use crate::mqtt_client::Message;
use crate::workspace;

mod arguments;
mod checks;
mod narrator;
mod screen;

pub use arguments::Arguments;
use checks::Checks;
use narrator::narrate;
use screen::Screen;

/// What is asked in words.
const QUESTION: &str = "Dim the light in the bedroom to 40 percent";
/// What the demo model is not.
const NOTE: &str = "\
The demo model is small: sound and pictures go through its real towers, but it does not understand
them yet, so the text of the recording goes along. With a real Gemma 4 folder it does not:
gemmad-demo --model FOLDER
";
/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Runs the demo to its end, or until Ctrl-C; either way the house is left in order.
///
/// # Errors
/// When something that it needs is missing, or did not happen in time.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let screen = Screen::new();
    let mut house = build(&arguments, &screen).await?;
    let messages = house.mqtt_client.messages().clone();
    let signals = house.bus_client.signals().clone();
    let narrator = tokio::spawn(narrate(screen.clone(), messages, signals));
    let code = tokio::select! {
        code = perform(&mut house, &arguments, &screen) => code,
        _ = tokio::signal::ctrl_c() => {
            screen.line("stopping", "by Ctrl-C");
            Ok(ExitCode::from(INTERRUPTED))
        }
    };
    if let Ok(code) = code
        && arguments.stay
        && code == ExitCode::SUCCESS
    {
        stay(&house, &screen)?;
        let _ = tokio::signal::ctrl_c().await;
    }
    if code.is_ok() {
        house.stop().await?;
        screen.line("daemon", "stopped");
    }
    narrator.abort();
    code
}

/// Builds the house and says what is in it.
async fn build(arguments: &Arguments, screen: &Screen) -> anyhow::Result<House> {
    let folder = private_folder()?;
    let bus = match arguments.bus() {
        Some(address) => Bus::at(&address),
        None => Bus::start(folder.path()).await?,
    };
    let broker = match &arguments.broker {
        Some(url) => Broker::at(url)?,
        None => Broker::start(folder.path()).await?,
    };
    screen.line("bus", &format!("{} {}", ours(arguments.bus().is_none()), bus.address()));
    screen.line("broker", &format!("{} {}", ours(arguments.broker.is_none()), broker.url()));
    let mut house = House::around(&arguments.engine, bus, broker, folder).await?;
    let microphone = replayed_microphone(&house, arguments.model.is_none())?;
    let pictures = house.pictures()?;
    screen.line("microphone", &format!("replays {}", microphone.display()));
    screen.line("camera", &format!("replays {}", pictures.display()));
    house.settings.set("microphone.source", format!("replay:{}", microphone.display()));
    house.settings.set("camera.source", format!("replay:{}", pictures.display()));
    house.settings.set("camera.interval_ms", 500);
    house.settings.set("assistant.look_on_speech", true);
    house.settings.set("log.filter", "info");
    if let Some(folder) = &arguments.model {
        house.settings.set_path("model.folder", &std::path::absolute(folder)?);
        house.settings.set("model.threads", 0);
    }
    Ok(house)
}

fn ours(ours: bool) -> &'static str {
    if ours { "private," } else { "yours," }
}

/// A folder with the recording, and with its text where the model needs that.
fn replayed_microphone(house: &House, captioned: bool) -> anyhow::Result<PathBuf> {
    let folder = house.folder().join("recordings");
    std::fs::create_dir_all(&folder)?;
    let names = ["kitchen_light.wav", "kitchen_light.txt"];
    for name in names.into_iter().take(if captioned { 2 } else { 1 }) {
        std::fs::copy(workspace::fixture(name)?, folder.join(name))?;
    }
    Ok(folder)
}

/// Starts the daemon, waits for what it hears, asks it in words, and sums up.
async fn perform(
    house: &mut House,
    arguments: &Arguments,
    screen: &Screen,
) -> anyhow::Result<ExitCode> {
    let started = house.launch()?;
    house.daemon()?.shows_log = arguments.log;
    let pid = house.daemon()?.process().id();
    screen.line("daemon", &format!("started, process {pid}"));
    let settled = house.reaches(&[&SETTLED[..], &["degraded"]].concat()).await;
    let settled = settled.map_err(|error| with_log(house, error))?;
    let ready: Duration = started.elapsed();
    if settled == "degraded" {
        let detail = house.bus_client.property("Detail").await?;
        return Err(with_log(house, anyhow::anyhow!("no model: {detail}")));
    }
    let model = house.bus_client.property("Model").await?;
    let engine = house.bus_client.property("Engine").await?;
    screen.line("daemon", &format!("{settled} after {} ms: {}", ready.as_millis(), words(&model)));

    let spoken = answered(house, 0).await.map_err(|error| with_log(house, error))?;
    screen.line("typed", QUESTION);
    let request = house.bus_client.ask(QUESTION).await?;
    let typed_turn = house.bus_client.signal_of(&request, "Response").await?;
    answered(house, typed_turn.argument(1)["turn"].as_u64().unwrap_or_default()).await?;

    let mut checks = Checks::new();
    checks.gather(house, &spoken, &request);
    checks.figure("engine", words(&engine));
    checks.figure("ready after", format!("{} ms", ready.as_millis()));
    let peak = house.bus_client.property("PeakRss").await?.as_f64().unwrap_or_default();
    checks.figure("peak memory", format!("{:.0} MiB", peak / 1024.0 / 1024.0));
    screen.block(&checks.table(screen));
    if arguments.model.is_none() {
        screen.block(NOTE);
    }
    Ok(if checks.all_happened() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until a turn is answered, as the broker and the bus tell it; turn 0 is the first spoken
/// one.
async fn answered(house: &House, turn: u64) -> anyhow::Result<Value> {
    let turn = match turn {
        0 => house.event(0, "heard").await.context("nothing was heard")?["turn"].clone(),
        number => number.into(),
    };
    let event = house.event_that(0, "answered", |event| event["turn"] == turn).await?;
    let told =
        |signal: &Signal| (signal.member == "Answered" && signal.argument(0) == turn).then_some(());
    house.bus_client.signals().wait(0, "signal Answered", told).await?;
    Ok(event)
}

/// Says how to talk to the house.
fn stay(house: &House, screen: &Screen) -> anyhow::Result<()> {
    let program = workspace::daemon()?.display().to_string();
    let config = house.config()?.display().to_string();
    let (bus, port, host) = (house.bus.address(), house.broker.port(), house.broker.host());
    let bus_option = match bus.as_str() {
        "system" => "--system".to_owned(),
        address => format!("--address={address}"),
    };
    let name = "org.gemmad.Gemmad1 /org/gemmad/Gemmad1 org.gemmad.Gemmad1";
    screen.block(&format!(
        "It stays up; Ctrl-C stops it. Talk to it from another terminal:\n\
         \n  {program} --config {config} ask \"Turn on the light in the garage\"\
         \n  {program} --config {config} status\
         \n  mosquitto_sub -h {host} -p {port} -v -t '#'\
         \n  mosquitto_pub -h {host} -p {port} -t gemmad/test/ask -m 'What time is it?'\
         \n  busctl {bus_option} get-property {name} State\
         \n  busctl {bus_option} call {name} Ask 'a{{sv}}' 2 text s 'What time is it?' detach b true\
         \n  busctl {bus_option} monitor org.gemmad.Gemmad1\n"
    ));
    Ok(())
}

/// The error, and below it what the daemon said last.
fn with_log(house: &mut House, error: anyhow::Error) -> anyhow::Error {
    let log = house.daemon().map(|daemon| daemon.process().lines().tail(0)).unwrap_or_default();
    error.context(format!("the daemon said:\n{log}\n"))
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The kind of event that a message of the daemon carries, if it carries one.
fn event_kind(message: &Message) -> Option<&str> {
    message.topic.split_once("/event/").map(|(_, kind)| kind)
}
