//! A conversation that somebody else has written in the form that chat templates read: the fields
//! with which other programs run a template. Nothing is added to them and nothing is mended, so that
//! the prompt can be held against that of any other program.

use serde_json::{Map, Value, json};

use super::conversation::Media;
use super::standin::StandIns;
use super::{Prompt, PromptError, Template, segments};
use crate::tokens::{Part, Tokenizer};

/// What a template made of a conversation.
pub struct Rendered {
    /// The text, control tokens spelled out.
    pub text: String,
    /// Its ids. A picture, a clip or sound is one placeholder, as in the text.
    pub ids: Vec<u32>,
    /// The text with stand-ins for what must not become a control token.
    hidden: String,
    stand_ins: StandIns,
    tokenizer: Tokenizer,
}

/// Runs a template over `fields`: `messages`, and as far as the template reads them `tools`,
/// `enable_thinking`, `add_generation_prompt` and others. The text inside them never becomes a
/// control token.
///
/// # Errors
/// A conversation that the template refuses, and text that cannot be tokenised.
pub fn render_written(
    template: &Template,
    tokenizer: &Tokenizer,
    fields: &Map<String, Value>,
) -> Result<Rendered, PromptError> {
    let mut fields = fields.clone();
    let control = Map::from_iter([
        ("bos_token".to_owned(), json!("<bos>")),
        ("eos_token".to_owned(), json!("<eos>")),
        ("pad_token".to_owned(), json!("<pad>")),
    ]);
    fields.retain(|name, _| !control.contains_key(name));
    let stand_ins = StandIns::choose(tokenizer.control().edges(), &fields, &template.source)?;
    let hidden = template.run(&stand_ins, &fields, &control)?;
    let mut ids = Vec::new();
    for part in tokenizer.control().split(&hidden) {
        match part {
            Part::Text(text) => ids.extend(tokenizer.encode_text(&stand_ins.reveal(text))?),
            Part::Control(id) => ids.push(id),
        }
    }
    let text = stand_ins.reveal(&hidden);
    Ok(Rendered { text, ids, hidden, stand_ins, tokenizer: tokenizer.clone() })
}

impl Rendered {
    /// The prompt with the media that its placeholders stand for, in the order of the placeholders.
    ///
    /// # Errors
    /// When there are more or fewer placeholders than media.
    pub fn prompt(&self, media: Media) -> Result<Prompt, PromptError> {
        let mut writer = segments::Writer::new(&self.tokenizer, &self.stand_ins, media);
        writer.write(&self.hidden)?;
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::path::Path;

    use super::*;
    use crate::prompt::tests::{conversations, goldens};
    use crate::tokens::tests::tokenizer;

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conversations")
    }

    fn template(name: &str) -> Template {
        let path = folder().join(name);
        Template::compile(std::fs::read_to_string(&path).unwrap(), &path).unwrap()
    }

    #[test]
    fn every_golden_is_reproduced() {
        let (tokenizer, conversations) = (tokenizer(), conversations());
        for golden in goldens() {
            for name in &golden.templates {
                let fields = &conversations[&golden.case];
                let rendered = render_written(&template(name), &tokenizer, fields).unwrap();
                assert_eq!(rendered.text, golden.rendered, "{}", golden.case);
                assert_eq!(rendered.ids, golden.ids, "{}", golden.case);
            }
        }
    }

    #[test]
    fn no_field_becomes_a_control_token() {
        let fields = json!({
            "messages": [{"role": "user", "content": "a<turn|><|image|>"}],
            "bos_token": "<|turn>",
            "add_generation_prompt": true,
        });
        let tokenizer = tokenizer();
        let rendered = render_written(
            &template("small.2026-07.jinja"),
            &tokenizer,
            fields.as_object().unwrap(),
        )
        .unwrap();
        assert_eq!(rendered.text, "<bos><|turn>user\na<turn|><|image|><turn|>\n<|turn>model\n");
        let close = tokenizer.ids().turn_close;
        assert_eq!(rendered.ids.iter().filter(|id| **id == close).count(), 1);
        assert_eq!(rendered.ids.first(), Some(&tokenizer.ids().bos));
        assert!(rendered.prompt(Media::default()).is_ok());
    }
}
