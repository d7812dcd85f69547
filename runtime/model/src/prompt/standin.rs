//! Stand-ins for the characters with which control tokens begin and end.
//!
//! A stand-in is a private-use character that occurs neither in the conversation nor in the template.
//! A template treats it as a letter: it is not white space, and no control token contains it.

use std::collections::HashSet;
use std::sync::Arc;

use minijinja::Value as JinjaValue;
use minijinja::value::{Enumerator, Object};
use serde_json::{Map, Value};

use super::PromptError;

/// Private-use characters outside the plane that fonts and emoji use, from the end.
const CANDIDATES: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{10FFFD}';

/// Which character stands for which.
pub(super) struct StandIns {
    /// Character of a control token, its stand-in.
    pairs: Vec<(char, char)>,
    /// A character that stands for nothing, so that a template does not know a word that has it.
    nothing: Option<char>,
}

impl StandIns {
    /// No stand-ins: text passes as it is.
    pub(super) fn none() -> Self {
        Self { pairs: Vec::new(), nothing: None }
    }

    /// Chooses a stand-in for each character, unlike any in `texts` and `template`.
    pub(super) fn choose(
        characters: &[char],
        texts: &Map<String, Value>,
        template: &str,
    ) -> Result<Self, PromptError> {
        let mut used = HashSet::new();
        collect_members(texts, &mut used);
        collect_from(template, &mut used);
        let mut free = CANDIDATES.rev().filter(|candidate| !used.contains(candidate));
        let pairs = characters
            .iter()
            .map(|&character| Some((character, free.next()?)))
            .collect::<Option<Vec<_>>>()
            .ok_or(PromptError::NoStandIn)?;
        Ok(Self { pairs, nothing: free.next() })
    }

    /// A character that [`reveal`](Self::reveal) drops; none if all are taken.
    pub(super) fn nothing(&self) -> Option<char> {
        self.nothing
    }

    /// A text with the stand-ins in it.
    pub(super) fn hide(&self, text: &str) -> String {
        let stand_in = |c| self.pairs.iter().find(|(from, _)| *from == c).map_or(c, |(_, to)| *to);
        text.chars().map(stand_in).collect()
    }

    /// The text that [`hide`](Self::hide) was given.
    pub(super) fn reveal(&self, text: &str) -> String {
        let original = |c| self.pairs.iter().find(|(_, to)| *to == c).map_or(c, |(from, _)| *from);
        text.chars().filter(|c| Some(*c) != self.nothing).map(original).collect()
    }

    /// A JSON value for the template, all its strings and keys with stand-ins.
    pub(super) fn value(&self, json: &Value) -> JinjaValue {
        match json {
            Value::Null => JinjaValue::from(()),
            Value::Bool(bool) => JinjaValue::from(*bool),
            Value::Number(number) => number_value(number),
            Value::String(text) => JinjaValue::from(self.hide(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => JinjaValue::from_object(self.members(members)),
        }
    }

    /// A JSON object for the template, with trusted members that keep their characters.
    pub(super) fn object_with(
        &self,
        object: &Map<String, Value>,
        trusted: &Map<String, Value>,
    ) -> JinjaValue {
        let mut members = self.members(object);
        members.0.extend(Self::none().members(trusted).0);
        JinjaValue::from_object(members)
    }

    /// A JSON object with stand-ins in all its strings and keys.
    pub(super) fn hidden(&self, object: &Map<String, Value>) -> Map<String, Value> {
        object.iter().map(|(key, value)| (self.hide(key), self.hidden_value(value))).collect()
    }

    fn hidden_value(&self, json: &Value) -> Value {
        match json {
            Value::Null | Value::Bool(_) | Value::Number(_) => json.clone(),
            Value::String(text) => Value::String(self.hide(text)),
            Value::Array(items) => items.iter().map(|item| self.hidden_value(item)).collect(),
            Value::Object(members) => Value::Object(self.hidden(members)),
        }
    }

    fn members(&self, members: &Map<String, Value>) -> Members {
        let hidden = members.iter().map(|(key, value)| (self.hide(key), self.value(value)));
        Members(hidden.collect())
    }
}

/// An object whose members keep their order, as a Python dictionary does.
#[derive(Debug)]
struct Members(Vec<(String, JinjaValue)>);

impl Object for Members {
    fn get_value(self: &Arc<Self>, key: &JinjaValue) -> Option<JinjaValue> {
        let key = key.as_str()?;
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        Some(value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys: Vec<_> = self.0.iter().map(|(key, _)| JinjaValue::from(key.as_str())).collect();
        Enumerator::Values(keys)
    }
}

fn number_value(number: &serde_json::Number) -> JinjaValue {
    if let Some(integer) = number.as_i64() {
        JinjaValue::from(integer)
    } else if let Some(integer) = number.as_u64() {
        JinjaValue::from(integer)
    } else {
        JinjaValue::from(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// Collects the private-use characters of all strings and keys.
fn collect_private(json: &Value, used: &mut HashSet<char>) {
    match json {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => collect_from(text, used),
        Value::Array(items) => items.iter().for_each(|item| collect_private(item, used)),
        Value::Object(members) => collect_members(members, used),
    }
}

fn collect_members(members: &Map<String, Value>, used: &mut HashSet<char>) {
    for (key, value) in members {
        collect_from(key, used);
        collect_private(value, used);
    }
}

fn collect_from(text: &str, used: &mut HashSet<char>) {
    used.extend(text.chars().filter(|c| CANDIDATES.contains(c)));
}
