//! What a call is made of: characters, and the token that opens and closes a string.

/// One symbol of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// A character of an ordinary token.
    Char(char),
    /// The quote token; no character can be mistaken for it.
    Quote,
}

/// The symbols of one call.
pub(super) type Symbols = Vec<Symbol>;

/// A place in the symbols of a call.
#[derive(Clone)]
pub(super) struct Cursor<'call> {
    rest: &'call [Symbol],
}

impl<'call> Cursor<'call> {
    /// The beginning.
    pub(super) fn new(symbols: &'call [Symbol]) -> Self {
        Self { rest: symbols }
    }

    /// The next symbol, which stays.
    pub(super) fn peek(&self) -> Option<Symbol> {
        self.rest.first().copied()
    }

    /// Takes the next symbol.
    pub(super) fn next(&mut self) -> Option<Symbol> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Takes the next symbol if it is this one.
    pub(super) fn take(&mut self, symbol: Symbol) -> bool {
        let found = self.peek() == Some(symbol);
        if found {
            self.next();
        }
        found
    }

    /// Passes over white space.
    pub(super) fn skip_space(&mut self) {
        while matches!(self.peek(), Some(Symbol::Char(c)) if c.is_whitespace()) {
            self.next();
        }
    }

    /// Passes over this text if it comes next.
    pub(super) fn skip_text(&mut self, text: &str) {
        let mut ahead = self.clone();
        if text.chars().all(|c| ahead.take(Symbol::Char(c))) {
            *self = ahead;
        }
    }

    /// Takes characters up to one that ends, a quote or the end; that one stays.
    pub(super) fn take_until(&mut self, ends: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(Symbol::Char(c)) = self.peek() {
            if ends(c) {
                break;
            }
            text.push(c);
            self.next();
        }
        text
    }
}
