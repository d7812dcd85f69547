//! The vocabulary as grammars read it: the bytes of every token, and how text is tokenised.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{
    InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};
use llguidance::{Matcher, ParserFactory};

use crate::tokens::{self, Codec, Tokenizer};

/// States that the lexer of one grammar may have; each takes one or two kilobytes.
const LEXER_STATES_MAX: usize = 50_000;

/// Texts that most tokens match. Where a grammar accepts all of one of them, their tokens need no
/// look each; bounded ones serve strings of bounded length.
const SLICES: [&str; 4] =
    ["(?s:.{1,4})", "(?s:.{1,12})", "(?s:.{1,32})", r#"[^"\\\x00-\x1F\x7F]{1,32}"#];

/// The vocabulary of one model folder, ready for grammars.
pub(crate) struct Vocabulary {
    factory: Result<ParserFactory, String>,
}

impl Vocabulary {
    /// Reads all tokens. An answer that a grammar allows to end ends with the end of the turn.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Self {
        Self { factory: factory(tokenizer) }
    }

    /// Compiles a grammar.
    pub(super) fn compile(&self, grammar: TopLevelGrammar) -> Result<Matcher, String> {
        let factory = self.factory.as_ref().map_err(Clone::clone)?;
        let parser = factory.create_parser(grammar).map_err(|error| first_line(&error))?;
        Ok(Matcher::new(Ok(parser)))
    }
}

/// The first line of what the engine says; the rest quotes the grammar.
pub(super) fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn factory(tokenizer: &Tokenizer) -> Result<ParserFactory, String> {
    let codec = tokenizer.codec();
    let words = words(tokenizer, &codec);
    let size = u32::try_from(words.len()).map_err(|error| error.to_string())?;
    let info = TokRxInfo::new(size, tokenizer.ids().turn_close);
    let environment: TokEnv = Arc::new(Environment { trie: TokTrie::from(&info, &words), codec });
    let slices = SLICES.map(str::to_owned);
    let capabilities = InferenceCapabilities { ff_tokens: true, ..Default::default() };
    let mut factory = ParserFactory::new(&environment, capabilities, &slices)
        .map_err(|error| first_line(&error))?;
    factory.quiet();
    let limits = factory.limits_mut();
    limits.verbose_errors = false;
    limits.max_lexer_states = LEXER_STATES_MAX;
    Ok(factory)
}

/// The bytes of every token, by its id. Control tokens have a mark before their text, so that no
/// text matches them; ids without a token, and bytes that begin no character, have none.
fn words(tokenizer: &Tokenizer, codec: &Codec) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for (spelling, id) in codec.get_vocab(true) {
        let Ok(place) = usize::try_from(id) else { continue };
        if words.len() <= place {
            words.resize(place + 1, Vec::new());
        }
        let word = match tokenizer.is_control(id) {
            true => [&[TokTrie::SPECIAL_TOKEN_MARKER], spelling.as_bytes()].concat(),
            false => tokens::bytes(&spelling),
        };
        if word != [TokTrie::SPECIAL_TOKEN_MARKER] {
            words[place] = word;
        }
    }
    words
}

/// How grammars tokenise the text that they force.
struct Environment {
    trie: TokTrie,
    codec: Arc<Codec>,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            match self.codec.encode_fast(text, false) {
                Ok(encoding) => encoding.get_ids().to_vec(),
                Err(_) => self.trie.greedy_tokenize(text.as_bytes()),
            }
        })
    }
}
