//! Ready-made tasks, done here and now.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use gemma_runtime::Model;
use gemma_runtime::tasks::{AnyAnswer, AnyTask, Order, Said, Subject, Task, TaskName};
use gemma_types::Part;

use super::file::{self, Medium};
use crate::cli::model::{Task as Asked, TaskKind};
use crate::client::{aside, harmless};

/// Does a task and prints what came of it.
pub(super) fn run(asked: &Asked) -> anyhow::Result<()> {
    let (order, subject) = ordered(asked)?;
    let task = order.about(subject)?;
    let answer = answer(asked, &task)?;
    let mut out = std::io::stdout();
    if asked.json {
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        return Ok(());
    }
    answer.asides().iter().for_each(|line| aside(&harmless(line)));
    writeln!(out, "{}", harmless(&answer.to_string()))?;
    Ok(())
}

/// What was typed, and what it is about.
fn ordered(asked: &Asked) -> anyhow::Result<(Order, Subject)> {
    let (name, media, words) = match &asked.kind {
        TaskKind::Transcribe { file, .. } => (TaskName::Transcribe, vec![sound(file)?], None),
        TaskKind::Translate { file, .. } => (TaskName::Translate, vec![sound(file)?], None),
        TaskKind::Caption { file, .. } => (TaskName::Caption, vec![picture(file)?], None),
        TaskKind::Ocr { file } => (TaskName::Ocr, vec![picture(file)?], None),
        TaskKind::Detect { file, .. } => (TaskName::Detect, vec![picture(file)?], None),
        TaskKind::Video { file, question, fps, .. } => {
            let film = Part::Video(file::clip(file, *fps)?);
            (TaskName::Video, vec![film], question.clone())
        }
        TaskKind::Ask { words, file, .. } => {
            let part = |file: &PathBuf| file::read(file, None).map(Medium::part);
            let media = file.iter().map(part).collect::<anyhow::Result<Vec<Part>>>()?;
            (TaskName::Ask, media, Some(words.join(" ")))
        }
    };
    let order = Order {
        image_budget: asked.image_budget,
        max_tokens: asked.max_tokens,
        greedy: asked.greedy,
        ..options(name, &asked.kind)
    };
    Ok((order, Subject { words: words.unwrap_or_default(), media }))
}

/// The options that belong to the task alone.
fn options(name: TaskName, kind: &TaskKind) -> Order {
    let order = Order::new(name);
    match kind {
        TaskKind::Transcribe { language, .. } => Order { language: language.clone(), ..order },
        TaskKind::Translate { from, to, .. } => {
            Order { from: Some(from.clone()), to: Some(to.clone()), ..order }
        }
        TaskKind::Caption { language, thinking, .. } => {
            Order { language: language.clone(), thinking: *thinking, ..order }
        }
        TaskKind::Ocr { .. } => order,
        TaskKind::Detect { labels, strict, .. } => {
            Order { labels: labels.clone(), strict: *strict, ..order }
        }
        TaskKind::Video { thinking, .. } | TaskKind::Ask { thinking, .. } => {
            Order { thinking: *thinking, ..order }
        }
    }
}

fn picture(file: &Path) -> anyhow::Result<Part> {
    file::picture(file).map(Part::Image)
}

fn sound(file: &Path) -> anyhow::Result<Part> {
    file::samples(file).map(|samples| Part::Audio(file::utterance(samples)))
}

/// Opens the model and does a task with it, a question after the other.
fn answer(asked: &Asked, task: &AnyTask) -> anyhow::Result<AnyAnswer> {
    let asks = task.asks()?;
    let mut model = Model::open(&asked.folder, &super::options(&asked.engine))?;
    let mut said = Vec::new();
    for (at, ask) in asks.iter().enumerate() {
        if asks.len() > 1 && !asked.json {
            aside(&format!("part {} of {}", at + 1, asks.len()));
        }
        let options = ask.options_for(model.info());
        let reply = model.reply(&ask.messages, &[], &options)?;
        said.push(Said::gather(reply).map_err(|error| ask.explain(error, model.info()))?);
    }
    Ok(task.read(&said)?)
}
