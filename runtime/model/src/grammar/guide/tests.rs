#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::OnceLock;

use serde_json::json;

use super::*;
use crate::tokens::tests::tokenizer;

fn shared() -> &'static Tokenizer {
    static SHARED: OnceLock<Tokenizer> = OnceLock::new();
    SHARED.get_or_init(tokenizer)
}

fn tool(name: &str, parameters: Value) -> ToolSpec {
    ToolSpec { name: name.into(), description: String::new(), parameters }
}

fn lights() -> ToolSpec {
    let properties = json!({
        "room": {"enum": ["kitchen", "bed room"]},
        "level": {"type": "integer", "minimum": 0, "maximum": 100},
    });
    tool("set_light", json!({"type": "object", "properties": properties, "required": ["room"]}))
}

fn ids(text: &str) -> Vec<u32> {
    shared().encode_template(text).unwrap()
}

/// Ids of a reply in small tokens: each character of its text is one.
fn small_ids(text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    for part in shared().control().split(text) {
        match part {
            crate::tokens::Part::Control(id) => ids.push(id),
            crate::tokens::Part::Text(text) => ids.extend(
                text.chars()
                    .flat_map(|c| shared().encode_text(c.encode_utf8(&mut [0; 4])).unwrap()),
            ),
        }
    }
    ids
}

fn guide(constraint: &Constraint, tools: &[ToolSpec], thinking: Thinking) -> Guide {
    Guide::new(shared(), constraint, tools, thinking).unwrap()
}

fn is_allowed(guide: &mut Guide, id: u32) -> bool {
    let mut logits = vec![0.0; 260_000];
    guide.restrict(&mut logits).unwrap();
    logits[usize::try_from(id).unwrap()] == 0.0
}

/// Follows a reply; the place of the first token that may not come. Where tokens are forced, others
/// that spell the same are as good.
fn refused_at(guide: &mut Guide, reply: &[u32]) -> Option<usize> {
    reply.iter().position(|&id| {
        let free = guide.forced().unwrap().is_empty();
        let allowed = !free || is_allowed(guide, id);
        let accepted = guide.accept(id).is_ok();
        assert!(!free || accepted || !allowed, "the mask allows {id}, the grammar does not");
        !(allowed && accepted)
    })
}

/// Whether a reply may come as it is, in its own tokens and in small ones.
fn check(constraint: &Constraint, reply: &str, accepted: bool) {
    for ids in [ids(reply), small_ids(reply)] {
        let mut guide = guide(constraint, &[lights()], Thinking::Off);
        let refused = refused_at(&mut guide, &ids);
        assert_eq!(refused.is_none(), accepted, "{reply}: token {refused:?}");
    }
}

#[test]
fn a_call_that_the_model_begins_fits_its_schema() {
    let check = |call: &str, accepted: bool| {
        let reply = format!("Well.<|tool_call>call:{call}<tool_call|>");
        check(&Constraint::Tools(ToolChoice::Auto), &reply, accepted);
    };
    check("set_light{room:<|\"|>kitchen<|\"|>}", true);
    check("set_light{level:40,room:<|\"|>bed room<|\"|>}", true);
    check("set_light{}", false);
    check("set_light{level:101,room:<|\"|>kitchen<|\"|>}", false);
    check("set_light{room:<|\"|>attic<|\"|>}", false);
    check("set_light{room:kitchen}", false);
    check("set_light{room:<|\"|>kitchen<|\"|>,level:40}", false);
    check("set_lamp{room:<|\"|>kitchen<|\"|>}", false);
    check("set_light{room:<|\"|>kitchen<|\"|>,x:1}", false);
}

#[test]
fn after_a_call_the_model_is_free_again() {
    let call = "<|tool_call>call:set_light{room:<|\"|>kitchen<|\"|>}<tool_call|>";
    let auto = Constraint::Tools(ToolChoice::Auto);
    check(&auto, &format!("{call}{call}<|tool_response>"), true);
    check(&auto, &format!("{call}Done.<turn|>"), true);
    check(&auto, "<|channel>thought\nhm<channel|>No call.<turn|>", true);
}

#[test]
fn calls_can_be_forbidden_required_and_named() {
    let call = "<|tool_call>call:set_light{room:<|\"|>kitchen<|\"|>}<tool_call|>";
    check(&Constraint::Tools(ToolChoice::Forbidden), "Hi<turn|>", true);
    check(&Constraint::Tools(ToolChoice::Forbidden), "Hi<|tool_call>", false);
    let required = Constraint::Tools(ToolChoice::Required);
    check(&required, &format!("{call}<|tool_response>"), true);
    check(&required, &format!("{call}{call}<|tool_response>"), true);
    check(&required, "Hi", false);
    check(&required, &format!("{call}<turn|>"), false);
    let named = Constraint::Tools(ToolChoice::Named("set_light".into()));
    check(&named, &format!("{call}<|tool_response>"), true);
    check(&named, &format!("{call}{call}"), false);
}

