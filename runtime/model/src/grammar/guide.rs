//! Leads one reply: which tokens may come next, and which must.
//!
//! ```text
//! free ---call opens---> guided ---call closes---> free      where the model decides about calls
//! [opening ---> thinking --->] guided ---> ended              everything else
//! ```
//!
//! A reply that is to consist of one thing may begin with a thought where thinking was asked for.

use gemma_types::ToolSpec;
use llguidance::Matcher;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::SimpleVob;
use serde_json::{Value, json};

use super::vocabulary::first_line;
use super::{Constraint, GrammarError, ToolChoice, calls};
use crate::tokens::{ControlTokens, Tokenizer};

/// Where a guided reply begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// The reply is the answer.
    Off,
    /// The model was asked to think, so a thought may come first.
    Asked,
    /// The prompt ends inside a thought.
    Open,
}

/// Where a reply is.
enum Stage {
    /// Anything may come.
    Free,
    /// A thought may be opened, or what is asked for begins.
    Opening,
    /// In a thought; what is asked for follows.
    Thinking,
    /// Only what the grammar allows may come.
    Guided,
    /// The grammar is at its end: nothing but the end of the turn may come.
    Ended,
}

/// Leads one reply, token by token.
pub struct Guide {
    stage: Stage,
    /// The grammar at its beginning; none where the reply is free.
    fresh: Option<Matcher>,
    /// The grammar where the reply is.
    matcher: Option<Matcher>,
    /// Whether the grammar is that of one call, and begins with every call.
    lazy: bool,
    ids: ControlTokens,
    /// Tokens that may not come while the reply is free.
    forbidden: Vec<u32>,
}

impl Guide {
    /// Prepares a reply.
    ///
    /// # Errors
    /// When the constraint is no schema, regular expression or list of answers, asks for a tool that
    /// is not declared, or a tool has a schema that a grammar cannot keep.
    pub fn new(
        tokenizer: &Tokenizer,
        constraint: &Constraint,
        tools: &[ToolSpec],
        thinking: Thinking,
    ) -> Result<Self, GrammarError> {
        let ids = tokenizer.ids();
        let compile = |kind, grammar| {
            let compiled = tokenizer.grammar_vocabulary().compile(grammar);
            compiled.map_err(|reason| GrammarError::Invalid { kind, reason })
        };
        let lark = |kind, text| compile(kind, TopLevelGrammar::from_lark(text));
        let mut forbidden = Vec::new();
        let mut lazy = false;
        let fresh = match constraint {
            Constraint::Free => None,
            Constraint::Tools(ToolChoice::Forbidden) => {
                forbidden.extend(ids.tool_call_open);
                None
            }
            Constraint::Tools(ToolChoice::Auto) if tools.is_empty() => None,
            Constraint::Tools(ToolChoice::Auto) => {
                lazy = true;
                Some(lark("grammar of calls", calls::lazy(tools, ids)?)?)
            }
            Constraint::Tools(choice @ (ToolChoice::Required | ToolChoice::Named(_))) => {
                Some(lark("grammar of calls", calls::forced(tools, choice, ids)?)?)
            }
            Constraint::JsonSchema(schema) => {
                let grammar = TopLevelGrammar::from_json_schema(spaced(schema)?);
                Some(compile("JSON schema", grammar)?)
            }
            Constraint::Regex(pattern) => Some(compile("regular expression", regex(pattern)?)?),
            Constraint::Choice(texts) => {
                if texts.is_empty() || texts.iter().any(String::is_empty) {
                    let reason = "it is empty or holds an empty text".to_owned();
                    return Err(GrammarError::Invalid { kind: "list of answers", reason });
                }
                Some(lark("list of answers", calls::choice(texts))?)
            }
        };
        let stage = match (&fresh, thinking) {
            (None, _) => Stage::Free,
            (Some(_), _) if lazy => Stage::Free,
            (Some(_), Thinking::Open) => Stage::Thinking,
            (Some(_), Thinking::Asked) if ids.channel_open.is_some() => Stage::Opening,
            (Some(_), Thinking::Asked | Thinking::Off) => Stage::Guided,
        };
        let matcher = if lazy { None } else { fresh.clone() };
        Ok(Self { stage, fresh, matcher, lazy, ids: ids.clone(), forbidden })
    }

    /// Tokens that must come now, in this order; none where there is a choice. They are accepted
    /// one by one like those that are sampled.
    ///
    /// # Errors
    /// When the grammar takes more than it may.
    pub fn forced(&mut self) -> Result<Vec<u32>, GrammarError> {
        match (&self.stage, &mut self.matcher) {
            (Stage::Guided, Some(matcher)) => {
                let forced = matcher.compute_ff_tokens();
                check(matcher)?;
                Ok(forced)
            }
            (Stage::Ended, _) => Ok(vec![self.ids.turn_close]),
            _ => Ok(Vec::new()),
        }
    }

