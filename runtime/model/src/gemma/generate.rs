//! A reply, step by step: the prompt goes through the decoder in blocks, then one token after
//! another is sampled. Whoever iterates decides how long it goes on.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use gemma_types::{Finish, Piece, ToolSpec, Usage};

use super::cache::Slot;
use super::layout::Layout;
use super::lookup::Guessing;
use super::worth::{Guesses, Source};
use super::{Block, Gemma, prefill};
use crate::engine::Engine;
use crate::error::Error;
use crate::grammar::{Constraint, Guide, Thinking};
use crate::prompt::Prompt;
use crate::reply::{ReplyParser, ReplyPart};
use crate::sample::{Sampler, Sampling};
use crate::tokens::Tokenizer;

/// How a reply is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyOptions {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens of the reply; at least 1.
    pub reply_tokens_max: usize,
    /// Whether the model is asked to think first.
    pub thinking: bool,
    /// What the reply may consist of.
    pub constraint: Constraint,
    /// Most soft tokens of a picture in this reply: 70, 140, 280, 560 or 1120. Without it: as the
    /// model was opened.
    pub image_budget: Option<usize>,
}

impl Default for ReplyOptions {
    /// The sampling that all sizes are published with, at most 512 tokens, no thinking, anything
    /// that the model says.
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            reply_tokens_max: 512,
            thinking: false,
            constraint: Constraint::Free,
            image_budget: None,
        }
    }
}

/// Limits of a model that hold for every reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Tokens of prompt and reply together.
    pub(crate) context_tokens: usize,
    /// Tokens of a prefill step.
    pub(crate) block_tokens: usize,
    /// Most soft tokens of a picture.
    pub(crate) image_budget: usize,
    /// Whether tokens are guessed and verified several in one run.
    pub(crate) guesses: Guesses,
}

/// What is to be answered, and how.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The conversation as the model reads it.
    pub(crate) prompt: &'a Prompt,
    /// The tools it was told of.
    pub(crate) tools: &'a [ToolSpec],
    /// How the reply is to be made.
    pub(crate) options: &'a ReplyOptions,
}

/// A reply in the making; iterate for its pieces, drop it to cancel it.
///
/// One call of `next` does at most one step in the engine: it encodes one picture or utterance,
/// processes one block of the prompt, or makes one token and those that a grammar appends to it. The
/// last piece is [`Piece::End`]; after
/// an error there are none. However it ends, what has been processed stays in the cache.
pub struct Reply<'a>(Box<dyn Iterator<Item = Result<Piece, Error>> + Send + 'a>);

impl Iterator for Reply<'_> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl<'a> Reply<'a> {
    /// Begins a reply to a prompt; keeps what the cache shares with it.
    ///
    /// # Errors
    /// When a medium cannot be prepared, the model has no encoder for it, or the prompt does not
    /// fit into the context.
    pub(crate) fn begin<E: Engine>(
        gemma: &'a mut Gemma<E>,
        tokenizer: &Tokenizer,
        limits: Limits,
        request: &Request<'_>,
    ) -> Result<Self, Error> {
        Ok(Self(Box::new(Steps::begin(gemma, tokenizer, limits, request)?)))
    }
}

/// What the next step is.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Process the prompt from this position on.
    Prefill(usize),
    /// Sample from the logits of the prompt's end.
    Sample,
    /// Process the tokens that came last, then sample.
    Decode,
    /// Nothing.
    End,
}

pub(crate) struct Steps<'a, E: Engine> {
    gemma: &'a mut Gemma<E>,
    layout: Layout,
    /// Tokens that end the reply.
    stop: BTreeSet<u32>,
    limits: Limits,
    reply_tokens_max: usize,
    guide: Guide,
    sampler: Sampler,
    parser: ReplyParser,
    next: Next,
    /// Tokens of the reply that the decoder has not seen.
    pending: Vec<u32>,
    /// Tokens that the decoder has seen last and that nobody has chosen yet.
    guessed: VecDeque<u32>,
    /// The draft that is verified: how many tokens it has, and how many of them came.
    draft: (usize, usize),
    /// How many rows before the last those logits were that gave the first of the pending tokens.
    chosen_before: usize,
    /// What guesses are made of; nothing where none can be verified.
    guessing: Option<Guessing>,
    pieces: VecDeque<Piece>,
    finish: Option<Finish>,
    has_calls: bool,
    usage: Usage,
}

