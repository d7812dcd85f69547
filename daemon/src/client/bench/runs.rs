//! Prompts of random words of a given length, and replies to them with their times.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use gemma_runtime::prompt::{Prompt, Segment};
use gemma_runtime::{Model, ReplyOptions, Sampling};
use gemma_types::{Message, Part, Piece, Role, ToolSpec, Usage};

use super::memory::Memory;

/// What random prompts are drawn from.
const WORDS: &str = "Once the ferry had left the harbour, nobody spoke of rain again. Seven crates \
    of lemons stood beside the old clock, and a boy with a green cap counted them twice. Who would \
    buy so many? The cook laughed, wiped her hands and pointed at the hill: under those roofs live \
    forty painters, two judges and a parrot that knows every price in town. By noon the street was \
    empty, warm and smelled of bread, paper, salt, tar, wet dogs and oranges.";
/// Replies after which a model that says nothing is given up.
const REPLIES_MAX: u64 = 16;
/// Tokens of the prompt that wakes everything up.
const WARM_UP_TOKENS: usize = 32;

/// What a prompt and the reply to it took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    prompt_tokens: u32,
    prefill: Duration,
    reply_tokens: u32,
    decode: Duration,
    engine: Duration,
    /// The most that was occupied between two steps.
    pub(super) memory: Memory,
}

impl Made {
    /// Adds what a reply took. Its first token comes out of the prompt's logits: no step of the engine
    /// is its own.
    pub(super) fn add(&mut self, usage: &Usage) {
        self.reply_tokens += count(usage.reply_tokens.saturating_sub(1));
        self.decode += usage.decode;
        self.engine += usage.decode_engine;
    }

    /// Tokens of the prompt a second, where it was not in the cache already.
    pub(super) fn prefill_rate(&self) -> Option<f64> {
        rate(self.prompt_tokens, self.prefill)
    }

    /// Tokens of the reply a second.
    pub(super) fn decode_rate(&self) -> Option<f64> {
        rate(self.reply_tokens, self.decode)
    }

    /// Milliseconds that we add to the engine's for each token of the reply.
    pub(super) fn ours_ms(&self) -> Option<f64> {
        self.each_ms(self.decode.saturating_sub(self.engine))
    }

    /// Milliseconds of the engine for each token of the reply.
    pub(super) fn engine_ms(&self) -> Option<f64> {
        self.each_ms(self.engine)
    }

    fn each_ms(&self, time: Duration) -> Option<f64> {
        (self.reply_tokens > 0).then(|| time.as_secs_f64() * 1e3 / f64::from(self.reply_tokens))
    }
}

fn rate(tokens: u32, time: Duration) -> Option<f64> {
    (tokens > 0 && !time.is_zero()).then(|| f64::from(tokens) / time.as_secs_f64())
}

/// Replies of one model to random prompts.
pub(super) struct Runs<'m> {
    model: &'m mut Model,
    first: u32,
    words: Vec<u32>,
}

impl<'m> Runs<'m> {
    /// Finds tokens that are ordinary words.
    pub(super) fn new(model: &'m mut Model) -> anyhow::Result<Self> {
        let around = ids(&model.render(&[says(Role::User, "")], &[], false)?);
        let first = *around.first().context("the chat template writes nothing")?;
        let control: BTreeSet<u32> = around.into_iter().collect();
        let mut words = ids(&model.render(&[says(Role::User, WORDS)], &[], false)?);
        words.retain(|id| !control.contains(id));
        anyhow::ensure!(!words.is_empty(), "the tokenizer knows none of the words of the prompts");
        Ok(Self { model, first, words })
    }

    /// Takes a few words through everything once, so that nothing is measured that happens once.
    pub(super) fn warm_up(&mut self) -> anyhow::Result<()> {
        let prompt = self.prompt(WARM_UP_TOKENS, u64::MAX);
        self.reply(&prompt, 2, 0).map(|_| ())
    }

