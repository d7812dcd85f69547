//! The text of one thought: its label dropped at the beginning, its last line break at the end.

/// The label that opens a thought, before a line break.
const LABEL: &str = "thought";

/// A label is no longer than this; what is longer is the thought itself.
const LABEL_CHARS_MAX: usize = 16;

/// A thought that is being read.
pub(super) enum Thought {
    /// Its label may still come; holds what was read so far.
    Label(String),
    /// Past its label; holds the line break that may be the last character.
    Text { line_break: bool },
}

impl Thought {
    /// A thought right after the token that opens it.
    pub(super) fn unlabelled() -> Self {
        Self::Label(String::new())
    }

    /// A thought whose label is in the prompt.
    pub(super) fn begun() -> Self {
        Self::Text { line_break: false }
    }

    /// Takes text and returns what can be shown.
    pub(super) fn push(&mut self, text: &str) -> Option<String> {
        match self {
            Self::Text { line_break } => Self::push_text(line_break, text),
            Self::Label(held) => {
                held.push_str(text);
                let rest = match held.split_once('\n') {
                    Some((label, rest)) if is_label(label) => rest.to_owned(),
                    Some(_) => held.clone(),
                    None if held.chars().count() > LABEL_CHARS_MAX => held.clone(),
                    None => return None,
                };
                *self = Self::begun();
                self.push(&rest)
            }
        }
    }

    /// Ends the thought and returns what was held back.
    pub(super) fn end(self) -> Option<String> {
        match self {
            Self::Label(held) if !is_label(&held) => Some(held),
            Self::Label(_) | Self::Text { .. } => None,
        }
    }

    fn push_text(line_break: &mut bool, text: &str) -> Option<String> {
        let mut shown = String::new();
        if *line_break && !text.is_empty() {
            shown.push('\n');
            *line_break = false;
        }
        match text.strip_suffix('\n') {
            Some(rest) => {
                shown.push_str(rest);
                *line_break = true;
            }
            None => shown.push_str(text),
        }
        (!shown.is_empty()).then_some(shown)
    }
}

fn is_label(text: &str) -> bool {
    if text.chars().count() > LABEL_CHARS_MAX {
        return false;
    }
    let text = text.trim();
    text.is_empty() || text.eq_ignore_ascii_case(LABEL)
}
