//! Writes a conversation as the model was trained to read it, with the model folder's own template or,
//! where it brings none, with one of ours.
//!
//! What people, tools and plugins say reaches the template with every character that could begin or
//! end a control token replaced by a stand-in, and gets its characters back once the control tokens
//! of the template have been found. So no text can become a control token or a picture, and ordinary
//! text still yields the ids that the reference yields.

mod builtin;
mod conversation;
mod declaration;
mod jinja;
mod segments;
mod standin;
mod written;

use std::path::{Path, PathBuf};

use gemma_types::{Clip, Frame, Message, ToolSpec, Utterance};
use minijinja::Environment;
use serde_json::{Map, Value, json};

use crate::tokens::{Tokenizer, TokensError};
use builtin::Flavour;
pub use conversation::Media;
use standin::StandIns;
pub use written::{Rendered, render_written};

/// Why a conversation cannot be written as a prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A file of the model folder cannot be read.
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
    /// The template does not take this conversation.
    #[error("the chat template refuses the conversation: {0}")]
    Refused(String),
    /// There is nothing to answer.
    #[error("the conversation is empty; expected at least one message")]
    Empty,
    /// A picture or sound stands where the template has no place for it.
    #[error("a system message holds {0}; pictures, sound and films belong to a user message")]
    MediaInSystem(&'static str),
    /// The vocabulary has no tokens for this kind of medium.
    #[error("the model takes no {0}: its vocabulary has no tokens for that")]
    NoMedia(&'static str),
    /// A film without frames, or whose frames have no times.
    #[error("a film of {frames} frames with {times} times; expected a time for each of its frames")]
    Film {
        /// Frames given.
        frames: usize,
        /// Times given.
        times: usize,
    },
    /// The template left some media out, or made some up.
    #[error("the chat template placed {placed} of {given} pieces of {kind}")]
    MediaLost {
        /// The medium.
        kind: &'static str,
        /// How many the conversation holds.
        given: usize,
        /// How many placeholders the template wrote.
        placed: usize,
    },
    /// The texts hold so many different private-use characters that none is left as a stand-in.
    #[error("the conversation uses every private-use character; expected text")]
    NoStandIn,
    /// A text cannot be turned into tokens.
    #[error(transparent)]
    Tokens(#[from] TokensError),
}

/// One stretch of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Ids of tokens.
    Tokens(Vec<u32>),
    /// Soft tokens of a picture, by its place in [`Prompt::images`].
    Image(usize),
    /// Soft tokens of sound, by its place in [`Prompt::audio`].
    Audio(usize),
    /// Soft tokens of a frame of a film.
    Video {
        /// The film, by its place in [`Prompt::clips`].
        clip: usize,
        /// The frame, by its place in [`Clip::frames`].
        frame: usize,
    },
}

/// A conversation, ready for the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The prompt in order; the tokens around a picture or sound are in the neighbouring segments.
    pub segments: Vec<Segment>,
    /// The pictures, in prompt order.
    pub images: Vec<Frame>,
    /// The sound, in prompt order.
    pub audio: Vec<Utterance>,
    /// The films, in prompt order.
    pub clips: Vec<Clip>,
    /// Whether the prompt ends inside a thought, so that the reply begins there.
    pub thought_open: bool,
}

/// The chat template of a model folder.
pub struct Template {
    form: Form,
    /// What the folder says; nothing where we say it.
    source: String,
    /// Whether two assistant messages in a row form one turn, so that words can precede a call.
    joins_turns: bool,
    /// Whether declarations lack the parameters that are named like keywords of a schema.
    loses_names: bool,
}

/// Who writes the prompt.
enum Form {
    /// The template of the folder.
    Jinja(Box<Environment<'static>>),
    /// We do.
    BuiltIn(Flavour),
}

impl Template {
    /// Opens `chat_template.jinja` of a model folder, or else the `chat_template` of its
    /// `tokenizer_config.json`. A folder with neither gets the form in which Google published the
    /// models last.
    ///
    /// # Errors
    /// A file that cannot be read, and a template that is not Jinja.
    pub fn open(folder: &Path) -> Result<Self, PromptError> {
        let path = folder.join("chat_template.jinja");
        if let Some(source) = text_of(&path)? {
            return Self::compile(source, &path);
        }
        let path = folder.join("tokenizer_config.json");
        match template_in(&json_of(&path)?) {
            Some(source) => Self::compile(source, &path),
            None => Ok(Self::built_in(flavour_of(&json_of(&folder.join("config.json"))?))),
        }
    }

    /// Compiles a template; `path` is named in errors.
    fn compile(source: String, path: &Path) -> Result<Self, PromptError> {
        let environment = jinja::environment(source.clone()).map_err(|error| {
            PromptError::Malformed { path: path.to_owned(), reason: jinja::reason(&error) }
        })?;
        let form = Form::Jinja(Box::new(environment));
        let mut template = Self { form, source, joins_turns: false, loses_names: false };
        template.joins_turns = template.probe_joined_turns();
        template.loses_names = template.probe_lost_names();
        Ok(template)
    }

    fn built_in(flavour: Flavour) -> Self {
        let form = Form::BuiltIn(flavour);
        Self { form, source: String::new(), joins_turns: true, loses_names: false }
    }

