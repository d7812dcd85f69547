//! A conversation as a prompt: the text that the template makes of it, its token ids, and the ids
//! with a placeholder for every soft token of a medium.

use std::io::Write as _;
use std::path::Path;

use anyhow::ensure;
use gemma_runtime::prompt::{Prompt, Segment, Template, render_written};
use gemma_runtime::tokens::{ControlTokens, Tokenizer};
use gemma_runtime::{audio, image, video};
use serde_json::{Value, json};

use super::conversation::Conversation;
use crate::cli::model::Render;
use crate::client::harmless;

/// What is printed.
struct Shown {
    /// The text; the normal prompt has none beside its ids.
    text: Option<String>,
    ids: Vec<u32>,
    expanded: Option<Expanded>,
}

/// A prompt with its media.
struct Expanded {
    ids: Vec<u32>,
    /// Kind and soft tokens of each medium.
    media: Vec<(&'static str, usize)>,
    thought_open: bool,
}

/// Renders and prints.
pub(super) fn run(render: &Render) -> anyhow::Result<()> {
    let options = &render.conversation;
    let folder = &options.folder;
    let conversation = Conversation::read(&options.file)?;
    let (template, tokenizer) = (Template::open(folder)?, Tokenizer::open(folder)?);
    let sizes = Sizes {
        image_budget: budget(folder, options.image_budget)?,
        hears_raw: is_unified(folder),
    };
    let shown = if options.normalise {
        let prompt = conversation.normal_prompt(&template, &tokenizer)?;
        let expanded = expand(&prompt, tokenizer.ids(), sizes)?;
        Shown { text: None, ids: expanded.ids.clone(), expanded: Some(expanded) }
    } else {
        let rendered = render_written(&template, &tokenizer, &conversation.fields)?;
        let expanded = match conversation.missing() {
            Some(_) => None,
            None => Some(expand(&conversation.prompt(&rendered)?, tokenizer.ids(), sizes)?),
        };
        Shown { text: Some(rendered.text), ids: rendered.ids, expanded }
    };
    let mut out = std::io::stdout();
    match render.output.json {
        true => writeln!(out, "{}", shown.as_json())?,
        false => out.write_all(shown.as_text().as_bytes())?,
    }
    Ok(())
}

/// What decides how many soft tokens a medium has.
#[derive(Clone, Copy)]
struct Sizes {
    image_budget: usize,
    /// Whether sound goes to the model without an encoder.
    hears_raw: bool,
}

/// Whether the configuration is that of the size without encoders.
pub(super) fn is_unified(folder: &Path) -> bool {
    let config = std::fs::read(folder.join("config.json")).unwrap_or_default();
    let config: Value = serde_json::from_slice(&config).unwrap_or_default();
    config["model_type"].as_str().is_some_and(|kind| kind.starts_with("gemma4_unified"))
}

/// Most soft tokens of a picture: as asked for, else as the folder says.
pub(super) fn budget(folder: &Path, asked: Option<usize>) -> anyhow::Result<usize> {
    let Some(budget) = asked else { return Ok(image::folder_budget(folder)?) };
    let known = image::BUDGETS;
    ensure!(known.contains(&budget), "--image-budget {budget} is none of {known:?}");
    Ok(budget)
}

/// The ids of a prompt, one for each position.
fn expand(prompt: &Prompt, ids: &ControlTokens, sizes: Sizes) -> anyhow::Result<Expanded> {
    let mut expanded =
        Expanded { ids: Vec::new(), media: Vec::new(), thought_open: prompt.thought_open };
    for segment in &prompt.segments {
        let (kind, placeholder, count) = match segment {
            Segment::Tokens(tokens) => {
                expanded.ids.extend(tokens);
                continue;
            }
            Segment::Image(place) => {
                let frame = &prompt.images[*place];
                let budget = sizes.image_budget;
                ("image", ids.image, image::soft_tokens(frame.width, frame.height, budget)?)
            }
            Segment::Audio(place) => {
                let samples = prompt.audio[*place].samples.len();
                let count = match sizes.hears_raw {
                    true => samples.div_ceil(audio::TOKEN_SAMPLES),
                    false => audio::soft_tokens(samples),
                };
                ("audio", ids.audio, count)
            }
            Segment::Video { clip, frame } => {
                let frame = &prompt.clips[*clip].frames[*frame];
                let budget = video::FRAME_BUDGET;
                ("video", ids.video, image::soft_tokens(frame.width, frame.height, budget)?)
            }
        };
        expanded.ids.extend(std::iter::repeat_n(placeholder.unwrap_or(ids.pad), count));
        expanded.media.push((kind, count));
    }
    Ok(expanded)
}

impl Shown {
    fn as_json(&self) -> Value {
        let expanded = self.expanded.as_ref();
        let medium = |(kind, count): &(&str, usize)| json!({"type": kind, "soft_tokens": count});
        let media = expanded.map(|prompt| prompt.media.iter().map(medium).collect::<Value>());
        json!({
            "text": self.text,
            "ids": self.ids,
            "expanded_ids": expanded.map(|prompt| &prompt.ids),
            "media": media,
            "thought_open": expanded.map(|prompt| prompt.thought_open),
        })
    }

    fn as_text(&self) -> String {
        let mut text = self.text.as_deref().map(harmless).unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let mut line = |name: &str, ids: &[u32]| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            text.push_str(&format!("-- {} {name}\n{}\n", ids.len(), ids.join(" ")));
        };
        line("token ids", &self.ids);
        if let Some(prompt) = &self.expanded {
            if prompt.ids != self.ids {
                line("positions, media expanded", &prompt.ids);
            }
            for (kind, count) in &prompt.media {
                text.push_str(&format!("-- {kind}: {count} soft tokens\n"));
            }
        }
        text
    }
}
