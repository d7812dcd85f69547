#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod demo;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gemma_types::{Cost, Outcome, Part, Role, ToolCall, ToolResult};
use proptest::prelude::*;

use super::*;
use crate::tokens::tests::{hostile_text, tokenizer};

const TEMPLATES: [&str; 6] = [
    "launch.2026-04.jinja",
    "interleaved.2026-04.jinja",
    "small.2026-05.jinja",
    "large.2026-05.jinja",
    "small.2026-07.jinja",
    "large.2026-07.jinja",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/conversations")
}

fn template(name: &str) -> Template {
    let path = folder().join(name);
    Template::compile(std::fs::read_to_string(&path).unwrap(), &path).unwrap()
}

fn says(role: Role, text: &str) -> Message {
    let parts = if text.is_empty() { vec![] } else { vec![Part::Text(text.into())] };
    Message { role, parts, tool_calls: vec![], tool_results: vec![] }
}

/// An assistant message that says something, calls `f` and has its result.
fn calls(words: &str, arguments: Value, outcome: Outcome) -> Message {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    Message {
        tool_calls: vec![ToolCall { name: "f".into(), arguments }],
        tool_results: vec![ToolResult { name: "f".into(), outcome, cost: Cost::default() }],
        ..says(Role::Assistant, words)
    }
}

fn picture() -> Part {
    let rgb = Arc::from(vec![0u8; 3]);
    Part::Image(Frame { width: 1, height: 1, rgb, captured_at: Duration::ZERO })
}

fn sound() -> Part {
    let samples = Arc::from(vec![0i16; 400]);
    Part::Audio(Utterance { samples, started_at: Duration::ZERO, caption: None })
}

/// A film whose frames come at these seconds.
fn film(seconds: &[f64]) -> Part {
    let frame = || match picture() {
        Part::Image(frame) => frame,
        part @ (Part::Text(_) | Part::Audio(_) | Part::Video(_)) => panic!("{part:?}"),
    };
    let frames = seconds.iter().map(|_| frame()).collect();
    Part::Video(Clip { frames, seconds: seconds.to_vec() })
}

/// The ids of a prompt; media are their placeholder.
fn ids(prompt: &Prompt, tokenizer: &Tokenizer) -> Vec<u32> {
    let mut ids = Vec::new();
    for segment in &prompt.segments {
        match segment {
            Segment::Tokens(tokens) => ids.extend(tokens),
            Segment::Image(_) => ids.extend(tokenizer.ids().image),
            Segment::Audio(_) => ids.extend(tokenizer.ids().audio),
            Segment::Video { .. } => ids.extend(tokenizer.ids().video),
        }
    }
    ids
}

/// Renders with a template and checks against text whose control tokens are real ones.
fn check(name: &str, messages: &[Message], expected: &str) {
    let tokenizer = tokenizer();
    let prompt = render(&template(name), &tokenizer, messages, &[], false).unwrap();
    let expected = tokenizer.encode_template(expected).unwrap();
    assert_eq!(ids(&prompt, &tokenizer), expected);
}

/// What Python makes of a conversation with some of the templates.
#[derive(serde::Deserialize)]
pub(super) struct Golden {
    pub(super) case: String,
    pub(super) templates: Vec<String>,
    pub(super) rendered: String,
    pub(super) ids: Vec<u32>,
}

pub(super) fn goldens() -> Vec<Golden> {
    serde_json::from_str(&std::fs::read_to_string(folder().join("goldens.json")).unwrap()).unwrap()
}

/// The conversations of the goldens, by case.
pub(super) fn conversations() -> HashMap<String, Map<String, Value>> {
    #[derive(serde::Deserialize)]
    struct Conversation {
        case: String,
        input: Map<String, Value>,
    }
    let text = std::fs::read_to_string(folder().join("conversations.json")).unwrap();
    let all: Vec<Conversation> = serde_json::from_str(&text).unwrap();
    all.into_iter().map(|one| (one.case, one.input)).collect()
}

/// Checks what a template makes of a conversation, character by character and id by id.
fn check_golden(
    template: &Template,
    tokenizer: &Tokenizer,
    context: &Map<String, Value>,
    golden: &Golden,
) {
    let edges = tokenizer.control().edges();
    let stand_ins = StandIns::choose(edges, context, &template.source).unwrap();
    let bos = Map::from_iter([("bos_token".to_owned(), json!("<bos>"))]);
    let rendered = template.run(&stand_ins, context, &bos).unwrap();
    assert_eq!(stand_ins.reveal(&rendered), golden.rendered, "{}", golden.case);
    assert_eq!(tokenizer.encode_template(&rendered).unwrap(), golden.ids, "{}", golden.case);
}

