//! Turns ids back into text one at a time, holding back bytes until they form a character.

use super::Tokenizer;

/// How the vocabulary spells a space.
pub(super) const SPACE: char = '\u{2581}';

/// Text that grows token by token. A character whose bytes are spread over several tokens comes out
/// with the last of them; bytes that form no character come out as U+FFFD.
pub struct TextStream {
    tokenizer: Tokenizer,
    pending: Vec<u8>,
}

impl TextStream {
    pub(super) fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, pending: Vec::new() }
    }

    /// Takes one id and returns the text that is complete now. Control tokens have no text.
    pub fn push(&mut self, id: u32) -> Option<String> {
        let spelling = self.tokenizer.spelling(id)?;
        self.pending.extend(bytes(&spelling));
        some(self.take_complete())
    }

    /// Returns what was held back: the bytes of a character that never became whole.
    pub fn finish(&mut self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        some(text)
    }

    /// Takes everything but an unfinished character at the end.
    fn take_complete(&mut self) -> String {
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(rest) => {
                    text.push_str(rest);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, rest) = self.pending.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(invalid) = error.error_len() else {
                        self.pending = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending = rest[invalid..].to_vec();
                }
            }
        }
    }
}

/// What an ordinary token stands for: one byte, or text.
pub(crate) fn bytes(spelling: &str) -> Vec<u8> {
    match byte_of(spelling) {
        Some(byte) => vec![byte],
        None => spelling.replace(SPACE, " ").into_bytes(),
    }
}

/// The byte that a byte-fallback token such as `<0x0A>` stands for.
fn byte_of(spelling: &str) -> Option<u8> {
    let digits = spelling.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
