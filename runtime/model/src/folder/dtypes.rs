//! The precisions of published graphs: their names, the suffixes of their files, and which one is
//! wanted for which graph.

use std::fmt;

use crate::error::Error;

/// Precisions and the suffixes that published folders give them.
pub const SUFFIXES: [(&str, &str); 12] = [
    ("fp32", ""),
    ("fp16", "_fp16"),
    ("q8", "_quantized"),
    ("int8", "_int8"),
    ("uint8", "_uint8"),
    ("q4", "_q4"),
    ("q4f16", "_q4f16"),
    ("bnb4", "_bnb4"),
    ("q2", "_q2"),
    ("q2f16", "_q2f16"),
    ("q1", "_q1"),
    ("q1f16", "_q1f16"),
];

/// Best first for the graphs that every token passes: small weights before exact ones, and 32-bit
/// activations before 16-bit ones, which most processors only emulate.
pub const TEXT_ORDER: [&str; 5] = ["q4", "q4f16", "q8", "fp16", "fp32"];

/// Best first for the encoders, which run once per picture or utterance and suffer most from
/// four bits.
pub const ENCODER_ORDER: [&str; 5] = ["fp16", "q8", "q4f16", "q4", "fp32"];

/// What a graph of a folder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Token ids to embeddings.
    Embedding,
    /// Embeddings to logits.
    Decoder,
    /// Pictures to embeddings.
    Vision,
    /// Sound to embeddings.
    Audio,
}

impl Role {
    const ALL: [Self; 4] = [Self::Embedding, Self::Decoder, Self::Vision, Self::Audio];

    /// The role in words, as options and errors spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Decoder => "decoder",
            Self::Vision => "vision",
            Self::Audio => "audio",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which precision is wanted for which graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dtypes {
    /// To be preferred where a graph has it.
    all: Option<&'static str>,
    /// What a graph must have, in the order of [`Role::ALL`].
    named: [Option<&'static str>; 4],
}

impl Dtypes {
    /// Reads `q4`, `decoder=q4,vision=fp16`, or both: `q4,vision=fp16`.
    ///
    /// # Errors
    /// When a precision or the role of a graph is unknown, or one is named twice.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut dtypes = Self::default();
        for part in text.split(',').map(str::trim) {
            let (slot, name) = match part.split_once('=') {
                None => (&mut dtypes.all, part),
                Some((role, name)) => {
                    let place = Role::ALL.iter().position(|known| known.name() == role.trim());
                    let place = place.ok_or_else(|| unknown(role, &Role::ALL.map(Role::name)))?;
                    (&mut dtypes.named[place], name)
                }
            };
            if slot.replace(known(name.trim())?).is_some() {
                return Err(refused(format!("{text:?} says twice what {part:?} says")));
            }
        }
        Ok(dtypes)
    }

    /// What the graph of a role must have.
    pub(super) fn demanded(&self, role: Role) -> Option<&'static str> {
        self.named[role as usize]
    }

    /// What is preferred for graphs of which nothing is demanded.
    pub(super) fn preferred(&self) -> Option<&'static str> {
        self.all
    }
}

fn known(name: &str) -> Result<&'static str, Error> {
    let names = SUFFIXES.map(|(dtype, _)| dtype);
    names.iter().copied().find(|dtype| *dtype == name).ok_or_else(|| unknown(name, &names))
}

fn unknown(name: &str, known: &[&str]) -> Error {
    refused(format!("{name:?} is none of {}", known.join(", ")))
}

fn refused(reason: String) -> Error {
    Error::Option { name: "dtype", reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn check(text: &str, all: Option<&str>, named: [Option<&str>; 4]) {
        let dtypes = Dtypes::parse(text).unwrap();
        assert_eq!(dtypes.preferred(), all, "{text}");
        assert_eq!(Role::ALL.map(|role| dtypes.demanded(role)), named, "{text}");
    }

    #[test]
    fn one_precision_may_be_named_for_all_and_one_for_each_graph() {
        check("q4", Some("q4"), [None; 4]);
        check("decoder=q4, vision=fp16", None, [None, Some("q4"), Some("fp16"), None]);
        check("q8,audio=fp32", Some("q8"), [None, None, None, Some("fp32")]);
        check("embedding=int8", None, [Some("int8"), None, None, None]);
    }

    fn check_error(text: &str, expected: &str) {
        let error = Dtypes::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn errors_name_what_is_known() {
        check_error("q3", "option dtype: \"q3\" is none of fp32, fp16");
        check_error("", "\"\" is none of fp32");
        check_error("eyes=q4", "\"eyes\" is none of embedding, decoder, vision, audio");
        check_error("q4,q8", "\"q4,q8\" says twice what \"q8\" says");
        check_error("audio=q4,audio=q4", "says twice what \"audio=q4\" says");
    }
}
