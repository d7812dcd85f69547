//! How values of ours look on the bus.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;

use crate::event::Figures;
use crate::status::Status;

/// Text without the one character that a D-Bus string cannot hold.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}").into() } else { text.into() }
}

/// JSON text of a value of the vocabulary.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Figures by name, `a{sd}`.
pub(super) fn figures(figures: &Figures) -> HashMap<String, f64> {
    HashMap::from([
        ("prompt_tokens".to_owned(), figures.prompt_tokens as f64),
        ("cached_tokens".to_owned(), figures.cached_tokens as f64),
        ("reply_tokens".to_owned(), figures.reply_tokens as f64),
        ("first_text_ms".to_owned(), figures.first_text_ms),
        ("total_ms".to_owned(), figures.total_ms),
        ("tokens_per_second".to_owned(), figures.tokens_per_second),
    ])
}

/// Parts by name: whether each works, and what is missing or was found, `a{s(bs)}`.
pub(super) fn parts(status: &Status) -> HashMap<String, (bool, String)> {
    let part = |part: &crate::status::PartStatus| (part.working, plain(&part.detail).into_owned());
    status.parts.iter().map(|(name, status)| (name.name().to_owned(), part(status))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_never_reaches_the_bus() {
        assert_eq!(plain("a\0b"), "a\u{FFFD}b");
        assert_eq!(json(&"a\0b"), r#""a\u0000b""#);
    }
}