#[test]
fn a_list_of_boxes_may_come_in_the_forms_that_models_write_it_in() {
    let picture = gemma_types::Frame {
        width: 1,
        height: 1,
        rgb: [0; 3].into(),
        captured_at: std::time::Duration::ZERO,
    };
    let (labels, reading) = (vec!["cup".to_owned()], crate::tasks::Reading::Forgiving);
    let detect = crate::tasks::Detect { picture, labels, reading };
    let asked = crate::tasks::Task::asks(&detect).unwrap();
    let check = |reply: &str, accepted: bool| {
        check(&asked[0].options.constraint, &format!("{reply}<turn|>"), accepted);
    };
    check("```json\n[\n  {\"box_2d\": [100, 20, 1000, 0], \"label\": \"red pen\"}\n]\n```", true);
    check(r#"[{"box_2d": [1, 2, 3, 4], "label": "a"}, {"label": "b", "box_2d": [1,2,3,4]}]"#, true);
    check("```json\n[]\n```", true);
    check("[]", true);
    check(r#"[{"box_2d": [1, 2, 3, 1001], "label": "a"}]"#, false);
    check(r#"[{"box_2d": [1, 2, 3], "label": "a"}]"#, false);
    check(r#"[{"box_2d": [1, 2, 3, 4]}]"#, false);
    check("Here: []", false);
}

#[test]
fn answers_have_the_form_that_was_asked_for() {
    let schema = json!({"properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": false, "type": "object"});
    let json = Constraint::JsonSchema(schema);
    check(&json, "{\"n\": 3}<turn|>", true);
    check(&json, "{\"n\": \"3\"}", false);
    check(&json, "Here: {", false);
    let regex = Constraint::Regex("(ab)+[0-9]?".into());
    check(&regex, "abab7<turn|>", true);
    check(&regex, "ab<turn|>", true);
    check(&regex, "aba<turn|>", false);
    let choice = Constraint::Choice(vec!["yes".into(), "no, \"never\"\n".into(), "no".into()]);
    check(&choice, "no, \"never\"\n<turn|>", true);
    check(&choice, "no<turn|>", true);
    check(&choice, "maybe", false);
}

#[test]
fn a_thought_may_come_first_where_it_was_asked_for() {
    let choice = Constraint::Choice(vec!["yes".into()]);
    let thought = ids("<|channel>thought\nlet me see, no<channel|>yes<turn|>");
    assert_eq!(refused_at(&mut guide(&choice, &[], Thinking::Asked), &thought), None);
    assert_eq!(refused_at(&mut guide(&choice, &[], Thinking::Off), &thought), Some(0));
    let plain = ids("yes<turn|>");
    assert_eq!(refused_at(&mut guide(&choice, &[], Thinking::Asked), &plain), None);
    let open = ids("hm<channel|>yes<turn|>");
    assert_eq!(refused_at(&mut guide(&choice, &[], Thinking::Open), &open), None);
    assert_eq!(refused_at(&mut guide(&choice, &[], Thinking::Open), &ids("hm<turn|>")), Some(1));
}

/// Every token that needs no choice, as text, after `begun`.
fn forced_after(constraint: &Constraint, begun: &str) -> Vec<u32> {
    let mut guide = guide(constraint, &[lights()], Thinking::Off);
    assert_eq!(refused_at(&mut guide, &ids(begun)), None, "{begun}");
    let mut all = Vec::new();
    loop {
        let forced = guide.forced().unwrap();
        if forced.is_empty() || all.last() == Some(&106) {
            return all;
        }
        for id in forced {
            guide.accept(id).unwrap();
            all.push(id);
        }
    }
}

#[test]
fn what_must_come_is_known_without_the_model() {
    let auto = Constraint::Tools(ToolChoice::Auto);
    let begun = "<|tool_call>";
    let forced = forced_after(&auto, begun);
    assert_eq!(forced, ids("call:set_light{"));
    let named = Constraint::Tools(ToolChoice::Named("set_light".into()));
    assert_eq!(forced_after(&named, ""), ids("<|tool_call>call:set_light{"));
    let begun = "<|tool_call>call:set_light{room:<|\"|>kit";
    assert_eq!(forced_after(&named, begun), ids("chen<|\"|>}<tool_call|><|tool_response>"));
    let choice = Constraint::Choice(vec!["yes, of course".into()]);
    assert_eq!(forced_after(&choice, ""), ids("yes, of course<turn|>"));
}

#[test]
fn what_is_no_constraint_is_refused_before_any_run() {
    let refused = |constraint: Constraint, tools: &[ToolSpec], expected: &str| {
        let guide = Guide::new(shared(), &constraint, tools, Thinking::Off);
        let error = guide.err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    };
    refused(Constraint::JsonSchema(json!({"type": "thing"})), &[], "is no JSON schema: ");
    refused(Constraint::JsonSchema(json!(3)), &[], "is no JSON schema: expected an object");
    refused(Constraint::Regex("(a".into()), &[], "is no regular expression: ");
    refused(Constraint::Regex("a\\".into()), &[], "is no regular expression: ");
    refused(Constraint::Regex(String::new()), &[], "is no regular expression: it is empty");
    refused(Constraint::Choice(vec![]), &[], "is no list of answers");
    refused(Constraint::Tools(ToolChoice::Required), &[], "no tool is declared");
    let named = Constraint::Tools(ToolChoice::Named("x".into()));
    refused(named, &[lights()], "\"x\" is to be called, but only set_light");
    let auto = Constraint::Tools(ToolChoice::Auto);
    let odd = tool("f", json!({"properties": {"a/b": {"not": {}}}}));
    refused(auto.clone(), &[odd], "tool \"f\", at \"/properties/a~1b\": a grammar cannot keep not");
    refused(auto.clone(), &[tool("a{", json!({}))], "a tool is named \"a{\"");
    let pattern = tool("f", json!({"properties": {"a": {"pattern": "(?=x)"}}}));
    refused(auto, &[pattern], "is no grammar of calls: ");
}

#[test]
fn any_token_and_any_end_is_survived() {
    let mut random = 1_u64;
    for _ in 0..200 {
        let mut guide = guide(&Constraint::Tools(ToolChoice::Auto), &[lights()], Thinking::Asked);
        for _ in 0..20 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let id = u32::try_from(random >> 45).unwrap();
            if guide.accept(id).is_err() || guide.forced().is_err() {
                break;
            }
        }
    }
}
