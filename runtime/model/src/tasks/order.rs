//! A task as it is ordered from outside: its name, its options and what it is about. The command
//! line, D-Bus and MQTT share these names; what does not belong together is refused here.

use std::fmt;
use std::str::FromStr;

use gemma_types::Part;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::any::{AnyTask, Kind};
use super::{
    Captioning, DescribeVideo, Detect, Question, ReadText, Reading, TaskError, Transcribe,
    Translate,
};
use crate::gemma::image::BUDGETS;

/// Tokens that a reply may be allowed at most.
const REPLY_TOKENS_MAX: usize = 1 << 16;

/// Names of the tasks, as they are typed and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum TaskName {
    /// Write down what is said.
    Transcribe,
    /// Write down what is said, and in another language.
    Translate,
    /// Say what is on a picture.
    Caption,
    /// Read the text on a picture.
    Ocr,
    /// Find things on a picture.
    Detect,
    /// Say what happens in a film.
    Video,
    /// Answer a question.
    Ask,
}

/// A task as it is ordered: a text with its name, or an object with the name and options.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Order {
    /// Which task.
    pub name: TaskName,
    /// English name of the language that is spoken (transcribe) or wanted (caption).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// English name of the language that is spoken (translate).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// English name of the language that is wanted (translate).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What to look for (detect).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Whether an answer that is not exactly in the form that was asked for is refused (detect).
    #[serde(default, skip_serializing_if = "is_false")]
    pub strict: bool,
    /// Whether the model thinks first (caption, video, ask).
    #[serde(default, skip_serializing_if = "is_false")]
    pub thinking: bool,
    /// Most soft tokens of a picture; without it, as many as suit the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_budget: Option<usize>,
    /// Most tokens of a reply; without it, as many as suit the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Whether the likeliest token is always taken.
    #[serde(default, skip_serializing_if = "is_false")]
    pub greedy: bool,
}

/// What a task is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// Words, where the task takes some.
    pub words: String,
    /// Pictures, films and sound.
    pub media: Vec<Part>,
}

impl TaskName {
    /// All tasks.
    pub const ALL: [Self; 7] = [
        Self::Transcribe,
        Self::Translate,
        Self::Caption,
        Self::Ocr,
        Self::Detect,
        Self::Video,
        Self::Ask,
    ];

    /// The name as it is typed and sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transcribe => "transcribe",
            Self::Translate => "translate",
            Self::Caption => "caption",
            Self::Ocr => "ocr",
            Self::Detect => "detect",
            Self::Video => "video",
            Self::Ask => "ask",
        }
    }

    /// Whether the task hears sound of any length, in windows.
    #[must_use]
    pub const fn hears_long_sound(self) -> bool {
        matches!(self, Self::Transcribe | Self::Translate)
    }

    /// The options that belong to the task alone.
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Transcribe => &["language"],
            Self::Translate => &["from", "to"],
            Self::Caption => &["language", "thinking"],
            Self::Ocr => &[],
            Self::Detect => &["labels", "strict"],
            Self::Video | Self::Ask => &["thinking"],
        }
    }
}

/// The options that every task has.
const COMMON_OPTIONS: [&str; 3] = ["image_budget", "max_tokens", "greedy"];

impl fmt::Display for TaskName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for TaskName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|task| task.as_str() == name);
        named.ok_or_else(|| {
            let name: String = name.chars().take(40).collect();
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("{name:?} is no task; expected one of {known}")
        })
    }
}

impl TryFrom<String> for TaskName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<TaskName> for &'static str {
    fn from(name: TaskName) -> Self {
        name.as_str()
    }
}

impl Order {
    /// A task with no options.
    #[must_use]
    pub const fn new(name: TaskName) -> Self {
        Self {
            name,
            language: None,
            from: None,
            to: None,
            labels: Vec::new(),
            strict: false,
            thinking: false,
            image_budget: None,
            max_tokens: None,
            greedy: false,
        }
    }

    /// Makes the task, about `subject`.
    ///
    /// # Errors
    /// When an option does not belong to the task or is none that it could take, and when the
    /// subject is not what the task is about.
    pub fn about(self, subject: Subject) -> Result<AnyTask, TaskError> {
        let name = self.name;
        let tuning = self.check().map_err(|reason| TaskError::Order { name, reason })?;
        let kind = self.kind(subject).map_err(|reason| TaskError::Order { name, reason })?;
        Ok(AnyTask { kind, tuning })
    }

