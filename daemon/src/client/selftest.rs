//! A model's folder, tested: a held-out set through the calls that the daemon makes, and what can be
//! checked of any model. Every figure stands beside the mark that it must reach.

mod checks; // what can be checked of any model
mod held_out; // conversations that a model never saw, and the marks
mod judge; // how an answer compares with what is right
mod known; // a picture and a sentence that gemmad brings along
mod lesson; // one conversation of a held-out set
mod place; // files that somebody else wrote
mod report; // the figures
mod table; // the figures, for people

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use gemma_runtime::{EngineKind, Model, Options};

use super::{FAILED, aside, harmless};
use crate::cli::selftest::{Engines, Selftest};
use crate::config::{self, Config};
use held_out::{Found, HeldOut, Task};
use judge::{Given, Share};
use report::{Cell, Mark, Miss, Report, Row};
use table::Signs;

/// Digits of percents and of overlaps.
const PERCENT_DIGITS: usize = 1;
const OVERLAP_DIGITS: usize = 3;

/// Tests, prints and writes; says on standard error why it could not. The configuration is read only
/// where no folder is given.
///
/// # Errors
/// None but for a broken standard error: a failure of the command is its exit code.
pub fn run(wanted: &Selftest, config: Option<&Path>) -> anyhow::Result<ExitCode> {
    match test(wanted, config) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(FAILED)),
        Err(error) => {
            writeln!(std::io::stderr(), "gemmad: {}", harmless(&format!("{error:#}")))?;
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// Whether every mark was reached.
fn test(wanted: &Selftest, config: Option<&Path>) -> anyhow::Result<bool> {
    let report = Testing::begin(wanted, config)?.finish()?;
    if let Some(path) = &wanted.json {
        let text = format!("{:#}\n", report.as_json());
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = std::io::stdout();
    let signs = if out.is_terminal() { Signs::Marks } else { Signs::Words };
    out.write_all(harmless(&table::text(&report, signs)).as_bytes())?;
    Ok(report.passed())
}

/// Says how far it is, beside the result.
fn progress(line: &str) {
    aside(&harmless(line));
}

/// A test under way.
struct Testing<'a> {
    wanted: &'a Selftest,
    options: Options,
    /// How the daemon has a model answer where nothing else is configured.
    assistant: config::Assistant,
    set: Option<HeldOut>,
    report: Report,
}

impl<'a> Testing<'a> {
    fn begin(wanted: &'a Selftest, config: Option<&Path>) -> anyhow::Result<Self> {
        let (folder, options) = subject(wanted, config)?;
        let set = match Found::of(&folder, wanted.held_out.as_deref())? {
            Found::Set(set) => {
                progress(&format!("held-out set: {}", set.folder.display()));
                Some(set)
            }
            Found::ForAnother(place) => {
                let place = place.display();
                progress(&format!(
                    "the held-out set {place} is for another model: only the checks"
                ));
                None
            }
            Found::Nothing(place) => {
                let place = place.display();
                progress(&format!(
                    "no held-out set at {place} (--held-out names one): only the checks"
                ));
                None
            }
        };
        let report = Report {
            folder,
            held_out: set.as_ref().map(|set| set.folder.clone()),
            graphs: Vec::new(),
            engines: wanted.engine.kinds().to_vec(),
            rows: Vec::new(),
            misses: Vec::new(),
        };
        let assistant = Config::default().assistant;
        let mut testing = Self { wanted, options, assistant, set, report };
        testing.choose()?;
        Ok(testing)
    }

    /// The rows that are wanted, empty.
    fn choose(&mut self) -> anyhow::Result<()> {
        let wanted = &self.wanted.tasks;
        let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
        let tasks = self.set.as_ref().map(|set| set.tasks.as_slice()).unwrap_or_default();
        let known = || checks::NAMES.into_iter().chain(tasks.iter().map(|task| task.name.as_str()));
        if let Some(wrong) = wanted.iter().find(|one| !known().any(|name| name == one.as_str())) {
            let known = known().collect::<Vec<_>>().join(", ");
            bail!("--tasks: {wrong:?} is none of {known}");
        }
        let both = self.wanted.engine == Engines::Both;
        let rows = checks::rows(|name| is_wanted(name) && (both || name != "engines"));
        let tasks = tasks.iter().filter(|task| is_wanted(&task.name)).flat_map(rows_of);
        self.report.rows = rows.into_iter().chain(tasks).collect();
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Report> {
        for name in ["picture", "sound"] {
            if self.wants(name) {
                let cell = checks::media(name);
                for engine in self.wanted.engine.kinds() {
                    self.fill(name, *engine, || cell.clone());
                }
            }
        }
        for engine in self.wanted.engine.kinds() {
            let options = self.options.on(*engine);
            if self.wants("fast") {
                progress(&format!("{engine}: fast"));
                let compared = checks::fast(&self.report.folder, &options);
                self.fill_compared("fast", *engine, compared);
            }
            self.with_model(*engine, &options)?;
        }
        if let Some(reason) = self.refusal() {
            bail!("{reason}");
        }
        if self.wants("engines") {
            progress("ort and tract: engines");
            let (cell, mark) = checks::engines(&self.report.folder, &self.options);
            for engine in self.wanted.engine.kinds() {
                self.fill_compared("engines", *engine, (cell.clone(), mark));
            }
        }
        Ok(self.report)
    }

    /// Why the model cannot be opened, if no engine could.
    fn refusal(&self) -> Option<String> {
        let graphs = self.report.rows.iter().find(|row| row.name == "graphs")?;
        let reason = |engine: &EngineKind| match graphs.cell(*engine) {
            Some(Cell::Broken(reason)) => Some(reason),
            Some(Cell::Figure(_) | Cell::Absent(_)) | None => None,
        };
        let reasons: Option<Vec<&String>> = self.report.engines.iter().map(reason).collect();
        reasons?.first().map(|reason| (*reason).clone())
    }

    /// What needs an open model. One that an engine cannot open is a figure of its own, if there is a
    /// row for it.
    fn with_model(&mut self, engine: EngineKind, options: &Options) -> anyhow::Result<()> {
        let needs = |row: &Row| !checks::WITHOUT_MODEL.contains(&row.name.as_str());
        if !self.report.rows.iter().any(needs) {
            return Ok(());
        }
        let folder = &self.report.folder;
        let mut model = match Model::open(folder, options) {
            Ok(model) => model,
            Err(error) if self.wants("graphs") && self.wanted.engine == Engines::Both => {
                self.fill("graphs", engine, || Cell::Broken(error.to_string()));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let graphs = model.info().graphs.iter();
        let graph =
            |graph: &gemma_runtime::GraphInfo| (graph.role, graph.dtype.to_owned(), graph.bytes);
        self.report.graphs = graphs.map(graph).collect();
        self.fill("graphs", engine, || checks::graphs(&model));
        self.fill("hears", engine, || checks::hears(&mut model));
        let Some(set) = self.set.take() else { return Ok(()) };
        for task in &set.tasks {
            if self.wants(&task.name) {
                self.examine(&set, task, engine, &mut model)?;
            }
        }
        self.set = Some(set);
        Ok(())
    }

    /// Has the model answer the conversations of a task, and judges what it says.
    fn examine(
        &mut self,
        set: &HeldOut,
        task: &Task,
        engine: EngineKind,
        model: &mut Model,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let most = self.wanted.count.map_or(usize::MAX, |count| count as usize);
        let lessons = set.lessons(task, most);
        let count = lessons.len();
        let mut shares = vec![Share { part: 0.0, whole: 0.0 }; task.marks.len()];
        let mut right = 0;
        for lesson in lessons {
            let (file, lesson) = lesson?;
            let answer = lesson.answer(model, &self.assistant);
            let given = answer.as_ref().map_or(&NOTHING, |given| given);
            for (measure, share) in lesson.expected.judge(given) {
                let mut wanted = task.marks.iter().map(|(wanted, _)| *wanted);
                if let Some(at) = wanted.position(|wanted| wanted == measure) {
                    shares[at].part += share.part;
                    shares[at].whole += share.whole;
                }
            }
            if answer.is_ok() && lesson.expected.is_right(given) {
                right += 1;
                continue;
            }
            let given =
                answer.map_or_else(|error| format!("no answer: {error}"), |given| given.shown());
            let (file, right) = (file.to_owned(), lesson.expected.shown());
            self.report.misses.push(Miss { engine, file, right, given });
        }
        for ((measure, _), share) in task.marks.iter().zip(shares) {
            let figure = share.times(measure.scale());
            let mut rows = self.report.rows.iter_mut();
            let row = rows.find(|row| row.name == task.name && row.measure == measure.title());
            if let Some(row) = row {
                row.conversations = count;
                row.put(engine, Cell::Figure(figure));
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        progress(&format!("{engine}: {}, {right} of {count} right, {seconds:.1} s", task.name));
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.report.rows.iter().any(|row| row.name == name)
    }

    /// Fills the cell of a check, if it is wanted.
    fn fill(&mut self, name: &str, engine: EngineKind, cell: impl FnOnce() -> Cell) {
        if let Some(row) = self.report.rows.iter_mut().find(|row| row.name == name) {
            row.put(engine, cell());
        }
    }

    /// The same for a check that knows its mark only when it is made.
    fn fill_compared(
        &mut self,
        name: &str,
        engine: EngineKind,
        (cell, mark): (Cell, Option<Mark>),
    ) {
        if let Some(row) = self.report.rows.iter_mut().find(|row| row.name == name) {
            row.mark = mark.or(row.mark);
            row.put(engine, cell);
        }
    }
}

/// What a model that failed has said.
static NOTHING: Given = Given { thought: String::new(), calls: Vec::new(), text: String::new() };

/// The rows of a task, empty.
fn rows_of(task: &Task) -> Vec<Row> {
    let row = |(measure, mark): &(judge::Measure, Option<f64>)| {
        let counted = |mark: f64| match measure.counts_errors() {
            true => Mark::AtMost(mark),
            false => Mark::AtLeast(mark),
        };
        let is_percent = measure.scale() > 1.0;
        let digits = if is_percent { PERCENT_DIGITS } else { OVERLAP_DIGITS };
        Row::new(&task.name, &task.title, measure.title(), digits, mark.map(counted))
    };
    task.marks.iter().map(row).collect()
}

/// The folder to test, and how it is to be opened.
fn subject(wanted: &Selftest, config: Option<&Path>) -> anyhow::Result<(PathBuf, Options)> {
    let typed = Options {
        device: wanted.graphs.device,
        library: wanted.graphs.library.clone(),
        threads: wanted.graphs.threads,
        dtype: wanted.graphs.dtype.clone(),
        ..Options::default()
    };
    if let Some(folder) = &wanted.folder {
        return Ok((folder.clone(), typed));
    }
    let model = Config::load(config)?.model;
    let options = Options {
        library: typed.library.or(model.library),
        dtype: typed.dtype.or(model.dtype),
        ..typed
    };
    Ok((model.folder, options))
}
