//! Speech in one language to text in another.

use std::sync::Arc;

use serde::Serialize;

use super::{Ask, Said, Task, TaskError, exact, excerpt, speech};

/// Tokens of both texts of one window at most.
const REPLY_TOKENS_MAX: usize = 2048;

/// Writes down what is said and translates it.
#[derive(Clone, Debug, PartialEq)]
pub struct Translate {
    /// Speech, mono i16, 16 kHz, at least 20 ms and as long as it is.
    pub samples: Arc<[i16]>,
    /// English name of the language that is spoken.
    pub source: String,
    /// English name of the language that is wanted.
    pub target: String,
}

/// What was said, in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Translation {
    /// What was said, on one line.
    pub source: String,
    /// The same in the other language, on one line.
    pub target: String,
}

impl Translate {
    /// The question of the model card.
    fn words(&self) -> Result<String, TaskError> {
        let (source, target) = (speech::language(&self.source)?, speech::language(&self.target)?);
        Ok(format!(
            "Transcribe the following speech segment in {source}, then translate it into {target}.\n\
             When formatting the answer, first output the transcription in {source}, then one \
             newline, then output the string '{target}: ', then the translation in {target}."
        ))
    }

    /// Splits an answer at the name of the target language; without one, at its only line end.
    fn split(&self, answer: &str) -> Result<Translation, TaskError> {
        let target = speech::language(&self.target)?;
        let lines: Vec<&str> = answer.lines().map(str::trim).collect();
        let numbered = lines.iter().enumerate();
        let mut numbered = numbered.filter(|(at, _)| *at > 0 || lines.len() == 1);
        let marked = numbered.find_map(|(at, line)| Some((at, after_name(line, target)?)));
        if let Some((at, begins)) = marked {
            let before = unnamed(&lines[..at].join(" "), &self.source);
            let after = [&[begins], &lines[at + 1..]].concat().join(" ");
            return Ok(Translation {
                source: speech::one_line(&before),
                target: speech::one_line(&after),
            });
        }
        let filled: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        match filled.as_slice() {
            [] => Ok(Translation::default()),
            [source, translated] => Ok(Translation {
                source: speech::one_line(&unnamed(source, &self.source)),
                target: speech::one_line(translated),
            }),
            _ => Err(TaskError::Unreadable {
                expected: "translation",
                reason: format!("no line begins with \"{target}: \""),
                answer: excerpt(answer),
            }),
        }
    }
}

/// What follows the name of a language and a colon at the beginning of a line; emphasis around the
/// name is passed over.
fn after_name<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let line = line.trim_start_matches(['*', '_', '\'', '"', ' ']);
    let (begins, rest) = line.split_at_checked(name.len())?;
    let rest = begins.eq_ignore_ascii_case(name).then_some(rest)?;
    let rest = rest.trim_start_matches(['*', '_', '\'', '"', ' ']).strip_prefix(':')?;
    Some(rest.trim_start_matches(['*', '_', ' ']))
}

/// A line without the name of its language, which some answers put before the first text too.
fn unnamed(line: &str, name: &str) -> String {
    after_name(line, name.trim()).unwrap_or(line).to_owned()
}

impl Task for Translate {
    type Answer = Translation;

    fn asks(&self) -> Result<Vec<Ask>, TaskError> {
        speech::asks(&self.samples, &self.words()?, &exact(REPLY_TOKENS_MAX))
    }

    fn read(&self, said: &[Said]) -> Result<Translation, TaskError> {
        let parts = said.iter().map(|said| self.split(said.whole_text()?));
        let parts = parts.collect::<Result<Vec<_>, TaskError>>()?;
        Ok(Translation {
            source: speech::join(parts.iter().map(|part| part.source.as_str())),
            target: speech::join(parts.iter().map(|part| part.target.as_str())),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn task() -> Translate {
        let samples = Arc::from([0_i16; 320]);
        Translate { samples, source: "English".into(), target: "French".into() }
    }

    fn check(answer: &str, source: &str, target: &str) {
        let translation = task().split(answer).unwrap();
        assert_eq!((&*translation.source, &*translation.target), (source, target), "{answer:?}");
    }

    #[test]
    fn the_answer_is_split_at_the_name_of_the_language() {
        check("Good day.\nFrench: Bonjour.", "Good day.", "Bonjour.");
        check("Good day.\n\nFrench:\nBonjour.", "Good day.", "Bonjour.");
        check("English: Good day.\n**French:** Bonjour.", "Good day.", "Bonjour.");
        check("Good\nday.\nfrench : Bon\njour.", "Good day.", "Bon jour.");
        check("He said\nFrench: Dit-il:\nFrench: oui", "He said", "Dit-il: French: oui");
        check("Good day.\nBonjour.", "Good day.", "Bonjour.");
        check("French is spoken.\nFrench: On parle.", "French is spoken.", "On parle.");
        check("French: Bonjour.", "", "Bonjour.");
        check("", "", "");
    }

    #[test]
    fn an_answer_without_a_translation_is_an_error_that_says_what_was_expected() {
        let error = task().split("Good day.").unwrap_err().to_string();
        assert!(error.contains("no line begins with \"French: \""), "{error}");
        assert!(error.contains("Good day."), "{error}");
        assert!(task().split("one\ntwo\nthree").is_err());
    }
}
