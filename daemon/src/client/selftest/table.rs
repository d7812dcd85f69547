//! The figures of a test, for people: a line for each row, a column for each engine, and below them
//! the reasons of what could not be measured.

use std::fmt::Write as _;

use gemma_runtime::EngineKind;

use super::report::{Cell, Mark, Report, Row};

/// Width of a figure with its sign.
const CELL_WIDTH: usize = 16;

/// How whether a mark was reached is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signs {
    /// As signs, on a terminal.
    Marks,
    /// In words, for files and pipes.
    Words,
}

impl Signs {
    fn of(self, passed: Option<bool>) -> &'static str {
        match (self, passed) {
            (Self::Marks, Some(true)) => "✓",
            (Self::Marks, Some(false)) => "✗",
            (Self::Words, Some(true)) => "pass",
            (Self::Words, Some(false)) => "FAIL",
            (_, None) => "",
        }
    }
}

/// The whole report as lines.
pub(super) fn text(report: &Report, signs: Signs) -> String {
    let mut text = String::new();
    let width = |of: fn(&Row) -> &str| {
        report.rows.iter().map(|row| of(row).chars().count()).max().unwrap_or_default()
    };
    let (name, title, measure) =
        (width(|row| &row.name), width(|row| &row.title), width(|row| row.measure));
    let mut line = |start: String, cells: Vec<String>, mark: &str| {
        let cells: String = cells.iter().map(|cell| format!("  {cell:<CELL_WIDTH$}")).collect();
        let _ = writeln!(text, "{}", format!("{start}{cells}  {mark}").trim_end());
    };
    let start = |one: &str, two: &str, three: &str| {
        format!("{one:<name$}  {two:<title$}  {three:<measure$}")
    };
    let engines = report.engines.iter().map(ToString::to_string).collect();
    line(start("", "", ""), engines, "mark");
    for row in &report.rows {
        let cell = |engine: &EngineKind| shown(row, *engine, signs);
        let cells = report.engines.iter().map(cell).collect();
        let mark = row.mark.map(|mark| asked(mark, row.digits)).unwrap_or_default();
        line(start(&row.name, &row.title, row.measure), cells, &mark);
    }
    text.push_str(&reasons(report));
    let _ = writeln!(text, "\n{}", if report.passed() { "passed" } else { "FAILED" });
    text
}

fn shown(row: &Row, engine: EngineKind, signs: Signs) -> String {
    let figure = match row.cell(engine) {
        None | Some(Cell::Absent(_)) => "-".to_owned(),
        Some(Cell::Broken(_)) => "broken".to_owned(),
        Some(Cell::Figure(figure)) => format!("{figure:.digits$}", digits = row.digits),
    };
    format!("{figure} {}", signs.of(row.passed(engine))).trim_end().to_owned()
}

fn asked(mark: Mark, digits: usize) -> String {
    // A mark is shown with no more digits than it has.
    let number = format!("{:.digits$}", mark.number());
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => &number,
    };
    match mark {
        Mark::AtLeast(_) => format!("at least {number}"),
        Mark::AtMost(_) => format!("at most {number}"),
    }
}

/// Why there is no figure, each with its row and engine.
fn reasons(report: &Report) -> String {
    let mut text = String::new();
    for row in &report.rows {
        let mut last = None;
        for engine in &report.engines {
            let reason = match row.cell(*engine) {
                Some(Cell::Broken(reason) | Cell::Absent(reason)) => reason,
                Some(Cell::Figure(_)) | None => continue,
            };
            if last != Some(reason) {
                let _ = write!(text, "\n{} on {engine}: {reason}", row.name);
            }
            last = Some(reason);
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn report() -> Report {
        let (ort, tract) = (EngineKind::Ort, EngineKind::Tract);
        let mut typed = Row::new("typed", "tool call", "exact, %", 1, Some(Mark::AtLeast(98.0)));
        typed.put(ort, Cell::Figure(98.5));
        typed.put(tract, Cell::Figure(91.25));
        let mut fast = Row::new("fast", "fast graph", "difference", 5, Some(Mark::AtMost(0.25)));
        fast.put(ort, Cell::Absent("there is none".into()));
        fast.put(tract, Cell::Absent("there is none".into()));
        let mut boxes = Row::new("detect", "boxes", "overlap", 3, None);
        boxes.put(ort, Cell::Figure(0.7));
        boxes.put(tract, Cell::Broken("it takes no pictures".into()));
        Report {
            folder: PathBuf::from("m"),
            held_out: None,
            graphs: Vec::new(),
            engines: vec![ort, tract],
            rows: vec![typed, fast, boxes],
            misses: Vec::new(),
        }
    }

    #[test]
    fn every_row_is_a_line_with_a_column_for_each_engine() {
        assert_eq!(
            text(&report(), Signs::Words),
            "                                ort               tract             mark\n\
             typed   tool call   exact, %    98.5 pass         91.2 FAIL         at least 98\n\
             fast    fast graph  difference  -                 -                 at most 0.25\n\
             detect  boxes       overlap     0.700             broken FAIL\n\
             \n\
             fast on ort: there is none\n\
             detect on tract: it takes no pictures\n\
             \n\
             FAILED\n"
        );
    }

    #[test]
    fn a_terminal_shows_signs() {
        let text = text(&report(), Signs::Marks);
        assert!(text.contains("98.5 ✓") && text.contains("91.2 ✗"), "{text}");
    }
}
