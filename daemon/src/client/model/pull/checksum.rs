//! Checksums as a hub names them: SHA-256 of a large file, git's SHA-1 of a small one.

use std::fmt;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What the content of a file must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    /// SHA-256 of the content.
    Sha256([u8; 32]),
    /// SHA-1 of git's header for the content, then the content.
    GitBlob([u8; 20]),
}

impl Checksum {
    /// Reads hexadecimal digits: 64 are SHA-256, 40 git's. Quotes as around an HTTP entity tag are
    /// passed over; anything else is no checksum.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().trim_start_matches("W/").trim_matches('"');
        let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let bytes: Vec<u8> = (0..digits.len() / 2).map(byte).collect::<Option<_>>()?;
        match digits.len() {
            64 => bytes.try_into().ok().map(Self::Sha256),
            40 => bytes.try_into().ok().map(Self::GitBlob),
            _ => None,
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes): (_, &[u8]) = match self {
            Self::Sha256(bytes) => ("sha256", bytes),
            Self::GitBlob(bytes) => ("git sha1", bytes),
        };
        write!(formatter, "{name} ")?;
        bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The checksum of content that comes bit by bit.
#[derive(Clone)]
pub(super) enum Summer {
    Sha256(Sha256),
    GitBlob(Sha1),
    /// The hub names none.
    None,
}

impl Summer {
    /// Begins a checksum of the kind that is `expected`, for content of `bytes` bytes.
    pub(super) fn new(expected: Option<Checksum>, bytes: u64) -> Self {
        match expected {
            Some(Checksum::Sha256(_)) => Self::Sha256(Sha256::new()),
            Some(Checksum::GitBlob(_)) => {
                Self::GitBlob(Sha1::new_with_prefix(format!("blob {bytes}\0")))
            }
            None => Self::None,
        }
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(summer) => summer.update(bytes),
            Self::GitBlob(summer) => summer.update(bytes),
            Self::None => {}
        }
    }

    /// The checksum of everything taken.
    pub(super) fn finish(self) -> Option<Checksum> {
        match self {
            Self::Sha256(summer) => Some(Checksum::Sha256(summer.finalize().into())),
            Self::GitBlob(summer) => Some(Checksum::GitBlob(summer.finalize().into())),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Checks a known checksum, with the content in one piece and in two.
    fn check(content: &[u8], known: &str) {
        let expected = Checksum::parse(known).unwrap();
        for cut in [0, content.len() / 2] {
            let mut summer = Summer::new(Some(expected), content.len() as u64);
            summer.update(&content[..cut]);
            summer.update(&content[cut..]);
            assert_eq!(summer.finish(), Some(expected), "{known}");
        }
    }

    #[test]
    fn known_checksums_come_out() {
        check(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        check(b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check(b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        check(b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn what_is_no_checksum_is_none() {
        let tag = "\"ce013625030ba8dba906f756967f9e9ca394464a\"";
        let printed = Checksum::parse(tag).unwrap().to_string();
        assert_eq!(printed, "git sha1 ce013625030ba8dba906f756967f9e9ca394464a");
        for text in ["", "\"5f3-abc\"", &"g".repeat(64), &"é".repeat(20), &"a".repeat(39)] {
            assert_eq!(Checksum::parse(text), None, "{text}");
        }
    }
}
