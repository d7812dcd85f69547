//! The control tokens of a vocabulary: which they are, and where their text stands in a text.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;
use tokenizers::AddedToken;

use super::{Codec, TokensError, ids_under};

/// Ids of the tokens that steer the model. A folder may lack those that are optional.
#[derive(Clone, Debug)]
pub struct ControlTokens {
    /// `<bos>`: begins a prompt.
    pub bos: u32,
    /// `<|turn>`: begins a turn.
    pub turn_open: u32,
    /// `<turn|>`: ends a turn.
    pub turn_close: u32,
    /// `<pad>`: stands where a picture or sound is put in; also in unused rows of a batch.
    pub pad: u32,
    /// Ids that end a reply: the end tokens of the configuration files, `<eos>`, `<turn|>` and
    /// `<|tool_response>`.
    pub stop: BTreeSet<u32>,
    /// Ids that a reply never contains: placeholders of media, and what the folder suppresses.
    pub suppressed: BTreeSet<u32>,
    /// `<|think|>`: asks for thinking.
    pub think: Option<u32>,
    /// `<|channel>`: opens a thought.
    pub channel_open: Option<u32>,
    /// `<channel|>`: closes a thought.
    pub channel_close: Option<u32>,
    /// `<|tool_call>`: opens a call.
    pub tool_call_open: Option<u32>,
    /// `<tool_call|>`: closes a call.
    pub tool_call_close: Option<u32>,
    /// `<|tool_response>`: opens a result; the model stops with it after its calls.
    pub tool_response_open: Option<u32>,
    /// `<tool_response|>`: closes a result.
    pub tool_response_close: Option<u32>,
    /// `<|"|>`: opens and closes a string in a call.
    pub quote: Option<u32>,
    /// `<|image|>`: stands for one soft token of a picture.
    pub image: Option<u32>,
    /// `<|image>`: precedes a picture.
    pub image_open: Option<u32>,
    /// `<image|>`: follows a picture.
    pub image_close: Option<u32>,
    /// `<|audio|>`: stands for one soft token of sound.
    pub audio: Option<u32>,
    /// `<|audio>`: precedes sound.
    pub audio_open: Option<u32>,
    /// `<audio|>`: follows sound.
    pub audio_close: Option<u32>,
    /// `<|video|>`: stands for one soft token of a frame of a film.
    pub video: Option<u32>,
}

/// Tokens whose ids `config.json` names too.
const CONFIGURED: [(&str, &str); 8] = [
    ("image_token_id", "<|image|>"),
    ("boi_token_id", "<|image>"),
    ("eoi_token_id", "<image|>"),
    ("audio_token_id", "<|audio|>"),
    ("boa_token_id", "<|audio>"),
    ("eoa_token_index", "<audio|>"),
    ("video_token_id", "<|video|>"),
    ("bos_token_id", "<bos>"),
];

impl ControlTokens {
    /// Looks the tokens up by their text; `configs` are `config.json` and `generation_config.json`.
    pub(super) fn look_up(
        codec: &Codec,
        configs: [&Value; 2],
        path: &Path,
    ) -> Result<Self, TokensError> {
        let id = |text: &str| codec.token_to_id(text);
        let needed = |token: &'static str| {
            id(token).ok_or_else(|| TokensError::MissingToken { path: path.to_owned(), token })
        };
        for (key, text) in CONFIGURED {
            check_agreement(configs[0], key, text, id(text), path)?;
        }
        let mut stop: BTreeSet<u32> =
            configs.iter().flat_map(|config| ids_under(config, "eos_token_id")).collect();
        stop.extend(["<eos>", "<turn|>", "<|tool_response>"].into_iter().filter_map(id));
        let mut suppressed: BTreeSet<u32> =
            configs.iter().flat_map(|config| ids_under(config, "suppress_tokens")).collect();
        suppressed.extend(["<|image|>", "<|audio|>", "<|video|>"].into_iter().filter_map(id));
        Ok(Self {
            bos: needed("<bos>")?,
            turn_open: needed("<|turn>")?,
            turn_close: needed("<turn|>")?,
            pad: needed("<pad>")?,
            stop,
            suppressed,
            think: id("<|think|>"),
            channel_open: id("<|channel>"),
            channel_close: id("<channel|>"),
            tool_call_open: id("<|tool_call>"),
            tool_call_close: id("<tool_call|>"),
            tool_response_open: id("<|tool_response>"),
            tool_response_close: id("<tool_response|>"),
            quote: id("<|\"|>"),
            image: id("<|image|>"),
            image_open: id("<|image>"),
            image_close: id("<image|>"),
            audio: id("<|audio|>"),
            audio_open: id("<|audio>"),
            audio_close: id("<audio|>"),
            video: id("<|video|>"),
        })
    }
}

