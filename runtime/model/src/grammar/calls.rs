//! The grammar of calls: `call:NAME{KEY:VALUE,...}` for each declared tool, with the values that its
//! schema accepts, in the form that Gemma was trained to write.
//!
//! Keys stand bare, strings between quote tokens without escapes, and nothing is spaced. The grammar
//! is written in llguidance's dialect of Lark.

use std::fmt::Write as _;

use gemma_types::ToolSpec;
use serde_json::Value;

use super::schema::{self, Count, Member, Shape};
use super::{GrammarError, ToolChoice};
use crate::tokens::ControlTokens;

/// How deep a value may be nested of which a schema says nothing.
const ANY_DEPTH: usize = 4;

/// Most characters in the name of a tool.
const NAME_CHARS_MAX: usize = 64;

/// What every grammar can use. Numbers are bounded in digits, so that they stay exact and end.
const TERMINALS: &str = r#"
INTEGER: /0|-?[1-9][0-9]{0,14}/
NUMBER: /-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?/
KEY: /[A-Za-z_][A-Za-z0-9_.\-]{0,63}/
"#;

/// Writes the grammar of a call from behind the token that opens it, up to the one that closes it.
pub(super) fn lazy(tools: &[ToolSpec], ids: &ControlTokens) -> Result<String, GrammarError> {
    let mut writer = Writer::new(ids)?;
    let call = writer.call(tools)?;
    let start = format!("start: {call}");
    Ok(writer.finish(&start))
}

/// Writes the grammar of a reply that consists of calls, the token that ends it included.
pub(super) fn forced(
    tools: &[ToolSpec],
    choice: &ToolChoice,
    ids: &ControlTokens,
) -> Result<String, GrammarError> {
    if tools.is_empty() {
        return Err(GrammarError::NoTools);
    }
    let mut writer = Writer::new(ids)?;
    let open = token(ids.tool_call_open, "<|tool_call>")?;
    let end = format!("<[{}]>", ids.tool_response_open.unwrap_or(ids.turn_close));
    let start = match choice {
        ToolChoice::Named(name) => {
            let tool = tools.iter().find(|tool| &tool.name == name).ok_or_else(|| {
                let declared: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
                GrammarError::UnknownTool { name: name.clone(), declared: declared.join(", ") }
            })?;
            let call = writer.call(std::slice::from_ref(tool))?;
            format!("start: {open} {call} {end}")
        }
        ToolChoice::Auto | ToolChoice::Forbidden | ToolChoice::Required => {
            let call = writer.call(tools)?;
            format!("start: ({open} {call})+ {end}")
        }
    };
    Ok(writer.finish(&start))
}

/// Writes the grammar of one of several texts.
pub(super) fn choice(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    format!("start: {}", texts.join(" | "))
}

/// Writes rules; a rule has a number for a name.
struct Writer {
    rules: String,
    count: usize,
    quote: String,
    close: String,
    any: Option<String>,
}

impl Writer {
    fn new(ids: &ControlTokens) -> Result<Self, GrammarError> {
        Ok(Self {
            rules: String::new(),
            count: 0,
            quote: token(ids.quote, "<|\"|>")?,
            close: token(ids.tool_call_close, "<tool_call|>")?,
            any: None,
        })
    }

    fn finish(self, start: &str) -> String {
        format!("{start}\n{}{TERMINALS}", self.rules)
    }

    /// Names a new rule.
    fn rule(&mut self, body: &str) -> String {
        let name = format!("r{}", self.count);
        self.count += 1;
        // Writing to a string does not fail.
        let _ = writeln!(self.rules, "{name}: {body}");
        name
    }

