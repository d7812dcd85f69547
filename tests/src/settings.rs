//! The configuration file of a story: what it sets, rendered as TOML.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// Keys and values by section; the section with the empty name is the top of the file.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    sections: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Settings {
    /// Sets `section.key`, or a key at the top of the file.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let (section, key) = name.split_once('.').unwrap_or(("", name));
        let section = self.sections.entry(section.to_owned()).or_default();
        section.insert(key.to_owned(), value.into());
    }

    /// Sets `section.key` to a path.
    pub fn set_path(&mut self, name: &str, path: &Path) {
        self.set(name, path.display().to_string());
    }

    /// Forgets `section.key`: the daemon's own default holds.
    pub fn unset(&mut self, name: &str) {
        let (section, key) = name.split_once('.').unwrap_or(("", name));
        if let Some(section) = self.sections.get_mut(section) {
            section.remove(key);
        }
    }

    /// The file. Strings, numbers, truth values and lists of them look the same in JSON and TOML.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            if !section.is_empty() {
                text += &format!("\n[{section}]\n");
            }
            for (key, value) in keys {
                text += &format!("{key} = {value}\n");
            }
        }
        text
    }
}