impl<'a, E: Engine> Steps<'a, E> {
    pub(crate) fn begin(
        gemma: &'a mut Gemma<E>,
        tokenizer: &Tokenizer,
        limits: Limits,
        request: &Request<'_>,
    ) -> Result<Self, Error> {
        let Request { prompt, tools, options } = *request;
        if options.reply_tokens_max == 0 {
            let reason = "0 leaves no room for a reply; at least 1 is needed".to_owned();
            return Err(Error::Option { name: "reply_tokens_max", reason });
        }
        let limits =
            Limits { image_budget: options.image_budget.unwrap_or(limits.image_budget), ..limits };
        let started = Instant::now();
        let ids = tokenizer.ids().clone();
        let layout = prefill::lay_out(gemma, prompt, &ids, limits)?;
        let tokens = layout.slots().len();
        let shared = gemma.resume(layout.slots())?;
        let usage = Usage {
            prompt_tokens: tokens,
            cached_tokens: shared,
            prefill: started.elapsed(),
            ..Usage::default()
        };
        let guide = Guide::new(tokenizer, &options.constraint, tools, thinking(prompt, options))?;
        let parser = ReplyParser::new(&ids, tokenizer.stream(), prompt.thought_open);
        let parser = parser.with_tools(tools);
        let guesses = limits.guesses != Guesses::Never && gemma.decoder().verifies();
        let guessing = guesses.then(|| Guessing::behind(layout.placeholder_ids()));
        let sampler = Sampler::new(&options.sampling).suppressing(ids.suppressed.iter().copied());
        Ok(Self {
            gemma,
            layout,
            stop: ids.stop,
            limits,
            reply_tokens_max: options.reply_tokens_max,
            guide,
            sampler,
            parser,
            next: Next::Prefill(shared),
            pending: Vec::new(),
            guessed: VecDeque::new(),
            draft: (0, 0),
            chosen_before: 0,
            guessing,
            pieces: VecDeque::new(),
            finish: None,
            has_calls: false,
            usage,
        })
    }

    /// Does the next step, and counts the time it took.
    fn step(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        match self.next {
            Next::Prefill(done) => {
                self.next = self.prefill(done)?;
                self.usage.prefill += started.elapsed();
            }
            Next::Sample => {
                self.next = self.sample()?;
                self.usage.prefill += started.elapsed();
            }
            Next::Decode => {
                let engine_before = self.gemma.engine_time();
                self.decode()?;
                if self.pending.is_empty() {
                    self.next = self.sample()?;
                }
                self.usage.decode_engine += self.gemma.engine_time() - engine_before;
                self.usage.decode += started.elapsed();
            }
            Next::End => {}
        }
        if let Some(finish) = self.finish.take() {
            self.pieces.push_back(Piece::End { finish, usage: self.usage });
        }
        Ok(())
    }

    /// Encodes a medium of the next block, or processes the block.
    fn prefill(&mut self, done: usize) -> Result<Next, Error> {
        let end = prefill::step(self.gemma, &mut self.layout, self.limits, done)?;
        Ok(if end < self.layout.slots().len() { Next::Prefill(end) } else { Next::Sample })
    }

    /// Processes the tokens that came last, in one block if it is not too long for that, and what is
    /// guessed to follow them.
    fn decode(&mut self) -> Result<(), Error> {
        let count = self.pending.len().min(self.limits.block_tokens);
        let mut tokens: Vec<u32> = self.pending.drain(..count).collect();
        self.guessed = self.guess(&tokens).into();
        tokens.extend(&self.guessed);
        let slots: Vec<Slot> = tokens.iter().map(|&id| Slot::Token(id)).collect();
        let ids: Vec<i64> = tokens.iter().copied().map(i64::from).collect();
        let placeholder_ids = ids.clone();
        let block = Block { slots: &slots, ids, placeholder_ids, features: Vec::new() };
        let last = if self.pending.is_empty() { 1 + self.guessed.len() } else { 0 };
        let wanted = self.gemma.wanted(&block, last);
        let started = Instant::now();
        self.gemma.forward(&block, wanted)?;
        if count == 1 {
            self.gemma.worth().took(tokens.len(), started.elapsed());
        }
        Ok(())
    }

    /// What may follow the `tokens` that are to be processed.
    fn guess(&mut self, tokens: &[u32]) -> Vec<u32> {
        self.draft = (0, 0);
        let Some(guessing) = self.guessing.as_ref().filter(|_| self.pending.is_empty()) else {
            return Vec::new();
        };
        let seen = self.gemma.decoder().len() + tokens.len();
        let room = self.limits.context_tokens.saturating_sub(seen);
        let wanted = self.reply_tokens_max.saturating_sub(self.usage.reply_tokens + 1);
        let drafts = self.gemma.drafts();
        for (source, count) in self.gemma.worth().plan(self.limits.guesses, drafts) {
            let count = count.min(room).min(wanted);
            let guess = match (source, tokens) {
                (Source::Written, _) => guessing.guess(count),
                // A draft goes on from the state that gave the token.
                (Source::Drafted, &[token]) if count > 0 => {
                    let guess = self.gemma.draft(count, token, self.chosen_before);
                    self.draft = (guess.len(), 0);
                    guess
                }
                (Source::Drafted, _) => continue,
            };
            if !guess.is_empty() {
                return guess;
            }
        }
        Vec::new()
    }

