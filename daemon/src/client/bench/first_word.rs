//! How long the first word takes: to a question behind a long instruction with tools that the model
//! has not read yet, to the next question behind the same, and to one behind the same after a restart.

use std::time::Instant;

use gemma_runtime::{Model, ReplyOptions, Sampling};
use gemma_types::{Message, Role, ToolSpec, Usage};
use serde_json::json;

use super::report::{FirstWord, Restart};
use super::runs::{answer, ids, says};
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

/// A long instruction and its tools, as long as the model has room for.
pub(super) struct Instruction {
    tools: Vec<ToolSpec>,
    /// How often the rule is repeated.
    repeats: usize,
}

impl Instruction {
    /// One of about [`INSTRUCTION_TOKENS`], tools included; or why there is none.
    ///
    /// # Errors
    /// When the model's template fails.
    pub(super) fn fitting(model: &Model) -> anyhow::Result<Result<Self, String>> {
        let room = model.info().context_tokens / CONTEXT_SHARE;
        let length = |repeats| {
            let instruction = Self { tools: tools(), repeats };
            let talk = [instruction.says(0)];
            anyhow::Ok(ids(&model.render(&talk, &instruction.tools, false)?).len())
        };
        let (none, ten) = (length(0)?, length(10)?);
        let each = ((ten - none.min(ten)) / 10).max(1);
        Ok(match INSTRUCTION_TOKENS.min(room).checked_sub(none) {
            Some(left) => Ok(Self { tools: tools(), repeats: left / each }),
            None => Err(format!("the declarations of its tools take more than {room} tokens")),
        })
    }

    /// Measures, in so many rounds; or says why it cannot.
    ///
    /// # Errors
    /// When the model fails.
    pub(super) fn measure(
        &self,
        model: &mut Model,
        rounds: u16,
    ) -> anyhow::Result<Result<FirstWord, String>> {
        let (mut cold_s, mut warm_s, mut usages) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let mut talk = vec![self.says(round), says(Role::User, "Which lights are on?")];
            let (seconds, cold, _) = self.ask(model, &talk, 1)?;
            cold_s.push(seconds);
            let (_, _, answer) = self.ask(model, &talk, ANSWER_TOKENS)?;
            talk.push(says(Role::Assistant, &answer));
            talk.push(says(Role::User, "And in the kitchen?"));
            let (seconds, warm, _) = self.ask(model, &talk, 1)?;
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

    /// Saves what the model knows of the first round's instruction, for a question after a restart;
    /// or says why it cannot.
    ///
    /// # Errors
    /// When the model fails.
    pub(super) fn save(&self, model: &mut Model) -> anyhow::Result<Result<(), String>> {
        let report = model.keep_prefix(&[self.says(0)], &self.tools, false, &mut || true)?;
        Ok(report.unsaved.map_or(Ok(()), Err))
    }

    /// Seconds from a model that is just loaded to the first token behind the saved instruction, as
    /// the daemon goes about it; and what that took.
    ///
    /// # Errors
    /// When the model fails.
    pub(super) fn after_restart(&self, model: &mut Model) -> anyhow::Result<(f64, Usage)> {
        let started = Instant::now();
        self.save(model)?.map_err(anyhow::Error::msg)?;
        let talk = [self.says(0), says(Role::User, "Which lights are on?")];
        let (_, usage, _) = self.ask(model, &talk, 1)?;
        Ok((started.elapsed().as_secs_f64(), usage))
    }

    /// Another one for each round, from its first word on.
    fn says(&self, round: u16) -> Message {
        let rules = (0..self.repeats).map(|number| {
            format!(" Rule {number}: in room {} ask before anything is switched off.", number * 7)
        });
        let words = format!("House {round} has many rooms.") + &rules.collect::<String>();
        says(Role::System, &words)
    }

    /// Seconds from a question to the end of the reply, which may be one token; what it took; its
    /// words.
    fn ask(
        &self,
        model: &mut Model,
        talk: &[Message],
        reply_tokens_max: usize,
    ) -> anyhow::Result<(f64, Usage, String)> {
        let sampling = Sampling { seed: Some(1), ..model.info().sampling };
        let options = ReplyOptions { sampling, reply_tokens_max, ..ReplyOptions::default() };
        let started = Instant::now();
        let (usage, words) = answer(model, talk, &self.tools, &options)?;
        Ok((started.elapsed().as_secs_f64(), usage, words))
    }
}

/// What was found after several restarts, beside the first word behind an instruction never read.
pub(super) fn restart(found: &[(f64, Usage)], cold_s: Spread) -> Option<Restart> {
    let first_word_s = Spread::of(found.iter().map(|(seconds, _)| *seconds).collect())?;
    let (_, usage) = found.last()?;
    let share = first_word_s.median / cold_s.median.max(f64::MIN_POSITIVE);
    let (tokens, saved_tokens) = (usage.prompt_tokens, usage.cached_tokens);
    Some(Restart { tokens, saved_tokens, first_word_s, share })
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
