//! The figures of a test: a row for each thing that is measured, a cell for each engine.

use std::path::PathBuf;

use gemma_runtime::EngineKind;
use serde_json::{Value, json};

/// Letters of an answer that are kept.
const ANSWER_LETTERS_MAX: usize = 2_000;

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Report {
    /// The model's folder.
    pub(super) folder: PathBuf,
    /// The held-out set, if there is one.
    pub(super) held_out: Option<PathBuf>,
    /// Role, precision and size of each graph.
    pub(super) graphs: Vec<(&'static str, String, u64)>,
    /// The columns.
    pub(super) engines: Vec<EngineKind>,
    /// The rows.
    pub(super) rows: Vec<Row>,
    /// Answers that were not right.
    pub(super) misses: Vec<Miss>,
}

/// One thing that is measured.
#[derive(Debug)]
pub(super) struct Row {
    /// The task or check, as it is typed.
    pub(super) name: String,
    /// What it is, for people.
    pub(super) title: String,
    /// What is measured, with its unit.
    pub(super) measure: &'static str,
    /// Digits behind the point.
    pub(super) digits: usize,
    /// What must be reached.
    pub(super) mark: Option<Mark>,
    /// Conversations that were judged on each engine.
    pub(super) conversations: usize,
    cells: Vec<(EngineKind, Cell)>,
}

/// What must be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mark {
    AtLeast(f64),
    AtMost(f64),
}

/// What came of it on one engine.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// A figure.
    Figure(f64),
    /// It could not be measured, which is a failure; why.
    Broken(String),
    /// There is nothing to measure; why.
    Absent(String),
}

/// An answer that was not right.
#[derive(Debug)]
pub(super) struct Miss {
    pub(super) engine: EngineKind,
    pub(super) file: String,
    pub(super) right: String,
    pub(super) given: String,
}

impl Row {
    /// A row without figures.
    pub(super) fn new(
        name: &str,
        title: &str,
        measure: &'static str,
        digits: usize,
        mark: Option<Mark>,
    ) -> Self {
        let (name, title) = (name.to_owned(), title.to_owned());
        Self { name, title, measure, digits, mark, conversations: 0, cells: Vec::new() }
    }

    /// Fills the cell of an engine.
    pub(super) fn put(&mut self, engine: EngineKind, cell: Cell) {
        self.cells.push((engine, cell));
    }

    /// The cell of an engine, if it was filled.
    pub(super) fn cell(&self, engine: EngineKind) -> Option<&Cell> {
        self.cells.iter().find(|(found, _)| *found == engine).map(|(_, cell)| cell)
    }

    /// Whether an engine reached the mark; nothing where there is none, or nothing to measure.
    pub(super) fn passed(&self, engine: EngineKind) -> Option<bool> {
        match (self.cell(engine)?, self.mark) {
            (Cell::Broken(_), _) => Some(false),
            (Cell::Absent(_), _) | (Cell::Figure(_), None) => None,
            (Cell::Figure(figure), Some(mark)) => Some(mark.is_reached(*figure)),
        }
    }

    fn as_json(&self) -> Value {
        let cell = |(engine, cell): &(EngineKind, Cell)| {
            let (figure, reason) = match cell {
                Cell::Figure(figure) => (json!(figure), Value::Null),
                Cell::Broken(reason) | Cell::Absent(reason) => (Value::Null, json!(reason)),
            };
            let passed = self.passed(*engine);
            let value = json!({"figure": figure, "passed": passed, "reason": reason});
            (engine.to_string(), value)
        };
        json!({
            "name": self.name,
            "title": self.title,
            "measure": self.measure,
            "digits": self.digits,
            "mark": self.mark.map(Mark::number),
            "at_least": self.mark.map(|mark| matches!(mark, Mark::AtLeast(_))),
            "conversations": self.conversations,
            "engines": self.cells.iter().map(cell).collect::<serde_json::Map<_, _>>(),
        })
    }
}

impl Mark {
    /// The number.
    pub(super) const fn number(self) -> f64 {
        match self {
            Self::AtLeast(number) | Self::AtMost(number) => number,
        }
    }

    fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(mark) => figure >= mark,
            Self::AtMost(mark) => figure <= mark,
        }
    }
}

impl Report {
    /// Whether no mark was missed and everything could be measured.
    pub(super) fn passed(&self) -> bool {
        let failed =
            |row: &Row| self.engines.iter().any(|engine| row.passed(*engine) == Some(false));
        !self.rows.iter().any(failed)
    }

    /// Everything, for programs.
    pub(super) fn as_json(&self) -> Value {
        let graph = |(role, dtype, bytes): &(&str, String, u64)| json!({"role": role, "dtype": dtype, "bytes": bytes});
        let short = |text: &str| text.chars().take(ANSWER_LETTERS_MAX).collect::<String>();
        let miss = |miss: &Miss| {
            json!({
                "engine": miss.engine.to_string(),
                "file": miss.file,
                "right": short(&miss.right),
                "given": short(&miss.given),
            })
        };
        json!({
            "folder": self.folder,
            "held_out": self.held_out,
            "graphs": self.graphs.iter().map(graph).collect::<Vec<_>>(),
            "engines": self.engines.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "passed": self.passed(),
            "rows": self.rows.iter().map(Row::as_json).collect::<Vec<_>>(),
            "misses": self.misses.iter().map(miss).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORT: EngineKind = EngineKind::Ort;

    fn check(mark: Option<Mark>, cell: Cell, passed: Option<bool>) {
        let mut row = Row::new("typed", "tool call", "exact, %", 1, mark);
        row.put(ORT, cell);
        assert_eq!(row.passed(ORT), passed, "{row:?}");
        assert_eq!(row.passed(EngineKind::Tract), None);
        let (folder, held_out) = (PathBuf::from("m"), None);
        let (graphs, misses) = (Vec::new(), Vec::new());
        let report =
            Report { folder, held_out, graphs, engines: vec![ORT], rows: vec![row], misses };
        assert_eq!(report.passed(), passed != Some(false));
        assert_eq!(report.as_json()["rows"][0]["engines"]["ort"]["passed"], json!(passed));
    }

    #[test]
    fn a_mark_is_reached_or_missed_and_what_breaks_fails() {
        let at_least = Some(Mark::AtLeast(98.0));
        check(at_least, Cell::Figure(98.0), Some(true));
        check(at_least, Cell::Figure(97.9), Some(false));
        check(Some(Mark::AtMost(10.0)), Cell::Figure(10.0), Some(true));
        check(Some(Mark::AtMost(10.0)), Cell::Figure(10.1), Some(false));
        check(at_least, Cell::Figure(f64::NAN), Some(false));
        check(None, Cell::Figure(0.0), None);
        check(None, Cell::Broken("no library".into()), Some(false));
        check(at_least, Cell::Absent("no fast graph".into()), None);
    }
}
