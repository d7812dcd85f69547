//! The main job, live, in scenes: a house hears a recording, sees pictures, calls a tool, publishes;
//! a watch looks at the front door; an answer is interrupted. Every step is one line, and at the end
//! stands which of them really happened.

use std::process::ExitCode;

use serde_json::Value;

use crate::broker::Broker;
use crate::bus::Bus;
use crate::house::{House, private_folder};
use crate::mqtt_client::Message;
use crate::workspace;

mod arguments;
mod checks;
mod door; // the second scene
mod interruption; // the third scene
mod narrator;
mod plan; // which scenes are played
mod request; // the first scene
mod screen;
mod stage; // what every scene begins with

pub use arguments::Arguments;
use checks::Checks;
use narrator::narrate;
use plan::{Scene, scenes};
use screen::Screen;
use stage::Stage;

/// What the demo model is, said at the end.
const NOTE: &str = "\
The demo model is small: it was trained on drawings, on espeak-ng's voices and on some hundred words,
and understands nothing else. With a real Gemma 4 folder: gemmad-demo --model FOLDER
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
    house.settings.set("camera.interval_ms", 500);
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

/// Plays the scenes, and sums up.
async fn perform(
    house: &mut House,
    arguments: &Arguments,
    screen: &Screen,
) -> anyhow::Result<ExitCode> {
    let scenes = scenes(arguments)?;
    let mut checks = Checks::new();
    let stage = Stage { screen: screen.clone(), shows_log: arguments.log };
    for scene in &scenes {
        screen.block(scene.title());
        let played = match scene {
            Scene::Request => request::play(house, &mut checks, &stage).await,
            Scene::Door => door::play(house, &mut checks, &stage).await,
            Scene::Interruption => interruption::play(house, &mut checks, &stage).await,
        };
        played.map_err(|error| stage::with_log(house, error))?;
    }
    screen.block(&checks.table(screen));
    if arguments.model.is_none() {
        screen.block(NOTE);
    }
    Ok(if checks.all_happened() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The kind of event that a message of the daemon carries, if it carries one.
fn event_kind(message: &Message) -> Option<&str> {
    message.topic.split_once("/event/").map(|(_, kind)| kind)
}
