//! Reads one call: `call:NAME{KEY:VALUE,...}`, as the model was trained to write it and as it
//! sometimes writes it instead.
//!
//! Accepted beside the grammar: white space anywhere, quoted keys, JSON strings, bare words as text,
//! `none` and `nil`, missing closing brackets, and a last string without its closing quote.

use gemma_types::{Arguments, ToolCall};
use serde_json::Value;

use super::symbols::{Cursor, Symbol};

/// Values nested deeper than this are read as text.
const DEPTH_MAX: usize = 32;

/// A key or a name is no longer than this.
const KEY_CHARS_MAX: usize = 256;

/// Reads a call; nothing if there is nothing in it. `schema_of` finds a tool's parameters by name.
pub(super) fn read<'tools>(
    symbols: &[Symbol],
    schema_of: impl Fn(&str) -> Option<&'tools Value>,
) -> Option<ToolCall> {
    let mut cursor = Cursor::new(symbols);
    cursor.skip_space();
    cursor.skip_text("call:");
    let name = read_name(&mut cursor);
    let mut reader = Reader { cursor, open: Vec::new() };
    let schema = schema_of(&name);
    let arguments = if reader.cursor.take(Symbol::Char('{')) {
        reader.object(schema)
    } else {
        Arguments::new()
    };
    (!name.is_empty() || !arguments.is_empty()).then_some(ToolCall { name, arguments })
}

/// The name, up to the brace that opens the arguments.
fn read_name(cursor: &mut Cursor<'_>) -> String {
    let mut name = String::new();
    loop {
        name.push_str(&cursor.take_until(|c| c == '{'));
        if !cursor.take(Symbol::Quote) {
            break;
        }
    }
    name.trim().chars().take(KEY_CHARS_MAX).collect()
}

struct Reader<'call> {
    cursor: Cursor<'call>,
    /// Closing brackets of the values that are open, outermost first.
    open: Vec<char>,
}

