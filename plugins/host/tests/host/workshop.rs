//! Makes plugins from a few lines of WebAssembly text, and opens hosts over them.

use std::fs;
use std::path::{Path, PathBuf};

use gemma_plugins::{Host, Limits, Options, Publication};
use gemma_types::{Outcome, ToolCall, ToolResult};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Messages that wait for the daemon.
pub(crate) const PUBLICATIONS: usize = 2;

/// A folder of plugins.
pub(crate) struct Workshop {
    folder: TempDir,
    pub(crate) limits: Limits,
    pub(crate) cache: Option<PathBuf>,
}

/// A host over one workshop, and what its plugins publish.
pub(crate) struct Open {
    pub(crate) host: Host,
    pub(crate) publications: mpsc::Receiver<Publication>,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, limits: Limits::default(), cache: None }
    }

    /// A workshop with the plugin `guest`, whose tool `run` has the body `body`.
    pub(crate) fn with(tables: &str, body: &str) -> Self {
        let workshop = Self::new();
        workshop.add("guest", "run", tables, &component(body));
        workshop
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Adds a plugin with one tool that takes anything; `tables` are its grants and limits.
    pub(crate) fn add(&self, plugin: &str, tool: &str, tables: &str, wasm: &[u8]) {
        let folder = self.path(plugin);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("plugin.toml"), manifest(plugin, tool, tables)).unwrap();
        fs::write(folder.join(format!("{plugin}.wasm")), wasm).unwrap();
    }

    pub(crate) fn open(&self) -> Open {
        open(self.folder.path(), self.limits, self.cache.clone())
    }
}

pub(crate) fn open(folder: &Path, limits: Limits, cache: Option<PathBuf>) -> Open {
    let (sender, publications) = mpsc::channel(PUBLICATIONS);
    let options = Options { folders: vec![folder.to_owned()], cache, limits };
    Open { host: Host::open(&options, sender).unwrap(), publications }
}

impl Open {
    /// Calls the tool `run` without arguments.
    pub(crate) async fn run(&self) -> ToolResult {
        assert!(self.host.problems().is_empty(), "{:?}", self.host.problems());
        self.call("run", json!({})).await
    }

    pub(crate) async fn call(&self, name: &str, arguments: Value) -> ToolResult {
        self.host.call(&tool_call(name, arguments)).await
    }

    /// The problems, as people read them.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.host.problems().iter().map(ToString::to_string).collect()
    }
}

pub(crate) fn tool_call(name: &str, arguments: Value) -> ToolCall {
    let Value::Object(arguments) = arguments else { unreachable!("arguments are objects") };
    ToolCall { name: name.to_owned(), arguments }
}

pub(crate) fn manifest(plugin: &str, tool: &str, tables: &str) -> String {
    format!(
        r#"name = "{plugin}"
version = "1.0.0"
description = "A plugin of a test."

[[tools]]
name = "{tool}"
description = "Do something."
risk = "safe"
parameters = {{ type = "object" }}

{tables}
"#
    )
}

/// A guest whose `call` has this body. It may use the locals `$arguments` and `$arguments_len`,
/// and the functions below; 1024 to 2047 is scratch.
pub(crate) fn component(body: &str) -> Vec<u8> {
    gemma_plugins::componentize(&module(body)).unwrap()
}

/// The core module of that guest.
pub(crate) fn module(body: &str) -> Vec<u8> {
    let mut module = wat::parse_str(TEMPLATE.replace("BODY", body)).unwrap();
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
    let (package, _) = resolve.push_path(wit).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

/// The outcome must be of this kind and contain this text.
pub(crate) fn check_failed(result: &ToolResult, expected: &str) {
    let Outcome::Failed(text) = &result.outcome else {
        unreachable!("expected a failure with {expected:?}, got {:?}", result.outcome)
    };
    assert!(text.contains(expected), "{text:?} has no {expected:?}");
}

pub(crate) fn check_refused(result: &ToolResult, expected: &str) {
    let Outcome::Refused(text) = &result.outcome else {
        unreachable!("expected a refusal with {expected:?}, got {:?}", result.outcome)
    };
    assert!(text.contains(expected), "{text:?} has no {expected:?}");
}

pub(crate) fn check_done(result: &ToolResult, expected: Value) {
    assert_eq!(result.outcome, Outcome::Done(expected));
}

const TEMPLATE: &str = r#"(module
  (import "gemmad:plugin/mqtt@0.1.0" "publish"
    (func $mqtt (param i32 i32 i32 i32 i32 i32)))
  (import "gemmad:plugin/clock@0.1.0" "now" (func $clock (param i32)))
  (import "gemmad:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32)))
  (memory (export "memory") 4)
  (table $table 1 funcref)
  (global $heap (mut i32) (i32.const 4096))
  (global $calls (mut i32) (i32.const 48))
  (data (i32.const 256) "home/kitchen/light/set")
  (data (i32.const 320) "home/kitchen/lock/set")
  (data (i32.const 384) "home/+/light/set")
  (data (i32.const 448) "{\"state\":\"ON\"}")

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get 3))))

  ;; result<string, string>: 0 is ok, 1 is err.
  (func $answer (param $tag i32) (param $at i32) (param $len i32) (result i32)
    (i32.store (i32.const 1024) (local.get $tag))
    (i32.store (i32.const 1028) (local.get $at))
    (i32.store (i32.const 1032) (local.get $len))
    (i32.const 1024))
  ;; What a capability answered at 1040: ok becomes the payload at 448, err its text.
  (func $pass_on (result i32)
    (if (result i32) (i32.eqz (i32.load8_u (i32.const 1040)))
      (then (call $answer (i32.const 0) (i32.const 448) (i32.const 14)))
      (else (call $answer (i32.const 1) (i32.load (i32.const 1048)) (i32.load (i32.const 1052))))))
  (func $publish (param $topic i32) (param $topic_len i32) (param $len i32)
    (call $mqtt (local.get $topic) (local.get $topic_len)
      (i32.const 448) (local.get $len) (i32.const 0) (i32.const 1040)))
  (func $publish_light (call $publish (i32.const 256) (i32.const 22) (i32.const 14)))
  (func $recurse (param i32) (result i32)
    (i32.add (i32.const 1) (call $recurse (i32.add (local.get 0) (i32.const 1)))))

  (func (export "call") (param $name i32) (param $name_len i32)
    (param $arguments i32) (param $arguments_len i32) (result i32)
    BODY))
"#;