    /// A call of one of these tools, up to its closing token.
    fn call(&mut self, tools: &[ToolSpec]) -> Result<String, GrammarError> {
        let mut calls = Vec::new();
        for tool in tools {
            check_name(&tool.name)?;
            let members = schema::arguments(&tool.name, &tool.parameters)?;
            let members = self.members(&members);
            calls.push(format!("{} {members} \"}}\"", literal(&format!("call:{}{{", tool.name))));
        }
        let calls = self.rule(&calls.join("\n  | "));
        let close = self.close.clone();
        Ok(self.rule(&format!("{calls} {close}")))
    }

    fn value(&mut self, shape: &Shape) -> String {
        match shape {
            Shape::Any => self.any(),
            Shape::Literals(values) => {
                let values: Vec<String> = values.iter().map(|value| self.literal(value)).collect();
                self.rule(&values.join(" | "))
            }
            Shape::Boolean => self.rule(r#""true" | "false""#),
            Shape::Integer(range) if range.is_everything() => "INTEGER".to_owned(),
            Shape::Number(range) if range.is_everything() => "NUMBER".to_owned(),
            Shape::Integer(range) => self.rule(&format!("%json {}", range.integers())),
            Shape::Number(range) => self.rule(&format!("%json {}", range.numbers())),
            Shape::Text { length, pattern } => self.text(*length, pattern.as_deref()),
            Shape::Array { items, count } => {
                let items = self.value(items);
                let items = self.list(&items, *count);
                self.rule(&format!(r#""[" {items} "]""#))
            }
            Shape::Object(members) => {
                let members = self.members(members);
                self.rule(&format!(r#""{{" {members} "}}""#))
            }
            Shape::Map { values, count } => {
                let values = self.value(values);
                let pair = self.rule(&format!(r#"KEY ":" {values}"#));
                let pairs = self.list(&pair, *count);
                self.rule(&format!(r#""{{" {pairs} "}}""#))
            }
            Shape::OneOf(shapes) => {
                let shapes: Vec<String> = shapes.iter().map(|shape| self.value(shape)).collect();
                self.rule(&shapes.join(" | "))
            }
        }
    }

    /// The members of an object, in order. Two rules for each place: one before any member was
    /// written, one after, where a comma comes first.
    fn members(&mut self, members: &[Member]) -> String {
        let (mut first, mut next) = (self.rule(r#""""#), self.rule(r#""""#));
        for member in members.iter().rev() {
            let value = self.value(&member.shape);
            let (bare, after_comma) = (self.key("", &member.name), self.key(",", &member.name));
            let skip = |rest: &str| match member.required {
                true => String::new(),
                false => format!(" | {rest}"),
            };
            let begun = format!("{bare} {value} {next}{}", skip(&first));
            let continued = format!("{after_comma} {value} {next}{}", skip(&next));
            first = self.rule(&begun);
            next = self.rule(&continued);
        }
        first
    }

    /// A key with its colon. One that could be taken for more than a key stands between quotes.
    fn key(&self, comma: &str, name: &str) -> String {
        let bare = |c: char| c.is_alphanumeric() || "_-.$@/".contains(c);
        if !name.is_empty() && name.chars().all(bare) {
            return literal(&format!("{comma}{name}:"));
        }
        let comma = if comma.is_empty() { String::new() } else { literal(comma) };
        format!("{comma} {} \":\"", self.quoted(name))
    }

    /// Items with commas between them.
    fn list(&mut self, item: &str, count: Count) -> String {
        let more = |least: usize, most: Option<usize>| match most {
            Some(0) => String::new(),
            Some(most) => format!("(\",\" {item}){{{least},{most}}}"),
            None => format!("(\",\" {item}){{{least},}}"),
        };
        let rest =
            more(count.least.saturating_sub(1), count.most.map(|most| most.saturating_sub(1)));
        let some = format!("{item} {rest}");
        match (count.least, count.most) {
            (_, Some(0)) => r#""""#.to_owned(),
            (0, _) => format!("[{some}]"),
            _ => some,
        }
    }

    fn text(&mut self, length: Count, pattern: Option<&str>) -> String {
        let quote = self.quote.clone();
        if length.most == Some(0) {
            return self.rule(&format!("{quote} {quote}"));
        }
        let most = length.most.map(|most| most.to_string()).unwrap_or_default();
        let Some(pattern) = pattern else {
            let least = length.least.max(1);
            let content = self.terminal(&format!("/(?s:.{{{least},{most}}})/"));
            return match length.least {
                0 => self.rule(&format!("{quote} {content}? {quote}")),
                _ => self.rule(&format!("{quote} {content} {quote}")),
            };
        };
        let mut content = format!("/{}/", llguidance::regex_to_lark(&searched(pattern), "dw"));
        if length.least > 0 || length.most.is_some() {
            let _ = write!(content, " & /(?s:.{{{},{most}}})/", length.least);
        }
        let content = self.terminal(&content);
        self.rule(&format!("{quote} {content} {quote}"))
    }

    fn terminal(&mut self, body: &str) -> String {
        let name = format!("T{}", self.count);
        self.count += 1;
        let _ = writeln!(self.rules, "{name}: {body}");
        name
    }

    /// A value as it stands in a call.
    fn literal(&self, value: &Value) -> String {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => literal(&value.to_string()),
            Value::String(text) => self.quoted(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.literal(item)).collect();
                format!(r#""[" {} "]""#, items.join(" \",\" "))
            }
            Value::Object(members) => {
                let member = |(index, (name, value)): (usize, (&String, &Value))| {
                    let comma = if index == 0 { "" } else { "," };
                    format!("{} {}", self.key(comma, name), self.literal(value))
                };
                let members: Vec<String> = members.iter().enumerate().map(member).collect();
                format!(r#""{{" {} "}}""#, members.join(" "))
            }
        }
    }

    fn quoted(&self, text: &str) -> String {
        let quote = &self.quote;
        if text.is_empty() {
            format!("{quote} {quote}")
        } else {
            format!("{quote} {} {quote}", literal(text))
        }
    }

    /// Any value, nested only so deep.
    fn any(&mut self) -> String {
        if let Some(any) = &self.any {
            return any.clone();
        }
        let text = self.text(Count::default(), None);
        let leaf = self.rule(&format!(r#"{text} | NUMBER | "true" | "false" | "null""#));
        let mut any = leaf.clone();
        for _ in 0..ANY_DEPTH {
            let items = self.list(&any, Count::default());
            let pair = self.rule(&format!(r#"KEY ":" {any}"#));
            let pairs = self.list(&pair, Count::default());
            any = self.rule(&format!(r#"{leaf} | "[" {items} "]" | "{{" {pairs} "}}""#));
        }
        self.any = Some(any.clone());
        any
    }
}

/// A pattern that is looked for anywhere in a text, as one for the whole text.
fn searched(pattern: &str) -> String {
    let end_is_plain = pattern.ends_with('$') && !pattern.ends_with("\\$");
    let alternatives = pattern.contains('|');
    let (start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) if !alternatives => ("", rest),
        _ => ("(?s:.*)", pattern),
    };
    match pattern.strip_suffix('$') {
        Some(rest) if end_is_plain && !alternatives => format!("{start}(?:{rest})"),
        _ => format!("{start}(?:{pattern})(?s:.*)"),
    }
}

/// A text as a literal of the grammar.
fn literal(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A control token as the grammar names it.
fn token(id: Option<u32>, text: &'static str) -> Result<String, GrammarError> {
    id.map(|id| format!("<[{id}]>")).ok_or(GrammarError::MissingToken(text))
}

fn check_name(name: &str) -> Result<(), GrammarError> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    let short = name.chars().count() <= NAME_CHARS_MAX;
    if !name.is_empty() && short && name.chars().all(known) {
        return Ok(());
    }
    Err(GrammarError::ToolName(name.to_owned()))
}

#[cfg(test)]
mod tests;