    /// Makes impossible what may not come now. `logits` are `[vocabulary] f32`.
    ///
    /// # Errors
    /// When the grammar takes more than it may.
    pub fn restrict(&mut self, logits: &mut [f32]) -> Result<(), GrammarError> {
        match self.stage {
            Stage::Free => self.forbidden.iter().for_each(|&id| forbid(logits, id)),
            Stage::Thinking => {
                let ids = &self.ids;
                let others = [ids.tool_call_open, ids.tool_call_close, ids.channel_open];
                ids.stop.iter().for_each(|&id| forbid(logits, id));
                others.into_iter().flatten().for_each(|id| forbid(logits, id));
            }
            Stage::Opening | Stage::Guided => {
                let Some(matcher) = &mut self.matcher else { return Ok(()) };
                let mut allowed = matcher.compute_mask_or_eos().map_err(failed)?;
                if matches!(self.stage, Stage::Opening)
                    && let Some(open) = self.ids.channel_open
                {
                    allowed.allow_token(open);
                }
                keep(logits, &allowed);
            }
            Stage::Ended => {
                let (end, likelihood) = (self.ids.turn_close, 0.0);
                logits.fill(f32::NEG_INFINITY);
                if let Some(logit) = usize::try_from(end).ok().and_then(|end| logits.get_mut(end)) {
                    *logit = likelihood;
                }
            }
        }
        Ok(())
    }

    /// Takes the token that came, be it sampled or forced.
    ///
    /// # Errors
    /// When the grammar does not allow it, or takes more than it may.
    pub fn accept(&mut self, id: u32) -> Result<(), GrammarError> {
        match self.stage {
            Stage::Free if self.lazy && Some(id) == self.ids.tool_call_open => {
                self.matcher.clone_from(&self.fresh);
                self.stage = Stage::Guided;
            }
            Stage::Thinking if Some(id) == self.ids.channel_close => self.stage = Stage::Guided,
            Stage::Opening if Some(id) == self.ids.channel_open => self.stage = Stage::Thinking,
            Stage::Opening | Stage::Guided => {
                self.stage = Stage::Guided;
                let Some(matcher) = &mut self.matcher else { return Ok(()) };
                matcher.consume_token(id).map_err(failed)?;
                if matcher.is_stopped() {
                    let over = self.lazy || self.ids.stop.contains(&id);
                    self.stage = if over { Stage::Free } else { Stage::Ended };
                }
            }
            Stage::Free | Stage::Thinking | Stage::Ended => {}
        }
        Ok(())
    }
}

fn forbid(logits: &mut [f32], id: u32) {
    if let Some(logit) = usize::try_from(id).ok().and_then(|id| logits.get_mut(id)) {
        *logit = f32::NEG_INFINITY;
    }
}

/// Makes all but the allowed tokens impossible; the model may know more of them than the tokenizer.
fn keep(logits: &mut [f32], allowed: &SimpleVob) {
    let words = allowed.as_slice();
    for (word, block) in words.iter().zip(logits.chunks_mut(32)) {
        match *word {
            u32::MAX => {}
            0 => block.fill(f32::NEG_INFINITY),
            some => {
                let bits = block.iter_mut().enumerate();
                bits.filter(|(bit, _)| some & (1 << bit) == 0)
                    .for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
            }
        }
    }
    if let Some(unknown) = logits.get_mut(words.len() * 32..) {
        unknown.fill(f32::NEG_INFINITY);
    }
}

/// A schema whose values are spaced as JSON mostly is, and no further: a model that may write white
/// space without end sometimes does.
fn spaced(schema: &Value) -> Result<Value, GrammarError> {
    let form = json!({
        "whitespace_flexible": false,
        "item_separator": ", ",
        "key_separator": ": ",
    });
    match schema {
        Value::Object(schema) => {
            let mut schema = schema.clone();
            schema.insert("x-guidance".to_owned(), form);
            Ok(Value::Object(schema))
        }
        Value::Bool(true) => Ok(json!({"x-guidance": form})),
        Value::Null
        | Value::Bool(false)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_) => {
            let reason = "expected an object".to_owned();
            Err(GrammarError::Invalid { kind: "JSON schema", reason })
        }
    }
}

/// The grammar of a regular expression.
fn regex(pattern: &str) -> Result<TopLevelGrammar, GrammarError> {
    let invalid = |reason| GrammarError::Invalid { kind: "regular expression", reason };
    if pattern.is_empty() {
        return Err(invalid("it is empty".to_owned()));
    }
    let checked = llguidance::derivre::RegexBuilder::new().mk_regex(pattern);
    checked.map_err(|error| invalid(first_line(&error)))?;
    Ok(TopLevelGrammar::from_regex(pattern))
}

fn check(matcher: &Matcher) -> Result<(), GrammarError> {
    match matcher.get_error() {
        Some(error) => Err(GrammarError::Failed(first_line(&error))),
        None => Ok(()),
    }
}

fn failed(error: impl std::fmt::Display) -> GrammarError {
    GrammarError::Failed(first_line(&error))
}

#[cfg(test)]
mod tests;
