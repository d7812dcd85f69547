//! What the tasks that listen share: names of languages, the windows of long sound, and how the
//! texts of windows become one text again.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use gemma_types::{Part, SAMPLE_RATE_HZ, Utterance};

use super::{Ask, TaskError};
use crate::gemma::audio;
use crate::gemma::generate::ReplyOptions;

/// Samples below which there is nothing to hear: 20 ms.
const SAMPLES_MIN: usize = 320;

/// Letters of the longest name of a language.
const NAME_LETTERS_MAX: usize = 64;

/// A name that can be written into a question.
pub(super) fn language(name: &str) -> Result<&str, TaskError> {
    let trimmed = name.trim();
    let fits = |letter: char| letter.is_alphabetic() || " -'()".contains(letter);
    let named = trimmed.chars().any(char::is_alphabetic) && trimmed.chars().all(fits);
    if named && trimmed.chars().count() <= NAME_LETTERS_MAX {
        return Ok(trimmed);
    }
    Err(TaskError::Language(name.chars().take(NAME_LETTERS_MAX).collect()))
}

/// The parts of long sound that are heard one by one, as places of samples.
pub(super) fn windows(samples: &[i16]) -> Result<Vec<Range<usize>>, TaskError> {
    match samples.len() < SAMPLES_MIN {
        true => Err(TaskError::NoSound { samples: samples.len() }),
        false => Ok(audio::windows(samples).collect()),
    }
}

/// One question for each window.
pub(super) fn asks(
    samples: &[i16],
    words: &str,
    options: &ReplyOptions,
) -> Result<Vec<Ask>, TaskError> {
    let ask = |window: Range<usize>| {
        let utterance = Utterance {
            started_at: at(window.start),
            samples: Arc::from(&samples[window]),
            caption: None,
        };
        Ask::of(vec![Part::Audio(utterance)], words.to_owned(), options.clone())
    };
    Ok(windows(samples)?.into_iter().map(ask).collect())
}

/// When a sample is heard, since the first one.
pub(super) fn at(sample: usize) -> Duration {
    let sample = u64::try_from(sample).unwrap_or(u64::MAX);
    Duration::from_micros(sample.saturating_mul(1_000_000) / u64::from(SAMPLE_RATE_HZ))
}

/// A text on one line, with single spaces.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Joins the texts of windows: with a space, except between letters of scripts that write none.
pub(super) fn join<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let mut joined = String::new();
    for text in texts.into_iter().filter(|text| !text.is_empty()) {
        let before = joined.chars().next_back();
        let spaceless = before.is_some_and(writes_no_spaces)
            && text.chars().next().is_some_and(writes_no_spaces);
        if !joined.is_empty() && !spaceless {
            joined.push(' ');
        }
        joined.push_str(text);
    }
    joined
}

/// Thai, Lao, Burmese, Khmer, Chinese and Japanese letters and punctuation.
fn writes_no_spaces(letter: char) -> bool {
    matches!(letter,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3000}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FF00}'..='\u{FF9F}' | '\u{20000}'..='\u{3FFFF}')
}
