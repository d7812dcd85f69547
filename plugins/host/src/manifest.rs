//! plugin.toml: as it is typed ([`Raw`]), and as it is after the check ([`Manifest`]). Every error
//! names the line, the key, and what would be accepted.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use gemma_types::ToolSpec;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use crate::grants::{Filter, Grants, TopicError};
use crate::limits::{LimitError, Limits};
use crate::schema::{Schema, SchemaError};

/// Bytes of a plugin.toml.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 65_536;
const TOOLS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 1_024;
const FILTERS_MAX: usize = 64;

/// How much a person must have agreed before a tool runs. The assistant asks; the host only tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Runs whenever the model calls it.
    Safe,
    /// Runs after a person agreed.
    Confirm,
    /// Runs only when a person is there and agreed.
    NeverUnattended,
}

impl fmt::Display for Risk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Safe => "safe",
            Self::Confirm => "confirm",
            Self::NeverUnattended => "never-unattended",
        })
    }
}

/// A tool of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What the model is told.
    pub spec: ToolSpec,
    /// How much a person must have agreed.
    pub risk: Risk,
}

/// A checked plugin.toml.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    /// File name of the component, inside the plugin's folder.
    pub(crate) component: String,
    pub(crate) tools: Vec<(Tool, Schema)>,
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
}

/// What is wrong with a plugin.toml, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {cause}")]
pub struct ManifestError {
    /// Line, from 1.
    pub line: usize,
    /// The key, such as `grants.mqtt`.
    pub key: String,
    /// What is wrong with it.
    pub cause: ManifestCause,
}

/// What is wrong with one key of a plugin.toml.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestCause {
    /// Not TOML, a missing or unknown key, or a value of the wrong type.
    #[error("cannot be read: {0}")]
    Syntax(String),
    /// A name outside its alphabet.
    #[error("is {given:?}; accepted: 1 to {NAME_BYTES_MAX} of {alphabet}")]
    Name {
        /// As it is typed.
        given: String,
        /// Accepted characters.
        alphabet: &'static str,
    },
    /// A text of the wrong length.
    #[error("has {given} bytes; accepted: 1 to {most}")]
    Length {
        /// Bytes as typed.
        given: usize,
        /// Most bytes.
        most: usize,
    },
    /// A component that is not a plain file of the folder.
    #[error("is {0:?}; accepted: the name of a file in the plugin's folder")]
    Component(String),
    /// The wrong number of entries.
    #[error("has {given} entries; accepted: {least} to {most}")]
    Count {
        /// Entries as typed.
        given: usize,
        /// Least entries.
        least: usize,
        /// Most entries.
        most: usize,
    },
    /// The same tool twice.
    #[error("is {0:?} a second time; accepted: a name of its own")]
    Twice(String),
    /// No risk level.
    #[error("is {0:?}; accepted: safe, confirm, never-unattended")]
    Risk(String),
    /// A schema that cannot be checked.
    #[error("is no schema for arguments: {0}")]
    Schema(SchemaError),
    /// A wrong topic filter.
    #[error("has the topic filter {filter:?}, which {cause}")]
    Filter {
        /// As it is typed.
        filter: String,
        /// What is wrong with it.
        cause: TopicError,
    },
    /// A wrong limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    version: Spanned<String>,
    description: Spanned<String>,
    component: Option<Spanned<String>>,
    tools: Spanned<Vec<RawTool>>,
    #[serde(default)]
    grants: RawGrants,
    #[serde(default)]
    limits: BTreeMap<Spanned<String>, u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTool {
    name: Spanned<String>,
    description: Spanned<String>,
    risk: Spanned<String>,
    parameters: Spanned<Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrants {
    #[serde(default)]
    clock: bool,
    mqtt: Option<Spanned<Vec<Spanned<String>>>>,
}

impl Manifest {
    /// Reads and checks the text of a plugin.toml; `ceilings` are the host's limits.
    pub(crate) fn parse(text: &str, ceilings: &Limits) -> Result<Self, ManifestError> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let cause = ManifestCause::Syntax(error.message().to_owned());
            Page(text).wrong("plugin.toml", error.span().unwrap_or(0..0), cause)
        })?;
        Page(text).check(raw, ceilings)
    }
}

/// The text, for the lines of errors.
struct Page<'a>(&'a str);

