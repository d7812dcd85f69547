//! A held-out set: a folder with conversations that a model never saw, what is right to answer, and
//! the marks that the model must reach. `runtime/export/held_out.py` writes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::judge::Measure;
use super::lesson::Lesson;
use super::place;

/// The file that says what is in the folder.
pub(super) const MANIFEST: &str = "selftest.json";
/// The folder beside a model's where a set is looked for.
const BESIDE: &str = "held-out";
/// Tasks of a set at most, and conversations of a task.
const TASKS_MAX: usize = 64;
const FILES_MAX: usize = 1_000;
/// Letters of a task's name and title at most.
const NAME_LETTERS_MAX: usize = 32;
const TITLE_LETTERS_MAX: usize = 60;

/// A held-out set.
#[derive(Debug)]
pub(super) struct HeldOut {
    /// Where it is.
    pub(super) folder: PathBuf,
    /// Its tasks, in the order of the table.
    pub(super) tasks: Vec<Task>,
    tokenizer_sha256: String,
}

/// One kind of conversations.
#[derive(Debug)]
pub(super) struct Task {
    /// As it is typed.
    pub(super) name: String,
    /// As it is shown.
    pub(super) title: String,
    /// What is measured, and the marks that must be reached, if there are any.
    pub(super) marks: Vec<(Measure, Option<f64>)>,
    files: Vec<String>,
}

/// What was found where a set was looked for.
#[derive(Debug)]
pub(super) enum Found {
    /// A set for the model.
    Set(HeldOut),
    /// A set for another model, here.
    ForAnother(PathBuf),
    /// Nothing, here.
    Nothing(PathBuf),
}

impl Found {
    /// Looks for the set of a model: where `named` says, whatever model it is for, else beside the
    /// model's folder.
    ///
    /// # Errors
    /// When a set is named and not there, or one is there and not in order.
    pub(super) fn of(model: &Path, named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(folder) = named {
            return HeldOut::open(folder).map(Self::Set);
        }
        let model = model.canonicalize().with_context(|| format!("{}", model.display()))?;
        let folder = model.parent().unwrap_or(&model).join(BESIDE);
        if !folder.join(MANIFEST).exists() {
            return Ok(Self::Nothing(folder));
        }
        let set = HeldOut::open(&folder)?;
        Ok(if set.is_for(&model)? { Self::Set(set) } else { Self::ForAnother(folder) })
    }
}

impl HeldOut {
    /// Opens a set; its conversations are read one by one later.
    ///
    /// # Errors
    /// When the folder or its manifest is not there or not in order; the error names the place.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let named = || format!("held-out set {}", folder.join(MANIFEST).display());
        let text = place::text(folder, MANIFEST).with_context(named)?;
        let raw: Raw = serde_json::from_str(&text).with_context(named)?;
        Self::check(raw, folder).with_context(named)
    }

    fn check(raw: Raw, folder: &Path) -> anyhow::Result<Self> {
        let count = raw.tasks.len();
        ensure!((1..=TASKS_MAX).contains(&count), "{count} tasks; expected 1 to {TASKS_MAX}");
        let mut names = BTreeSet::new();
        let mut tasks = Vec::new();
        for (at, task) in raw.tasks.into_iter().enumerate() {
            let task = Task::check(task).with_context(|| format!("tasks[{at}]"))?;
            ensure!(names.insert(task.name.clone()), "two tasks are named {:?}", task.name);
            tasks.push(task);
        }
        let tokenizer_sha256 = raw.tokenizer_sha256;
        Ok(Self { folder: folder.to_owned(), tasks, tokenizer_sha256 })
    }

    /// Whether the set was made for the model in this folder: for its tokenizer.
    fn is_for(&self, model: &Path) -> anyhow::Result<bool> {
        let path = model.join("tokenizer.json");
        let bytes = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
        let digits: String =
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(digits == self.tokenizer_sha256)
    }

    /// The first `count` conversations of a task, each with the name of its file; read one by one.
    pub(super) fn lessons<'a>(
        &'a self,
        task: &'a Task,
        count: usize,
    ) -> impl ExactSizeIterator<Item = anyhow::Result<(&'a str, Lesson)>> {
        task.files[..task.files.len().min(count)].iter().map(|name| {
            let lesson = Lesson::read(&self.folder, name).and_then(|lesson| {
                let measures = lesson.expected.measures();
                let is_measured = |wanted: &Measure| measures.contains(wanted);
                let mut wanted = task.marks.iter().map(|(measure, _)| measure);
                match wanted.find(|wanted| !is_measured(wanted)) {
                    Some(wanted) => bail!("its answer has no measure {:?}", wanted.name()),
                    None => Ok(lesson),
                }
            });
            let named = || format!("held-out set {}", self.folder.join(name).display());
            Ok((name.as_str(), lesson.with_context(named)?))
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// Who made it; for people.
    #[serde(rename = "made_by")]
    _made_by: String,
    #[serde(rename = "seed")]
    _seed: u64,
    tokenizer_sha256: String,
    tasks: Vec<RawTask>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTask {
    name: String,
    title: String,
    marks: Map<String, Value>,
    files: Vec<String>,
}

impl Task {
    fn check(raw: RawTask) -> anyhow::Result<Self> {
        let RawTask { name, title, marks, files } = raw;
        let fits =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        ensure!(
            (1..=NAME_LETTERS_MAX).contains(&name.len()) && name.chars().all(fits),
            "name {name:?}; accepted: a-z, 0-9 and -, at most {NAME_LETTERS_MAX}"
        );
        ensure!(
            (1..=TITLE_LETTERS_MAX).contains(&title.chars().count()),
            "title {title:?}; accepted: 1 to {TITLE_LETTERS_MAX} letters"
        );
        let count = files.len();
        ensure!((1..=FILES_MAX).contains(&count), "{count} files; accepted: 1 to {FILES_MAX}");
        ensure!(!marks.is_empty(), "no marks; expected one of {}", measures());
        let marks = marks.iter().map(|(measure, mark)| read_mark(measure, mark));
        Ok(Self { name, title, marks: marks.collect::<Result<_, _>>()?, files })
    }
}

fn read_mark(name: &str, mark: &Value) -> anyhow::Result<(Measure, Option<f64>)> {
    let measure = Measure::ALL.into_iter().find(|measure| measure.name() == name);
    let Some(measure) = measure else {
        bail!("marks: {name:?} is not measured; expected one of {}", measures());
    };
    if mark.is_null() {
        return Ok((measure, None));
    }
    let most = measure.scale();
    match mark.as_f64().filter(|mark| (0.0..=most).contains(mark)) {
        Some(mark) => Ok((measure, Some(mark))),
        None => bail!("marks: {name} is {mark}; accepted: 0 to {most}, or null"),
    }
}

fn measures() -> String {
    Measure::ALL.map(Measure::name).join(", ")
}

#[cfg(test)]
mod tests;