/// Refuses a folder whose configuration and vocabulary are those of different models. A configuration
/// may name tokens that the vocabulary lacks: not every model sees and hears.
fn check_agreement(
    config: &Value,
    key: &'static str,
    text: &'static str,
    found: Option<u32>,
    path: &Path,
) -> Result<(), TokensError> {
    let configured = ids_under(config, key);
    match found {
        Some(id) if !configured.is_empty() && !configured.contains(&id) => {
            let path = path.to_owned();
            Err(TokensError::Disagreement { path, key, text, id, configured })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether an added token steers the model. Some folders declare the tokens of tool calls as
/// ordinary added tokens, so the form of the text counts beside the flag.
pub(super) fn is_control(token: &AddedToken) -> bool {
    let text = token.content.as_str();
    let bars = (text.starts_with("<|") && text.ends_with('>'))
        || (text.starts_with('<') && text.ends_with("|>"));
    bars || (token.special && !text.trim().is_empty())
}

/// A stretch of a text: either ordinary, or exactly one control token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'text> {
    /// Ordinary text.
    Text(&'text str),
    /// A control token.
    Control(u32),
}

/// The texts of all control tokens, ready to be found in a text.
pub(crate) struct ControlText {
    ids: HashMap<String, u32>,
    /// Lengths in bytes that occur, longest first.
    lengths: Vec<usize>,
    /// First characters that occur.
    first: Vec<char>,
    /// First and last characters that occur.
    edges: Vec<char>,
}

impl ControlText {
    /// Indexes the texts by length.
    pub(super) fn new(texts: Vec<(String, u32)>) -> Self {
        let lengths: BTreeSet<usize> = texts.iter().map(|(text, _)| text.len()).collect();
        let first: BTreeSet<char> = texts.iter().filter_map(|(t, _)| t.chars().next()).collect();
        let last = texts.iter().filter_map(|(text, _)| text.chars().next_back());
        let edges: BTreeSet<char> = first.iter().copied().chain(last).collect();
        Self {
            lengths: lengths.into_iter().rev().collect(),
            first: first.into_iter().collect(),
            edges: edges.into_iter().collect(),
            ids: texts.into_iter().collect(),
        }
    }

    /// Ids of all control tokens.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.ids.values().copied()
    }

    /// Characters with which a control token begins or ends.
    pub(crate) fn edges(&self) -> &[char] {
        &self.edges
    }

    /// Cuts a text at its control tokens: leftmost first, the longest that fits.
    pub(crate) fn split<'text>(&self, text: &'text str) -> Vec<Part<'text>> {
        let mut parts = Vec::new();
        let (mut begun, mut at) = (0, 0);
        while let Some(offset) = text[at..].find(self.first.as_slice()) {
            at += offset;
            let Some((length, id)) = self.match_at(&text[at..]) else {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            };
            if begun < at {
                parts.push(Part::Text(&text[begun..at]));
            }
            parts.push(Part::Control(id));
            at += length;
            begun = at;
        }
        if begun < text.len() {
            parts.push(Part::Text(&text[begun..]));
        }
        parts
    }

    /// The longest control token that `text` begins with, and its length in bytes.
    fn match_at(&self, text: &str) -> Option<(usize, u32)> {
        self.lengths.iter().find_map(|&length| {
            let id = self.ids.get(text.get(..length)?)?;
            Some((length, *id))
        })
    }
}
