//! Sentences as they are said, and by how many words two of them differ.

/// The words that are said: small letters, numbers in words, no punctuation.
pub(super) fn spoken(sentence: &str) -> Vec<String> {
    let lower = sentence.to_lowercase();
    let mut words = Vec::new();
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '\'';
    for part in lower.split(|letter: char| !is_word(letter)) {
        for part in split_digits(part) {
            match part.parse::<u64>() {
                Ok(number) if number < 1_000 => words.extend(in_words(number)),
                Ok(_) | Err(_) => words.push(part.trim_matches('\'').to_owned()),
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Runs of digits and runs of anything else.
fn split_digits(part: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = part;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let other = |letter: char| letter.is_ascii_digit() != is_digit;
        let (run, behind) = rest.split_at(rest.find(other).unwrap_or(rest.len()));
        parts.push(run);
        rest = behind;
    }
    parts
}

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] =
    ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A number below a thousand in words, without "and".
fn in_words(number: u64) -> Vec<String> {
    let small = |number: u64| SMALL.get(number as usize).map(|word| (*word).to_owned());
    let (hundreds, rest) = (number / 100, number % 100);
    let mut words: Vec<String> = Vec::new();
    if hundreds > 0 {
        words.extend(small(hundreds));
        words.push("hundred".to_owned());
    }
    if rest >= 20 {
        words.extend(TENS.get(rest as usize / 10 - 2).map(|word| (*word).to_owned()));
    }
    let ones = if rest >= 20 { rest % 10 } else { rest };
    if ones > 0 || number == 0 {
        words.extend(small(ones));
    }
    words
}

/// The least number of words to replace, drop or add to get from one sentence to the other.
pub(super) fn errors(heard: &[String], said: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=said.len()).collect();
    for (at, word) in heard.iter().enumerate() {
        let mut corner = row[0];
        row[0] = at + 1;
        for (place, other) in said.iter().enumerate() {
            let replaced = corner + usize::from(word != other);
            corner = row[place + 1];
            row[place + 1] = replaced.min(row[place] + 1).min(row[place + 1] + 1);
        }
    }
    row[said.len()]
}