#[test]
fn every_golden_comes_out_character_by_character_and_id_by_id() {
    let (tokenizer, conversations) = (tokenizer(), conversations());
    let templates = TEMPLATES.map(|name| (name, template(name)));
    let mut checked = 0;
    for golden in goldens() {
        for name in &golden.templates {
            let (_, template) = templates.iter().find(|(known, _)| known == name).unwrap();
            check_golden(template, &tokenizer, &conversations[&golden.case], &golden);
            checked += 1;
        }
    }
    assert_eq!(checked, 280);
}

#[test]
fn without_a_template_the_prompt_is_that_of_the_last_one() {
    let (tokenizer, conversations) = (tokenizer(), conversations());
    let mut checked = 0;
    for golden in goldens() {
        for name in &golden.templates {
            let flavour = match name.as_str() {
                "small.2026-07.jinja" => Flavour::Small,
                "large.2026-07.jinja" => Flavour::Large,
                _ => continue,
            };
            let template = Template::built_in(flavour);
            check_golden(&template, &tokenizer, &conversations[&golden.case], &golden);
            checked += 1;
        }
    }
    assert_eq!(checked, 94);
}

#[test]
fn a_conversation_with_a_finished_call_reads_as_the_model_was_trained() {
    let history = [
        says(Role::System, "Be brief."),
        says(Role::User, "Hi"),
        calls("", json!({"b": 1, "a": "x"}), Outcome::Done(json!({"temp": 3, "sky": "rain"}))),
        says(Role::Assistant, "Rain."),
        says(Role::User, " Thanks "),
    ];
    for name in ["small.2026-05.jinja", "small.2026-07.jinja"] {
        check(
            name,
            &history,
            "<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n\
             <|tool_call>call:f{a:<|\"|>x<|\"|>,b:1}<tool_call|>\
             <|tool_response>response:f{sky:<|\"|>rain<|\"|>,temp:3}<tool_response|>\
             Rain.<turn|>\n<|turn>user\nThanks<turn|>\n<|turn>model\n",
        );
    }
}

#[test]
fn a_result_of_any_kind_is_an_object() {
    let check = |outcome: Outcome, expected: &str| {
        let expected = format!(
            "<bos><|turn>user\nHi<turn|>\n<|turn>model\n<|tool_call>call:f{{}}<tool_call|>\
             <|tool_response>response:f{{{expected}}}<tool_response|>"
        );
        let history = [says(Role::User, "Hi"), calls("", json!({}), outcome)];
        check("small.2026-07.jinja", &history, &expected);
    };
    check(Outcome::Done(json!({})), "");
    check(Outcome::Done(json!(3.5)), "value:3.5");
    check(Outcome::Done(json!(null)), "value:null");
    check(Outcome::Done(json!(["a", true])), "value:[<|\"|>a<|\"|>,true]");
    check(Outcome::Done(json!("{\"t\": 3}")), "t:3");
    check(Outcome::Done(json!("[3]")), "value:<|\"|>[3]<|\"|>");
    check(Outcome::Refused("no".into()), "error:<|\"|>no<|\"|>");
    check(Outcome::Failed("late".into()), "error:<|\"|>late<|\"|>");
}

#[test]
fn a_thought_that_was_left_in_an_answer_is_not_repeated() {
    let said = "<|channel>thought\nhm<channel|>Hello<|channel>thought\nmore";
    let history = [says(Role::User, "Hi"), says(Role::Assistant, said), says(Role::User, "x")];
    let expected = "<bos><|turn>user\nHi<turn|>\n<|turn>model\nHello<turn|>\n\
                    <|turn>user\nx<turn|>\n<|turn>model\n";
    check("small.2026-07.jinja", &history, expected);
}

#[test]
fn words_before_a_call_stay_before_it_or_stay_away() {
    let history =
        [says(Role::User, "Hi"), calls("Let me look.", json!({}), Outcome::Done(json!(1)))];
    let turn = "<bos><|turn>user\nHi<turn|>\n<|turn>model\n";
    let call = "<|tool_call>call:f{}<tool_call|>\
                <|tool_response>response:f{value:1}<tool_response|>";
    check("small.2026-07.jinja", &history, &format!("{turn}Let me look.{call}"));
    check("small.2026-05.jinja", &history, &format!("{turn}{call}"));
}

