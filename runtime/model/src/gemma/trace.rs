//! What a model computes for a prompt, number by number, to be held against a reference.

use super::cache::Slot;
use super::generate::Limits;
use super::{Block, Gemma, prefill};
use crate::engine::Engine;
use crate::error::Error;
use crate::prompt::Prompt;
use crate::sample::{Sampler, Sampling};
use crate::tokens::Tokenizer;

/// The numbers of a prompt and of its likeliest continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Ids of the prompt, one per position: a medium is as many placeholders as it has soft tokens.
    pub prompt_ids: Vec<u32>,
    /// Logits `[rows, vocabulary] f32` of the last positions of the prompt.
    pub logits: Vec<f32>,
    /// For how many of the last positions there are logits: all of them where the model was opened
    /// with [`Options::all_logits`](crate::Options::all_logits), else one.
    pub rows: usize,
    /// The likeliest tokens after the prompt. Suppressed tokens are passed over; a token that ends
    /// a reply ends nothing here.
    pub continuation: Vec<u32>,
    /// For each of them, how far its logit was before that of the second likeliest.
    pub margins: Vec<f32>,
}

impl Trace {
    /// Takes a prompt through the decoder from an empty cache, then makes `tokens` tokens.
    ///
    /// # Errors
    /// When a medium cannot be taken, prompt and continuation do not fit into the context, or the
    /// engine fails.
    pub(crate) fn take<E: Engine>(
        gemma: &mut Gemma<E>,
        tokenizer: &Tokenizer,
        limits: Limits,
        prompt: &Prompt,
        tokens: usize,
    ) -> Result<Self, Error> {
        gemma.truncate(0)?;
        let mut layout = prefill::lay_out(gemma, prompt, tokenizer.ids(), limits)?;
        let length = layout.slots().len();
        if length.saturating_add(tokens) > limits.context_tokens {
            let tokens = length.saturating_add(tokens);
            return Err(Error::PromptTooLong { tokens, limit: limits.context_tokens });
        }
        let mut logits = Vec::new();
        let mut done = 0;
        while done < length {
            let next = prefill::step(gemma, &mut layout, limits, done)?;
            if next > done {
                logits.extend_from_slice(gemma.block_logits());
            }
            done = next;
        }
        let vocabulary = gemma.config().vocabulary;
        if logits.len() != length * vocabulary {
            logits.drain(..logits.len().saturating_sub(vocabulary));
        }
        let rows = logits.len().checked_div(vocabulary).unwrap_or(0);
        let (continuation, margins) = continue_greedily(gemma, tokenizer, tokens)?;
        Ok(Self { prompt_ids: layout.placeholder_ids(), logits, rows, continuation, margins })
    }
}

fn continue_greedily<E: Engine>(
    gemma: &mut Gemma<E>,
    tokenizer: &Tokenizer,
    tokens: usize,
) -> Result<(Vec<u32>, Vec<f32>), Error> {
    let suppressed = tokenizer.ids().suppressed.iter().copied();
    let mut sampler = Sampler::new(&Sampling::greedy()).suppressing(suppressed);
    let (mut ids, mut margins) = (Vec::new(), Vec::new());
    while ids.len() < tokens {
        let id = sampler.pick(gemma.logits())?;
        ids.push(id);
        margins.push(margin(gemma.logits()));
        if ids.len() < tokens {
            gemma.forward(&Block::token(&[Slot::Token(id)], id), 1)?;
        }
    }
    Ok((ids, margins))
}

/// How far the largest logit is before the second largest.
fn margin(logits: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &logit in logits {
        if logit > first {
            (first, second) = (logit, first);
        } else if logit > second {
            second = logit;
        }
    }
    first - second
}