    /// Refuses options that do not belong to the task; gives those that every task has.
    fn check(&self) -> Result<Tuning, String> {
        let given = [
            ("language", self.language.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("labels", !self.labels.is_empty()),
            ("strict", self.strict),
            ("thinking", self.thinking),
        ];
        let own = self.name.options();
        let foreign =
            given.into_iter().find(|(option, is_given)| *is_given && !own.contains(option));
        if let Some((option, _)) = foreign {
            let known = [own, &COMMON_OPTIONS].concat().join(", ");
            return Err(format!("it has no option {option:?}; it has {known}"));
        }
        if let Some(budget) = self.image_budget.filter(|budget| !BUDGETS.contains(budget)) {
            return Err(format!("image_budget: {budget} is none of {BUDGETS:?}"));
        }
        if let Some(tokens) =
            self.max_tokens.filter(|tokens| !(1..=REPLY_TOKENS_MAX).contains(tokens))
        {
            return Err(format!("max_tokens: {tokens}; accepted: 1 to {REPLY_TOKENS_MAX}"));
        }
        Ok(Tuning {
            image_budget: self.image_budget,
            reply_tokens_max: self.max_tokens,
            greedy: self.greedy,
        })
    }

    fn kind(self, subject: Subject) -> Result<Kind, String> {
        let Self { name, language, from, to, labels, strict, thinking, .. } = self;
        let Subject { words, media } = subject;
        let takes_words = matches!(name, TaskName::Video | TaskName::Ask);
        if !takes_words && !words.trim().is_empty() {
            return Err("it takes no words".to_owned());
        }
        let named = |language: Option<String>, option: &str| {
            language.ok_or_else(|| format!("the option {option:?} is missing"))
        };
        Ok(match name {
            TaskName::Transcribe => {
                Kind::Transcribe(Transcribe { samples: sound(media)?, language })
            }
            TaskName::Translate => {
                let (source, target) = (named(from, "from")?, named(to, "to")?);
                Kind::Translate(Translate { samples: sound(media)?, source, target })
            }
            TaskName::Caption => {
                Kind::Caption(Captioning { picture: picture(media)?, language, thinking })
            }
            TaskName::Ocr => Kind::Ocr(ReadText { picture: picture(media)? }),
            TaskName::Detect => {
                let reading = if strict { Reading::Strict } else { Reading::Forgiving };
                Kind::Detect(Detect { picture: picture(media)?, labels, reading })
            }
            TaskName::Video => {
                let question = Some(words).filter(|words| !words.trim().is_empty());
                Kind::Video(DescribeVideo { clip: film(media)?, question, thinking })
            }
            TaskName::Ask => Kind::Ask(Question { media, words, thinking }),
        })
    }
}

/// What every task can be told about its replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tuning {
    pub(super) image_budget: Option<usize>,
    pub(super) reply_tokens_max: Option<usize>,
    pub(super) greedy: bool,
}

fn picture(media: Vec<Part>) -> Result<gemma_types::Frame, String> {
    match only(media, "one picture")? {
        Part::Image(frame) => Ok(frame),
        other @ (Part::Text(_) | Part::Audio(_) | Part::Video(_)) => {
            Err(another(&other, "a picture"))
        }
    }
}

fn sound(media: Vec<Part>) -> Result<std::sync::Arc<[i16]>, String> {
    match only(media, "one piece of sound")? {
        Part::Audio(utterance) => Ok(utterance.samples),
        other @ (Part::Text(_) | Part::Image(_) | Part::Video(_)) => Err(another(&other, "sound")),
    }
}

fn film(media: Vec<Part>) -> Result<gemma_types::Clip, String> {
    match only(media, "one film")? {
        Part::Video(clip) => Ok(clip),
        other @ (Part::Text(_) | Part::Image(_) | Part::Audio(_)) => Err(another(&other, "a film")),
    }
}

fn only(media: Vec<Part>, expected: &str) -> Result<Part, String> {
    let [one] = <[Part; 1]>::try_from(media)
        .map_err(|media| format!("it takes {expected}, {} media came along", media.len()))?;
    Ok(one)
}

fn another(found: &Part, expected: &str) -> String {
    let found = match found {
        Part::Text(_) => "words",
        Part::Image(_) => "a picture",
        Part::Audio(_) => "sound",
        Part::Video(_) => "a film",
    };
    format!("{found} came along where {expected} is expected")
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderVisitor)
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

struct OrderVisitor;

impl<'de> Visitor<'de> for OrderVisitor {
    type Value = Order;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a task, or an object with its name and options")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Order, E> {
        TaskName::deserialize(StrDeserializer::new(name)).map(Order::new)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Order, M::Error> {
        // The derived reading of the fields, which bears the same name.
        Order::deserialize(MapAccessDeserializer::new(map))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Reads an order as it stands in a text: the name of a task, or a JSON object.
impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.starts_with('{') {
            true => serde_json::from_str(text).map_err(|error| error.to_string()),
            false => text.parse().map(Self::new),
        }
    }
}

#[cfg(test)]
mod tests;