#[test]
fn parameters_named_like_keywords_are_declared_by_every_template() {
    let tokenizer = tokenizer();
    let properties = json!({
        "type": {"type": "string", "description": "d"},
        "list": {"type": "array", "items": {"properties": {"required": {"type": "boolean"}}}},
        "nullable": {"type": "object", "properties": {"properties": {"type": "integer"}}},
    });
    let parameters = json!({"type": "object", "properties": properties, "required": ["type"]});
    let tool = ToolSpec { name: "f".into(), description: "F".into(), parameters };
    let prompt = |template: &Template| {
        let messages = [says(Role::User, "Hi")];
        render(template, &tokenizer, &messages, std::slice::from_ref(&tool), false).unwrap()
    };
    let newest = prompt(&template("small.2026-07.jinja"));
    assert_eq!(prompt(&Template::built_in(Flavour::Small)), newest);
    assert_eq!(prompt(&template("small.2026-05.jinja")), newest);
    let large = prompt(&template("large.2026-07.jinja"));
    assert_eq!(prompt(&template("large.2026-05.jinja")), large);
}

#[test]
fn a_prompt_that_ends_in_an_open_thought_says_so() {
    let tokenizer = tokenizer();
    let history = [says(Role::User, "Hi"), calls("", json!({}), Outcome::Done(json!(1)))];
    let open = |name: &str, thinking, messages: &[Message]| {
        render(&template(name), &tokenizer, messages, &[], thinking).unwrap().thought_open
    };
    assert!(open("small.2026-07.jinja", true, &history));
    assert!(!open("small.2026-07.jinja", false, &history));
    assert!(!open("large.2026-07.jinja", false, &history[..1]));
    assert!(!open("small.2026-05.jinja", true, &history));
}

