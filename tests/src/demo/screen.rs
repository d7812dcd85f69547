//! The terminal: one line an event, with the time since the start and a label in its own column.

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

/// Width of the labels.
const LABEL_WIDTH: usize = 12;

/// Where the demo prints; colours only when a person looks.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    started: Instant,
    coloured: bool,
}

impl Screen {
    /// Starts the clock.
    pub(super) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { started: Instant::now(), coloured: wanted && std::io::stdout().is_terminal() }
    }

    /// Prints one event.
    pub(super) fn line(&self, label: &str, text: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let padded = format!("{label:<LABEL_WIDTH$}");
        let label = self.paint(&padded, colour_of(label));
        let time = self.paint(&format!("{seconds:8.3}"), DIM);
        self.print(&format!("{time}  {label} {text}\n"));
    }

    /// Prints several lines as they are, with an empty line before.
    pub(super) fn block(&self, text: &str) {
        self.print(&format!("\n{text}\n"));
    }

    /// Colours `text` when a person looks.
    pub(super) fn paint(&self, text: &str, colour: u8) -> String {
        if self.coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody reads: nothing to do about it.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Faint.
pub(super) const DIM: u8 = 2;
/// Red.
pub(super) const RED: u8 = 31;
/// Green.
pub(super) const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const BLUE: u8 = 34;
const MAGENTA: u8 = 35;
const CYAN: u8 = 36;

fn colour_of(label: &str) -> u8 {
    match label {
        "heard" | "seen" | "typed" => CYAN,
        "model" => GREEN,
        "tool call" | "tool result" => YELLOW,
        "mqtt" => MAGENTA,
        "d-bus" => BLUE,
        _ => DIM,
    }
}