    /// A prompt of so many tokens; another one for each number.
    pub(super) fn prompt(&self, tokens: usize, number: u64) -> Prompt {
        let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ tokens as u64;
        let mut word = || {
            // Knuth's multiplier; the upper bits are random enough for words.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            let place = (state >> 33) as usize % self.words.len().max(1);
            self.words.get(place).copied().unwrap_or(self.first)
        };
        let rest = (1..tokens).map(|_| word());
        let segments = vec![Segment::Tokens([self.first].into_iter().chain(rest).collect())];
        let (images, audio, clips) = (Vec::new(), Vec::new(), Vec::new());
        Prompt { segments, images, audio, clips, thought_open: false }
    }

    /// Processes a prompt and makes at least so many tokens after the first, unless the model stops
    /// again and again; what is said after the first reply is said with the prompt in the cache.
    pub(super) fn run(&mut self, prompt: &Prompt, tokens: usize) -> anyhow::Result<Made> {
        let mut made = Made::default();
        for number in 0..REPLIES_MAX {
            let left = tokens.saturating_sub(made.reply_tokens as usize);
            let (usage, memory) = self.reply(prompt, left + 1, number)?;
            if number == 0 {
                made.prompt_tokens = count(usage.prompt_tokens - usage.cached_tokens);
                made.prefill = usage.prefill;
            }
            made.add(&usage);
            made.memory = made.memory.most(memory);
            if made.reply_tokens as usize >= tokens {
                break;
            }
        }
        Ok(made)
    }

    fn reply(
        &mut self,
        prompt: &Prompt,
        tokens: usize,
        seed: u64,
    ) -> anyhow::Result<(Usage, Memory)> {
        let sampling = Sampling { seed: Some(seed), ..self.model.info().sampling };
        let options =
            ReplyOptions { sampling, reply_tokens_max: tokens, ..ReplyOptions::default() };
        let mut memory = Memory::default();
        for piece in self.model.reply_to(prompt, &[], &options)? {
            memory = memory.most(Memory::now());
            if let Piece::End { usage, .. } = piece? {
                return Ok((usage, memory));
            }
        }
        anyhow::bail!("a reply ended without its end")
    }
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// A reply to its end: what it took, and its words.
///
/// # Errors
/// When the model fails.
pub(super) fn answer(
    model: &mut Model,
    talk: &[Message],
    tools: &[ToolSpec],
    options: &ReplyOptions,
) -> anyhow::Result<(Usage, String)> {
    let mut words = String::new();
    for piece in model.reply(talk, tools, options)? {
        match piece? {
            Piece::Text(text) => words.push_str(&text),
            Piece::End { usage, .. } => return Ok((usage, words)),
            Piece::Thought(_) | Piece::ToolCall(_) | Piece::Progress { .. } => {}
        }
    }
    anyhow::bail!("a reply ended without its end")
}

/// A message of words.
pub(super) fn says(role: Role, words: &str) -> Message {
    let parts = vec![Part::Text(words.to_owned())];
    Message { role, parts, tool_calls: Vec::new(), tool_results: Vec::new() }
}

/// The tokens of a prompt without media.
pub(super) fn ids(prompt: &Prompt) -> Vec<u32> {
    let of = |segment: &Segment| match segment {
        Segment::Tokens(ids) => ids.clone(),
        Segment::Image(_) | Segment::Audio(_) | Segment::Video { .. } => Vec::new(),
    };
    prompt.segments.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_of_a_reply_takes_no_step_of_its_own() {
        let mut made = Made::default();
        assert_eq!(made.decode_rate(), None);
        let decode = Duration::from_secs(2);
        made.add(&Usage { reply_tokens: 9, decode, ..Usage::default() });
        made.add(&Usage { reply_tokens: 13, decode, ..Usage::default() });
        assert_eq!(made.decode_rate(), Some(5.0));
    }

    #[test]
    fn what_took_no_time_has_no_rate() {
        let made = Made {
            prompt_tokens: 512,
            prefill: Duration::from_secs(2),
            reply_tokens: 10,
            decode: Duration::from_secs(1),
            engine: Duration::from_millis(990),
            memory: Memory::default(),
        };
        assert_eq!((made.prefill_rate(), made.decode_rate()), (Some(256.0), Some(10.0)));
        assert_eq!((made.ours_ms(), made.engine_ms()), (Some(1.0), Some(99.0)));
        let nothing = Made::default();
        assert_eq!((nothing.prefill_rate(), nothing.ours_ms()), (None, None));
    }
}
