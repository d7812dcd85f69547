#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::OnceLock;

use gemma_types::Arguments;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::tokens::Tokenizer;
use crate::tokens::tests::{hostile_text, tokenizer};

fn shared() -> &'static Tokenizer {
    static SHARED: OnceLock<Tokenizer> = OnceLock::new();
    SHARED.get_or_init(tokenizer)
}

/// Ids of a reply, written as text whose control tokens are real ones.
fn ids(reply: &str) -> Vec<u32> {
    shared().encode_template(reply).unwrap()
}

/// Everything a parser makes of these ids, neighbouring texts joined.
fn parts(mut parser: ReplyParser, ids: &[u32]) -> Vec<ReplyPart> {
    let mut parts = Vec::new();
    for id in ids {
        parts.extend(parser.push(*id));
    }
    parts.extend(parser.finish());
    joined(parts)
}

fn joined(parts: Vec<ReplyPart>) -> Vec<ReplyPart> {
    let mut joined: Vec<ReplyPart> = Vec::new();
    for part in parts {
        match (joined.last_mut(), &part) {
            (Some(ReplyPart::Text(text)), ReplyPart::Text(more))
            | (Some(ReplyPart::Thought(text)), ReplyPart::Thought(more)) => text.push_str(more),
            _ => joined.push(part),
        }
    }
    joined
}

fn parser(thought_open: bool) -> ReplyParser {
    ReplyParser::new(shared().ids(), shared().stream(), thought_open)
}

fn text(text: &str) -> ReplyPart {
    ReplyPart::Text(text.into())
}

fn thought(text: &str) -> ReplyPart {
    ReplyPart::Thought(text.into())
}

fn call(name: &str, arguments: Value) -> ReplyPart {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    ReplyPart::ToolCall(ToolCall { name: name.into(), arguments })
}

fn check(reply: &str, expected: &[ReplyPart]) {
    assert_eq!(parts(parser(false), &ids(reply)), expected, "{reply}");
}

/// Checks the arguments of one call, written without its brackets.
fn check_call(body: &str, expected: Value) {
    check(&format!("<|tool_call>call:f{body}<tool_call|><|tool_response>"), &[call("f", expected)]);
}

#[test]
fn text_ends_with_the_turn() {
    check("Hi there.<turn|>more", &[text("Hi there.")]);
    check("Hi<eos>", &[text("Hi")]);
    check("", &[]);
    check("a<|\"|>b<tool_call|>c<bos>d<|image|>", &[text("abcd")]);
}

#[test]
fn thoughts_are_told_from_the_answer() {
    check("<|channel>thought\nhm\n<channel|>Hi<turn|>", &[thought("hm"), text("Hi")]);
    check("<|channel>thought\n<channel|>Hi", &[text("Hi")]);
    check("<|channel><channel|>Hi", &[text("Hi")]);
    check("Hi<|channel>thought<channel|><turn|>", &[text("Hi")]);
    check(
        "<|channel>no label at all, just thinking<channel|>Hi",
        &[thought("no label at all, just thinking"), text("Hi")],
    );
    check("<|channel>other\nx<channel|>", &[thought("other\nx")]);
    check("a<channel|>b", &[text("ab")]);
    check("<|channel>thought\nnever closed<turn|>", &[thought("never closed")]);
    check(
        "<|channel>thought\na\n\nb<|tool_call>call:f{}<tool_call|>",
        &[thought("a\n\nb"), call("f", json!({}))],
    );
    assert_eq!(parts(parser(true), &ids("hm\n<channel|>Hi")), [thought("hm"), text("Hi")]);
}

#[test]
fn calls_are_read_as_the_model_was_trained_to_write_them() {
    check_call("{}", json!({}));
    check_call("{city:<|\"|>Oslo<|\"|>,days:2}", json!({"city": "Oslo", "days": 2}));
    check_call(
        "{opts:{min:-1.5,tags:[<|\"|>a<|\"|>,<|\"|>b<|\"|>],wind:true},x:null}",
        json!({"opts": {"min": -1.5, "tags": ["a", "b"], "wind": true}, "x": null}),
    );
    check_call("{s:<|\"|>}\"],{a:1\n<|\"|>,e:<|\"|><|\"|>}", json!({"s": "}\"],{a:1\n", "e": ""}));
    check(
        "Look.<|tool_call>call:f{a:1}<tool_call|><|tool_call>call:g.h-i/j:k_2{}<tool_call|>",
        &[text("Look."), call("f", json!({"a": 1})), call("g.h-i/j:k_2", json!({}))],
    );
}

#[test]
fn numbers_are_whole_where_they_have_no_fraction() {
    check_call("{a:2,b:2.0,c:1e3,d:-7}", json!({"a": 2, "b": 2.0, "c": 1e3, "d": -7}));
    check_call("{a:007,b:+1,c:1.}", json!({"a": "007", "b": "+1", "c": "1."}));
}

