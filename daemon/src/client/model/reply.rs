//! The reply to a conversation, piece by piece, and the numbers behind it.

use std::io::Write as _;

use anyhow::Context as _;
use gemma_runtime::prompt::Template;
use gemma_runtime::tokens::Tokenizer;
use gemma_runtime::{Model, ReplyOptions, Sampling, Trace};
use gemma_types::{Finish, Piece, Usage};
use serde_json::{Value, json};

use super::conversation::Conversation;
use super::npy::{self, Elements};
use super::render;
use crate::cli::model::Run;

/// Replies and prints.
pub(super) fn run(run: &Run) -> anyhow::Result<()> {
    let asked = &run.conversation;
    let mut conversation = Conversation::read(&asked.file)?;
    conversation.ask_for_answer();
    let budget = render::budget(&asked.folder, asked.image_budget)?;
    let options = gemma_runtime::Options {
        all_logits: run.logits.is_some(),
        image_budget: Some(budget),
        ..super::options(&run.engine)
    };
    let mut model = Model::open(&asked.folder, &options)?;
    let prompt = if asked.normalise {
        let (template, tokenizer) =
            (Template::open(&asked.folder)?, Tokenizer::open(&asked.folder)?);
        conversation.normal_prompt(&template, &tokenizer)?
    } else {
        let rendered = model.render_written(&conversation.fields)?;
        conversation.prompt(&rendered)?
    };
    if let Some(path) = &run.logits {
        let Trace { logits, rows, .. } = model.trace_prompt(&prompt, 0)?;
        let shape = [rows, logits.len() / rows.max(1)];
        npy::write(path, &shape, Elements::F32(&logits))?;
    }
    if run.max_tokens == 0 {
        return Ok(());
    }
    let sampling = sampling(run, model.info().sampling);
    let options = ReplyOptions {
        sampling,
        reply_tokens_max: run.max_tokens,
        thinking: conversation.thinks(),
        constraint: conversation.constraint.clone(),
        ..ReplyOptions::default()
    };
    let mut out = std::io::stdout();
    for piece in model.reply_to(&prompt, &conversation.tools, &options)? {
        let piece = piece?;
        if run.progress || !matches!(piece, Piece::Progress { .. }) {
            writeln!(out, "{}", as_json(&piece))?;
            out.flush().context("standard output is closed")?;
        }
    }
    Ok(())
}

fn sampling(run: &Run, published: Sampling) -> Sampling {
    match run.greedy {
        true => Sampling::greedy(),
        false => Sampling { seed: run.seed.or(published.seed), ..published },
    }
}

fn as_json(piece: &Piece) -> Value {
    match piece {
        Piece::Progress { prompt_tokens_done, prompt_tokens, reply_tokens } => json!({
            "type": "progress",
            "prompt_tokens_done": prompt_tokens_done,
            "prompt_tokens": prompt_tokens,
            "reply_tokens": reply_tokens,
        }),
        Piece::Thought(text) => json!({"type": "thought", "text": text}),
        Piece::Text(text) => json!({"type": "text", "text": text}),
        Piece::ToolCall(call) => json!({
            "type": "tool_call",
            "name": call.name,
            "arguments": call.arguments,
        }),
        Piece::End { finish, usage } => json!({
            "type": "end",
            "finish": match finish {
                Finish::Stop => "stop",
                Finish::ToolCalls => "tool_calls",
                Finish::Length => "length",
            },
            "usage": used(usage),
        }),
    }
}

fn used(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "reply_tokens": usage.reply_tokens,
        "prefill_ms": usage.prefill.as_secs_f64() * 1e3,
        "decode_ms": usage.decode.as_secs_f64() * 1e3,
        "decode_engine_ms": usage.decode_engine.as_secs_f64() * 1e3,
    })
}
