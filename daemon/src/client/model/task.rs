//! Ready-made tasks, done here and now.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use gemma_runtime::tasks::{
    Boxes, Captioning, DescribeVideo, Detect, DetectedBox, Question, ReadText, Reading, Said, Task,
    Transcribe, Translate,
};
use gemma_runtime::{Error, Model, ReplyOptions, Sampling, image};
use gemma_types::Part;
use serde_json::{Value, json};

use super::file::{self, Medium};
use crate::cli::model::{Task as Asked, TaskKind};
use crate::client::{aside, harmless};

/// What is printed: for people, and for programs.
struct Shown {
    text: String,
    json: Value,
    /// What stands back behind the result.
    asides: Vec<String>,
}

/// Does a task and prints what came of it.
pub(super) fn run(asked: &Asked) -> anyhow::Result<()> {
    let shown = match &asked.kind {
        TaskKind::Transcribe { file, language } => transcribe(asked, file, language.clone()),
        TaskKind::Translate { file, from, to } => translate(asked, file, from, to),
        TaskKind::Caption { file, language, thinking } => {
            let (picture, language) = (file::picture(file)?, language.clone());
            let task = Captioning { picture, language, thinking: *thinking };
            let caption = answer(asked, &task)?;
            Ok(spoken(caption.text, caption.thought))
        }
        TaskKind::Ocr { file } => {
            let text = answer(asked, &ReadText { picture: file::picture(file)? })?.text;
            Ok(spoken(text, None))
        }
        TaskKind::Detect { file, labels, strict } => detect(asked, file, labels, *strict),
        TaskKind::Video { file, question, fps, thinking } => {
            let (clip, question) = (file::clip(file, *fps)?, question.clone());
            let said = answer(asked, &DescribeVideo { clip, question, thinking: *thinking })?;
            Ok(spoken(said.text, said.thought))
        }
        TaskKind::Ask { words, file, thinking } => {
            let part = |file: &PathBuf| file::read(file, None).map(Medium::part);
            let media = file.iter().map(part).collect::<anyhow::Result<Vec<Part>>>()?;
            let task = Question { media, words: words.join(" "), thinking: *thinking };
            let said = answer(asked, &task)?;
            Ok(spoken(said.text, said.thought))
        }
    }?;
    let mut out = std::io::stdout();
    if asked.json {
        writeln!(out, "{}", shown.json)?;
        return Ok(());
    }
    shown.asides.iter().for_each(|line| aside(&harmless(line)));
    writeln!(out, "{}", harmless(&shown.text))?;
    Ok(())
}

/// Opens the model and does a task with it, a question after the other.
fn answer<T: Task>(asked: &Asked, task: &T) -> anyhow::Result<T::Answer> {
    let asks = task.asks()?;
    let mut model = Model::open(&asked.folder, &super::options(&asked.engine))?;
    let mut said = Vec::new();
    for (at, ask) in asks.iter().enumerate() {
        if asks.len() > 1 && !asked.json {
            aside(&format!("part {} of {}", at + 1, asks.len()));
        }
        let mut options = ask.options_for(model.info());
        options.image_budget = asked.image_budget.or(options.image_budget);
        options.reply_tokens_max = asked.max_tokens.unwrap_or(options.reply_tokens_max);
        if asked.greedy {
            options.sampling = Sampling::greedy();
        }
        let reply = model.reply(&ask.messages, &[], &options)?;
        said.push(Said::gather(reply).map_err(|error| explain(error, asked, &options))?);
    }
    Ok(task.read(&said)?)
}

/// An error of the model, and what may help where pictures were larger than those of the folder.
fn explain(error: Error, asked: &Asked, options: &ReplyOptions) -> anyhow::Error {
    let usual = image::folder_budget(&asked.folder).ok();
    let larger = usual.filter(|usual| options.image_budget.is_some_and(|budget| budget > *usual));
    match (larger, &error) {
        (Some(usual), Error::Engine { .. }) => anyhow::anyhow!(
            "{error}; this conversion may be made for smaller pictures, try --image-budget {usual}"
        ),
        _ => error.into(),
    }
}

fn transcribe(asked: &Asked, file: &Path, language: Option<String>) -> anyhow::Result<Shown> {
    let transcript = answer(asked, &Transcribe { samples: file::samples(file)?, language })?;
    let segments = transcript.segments.iter().map(|segment| {
        json!({
            "start_s": segment.start.as_secs_f64(),
            "end_s": segment.end.as_secs_f64(),
            "text": segment.text,
        })
    });
    let json = json!({"text": transcript.text, "segments": segments.collect::<Value>()});
    Ok(Shown { text: transcript.text, json, asides: Vec::new() })
}

fn translate(asked: &Asked, file: &Path, from: &str, to: &str) -> anyhow::Result<Shown> {
    let samples = file::samples(file)?;
    let task = Translate { samples, source: from.to_owned(), target: to.to_owned() };
    let translation = answer(asked, &task)?;
    let json = json!({"source": translation.source, "target": translation.target});
    let text = format!("{from}: {}\n{to}: {}", translation.source, translation.target);
    Ok(Shown { text, json, asides: Vec::new() })
}

fn detect(asked: &Asked, file: &Path, labels: &[String], strict: bool) -> anyhow::Result<Shown> {
    let reading = if strict { Reading::Strict } else { Reading::Forgiving };
    let task = Detect { picture: file::picture(file)?, labels: labels.to_vec(), reading };
    let boxes = answer(asked, &task).with_context(|| format!("{}", file.display()))?;
    Ok(shown_boxes(&boxes))
}

fn shown_boxes(boxes: &Boxes) -> Shown {
    let found = boxes.found.iter().map(|found| {
        json!({
            "label": found.label,
            "x_min_px": found.x_min_px,
            "y_min_px": found.y_min_px,
            "x_max_px": found.x_max_px,
            "y_max_px": found.y_max_px,
        })
    });
    let json = json!({"boxes": found.collect::<Value>(), "passed_over": boxes.passed_over});
    let line = |found: &DetectedBox| {
        format!(
            "{}: x {} to {}, y {} to {}",
            found.label, found.x_min_px, found.x_max_px, found.y_min_px, found.y_max_px
        )
    };
    let lines: Vec<String> = boxes.found.iter().map(line).collect();
    let text = if lines.is_empty() { "nothing found".to_owned() } else { lines.join("\n") };
    let asides = boxes.passed_over.iter().map(|what| format!("passed over: {what}")).collect();
    Shown { text, json, asides }
}

fn spoken(text: String, thought: Option<String>) -> Shown {
    let json = json!({"text": text, "thought": thought});
    Shown { text, json, asides: thought.into_iter().collect() }
}