impl Reader<'_> {
    /// The members of an object whose brace was just taken, up to and with the one that closes it.
    fn object(&mut self, schema: Option<&Value>) -> Arguments {
        self.open.push('}');
        let mut members = Arguments::new();
        loop {
            self.cursor.skip_space();
            match self.cursor.peek() {
                None => break,
                Some(Symbol::Char('}')) => {
                    self.cursor.next();
                    break;
                }
                Some(Symbol::Char(',' | ':' | ']')) => {
                    self.cursor.next();
                }
                Some(Symbol::Char(_) | Symbol::Quote) => {
                    let key = self.key();
                    self.cursor.skip_space();
                    let schema = schema.and_then(|schema| schema.get("properties")?.get(&key));
                    let value = if self.cursor.take(Symbol::Char(':')) {
                        self.value(schema)
                    } else {
                        Value::Null
                    };
                    if !key.is_empty() {
                        members.insert(key, value);
                    }
                }
            }
        }
        self.open.pop();
        members
    }

    /// The items of an array whose bracket was just taken, up to and with the one that closes it.
    fn array(&mut self, schema: Option<&Value>) -> Vec<Value> {
        self.open.push(']');
        let schema = schema.and_then(|schema| schema.get("items"));
        let mut items = Vec::new();
        loop {
            self.cursor.skip_space();
            match self.cursor.peek() {
                // A brace closes the object around an array that was never closed.
                None | Some(Symbol::Char('}')) => break,
                Some(Symbol::Char(']')) => {
                    self.cursor.next();
                    break;
                }
                Some(Symbol::Char(',')) => {
                    self.cursor.next();
                }
                Some(Symbol::Char(_) | Symbol::Quote) => items.push(self.value(schema)),
            }
        }
        self.open.pop();
        items
    }

    fn key(&mut self) -> String {
        let key = match self.cursor.peek() {
            Some(Symbol::Quote) => self.quoted(),
            Some(Symbol::Char('"')) => self.json_string(),
            Some(Symbol::Char(_)) | None => {
                self.cursor.take_until(|c| matches!(c, ':' | ',' | '}')).trim().to_owned()
            }
        };
        key.chars().take(KEY_CHARS_MAX).collect()
    }

    /// One value. Always takes at least one symbol, unless a closing bracket or a comma comes next.
    fn value(&mut self, schema: Option<&Value>) -> Value {
        self.cursor.skip_space();
        let shallow = self.open.len() < DEPTH_MAX;
        match self.cursor.peek() {
            Some(Symbol::Quote) => Value::String(self.quoted()),
            Some(Symbol::Char('"')) => Value::String(self.json_string()),
            Some(Symbol::Char('{')) if shallow => {
                self.cursor.next();
                Value::Object(self.object(schema))
            }
            Some(Symbol::Char('[')) if shallow => {
                self.cursor.next();
                Value::Array(self.array(schema))
            }
            Some(Symbol::Char(_)) => self.bare(schema),
            None => Value::Null,
        }
    }

    /// A string between quote tokens. Without the second one it runs to the end of the call, but for
    /// the brackets that close what is open.
    fn quoted(&mut self) -> String {
        self.cursor.next();
        let text = self.cursor.take_until(|_| false);
        if self.cursor.take(Symbol::Quote) {
            return text;
        }
        let closing: String = self.open.iter().rev().collect();
        match text.trim_end().strip_suffix(&closing) {
            Some(rest) => rest.to_owned(),
            None => text,
        }
    }

    /// A string between ordinary quotation marks, with JSON's escapes.
    fn json_string(&mut self) -> String {
        let mut json = String::new();
        let mut escaped = false;
        while let Some(Symbol::Char(c)) = self.cursor.peek() {
            self.cursor.next();
            json.push(c);
            if c == '"' && !escaped && json.len() > 1 {
                break;
            }
            escaped = c == '\\' && !escaped;
        }
        serde_json::from_str(&json).unwrap_or_else(|_| json.trim_matches('"').to_owned())
    }

    /// A number, a literal, or words without quotes.
    fn bare(&mut self, schema: Option<&Value>) -> Value {
        let mut text = self.word();
        if !is_literal(text.trim()) {
            // A comma in words without quotes is part of them, unless a key follows it.
            while self.comma_in_words() {
                self.cursor.next();
                text.push(',');
                text.push_str(&self.word());
            }
        }
        let text = text.trim();
        let wants_text = schema.is_some_and(|schema| schema["type"] == "string");
        match text {
            _ if wants_text => Value::String(text.to_owned()),
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "" | "null" | "None" | "none" | "nil" | "Null" => Value::Null,
            _ => number(text).unwrap_or_else(|| Value::String(text.to_owned())),
        }
    }

    /// Characters up to a comma or the bracket that closes the innermost open value. A stray quote
    /// token ends them too.
    fn word(&mut self) -> String {
        let array = self.open.last() == Some(&']');
        let text = self.cursor.take_until(|c| c == ',' || c == '}' || (array && c == ']'));
        self.cursor.take(Symbol::Quote);
        text
    }

    /// Whether a comma comes next that belongs to words: in an object, and no key behind it.
    fn comma_in_words(&self) -> bool {
        let mut ahead = self.cursor.clone();
        if self.open.last() != Some(&'}') || !ahead.take(Symbol::Char(',')) {
            return false;
        }
        ahead.skip_space();
        if matches!(ahead.peek(), None | Some(Symbol::Quote | Symbol::Char('}' | '"'))) {
            return false;
        }
        let in_key = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let mut length = 0;
        while matches!(ahead.peek(), Some(Symbol::Char(c)) if in_key(c)) && length < KEY_CHARS_MAX {
            ahead.next();
            length += 1;
        }
        ahead.skip_space();
        ahead.peek() != Some(Symbol::Char(':'))
    }
}

fn is_literal(text: &str) -> bool {
    number(text).is_some()
        || matches!(
            text,
            "" | "true" | "True" | "false" | "False" | "null" | "None" | "none" | "nil" | "Null"
        )
}

/// A JSON number: whole unless it has a fraction or an exponent.
fn number(text: &str) -> Option<Value> {
    let first = text.chars().next()?;
    if !(first == '-' || first.is_ascii_digit()) {
        return None;
    }
    let number: serde_json::Number = serde_json::from_str(text).ok()?;
    if number.is_f64() {
        // The standard library rounds to the nearest number, the JSON reader only nearly.
        return text.parse().ok().and_then(serde_json::Number::from_f64).map(Value::Number);
    }
    Some(Value::Number(number))
}