#[test]
fn a_folder_without_template_gets_the_form_of_its_size() {
    let check = |config: Option<&str>, expected: Flavour| {
        let folder = tempfile::tempdir().unwrap();
        if let Some(config) = config {
            std::fs::write(folder.path().join("config.json"), config).unwrap();
        }
        let template = Template::open(folder.path()).unwrap();
        let Form::BuiltIn(flavour) = template.form else { panic!("a template from nowhere") };
        assert_eq!(flavour, expected, "{config:?}");
    };
    check(Some(r#"{"text_config": {"hidden_size_per_layer_input": 256}}"#), Flavour::Small);
    check(Some(r#"{"hidden_size_per_layer_input": 256}"#), Flavour::Small);
    check(Some(r#"{"text_config": {"hidden_size_per_layer_input": 0}}"#), Flavour::Large);
    check(Some("{}"), Flavour::Large);
    check(None, Flavour::Large);
}

#[test]
fn every_template_ends_with_a_place_for_the_answer() {
    let tokenizer = tokenizer();
    let conversations = [
        vec![says(Role::User, "Hi")],
        vec![says(Role::System, "S"), says(Role::User, "a"), says(Role::Assistant, "b")],
        vec![says(Role::User, "Hi"), calls("w", json!({}), Outcome::Done(json!(1)))],
    ];
    for template in all_templates() {
        for messages in &conversations {
            let prompt = render(&template, &tokenizer, messages, &[], false).unwrap();
            let ids = ids(&prompt, &tokenizer);
            assert_eq!(ids[0], tokenizer.ids().bos);
            assert_ne!(ids[ids.len() - 2..], [106, 107], "{} ends its turn", template.source);
        }
    }
}

#[test]
fn media_get_their_own_segments_in_order() {
    let tokenizer = tokenizer();
    let message = Message {
        parts: vec![picture(), sound(), Part::Text("x".into()), picture()],
        ..says(Role::User, "")
    };
    for name in TEMPLATES {
        let prompt =
            render(&template(name), &tokenizer, std::slice::from_ref(&message), &[], false)
                .unwrap();
        let media: Vec<_> =
            prompt.segments.iter().filter(|one| !matches!(one, Segment::Tokens(_))).collect();
        assert_eq!(media, [&Segment::Image(0), &Segment::Audio(0), &Segment::Image(1)]);
        assert_eq!((prompt.images.len(), prompt.audio.len()), (2, 1));
        let Segment::Tokens(before) = &prompt.segments[0] else { panic!("{prompt:?}") };
        let Segment::Tokens(between) = &prompt.segments[2] else { panic!("{prompt:?}") };
        assert_eq!(before.last().copied(), tokenizer.ids().image_open);
        assert_eq!(between.first().copied(), tokenizer.ids().image_close);
        assert_eq!(between.last().copied(), tokenizer.ids().audio_open);
    }
}

#[test]
fn each_frame_of_a_film_follows_its_time() {
    let parts = vec![Part::Text("See ".into()), film(&[0.0, 61.5]), Part::Text(" this".into())];
    let messages = [Message { parts, ..says(Role::User, "") }];
    let film = "00:00 <|image><|video|><image|> 01:01 <|image><|video|><image|>";
    for name in ["small.2026-05.jinja", "small.2026-07.jinja", "large.2026-07.jinja"] {
        let tokenizer = tokenizer();
        let prompt = render(&template(name), &tokenizer, &messages, &[], false).unwrap();
        let written = ids(&prompt, &tokenizer);
        let expected = |text: &str| tokenizer.encode_template(text).unwrap();
        // Templates differ in the white space around a text.
        let fits = ["See", "See "].into_iter().any(|see| {
            [" this", "this"].into_iter().any(|this| {
                let text = format!("<bos><|turn>user\n{see}{film}{this}<turn|>\n<|turn>model\n");
                written.starts_with(&expected(&text))
            })
        });
        assert!(fits, "{name}: {written:?}");
        let frames = prompt.segments.iter().filter(|one| !matches!(one, Segment::Tokens(_)));
        let expected = [0, 1].map(|frame| Segment::Video { clip: 0, frame });
        assert!(frames.eq(expected.iter()));
        assert_eq!(prompt.clips.len(), 1);
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let tokenizer = tokenizer();
    let template = template("small.2026-07.jinja");
    let refused = |messages: &[Message]| {
        render(&template, &tokenizer, messages, &[], false).err().unwrap().to_string()
    };
    assert!(refused(&[]).contains("empty"));
    let system = Message { parts: vec![picture()], ..says(Role::System, "") };
    assert!(refused(&[system]).contains("user message"));
    let empty = Message { parts: vec![film(&[])], ..says(Role::User, "") };
    assert!(refused(&[empty]).contains("0 frames"));
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let nested = calls("", json!({}), Outcome::Done(deep));
    assert!(refused(&[says(Role::User, "Hi"), nested]).contains("refuses"));
}

#[test]
fn a_folder_may_bring_its_template_in_the_tokenizer_configuration() {
    let check = |files: &[(&str, &str)], expected: Result<&str, &str>| {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let template = Template::open(folder.path());
        let found = template.as_ref().map(|one| one.source.as_str()).map_err(ToString::to_string);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    };
    let config = "tokenizer_config.json";
    check(&[("chat_template.jinja", "a"), (config, r#"{"chat_template": "b"}"#)], Ok("a"));
    check(&[(config, r#"{"chat_template": "b"}"#)], Ok("b"));
    let named = r#"{"chat_template": [{"name": "default", "template": "c"}]}"#;
    check(&[(config, named)], Ok("c"));
    check(&[], Ok(""));
    check(&[(config, "{}")], Ok(""));
    check(&[(config, "{")], Err("tokenizer_config.json is malformed"));
    check(&[("chat_template.jinja", "{% if %}")], Err("chat_template.jinja is malformed"));
}

/// Every published template, and ours.
fn all_templates() -> Vec<Template> {
    let own = [Flavour::Small, Flavour::Large].map(Template::built_in);
    TEMPLATES.into_iter().map(template).chain(own).collect()
}

/// Everything that someone outside can put into a conversation.
fn hostile_conversation(texts: &[String; 6]) -> (Vec<Message>, Vec<ToolSpec>) {
    let [system, user, words, key, result, description] = texts;
    let parts = vec![Part::Text(user.clone()), picture(), Part::Text(words.clone())];
    let arguments = json!({key.as_str(): [words, {user.as_str(): result}]});
    let messages = vec![
        says(Role::System, system),
        Message { parts, ..says(Role::User, "") },
        calls("", arguments, Outcome::Done(json!({key.as_str(): result}))),
        says(Role::Assistant, words),
        says(Role::User, user),
    ];
    let property = json!({"type": "string", "description": user, "enum": [result]});
    let parameters = json!({"type": "object", "properties": {"p": property}, "required": [key]});
    let tools = vec![ToolSpec { name: "f".into(), description: description.clone(), parameters }];
    (messages, tools)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_that_is_said_adds_or_removes_a_control_token(
        texts in prop::array::uniform6(hostile_text()),
    ) {
        static OPEN: OnceLock<(Tokenizer, Vec<Template>)> = OnceLock::new();
        let (tokenizer, templates) =
            OPEN.get_or_init(|| (tokenizer(), all_templates()));
        // Every text here is dull and keeps its place, so the control tokens of this prompt are
        // those of the template alone. White space would vanish, hence the letters around.
        let dull: [String; 6] = std::array::from_fn(|index| format!("x{index}"));
        let texts = texts.map(|text| format!("x{text}x"));
        for template in templates {
            let controls = |texts: &[String; 6]| {
                let (messages, tools) = hostile_conversation(texts);
                let prompt = render(template, tokenizer, &messages, &tools, true).unwrap();
                let mut ids = ids(&prompt, tokenizer);
                ids.retain(|id| tokenizer.is_control(*id));
                ids
            };
            prop_assert_eq!(controls(&texts), controls(&dull));
        }
    }
}
