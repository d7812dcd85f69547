#![allow(clippy::unwrap_used)]
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gemma_types::{Outcome, Part, Role};

use super::*;

fn parse(root: Value) -> anyhow::Result<Conversation> {
    Conversation::from_json(root, Path::new("/nonexistent"))
}

fn png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(2, 1).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn check_error(root: Value, expected: &str) {
    let error = parse(root).unwrap_err();
    assert!(format!("{error:#}").contains(expected), "{error:#}");
}

#[test]
fn errors_name_the_place_and_what_would_do() {
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    check_error(json!("hello"), "expected an object with \"messages\"");
    check_error(json!({"messages": []}), "messages is empty");
    check_error(json!({"messages": "hi"}), "it has no list \"messages\"");
    check_error(json!([3]), "messages[0] is 3; expected an object");
    check_error(json!([{"role": "bot"}]), "messages[0].role is none of system");
    check_error(user(json!(3)), "messages[0].content is 3; expected text");
    check_error(user(json!(["x"])), "messages[0].content[0]: \"x\" has no type");
    check_error(user(json!([{"type": "smell"}])), "messages[0].content[0]: type \"smell\"");
    check_error(user(json!([{"type": "text"}])), "a text part without \"text\"");
    check_error(user(json!([{"type": "image", "path": "x.png"}])), "/nonexistent/x.png");
    let remote = json!([{"type": "image", "url": "https://host/x.png"}]);
    check_error(user(remote), "https://host/x.png is not fetched");
    let coded = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}]);
    check_error(user(coded), "the data is no base64");
    let swapped = json!([{"type": "audio", "base64": STANDARD.encode(png())}]);
    check_error(user(swapped), "picture where audio is expected");
    check_error(json!({"messages": [{"role": "user"}], "tools": [{}]}), "tools[0] has no name");
    check_error(
        json!({"messages": [{"role": "user"}], "thinking": "yes"}),
        "expected true or false",
    );
}

#[test]
fn media_come_from_files_and_from_inside() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.png"), png()).unwrap();
    let data = format!("data:image/png;base64,{}", STANDARD.encode(png()));
    let parts = json!([
        {"type": "image", "path": "a.png"},
        {"type": "image", "url": format!("file://{}", folder.path().join("a.png").display())},
        {"type": "image_url", "image_url": {"url": data}},
        {"type": "image"},
        {"type": "text", "text": "What?"},
    ]);
    let root = json!([{"role": "user", "content": parts}]);
    let conversation = Conversation::from_json(root, folder.path()).unwrap();
    assert_eq!(conversation.media.len(), 4);
    assert_eq!(conversation.missing(), Some("messages[0].content[3]"));
    let content = &conversation.fields["messages"][0]["content"];
    assert_eq!(content[2], json!({"type": "image"}));
    assert_eq!(content[4], json!({"type": "text", "text": "What?"}));
}

#[test]
fn a_bare_tool_is_wrapped_and_any_is_read() {
    let bare = json!({"name": "f", "description": "d", "parameters": {"type": "object"}});
    let wrapped = json!({"type": "function", "function": bare});
    let user = json!([{"role": "user", "content": "x"}]);
    let one = parse(json!({"messages": user, "tools": [bare]})).unwrap();
    let other = parse(json!({"messages": user, "tools": [wrapped]})).unwrap();
    assert_eq!(one.fields, other.fields);
    assert_eq!(one.tools, other.tools);
    assert_eq!(one.tools[0].name, "f");
}

fn normal(root: Value) -> anyhow::Result<Vec<Message>> {
    let conversation = parse(root)?;
    messages::read(&conversation.fields, &conversation.media)
}

#[test]
fn normal_messages_keep_results_with_their_calls() {
    let messages = normal(json!([
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "assistant", "content": "Wait.", "reasoning_content": "hm", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": {}}},
        ]},
        {"role": "tool", "tool_call_id": "2", "content": "{\"temp\": 3}"},
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
        {"role": "assistant", "content": "Rain."},
    ]))
    .unwrap();
    let roles: Vec<Role> = messages.iter().map(|message| message.role).collect();
    let assistant = Role::Assistant;
    assert_eq!(roles, [Role::System, Role::User, assistant, assistant, assistant]);
    let calling = &messages[2];
    assert_eq!(calling.tool_calls[0].arguments["a"], 1);
    assert_eq!(calling.tool_results[0].name, "g");
    assert_eq!(calling.tool_results[0].outcome, Outcome::Done(json!({"temp": 3})));
    assert_eq!(calling.tool_results[1].outcome, Outcome::Done(json!("rain")));
    assert_eq!(messages[3].parts, [Part::Text("Wait.".into())]);
}

#[test]
fn what_the_daemon_could_not_have_is_refused() {
    let error = |root| format!("{:#}", normal(root).unwrap_err());
    let alone = error(json!([{"role": "tool", "content": "x"}]));
    assert_eq!(alone, "messages[0]: a result without a call before it");
    let silent = error(json!({"messages": [{"role": "user"}], "add_generation_prompt": false}));
    assert!(silent.contains("always asks"), "{silent}");
    let nowhere = error(json!([{"role": "user", "content": [{"type": "image"}]}]));
    assert!(nowhere.contains("does not say where"), "{nowhere}");
}
