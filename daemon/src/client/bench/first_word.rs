//! How long the first word takes: to a question behind a long instruction with tools that the model
//! has not read yet, to the next question behind the same, and to one behind the same after a restart.

use std::time::Instant;

use gemma_runtime::{Model, ReplyOptions, Sampling};
use gemma_types::{Message, Piece, Role, ToolSpec, Usage};
use serde_json::json;

use super::report::{FirstWord, Restart};
use super::runs::{ids, says};
use super::spread::Spread;

/// Tokens of the instruction with its tools.
const INSTRUCTION_TOKENS: usize = 2_000;
/// Tokens of an answer between two questions.
const ANSWER_TOKENS: usize = 16;
/// The share of the context that an instruction may take.
const CONTEXT_SHARE: usize = 2;
/// Tools that are declared.
const TOOLS: [(&str, &str); 8] = [
    ("switch_light", "Switches the lights of a room on or off."),
    ("set_temperature", "Sets the heating of a room, in degrees Celsius."),
    ("open_blinds", "Opens the blinds of a room so far, in percent."),
    ("play_music", "Plays music of an artist or a kind in a room."),
    ("add_to_list", "Puts something on a list, such as shopping."),
    ("set_timer", "Rings after so many minutes."),
    ("look_up_weather", "Says how the weather will be at a place."),
    ("send_message", "Sends a message to somebody of the household."),
];

/// Measures, in so many rounds; or says why it cannot.
///
/// # Errors
/// When the model fails.
pub(super) fn measure(model: &mut Model, rounds: u16) -> anyhow::Result<Result<FirstWord, String>> {
    let tools = tools();
    let repeats = match repeats(model, &tools)? {
        Ok(repeats) => repeats,
        Err(reason) => return Ok(Err(reason)),
    };
    let (mut cold_s, mut warm_s, mut usages) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut talk = vec![
            says(Role::System, &instruction(round, repeats)),
            says(Role::User, "Which lights are on?"),
        ];
        let (seconds, cold, _) = ask(model, &talk, &tools, 1)?;
        cold_s.push(seconds);
        let (_, _, answer) = ask(model, &talk, &tools, ANSWER_TOKENS)?;
        talk.push(says(Role::Assistant, &answer));
        talk.push(says(Role::User, "And in the kitchen?"));
        let (seconds, warm, _) = ask(model, &talk, &tools, 1)?;
        warm_s.push(seconds);
        usages.push((cold, warm));
    }
    let spreads = Spread::of(cold_s).zip(Spread::of(warm_s)).zip(usages.pop());
    let Some(((cold_s, warm_s), (cold, warm))) = spreads else {
        return Ok(Err("no round was asked for".into()));
    };
    Ok(Ok(FirstWord {
        cold_tokens: cold.prompt_tokens - cold.cached_tokens,
        cold_s,
        warm_tokens: warm.prompt_tokens,
        warm_cached_tokens: warm.cached_tokens,
        warm_s,
        warm_share: warm_s.median / cold_s.median.max(f64::MIN_POSITIVE),
    }))
}

/// Saves what the model knows of the first round's instruction, for a question after a restart; or
/// says why it cannot.
///
/// # Errors
/// When the model fails.
pub(super) fn save(model: &mut Model) -> anyhow::Result<Result<(), String>> {
    let tools = tools();
    let repeats = match repeats(model, &tools)? {
        Ok(repeats) => repeats,
        Err(reason) => return Ok(Err(reason)),
    };
    let instruction = [says(Role::System, &instruction(0, repeats))];
    Ok(model.keep_prefix(&instruction, &tools, false, &mut || true)?.unsaved.map_or(Ok(()), Err))
}

/// Seconds from a model that is just loaded to the first token behind the saved instruction, as the
/// daemon goes about it; and what that took.
///
/// # Errors
/// When the model fails, or the instruction is longer than it takes.
pub(super) fn after_restart(model: &mut Model) -> anyhow::Result<(f64, Usage)> {
    let tools = tools();
    let repeats = repeats(model, &tools)?.map_err(anyhow::Error::msg)?;
    let instruction = says(Role::System, &instruction(0, repeats));
    let started = Instant::now();
    model.keep_prefix(std::slice::from_ref(&instruction), &tools, false, &mut || true)?;
    let talk = [instruction, says(Role::User, "Which lights are on?")];
    let (_, usage, _) = ask(model, &talk, &tools, 1)?;
    Ok((started.elapsed().as_secs_f64(), usage))
}

/// What was found after several restarts, beside the first word behind an instruction never read.
pub(super) fn restart(found: &[(f64, Usage)], cold_s: Spread) -> Option<Restart> {
    let first_word_s = Spread::of(found.iter().map(|(seconds, _)| *seconds).collect())?;
    let (_, usage) = found.last()?;
    let share = first_word_s.median / cold_s.median.max(f64::MIN_POSITIVE);
    let (tokens, saved_tokens) = (usage.prompt_tokens, usage.cached_tokens);
    Some(Restart { tokens, saved_tokens, first_word_s, share })
}

/// How often the rule is repeated in an instruction that the model has room for; or why there is none.
fn repeats(model: &Model, tools: &[ToolSpec]) -> anyhow::Result<Result<usize, String>> {
    let room = model.info().context_tokens / CONTEXT_SHARE;
    let fitting = fitting(model, tools, INSTRUCTION_TOKENS.min(room))?;
    let reason = || format!("the declarations of its tools take more than {room} tokens");
    Ok(fitting.ok_or_else(reason))
}

/// Seconds from a question to the end of the reply, which may be one token; what it took; its words.
fn ask(
    model: &mut Model,
    talk: &[Message],
    tools: &[ToolSpec],
    tokens: usize,
) -> anyhow::Result<(f64, Usage, String)> {
    let sampling = Sampling { seed: Some(1), ..model.info().sampling };
    let options = ReplyOptions { sampling, reply_tokens_max: tokens, ..ReplyOptions::default() };
    let (mut words, mut end) = (String::new(), Usage::default());
    let started = Instant::now();
    for piece in model.reply(talk, tools, &options)? {
        match piece? {
            Piece::Text(text) => words.push_str(&text),
            Piece::End { usage, .. } => end = usage,
            Piece::Thought(_) | Piece::ToolCall(_) | Piece::Progress { .. } => {}
        }
    }
    Ok((started.elapsed().as_secs_f64(), end, words))
}

/// How often the rule is repeated so that instruction and tools have about so many tokens; `None`
/// where the tools alone have more.
fn fitting(model: &Model, tools: &[ToolSpec], tokens: usize) -> anyhow::Result<Option<usize>> {
    let length = |repeats| {
        let talk = [says(Role::System, &instruction(0, repeats))];
        anyhow::Ok(ids(&model.render(&talk, tools, false)?).len())
    };
    let (none, ten) = (length(0)?, length(10)?);
    let each = ((ten - none.min(ten)) / 10).max(1);
    Ok(tokens.checked_sub(none).map(|left| left / each))
}

/// An instruction, another one for each round from its first word on.
fn instruction(round: u16, repeats: usize) -> String {
    let rules = (0..repeats).map(|number| {
        format!(" Rule {number}: in room {} ask before anything is switched off.", number * 7)
    });
    format!("House {round} has many rooms.") + &rules.collect::<String>()
}

fn tools() -> Vec<ToolSpec> {
    let tool = |(name, description): (&str, &str)| ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {
                "room": {"type": "string", "description": "Name of the room"},
                "value": {"type": "integer", "description": "How much"},
            },
            "required": ["room"],
        }),
    };
    TOOLS.into_iter().map(tool).collect()
}