    /// Writes what texts say, with stand-ins in them, and what `options` tell.
    fn run(
        &self,
        stand_ins: &StandIns,
        texts: &Map<String, Value>,
        options: &Map<String, Value>,
    ) -> Result<String, PromptError> {
        match &self.form {
            Form::Jinja(environment) => {
                let context = stand_ins.object_with(texts, options);
                let render = || environment.get_template(jinja::NAME)?.render(context);
                render().map_err(|error| PromptError::Refused(jinja::reason(&error)))
            }
            Form::BuiltIn(flavour) => {
                let mut context = stand_ins.hidden(texts);
                context.extend(options.clone());
                builtin::render(*flavour, &context)
            }
        }
    }

    /// Whether words and a following call in two messages come out in one turn.
    fn probe_joined_turns(&self) -> bool {
        let call = json!({"name": "probe", "arguments": {}});
        let messages = json!([
            {"role": "user", "content": "question"},
            {"role": "assistant", "content": "words"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "function": call}],
                "tool_responses": [{"name": "probe", "response": {}}],
            },
        ]);
        let texts = Map::from_iter([("messages".to_owned(), messages)]);
        let rendered = self.run(&StandIns::none(), &texts, &options(false));
        rendered.is_ok_and(|text| text.contains("words<|tool_call>call:probe"))
    }

    /// Whether a parameter named `type` is left out of a declaration.
    fn probe_lost_names(&self) -> bool {
        let parameters = json!({"type": "object", "properties": {"type": {"type": "string"}}});
        let (name, description) = ("probe".to_owned(), "probe".to_owned());
        let tool = declaration::write(&ToolSpec { name, description, parameters });
        let texts = Map::from_iter([
            ("messages".to_owned(), json!([{"role": "user", "content": "question"}])),
            ("tools".to_owned(), json!([tool])),
        ]);
        let rendered = self.run(&StandIns::none(), &texts, &options(false));
        rendered.is_ok_and(|text| !text.contains("type:{"))
    }
}

/// Writes a conversation, the tools the model may call, and the beginning of its answer.
///
/// # Errors
/// A conversation that the template refuses, media that it has no place for, and text that cannot be
/// tokenised.
pub fn render(
    template: &Template,
    tokenizer: &Tokenizer,
    messages: &[Message],
    tools: &[ToolSpec],
    thinking: bool,
) -> Result<Prompt, PromptError> {
    if messages.is_empty() {
        return Err(PromptError::Empty);
    }
    let conversation = conversation::write(messages, template.joins_turns)?;
    let mut context = Map::new();
    context.insert("messages".into(), conversation.messages);
    if !tools.is_empty() {
        context.insert("tools".into(), tools.iter().map(declaration::write).collect());
    }
    let stand_ins = StandIns::choose(tokenizer.control().edges(), &context, &template.source)?;
    if template.loses_names
        && let (Some(Value::Array(tools)), Some(mark)) =
            (context.get_mut("tools"), stand_ins.nothing())
    {
        tools.iter_mut().for_each(|tool| declaration::mark_names(tool, mark));
    }
    let rendered = template.run(&stand_ins, &context, &options(thinking))?;
    let mut writer = segments::Writer::new(tokenizer, &stand_ins, conversation.media);
    writer.write(&rendered)?;
    if rendered.ends_with("<turn|>\n") {
        // Some templates end here although an answer was asked for.
        writer.write("<|turn>model\n")?;
    }
    writer.finish()
}

/// What a template is told beside the conversation; none of it comes from outside.
fn options(thinking: bool) -> Map<String, Value> {
    Map::from_iter([
        ("bos_token".into(), json!("<bos>")),
        ("eos_token".into(), json!("<eos>")),
        ("pad_token".into(), json!("<pad>")),
        ("add_generation_prompt".into(), json!(true)),
        ("enable_thinking".into(), json!(thinking)),
    ])
}

/// The text of a file that a folder may lack.
fn text_of(path: &Path) -> Result<Option<String>, PromptError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PromptError::Read { path: path.to_owned(), source }),
    }
}

/// A JSON file that a folder may lack; `null` without it.
fn json_of(path: &Path) -> Result<Value, PromptError> {
    let Some(text) = text_of(path)? else { return Ok(Value::Null) };
    serde_json::from_str(&text).map_err(|reason| PromptError::Malformed {
        path: path.to_owned(),
        reason: reason.to_string(),
    })
}

/// The template inside `tokenizer_config.json`: a string, or the one named `default` in a list.
fn template_in(config: &Value) -> Option<String> {
    match &config["chat_template"] {
        Value::String(template) => Some(template.clone()),
        Value::Array(named) => named
            .iter()
            .find(|one| one["name"] == "default")
            .and_then(|one| one["template"].as_str())
            .map(str::to_owned),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The flavour for the model that `config.json` describes: the small ones have embeddings in every
/// layer.
fn flavour_of(config: &Value) -> Flavour {
    const WIDTH: &str = "hidden_size_per_layer_input";
    let text = config.get("text_config").filter(|text| text.is_object()).unwrap_or(config);
    match text.get(WIDTH).and_then(Value::as_u64) {
        Some(1..) => Flavour::Small,
        Some(0) | None => Flavour::Large,
    }
}

#[cfg(test)]
mod tests;
