//! Measures what the keys and values of a long conversation take, and holds it against what they
//! would take if every layer kept everything.
//!
//! Usage: `cargo run --release -p gemma-runtime --example kv_memory -- MODEL_FOLDER [TOKENS [ENGINE]]`
//! with `GEMMAD_ONNXRUNTIME` naming the library for the engine `ort`. Without TOKENS: 32768, or as
//! many as the model was made for.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use gemma_runtime::prompt::Segment;
use gemma_runtime::{Error, Model, Options};
use gemma_types::{Message, Part, Role};

/// Tokens to fill the context with.
const TOKENS: usize = 32 << 10;

/// Words that are repeated until there are enough of them.
const WORDS: &str = "What time is it? ";

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        return Err(option("MODEL_FOLDER", "is missing; give the path of a model folder"));
    };
    let tokens = match arguments.next().map(|count| count.parse()) {
        None => TOKENS,
        Some(Ok(count)) => count,
        Some(Err(_)) => return Err(option("TOKENS", "is not a number")),
    };
    let engine = arguments.next().map(|name| name.parse()).transpose()?.unwrap_or_default();
    let options = Options { engine, context_tokens: tokens, ..Options::default() };
    let opening = Instant::now();
    let mut model = Model::open(Path::new(&folder), &options)?;
    let info = model.info().clone();
    println!("{} ({}) on {}", info.name, info.variant, info.engine);
    println!("opened in {:.2} s", opening.elapsed().as_secs_f64());
    let kept = if info.kv.keeps_window { "their window" } else { "everything" };
    println!("layers with a window of {} tokens keep {kept}", info.kv.window_tokens);
    let started = Instant::now();
    let prompt = fill(&mut model, info.context_tokens)?;
    println!("prompt    {prompt:>12} tokens in {:.2} s", started.elapsed().as_secs_f64());
    let whole = (info.kv.local_bytes + info.kv.global_bytes) * prompt;
    println!("kept      {:>12} bytes, the place to go back to included", model.kv_bytes());
    println!("computed  {:>12} bytes of windows and global layers", info.kv.bytes(prompt));
    println!("untrimmed {whole:>12} bytes");
    Ok(())
}

/// Takes the longest prompt through the decoder that fits; its tokens.
fn fill(model: &mut Model, context_tokens: usize) -> Result<usize, Error> {
    let tokens_of = |model: &Model, repeats: usize| {
        let prompt = model.render(&[says(WORDS.repeat(repeats))], &[], false)?;
        let ids =
            |segment: &Segment| if let Segment::Tokens(ids) = segment { ids.len() } else { 0 };
        Ok::<_, Error>(prompt.segments.iter().map(ids).sum::<usize>())
    };
    let (one, eleven) = (tokens_of(model, 1)?, tokens_of(model, 11)?);
    let each = (eleven - one).div_ceil(10).max(1);
    let repeats = context_tokens.saturating_sub(one + 1) / each;
    let trace = model.trace(&[says(WORDS.repeat(repeats.max(1)))], &[], false, 1)?;
    Ok(trace.prompt_ids.len())
}

fn says(words: String) -> Message {
    let parts = vec![Part::Text(words)];
    Message { role: Role::User, parts, tool_calls: Vec::new(), tool_results: Vec::new() }
}

fn option(name: &'static str, reason: &str) -> Error {
    Error::Option { name, reason: reason.to_owned() }
}
