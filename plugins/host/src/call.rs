//! One call of a tool: the guest runs under its deadline, and whatever happens becomes an outcome
//! whose words the model can use.

use std::time::{Duration, Instant};

use gemma_types::{Cost, Outcome};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime::{Engine, Store, Trap};

use crate::contract::PluginPre;
use crate::instance::{self, Call};
use crate::limits::Reached;

/// Characters of a guest's own words that reach the model.
const WORDS_CHARS_MAX: usize = 500;

/// What the host lends to a call.
pub(crate) struct Means<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) guest: &'a PluginPre<Call>,
    /// Bounds how many guests run at a time.
    pub(crate) turns: &'a Semaphore,
}

/// Runs the tool with arguments that fit its schema.
///
/// # Cancel safety
///
/// Dropping the future stops the guest; a message that it had handed over may still be sent.
pub(crate) async fn run(means: Means<'_>, call: Call, arguments: &str) -> (Outcome, Cost) {
    let started = Instant::now();
    let wall = Duration::from_millis(call.limits.wall_ms);
    let mut store = match instance::store(means.engine, call) {
        Ok(store) => store,
        Err(error) => return (Outcome::Failed(format!("no store: {error:#}")), Cost::default()),
    };
    let outcome = match timeout(wall, answer(&means, &mut store, arguments)).await {
        Ok(Ok(Ok(text))) => done(&text, store.data()),
        Ok(Ok(Err(words))) => declined(&words, store.data()),
        Ok(Err(error)) => killed(&error, store.data()),
        Err(_) => late(store.data()),
    };
    (outcome, Cost { wall: started.elapsed(), ..instance::cost(&store) })
}

/// The guest's own answer. Waiting for a turn counts as time of the call.
async fn answer(
    means: &Means<'_>,
    store: &mut Store<Call>,
    arguments: &str,
) -> wasmtime::Result<Result<String, String>> {
    let _turn = means.turns.acquire().await?;
    let tool = store.data().tool.clone();
    let guest = means.guest.instantiate_async(&mut *store).await?;
    guest.call_call(&mut *store, &tool, arguments).await
}

/// The guest returned text that should be JSON.
fn done(text: &str, call: &Call) -> Outcome {
    let limit = call.limits.result_bytes;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > limit {
        return stopped(Reached { key: "result_bytes", limit });
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) => Outcome::Done(value),
        Err(error) => Outcome::Failed(format!("the tool's result is not JSON: {error}")),
    }
}

/// The guest returned words that say what went wrong.
fn declined(words: &str, call: &Call) -> Outcome {
    let words: String = words.chars().take(WORDS_CHARS_MAX).collect();
    match &call.refusal {
        Some(refusal) if words.contains(refusal) => Outcome::Refused(words),
        Some(refusal) => Outcome::Refused(format!("{words} ({refusal})")),
        None => Outcome::Failed(words),
    }
}

/// The guest was ended by a limit or by its own fault.
fn killed(error: &wasmtime::Error, call: &Call) -> Outcome {
    if let Some(reached) = call.stopped {
        return stopped(reached);
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::OutOfFuel) {
        return stopped(Reached { key: "fuel", limit: call.limits.fuel });
    }
    let cause: String = error.root_cause().to_string().chars().take(WORDS_CHARS_MAX).collect();
    Outcome::Failed(format!("the tool crashed: {cause}"))
}

/// The deadline passed.
fn late(call: &Call) -> Outcome {
    let reached = Reached { key: "wall_ms", limit: call.limits.wall_ms };
    match &call.awaiting_receipt {
        Some(topic) => Outcome::Failed(format!(
            "the tool was stopped: {reached}; the message to {topic} may still be sent"
        )),
        None => stopped(reached),
    }
}

fn stopped(reached: Reached) -> Outcome {
    Outcome::Failed(format!("the tool was stopped: {reached}"))
}
