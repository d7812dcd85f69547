//! Measures what this crate adds to the engine's time for each token of a reply.
//!
//! Usage: `cargo run --release -p gemma-runtime --example overhead -- MODEL_FOLDER [ENGINE [THREADS]]`
//! with `GEMMAD_ONNXRUNTIME` naming the library for the engine `ort`. Ends with status 1 when more
//! than the larger of 5 % of the engine's time and 0.2 ms is added.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use gemma_runtime::{Error, Model, Options, ReplyOptions};
use gemma_types::{Message, Part, Piece, Role, Usage};

/// Tokens to measure, over as many replies as that takes.
const TOKENS: u32 = 256;

/// Replies after which a model that keeps silent is given up.
const REPLIES_MAX: usize = 256;

/// What may be added to each token whatever the engine takes.
const FLOOR: Duration = Duration::from_micros(200);

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::from(2)
        }
    }
}

/// Measures and prints; whether the bar was held.
fn measure() -> Result<bool, Error> {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        return Err(option("MODEL_FOLDER", "is missing; give the path of a model folder"));
    };
    let engine = arguments.next().map(|name| name.parse()).transpose()?.unwrap_or_default();
    let threads = match arguments.next().map(|count| count.parse()) {
        None => 0,
        Some(Ok(count)) => count,
        Some(Err(_)) => return Err(option("THREADS", "is not a number")),
    };
    let options = Options { engine, threads, ..Options::default() };
    let mut model = Model::open(Path::new(&folder), &options)?;
    one_reply(&mut model, 0)?;
    let (mut decode, mut in_engine, mut tokens) = (Duration::ZERO, Duration::ZERO, 0);
    for turn in 1..REPLIES_MAX {
        let usage = one_reply(&mut model, turn)?;
        // The first token comes out of the prompt's logits: no step of the engine is its own.
        tokens += u32::try_from(usage.reply_tokens.saturating_sub(1)).unwrap_or(u32::MAX);
        decode += usage.decode;
        in_engine += usage.decode_engine;
        if tokens >= TOKENS {
            break;
        }
    }
    if tokens == 0 {
        return Err(option("MODEL_FOLDER", "holds a model that says nothing"));
    }
    let (total, engine) = (decode / tokens, in_engine / tokens);
    let ours = total.saturating_sub(engine);
    let bar = (engine / 20).max(FLOOR);
    let percent = 100.0 * ours.as_secs_f64() / engine.as_secs_f64().max(f64::MIN_POSITIVE);
    let info = model.info();
    println!("{} on {}, {tokens} tokens decoded", info.name, info.engine);
    println!("total  {:>9.3} ms per token", milliseconds(total));
    println!("engine {:>9.3} ms per token", milliseconds(engine));
    println!("ours   {:>9.3} ms per token, {percent:.1} % of the engine", milliseconds(ours));
    let held = ours <= bar;
    let verdict = if held { "pass" } else { "fail" };
    println!("bar    {:>9.3} ms per token: {verdict}", milliseconds(bar));
    Ok(held)
}

fn one_reply(model: &mut Model, turn: usize) -> Result<Usage, Error> {
    let words = format!("Tell me something about the number {turn}.");
    let message = Message {
        role: Role::User,
        parts: vec![Part::Text(words)],
        tool_calls: Vec::new(),
        tool_results: Vec::new(),
    };
    let options = ReplyOptions { reply_tokens_max: 64, ..ReplyOptions::default() };
    for piece in model.reply(&[message], &[], &options)? {
        if let Piece::End { usage, .. } = piece? {
            return Ok(usage);
        }
    }
    Ok(Usage::default())
}

fn option(name: &'static str, reason: &str) -> Error {
    Error::Option { name, reason: reason.to_owned() }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