    /// Chooses tokens from the logits, unless only one may come, and appends those that must follow,
    /// until one comes that the decoder has not seen.
    fn sample(&mut self) -> Result<Next, Error> {
        loop {
            let mut coming = self.guide.forced()?;
            if coming.is_empty() {
                if !self.pending.is_empty() {
                    return Ok(Next::Decode);
                }
                let logits = self.gemma.logits_before(self.guessed.len());
                self.guide.restrict(logits)?;
                coming.push(self.sampler.pick(logits)?);
            }
            for id in coming {
                if let Some(finish) = self.take(id)? {
                    self.end(finish);
                    return Ok(Next::End);
                }
            }
        }
    }

    /// Takes a token of the reply and tells what it means for it.
    fn take(&mut self, id: u32) -> Result<Option<Finish>, Error> {
        self.guide.accept(id)?;
        self.usage.reply_tokens += 1;
        if let Some(guessing) = &mut self.guessing {
            guessing.see(id, self.gemma.worth());
        }
        let parts = self.parser.push(id);
        self.show(parts);
        let seen = self.gemma.decoder().len() - self.guessed.len();
        let room = self.limits.context_tokens.saturating_sub(seen);
        let full = self.usage.reply_tokens >= self.reply_tokens_max || self.pending.len() >= room;
        self.hand_on(id)?;
        Ok(match (self.stop.contains(&id), full) {
            (true, _) => Some(Finish::Stop),
            (false, true) => Some(Finish::Length),
            (false, false) => None,
        })
    }

    /// Leaves a token to the decoder, unless it has seen it as a guess that was right.
    fn hand_on(&mut self, id: u32) -> Result<(), Error> {
        if self.guessed.front() == Some(&id) {
            self.guessed.pop_front();
            self.draft.1 += 1;
            if self.guessed.is_empty() {
                self.score_draft();
            }
            return Ok(());
        }
        let wrong = std::mem::take(&mut self.guessed).len();
        if wrong > 0 {
            self.gemma.truncate(self.gemma.decoder().len() - wrong)?;
            self.score_draft();
        }
        if self.pending.is_empty() {
            self.chosen_before = wrong;
        }
        self.pending.push(id);
        Ok(())
    }

    /// Notes how much of a draft came, if it was one that was verified.
    fn score_draft(&mut self) {
        let (guessed, right) = std::mem::take(&mut self.draft);
        self.gemma.worth().score(Source::Drafted, guessed, right.min(guessed));
    }

    fn end(&mut self, finish: Finish) {
        let rest = self.parser.finish();
        self.show(rest);
        let calls = finish == Finish::Stop && self.has_calls;
        self.finish = Some(if calls { Finish::ToolCalls } else { finish });
    }

    fn show(&mut self, parts: Vec<ReplyPart>) {
        for part in parts {
            self.pieces.push_back(match part {
                ReplyPart::Thought(text) => Piece::Thought(text),
                ReplyPart::Text(text) => Piece::Text(text),
                ReplyPart::ToolCall(call) => {
                    self.has_calls = true;
                    Piece::ToolCall(call)
                }
            });
        }
    }

    fn progress(&self) -> Piece {
        let prompt_tokens = self.usage.prompt_tokens;
        let prompt_tokens_done = match self.next {
            Next::Prefill(done) => done,
            Next::Sample | Next::Decode | Next::End => prompt_tokens,
        };
        let reply_tokens = self.usage.reply_tokens;
        Piece::Progress { prompt_tokens_done, prompt_tokens, reply_tokens }
    }
}

/// How a reply begins, for its grammar.
fn thinking(prompt: &Prompt, options: &ReplyOptions) -> Thinking {
    match (prompt.thought_open, options.thinking) {
        (true, _) => Thinking::Open,
        (false, true) => Thinking::Asked,
        (false, false) => Thinking::Off,
    }
}

impl<E: Engine> Iterator for Steps<'_, E> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(piece) = self.pieces.pop_front() {
            return Some(Ok(piece));
        }
        if matches!(self.next, Next::End) {
            return None;
        }
        if let Err(error) = self.step() {
            self.next = Next::End;
            return Some(Err(error));
        }
        Some(Ok(self.pieces.pop_front().unwrap_or_else(|| self.progress())))
    }
}

#[cfg(test)]
mod tests;
