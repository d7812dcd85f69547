//! What happened in a turn so far, and what it amounts to at its end.

use std::time::{Duration, Instant};

use gemma_runtime::tasks::{AnyAnswer, TaskError};
use gemma_types::{Message, Outcome, ToolResult, Usage};
use serde_json::Value;

use super::budget;
use crate::event::{Figures, FinishReason, OutcomeName, Receipt};

/// How a turn ended.
#[derive(Debug)]
pub(super) enum End {
    /// With an answer.
    Answered(Answer),
    /// Without one, and why.
    Failed(Failure),
    /// Nobody wants the answer any more.
    Cancelled,
}

/// Why a turn has no answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// For whoever asked.
    pub(super) told: String,
    /// For the log, which never holds what the model said.
    pub(super) logged: String,
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self { logged: error.clone(), told: error }
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        Self { told: error.to_string(), logged: error.unquoted() }
    }
}

/// An answer and what it took.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    /// The answer of a ready-made task.
    pub(super) result: Option<AnyAnswer>,
    pub(super) receipts: Vec<Receipt>,
    pub(super) finish: FinishReason,
    pub(super) figures: Figures,
}

/// What happened so far.
#[derive(Debug)]
pub(super) struct Record {
    accepted_at: Instant,
    first_text_at: Option<Instant>,
    text: String,
    receipts: Vec<Receipt>,
    calls: u32,
    /// Replies of the model so far.
    pub(super) rounds: u32,
    prompt_tokens: usize,
    cached_tokens: usize,
    reply_tokens: usize,
    decoded_tokens: usize,
    decode: Duration,
}

impl Record {
    pub(super) fn new(accepted_at: Instant) -> Self {
        Self {
            accepted_at,
            first_text_at: None,
            text: String::new(),
            receipts: Vec::new(),
            calls: 0,
            rounds: 0,
            prompt_tokens: 0,
            cached_tokens: 0,
            reply_tokens: 0,
            decoded_tokens: 0,
            decode: Duration::ZERO,
        }
    }

    /// Takes a piece of the answer.
    pub(super) fn hear_text(&mut self, piece: &str) {
        self.first_text_at.get_or_insert_with(Instant::now);
        self.text.push_str(piece);
    }

    /// The number of the call that comes now, from 1.
    pub(super) const fn next_call(&mut self) -> u32 {
        self.calls += 1;
        self.calls
    }

    /// Takes the result of a call and gives its receipt.
    pub(super) fn receive(&mut self, result: &ToolResult) -> Receipt {
        let receipt = receipt_of(result);
        self.receipts.push(receipt.clone());
        receipt
    }

    /// Takes what one reply took.
    pub(super) fn add_usage(&mut self, usage: &Usage) {
        self.rounds += 1;
        self.prompt_tokens = usage.prompt_tokens;
        self.cached_tokens += usage.cached_tokens;
        self.reply_tokens += usage.reply_tokens;
        self.decoded_tokens += usage.reply_tokens.saturating_sub(1);
        self.decode += usage.decode;
    }

    /// About how many tokens the turn adds to its conversation.
    pub(super) fn tokens_of_exchange(&self, exchange: &[Message]) -> usize {
        budget::tokens_of(exchange).max(self.reply_tokens)
    }

    /// The answer, at the end.
    pub(super) fn answer(self, finish: FinishReason) -> Answer {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let total = self.accepted_at.elapsed();
        let first_text =
            self.first_text_at.map_or(total, |at| at.saturating_duration_since(self.accepted_at));
        let seconds = self.decode.as_secs_f64();
        let figures = Figures {
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            reply_tokens: self.reply_tokens,
            first_text_ms: milliseconds(first_text),
            total_ms: milliseconds(total),
            tokens_per_second: if seconds > 0.0 {
                self.decoded_tokens as f64 / seconds
            } else {
                0.0
            },
        };
        let text = self.text.trim().to_owned();
        Answer { text, result: None, receipts: self.receipts, finish, figures }
    }

    /// The answer of a ready-made task, at the end.
    pub(super) fn task_answer(self, result: AnyAnswer) -> Answer {
        let text = result.to_string();
        Answer { text, result: Some(result), ..self.answer(FinishReason::Stop) }
    }
}

/// What a call really did.
fn receipt_of(result: &ToolResult) -> Receipt {
    let (outcome, value) = match &result.outcome {
        Outcome::Done(value) => (OutcomeName::Done, value.clone()),
        Outcome::Refused(reason) => (OutcomeName::Refused, Value::String(reason.clone())),
        Outcome::Failed(reason) => (OutcomeName::Failed, Value::String(reason.clone())),
    };
    Receipt {
        name: result.name.clone(),
        outcome,
        value,
        wall_ms: result.cost.wall.as_secs_f64() * 1e3,
        fuel: result.cost.fuel,
        memory_bytes: result.cost.memory_bytes,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)]

    use gemma_types::Cost;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_receipt_says_what_happened() {
        let check = |outcome: Outcome, name: OutcomeName, value: Value| {
            let cost = Cost { wall: Duration::from_millis(2), fuel: 3, memory_bytes: 4 };
            let receipt = receipt_of(&ToolResult { name: "clock".to_owned(), outcome, cost });
            assert_eq!((receipt.outcome, receipt.value), (name, value));
            assert_eq!((receipt.wall_ms, receipt.fuel, receipt.memory_bytes), (2.0, 3, 4));
        };
        check(Outcome::Done(json!({"time": "9"})), OutcomeName::Done, json!({"time": "9"}));
        check(Outcome::Refused("no grant".to_owned()), OutcomeName::Refused, json!("no grant"));
        check(Outcome::Failed("too slow".to_owned()), OutcomeName::Failed, json!("too slow"));
    }

    #[test]
    fn figures_add_up_over_the_rounds() {
        let mut record = Record::new(Instant::now());
        let usage = Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            reply_tokens: 6,
            decode: Duration::from_millis(500),
            ..Usage::default()
        };
        record.add_usage(&usage);
        record.hear_text(" The light ");
        record.add_usage(&Usage { prompt_tokens: 20, ..usage });
        record.hear_text("is on.\n");
        let answer = record.answer(FinishReason::Stop);
        assert_eq!(answer.text, "The light is on.");
        let figures = answer.figures;
        assert_eq!((figures.prompt_tokens, figures.cached_tokens), (20, 8));
        assert_eq!((figures.reply_tokens, figures.tokens_per_second), (12, 10.0));
        assert!(figures.first_text_ms <= figures.total_ms);
    }
}