#[test]
fn calls_are_read_as_the_model_sometimes_writes_them() {
    check_call(" { city : Oslo , n : 1 } ", json!({"city": "Oslo", "n": 1}));
    check_call("{<|\"|>city<|\"|>:<|\"|>Oslo<|\"|>}", json!({"city": "Oslo"}));
    check_call("{\"city\":\"O\\\"s, lo\",\"n\":[\"a\"]}", json!({"city": "O\"s, lo", "n": ["a"]}));
    check_call(
        "{a:None,b:nil,c:none,d:True,e:}",
        json!(
            {"a": null, "b": null, "c": null, "d": true, "e": null}
        ),
    );
    check_call("{text:Hello, dear world,n:1}", json!({"text": "Hello, dear world", "n": 1}));
    check_call("{list:[a, b],}", json!({"list": ["a", "b"]}));
    check_call("{city:<|\"|>Oslo}", json!({"city": "Oslo"}));
    check_call("{a:{b:[<|\"|>Oslo]}}", json!({"a": {"b": ["Oslo"]}}));
    check_call("{a:[1,2", json!({"a": [1, 2]}));
    check_call("", json!({}));
    check("<|tool_call>f{a:1}<tool_call|>", &[call("f", json!({"a": 1}))]);
    check("<|tool_call>call:f{a:1}<turn|>", &[call("f", json!({"a": 1}))]);
    check(
        "<|tool_call>call:f{a:1}<|tool_call>call:g{}<|tool_response>",
        &[call("f", json!({"a": 1})), call("g", json!({}))],
    );
    check("<|tool_call><tool_call|>Hi", &[text("Hi")]);
}

#[test]
fn a_call_that_a_limit_cut_off_is_no_call() {
    check("Hi<|tool_call>call:f{a:<|\"|>half", &[text("Hi")]);
}

#[test]
fn bare_words_are_text_where_the_tool_asks_for_text() {
    let parameters = json!({"properties": {
        "code": {"type": "string"},
        "list": {"type": "array", "items": {"type": "string"}},
    }});
    let tool = ToolSpec { name: "f".into(), description: String::new(), parameters };
    let parser = parser(false).with_tools(&[tool]);
    let ids = ids("<|tool_call>call:f{code:12,list:[3,true],n:12}<tool_call|>");
    let expected = json!({"code": "12", "list": ["3", "true"], "n": 12});
    assert_eq!(parts(parser, &ids), [call("f", expected)]);
}

#[test]
fn nesting_without_end_is_read_without_end() {
    for bracket in ["[", "{a:", "[{a:"] {
        let body = format!("{{a:{}", bracket.repeat(20_000));
        let reply = format!("<|tool_call>call:f{body}<tool_call|>");
        assert_eq!(parts(parser(false), &ids(&reply)).len(), 1);
    }
}

/// Replies in which everything that can go wrong is common.
fn reply() -> impl Strategy<Value = Vec<String>> {
    let control = prop::sample::select(vec![
        "<|tool_call>",
        "<tool_call|>",
        "<|\"|>",
        "<|channel>",
        "<channel|>",
        "<|tool_call>call:f{",
        "<|channel>thought\n",
        "<|tool_response>",
        "<bos>",
    ]);
    let text = prop::sample::select(vec![
        "thought",
        "\n",
        "call:f{",
        "}",
        "{",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        " ",
        "a",
        "12",
        "-1.5e3",
        "null",
        "é",
        "🚀",
        "true",
        "a long run of words, with commas",
    ]);
    prop::collection::vec(prop_oneof![control, text].prop_map(str::to_owned), 0..40)
}

/// The same reply, each character a token of its own, or each byte.
fn in_small_tokens(pieces: &[String], bytes: bool) -> Vec<u32> {
    let tokenizer = shared();
    let mut ids = Vec::new();
    for part in tokenizer.control().split(&pieces.concat()) {
        match part {
            crate::tokens::Part::Control(id) => ids.push(id),
            crate::tokens::Part::Text(text) if bytes => {
                ids.extend(text.bytes().map(|byte| tokenizer.byte_token(byte).unwrap()));
            }
            crate::tokens::Part::Text(text) => {
                let one = |c: char| tokenizer.encode_text(c.encode_utf8(&mut [0; 4])).unwrap();
                ids.extend(text.chars().flat_map(one));
            }
        }
    }
    ids
}

/// A value as the template writes it.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => format!("<|\"|>{text}<|\"|>"),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(","))
        }
        Value::Object(members) => format!("{{{}}}", members_written(members)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn members_written(members: &Arguments) -> String {
    let member = |(key, value)| format!("{key}:{}", written(value));
    members.iter().map(member).collect::<Vec<_>>().join(",")
}

fn arguments() -> impl Strategy<Value = Arguments> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        // What a person says may hold anything but the quote token itself.
        hostile_text().prop_map(|text| Value::from(text.replace(['<', '>'], "~"))),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_.-]{0,8}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-z]{1,8}", value, 0..4)
        .prop_map(|members| members.into_iter().collect())
}

proptest! {
    #[test]
    fn any_split_into_tokens_reads_the_same(pieces in reply(), thought_open: bool) {
        let whole = parts(parser(thought_open), &ids(&pieces.concat()));
        for bytes in [false, true] {
            let small = parts(parser(thought_open), &in_small_tokens(&pieces, bytes));
            prop_assert_eq!(&small, &whole);
        }
    }

    #[test]
    fn what_the_template_writes_is_read_back(arguments in arguments()) {
        let reply = format!("<|tool_call>call:f{{{}}}<tool_call|>", members_written(&arguments));
        let expected = ReplyPart::ToolCall(ToolCall { name: "f".into(), arguments });
        prop_assert_eq!(parts(parser(false), &ids(&reply)), [expected]);
    }

    #[test]
    fn any_ids_are_read(
        ids in prop::collection::vec(prop_oneof![0_u32..300_000, 46_u32..107, any::<u32>()], 0..200),
        thought_open: bool,
    ) {
        parts(parser(thought_open), &ids);
    }
}