impl Page<'_> {
    fn wrong(&self, key: &str, span: Range<usize>, cause: ManifestCause) -> ManifestError {
        let before = self.0.get(..span.start).unwrap_or(self.0);
        let line = before.matches('\n').count() + 1;
        ManifestError { line, key: key.to_owned(), cause }
    }

    fn check(&self, raw: Raw, ceilings: &Limits) -> Result<Manifest, ManifestError> {
        let name = self.name("name", raw.name, "a-z 0-9 -", |byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
        })?;
        let component = match raw.component {
            Some(component) => self.component(component)?,
            None => format!("{name}.wasm"),
        };
        Ok(Manifest {
            version: self.text("version", raw.version, NAME_BYTES_MAX)?,
            description: self.text("description", raw.description, DESCRIPTION_BYTES_MAX)?,
            tools: self.tools(raw.tools)?,
            grants: self.grants(raw.grants)?,
            limits: self.limits(raw.limits, ceilings)?,
            name,
            component,
        })
    }

    fn name(
        &self,
        key: &str,
        given: Spanned<String>,
        alphabet: &'static str,
        accepted: fn(u8) -> bool,
    ) -> Result<String, ManifestError> {
        let (span, given) = (given.span(), given.into_inner());
        if (1..=NAME_BYTES_MAX).contains(&given.len()) && given.bytes().all(accepted) {
            return Ok(given);
        }
        Err(self.wrong(key, span, ManifestCause::Name { given, alphabet }))
    }

    fn text(
        &self,
        key: &str,
        given: Spanned<String>,
        most: usize,
    ) -> Result<String, ManifestError> {
        let (span, given) = (given.span(), given.into_inner());
        if (1..=most).contains(&given.len()) {
            return Ok(given);
        }
        Err(self.wrong(key, span, ManifestCause::Length { given: given.len(), most }))
    }

    fn component(&self, given: Spanned<String>) -> Result<String, ManifestError> {
        let (span, given) = (given.span(), given.into_inner());
        let plain = !given.is_empty() && !given.contains(['/', '\\', '\0']);
        if plain && given != "." && given != ".." {
            return Ok(given);
        }
        Err(self.wrong("component", span, ManifestCause::Component(given)))
    }

    fn count(
        &self,
        key: &str,
        span: Range<usize>,
        given: usize,
        accepted: (usize, usize),
    ) -> Result<(), ManifestError> {
        let (least, most) = accepted;
        if (least..=most).contains(&given) {
            return Ok(());
        }
        Err(self.wrong(key, span, ManifestCause::Count { given, least, most }))
    }

    fn tools(&self, raw: Spanned<Vec<RawTool>>) -> Result<Vec<(Tool, Schema)>, ManifestError> {
        self.count("tools", raw.span(), raw.get_ref().len(), (1, TOOLS_MAX))?;
        let mut tools: Vec<(Tool, Schema)> = Vec::new();
        for raw in raw.into_inner() {
            let span = raw.name.span();
            let (tool, schema) = self.tool(raw)?;
            if tools.iter().any(|(known, _)| known.spec.name == tool.spec.name) {
                return Err(self.wrong("tools.name", span, ManifestCause::Twice(tool.spec.name)));
            }
            tools.push((tool, schema));
        }
        Ok(tools)
    }

    fn tool(&self, raw: RawTool) -> Result<(Tool, Schema), ManifestError> {
        let name = self.name("tools.name", raw.name, "A-Z a-z 0-9 _ . -", |byte| {
            byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)
        })?;
        let description = self.text("tools.description", raw.description, DESCRIPTION_BYTES_MAX)?;
        let risk = self.risk(&raw.risk)?;
        let (parameters, schema) = self.parameters(raw.parameters)?;
        Ok((Tool { spec: ToolSpec { name, description, parameters }, risk }, schema))
    }

    fn risk(&self, raw: &Spanned<String>) -> Result<Risk, ManifestError> {
        match raw.get_ref().as_str() {
            "safe" => Ok(Risk::Safe),
            "confirm" => Ok(Risk::Confirm),
            "never-unattended" => Ok(Risk::NeverUnattended),
            other => {
                Err(self.wrong("tools.risk", raw.span(), ManifestCause::Risk(other.to_owned())))
            }
        }
    }

    /// A schema is a TOML table, or a string that holds JSON.
    fn parameters(&self, raw: Spanned<Value>) -> Result<(Value, Schema), ManifestError> {
        let (span, given) = (raw.span(), raw.into_inner());
        let wrong =
            |cause| self.wrong("tools.parameters", span.clone(), ManifestCause::Schema(cause));
        let value = match given.as_str() {
            Some(json) => serde_json::from_str(json)
                .map_err(|error| wrong(SchemaError::Json(error.to_string())))?,
            None => given,
        };
        let schema = Schema::parse(&value).map_err(wrong)?;
        Ok((value, schema))
    }

    fn grants(&self, raw: RawGrants) -> Result<Grants, ManifestError> {
        let mut grants = Grants { clock: raw.clock, mqtt: Vec::new() };
        let Some(filters) = raw.mqtt else { return Ok(grants) };
        self.count("grants.mqtt", filters.span(), filters.get_ref().len(), (0, FILTERS_MAX))?;
        for filter in filters.into_inner() {
            let (span, filter) = (filter.span(), filter.into_inner());
            let parsed = Filter::parse(&filter).map_err(|cause| {
                self.wrong("grants.mqtt", span, ManifestCause::Filter { filter, cause })
            })?;
            grants.mqtt.push(parsed);
        }
        Ok(grants)
    }

    fn limits(
        &self,
        raw: BTreeMap<Spanned<String>, u64>,
        ceilings: &Limits,
    ) -> Result<Limits, ManifestError> {
        let mut limits = *ceilings;
        for (key, value) in raw {
            let wrong = |cause: LimitError| {
                self.wrong(&format!("limits.{}", key.get_ref()), key.span(), cause.into())
            };
            limits.lower(key.get_ref(), value).map_err(wrong)?;
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests;
