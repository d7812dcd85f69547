//! The tokenizer of a model folder: text to ids, ids to text, and the ids that steer the model.
//!
//! No id is a constant: control tokens are looked up by their text in `tokenizer.json`, and the ids
//! that end a reply are the union of what the folder's configuration files and its vocabulary say.

mod control;
mod stream;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerImpl,
};

use crate::grammar::Vocabulary;
pub use control::ControlTokens;
pub(crate) use control::{ControlText, Part};
pub use stream::TextStream;
pub(crate) use stream::bytes;

/// Why the tokenizer of a model folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{path} is malformed: {reason}; download it again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The vocabulary lacks a token without which no conversation can be written.
    #[error("{path} has no token {token}; expected the tokenizer of a Gemma 4 instruction model")]
    MissingToken {
        /// The tokenizer file.
        path: PathBuf,
        /// Text of the token.
        token: &'static str,
    },
    /// The configuration and the vocabulary are those of different models.
    #[error(
        "{path} has {text} as token {id}, config.json has {key} {configured:?}; expected one model"
    )]
    Disagreement {
        /// The tokenizer file.
        path: PathBuf,
        /// Key of the configuration.
        key: &'static str,
        /// Text of the token.
        text: &'static str,
        /// Its id in the vocabulary.
        id: u32,
        /// Its id in the configuration.
        configured: BTreeSet<u32>,
    },
    /// The text of a token is written in a way that this crate cannot turn back into text.
    #[error("{path} has a decoder other than Gemma's (space marker and byte fallback)")]
    Decoder {
        /// The tokenizer file.
        path: PathBuf,
    },
    /// A text cannot be turned into tokens.
    #[error("cannot tokenise a text of {bytes} bytes: {reason}")]
    Encode {
        /// Length of the text in bytes.
        bytes: usize,
        /// What the tokenizer said.
        reason: String,
    },
}

/// Text to ids and back, without the knowledge which of them are control tokens.
///
/// The type of model is named, because a reader that has to find it out keeps half a million merges
/// in memory three times over.
pub(crate) type Codec = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The tokenizer of one model folder. Cheap to clone: the vocabulary is shared.
#[derive(Clone)]
pub struct Tokenizer {
    shared: Arc<Shared>,
}

/// What a tokenizer and its text streams share.
struct Shared {
    codec: Arc<Codec>,
    ids: ControlTokens,
    control: ControlText,
    control_ids: HashSet<u32>,
    /// The form of the vocabulary that grammars read; made when the first one is needed.
    vocabulary: OnceLock<Vocabulary>,
}

impl Tokenizer {
    /// Opens `tokenizer.json` of a model folder, with the end tokens of `config.json` and
    /// `generation_config.json` where they exist.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed, and a vocabulary without the tokens of a turn.
    pub fn open(folder: &Path) -> Result<Self, TokensError> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path)
            .map_err(|source| TokensError::Read { path: path.clone(), source })?;
        let mut codec =
            Codec::from_bytes(bytes).map_err(|reason| malformed(&path, reason.to_string()))?;
        codec
            .with_padding(None)
            .with_truncation(None)
            .map_err(|reason| malformed(&path, reason.to_string()))?;
        check_decoder(&codec, &path)?;
        let control = mark_control_tokens(&mut codec, &path)?;
        let config = optional_json(&folder.join("config.json"))?;
        let generation = optional_json(&folder.join("generation_config.json"))?;
        let ids = ControlTokens::look_up(&codec, [&config, &generation], &path)?;
        let control_ids = control.ids().collect();
        let (codec, vocabulary) = (Arc::new(codec), OnceLock::new());
        Ok(Self { shared: Arc::new(Shared { codec, ids, control, control_ids, vocabulary }) })
    }

    /// The ids that steer the model.
    pub fn ids(&self) -> &ControlTokens {
        &self.shared.ids
    }

    /// Ids of the vocabulary, added tokens included.
    pub fn vocabulary(&self) -> usize {
        self.shared.codec.get_vocab_size(true)
    }

    /// Turns trusted text into ids: the text of a control token becomes that token.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode_template(&self, text: &str) -> Result<Vec<u32>, TokensError> {
        let mut ids = Vec::new();
        for part in self.shared.control.split(text) {
            match part {
                Part::Text(text) => ids.extend(self.encode_text(text)?),
                Part::Control(id) => ids.push(id),
            }
        }
        Ok(ids)
    }

    /// Turns any text into ids of ordinary tokens: `<|turn>` in it stays seven characters.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, TokensError> {
        let refused = |reason: String| TokensError::Encode { bytes: text.len(), reason };
        let encoding = self
            .shared
            .codec
            .encode_fast(text, false)
            .map_err(|reason| refused(reason.to_string()))?;
        let ids = encoding.get_ids().to_vec();
        // A vocabulary whose merges spell a control token would open this door again.
        match ids.iter().find(|id| self.is_control(**id)) {
            Some(id) => Err(refused(format!("its characters merge to the control token {id}"))),
            None => Ok(ids),
        }
    }

    /// Begins to turn ids back into text, one at a time.
    pub fn stream(&self) -> TextStream {
        TextStream::new(self.clone())
    }

    /// The text that becomes a control token in [`encode_template`](Self::encode_template).
    pub(crate) fn control(&self) -> &ControlText {
        &self.shared.control
    }

    /// Whether an id is a control token.
    pub(crate) fn is_control(&self, id: u32) -> bool {
        self.shared.control_ids.contains(&id)
    }

    /// The token that stands for one byte.
    #[cfg(test)]
    pub(crate) fn byte_token(&self, byte: u8) -> Option<u32> {
        self.shared.codec.token_to_id(&format!("<0x{byte:02X}>"))
    }

    /// The vocabulary as grammars read it. Takes a moment for the first who asks.
    pub(crate) fn grammar_vocabulary(&self) -> &Vocabulary {
        self.shared.vocabulary.get_or_init(|| Vocabulary::new(self))
    }

    /// What turns text into ids.
    pub(crate) fn codec(&self) -> Arc<Codec> {
        Arc::clone(&self.shared.codec)
    }

    /// Text of an ordinary token as the vocabulary spells it; nothing for a control token.
    fn spelling(&self, id: u32) -> Option<String> {
        if self.is_control(id) {
            return None;
        }
        self.shared.codec.id_to_token(id)
    }
}

/// Makes every control token a special one, so that the codec leaves its text alone, and returns
/// the texts. A folder may have declared some of them as ordinary added tokens.
fn mark_control_tokens(codec: &mut Codec, path: &Path) -> Result<ControlText, TokensError> {
    let mut texts = Vec::new();
    let mut special = Vec::new();
    for (id, token) in codec.get_added_tokens_decoder() {
        if control::is_control(&token) {
            texts.push((token.content.clone(), id));
            special.push(AddedToken { special: true, normalized: false, ..token });
        }
    }
    codec.add_special_tokens(special).map_err(|reason| malformed(path, reason.to_string()))?;
    codec.set_encode_special_tokens(true);
    Ok(ControlText::new(texts))
}

/// Refuses decoders whose spelling of tokens [`TextStream`] does not know.
fn check_decoder(codec: &Codec, path: &Path) -> Result<(), TokensError> {
    let decoder = serde_json::to_string(&codec.get_decoder())
        .map_err(|reason| malformed(path, reason.to_string()))?;
    if decoder.contains("ByteFallback") && decoder.contains(stream::SPACE) {
        return Ok(());
    }
    Err(TokensError::Decoder { path: path.to_owned() })
}

/// A JSON file that a folder may lack; `null` without it.
fn optional_json(path: &Path) -> Result<Value, TokensError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Null),
        Err(source) => return Err(TokensError::Read { path: path.to_owned(), source }),
    };
    serde_json::from_str(&text).map_err(|reason| malformed(path, reason.to_string()))
}

fn malformed(path: &Path, reason: String) -> TokensError {
    TokensError::Malformed { path: path.to_owned(), reason }
}

/// Ids under a key of a configuration file: one number or a list of them.
fn ids_under(config: &Value, key: &str) -> BTreeSet<u32> {
    let found = config.get(key).or_else(|| config.get("text_config")?.get(key));
    let numbers = match found {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    numbers.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()).collect()
}

#[cfg(test)]
pub(crate) mod tests;
