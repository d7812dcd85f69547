//! Guests that misbehave, written as text: each is a component that exports `call` as the contract
//! of the plugins asks, and stands in for the bundled lights.

use std::path::{Path, PathBuf};

/// Code of `call` that never ends.
pub(crate) const LOOPS: &str = "(loop $again (br $again)) unreachable";

/// Code of `call` that takes all the memory it can get, and then falls over.
pub(crate) const EATS_MEMORY: &str = "
    (loop $again
        (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable";

/// Code of `call` that falls over at once.
pub(crate) const TRAPS: &str = "unreachable";

/// Code of `call` that answers with something that is no JSON: the bytes at 1024.
pub(crate) const TALKS_NONSENSE: &str = "
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 1024))
    (i32.store (i32.const 24) (i32.const 8))
    (i32.const 16)";

/// Declaration of the tool that the demo model calls to switch a light.
const SET_LIGHT: &str = r#"
[[tools]]
name = "set_light"
description = "Switch a light."
risk = "safe"
parameters = '{"type":"object","properties":{"room":{"type":"string","description":"Room name"},"state":{"type":"string","enum":["on","off"]},"brightness":{"type":"integer","description":"Percent"}},"required":["room","state"]}'
"#;

/// Writes a plugin whose `set_light` runs `code` under `limits`, and returns the folder of plugins
/// that holds it.
pub(crate) fn write(house: &Path, code: &str, limits: &str) -> anyhow::Result<PathBuf> {
    let component = wat::parse_str(component(code))?;
    write_plugin(house, &component, &[], limits)
}

/// Writes a plugin with the code of the bundled lights that may publish on `topics` only.
pub(crate) fn write_lights(house: &Path, topics: &[&str]) -> anyhow::Result<PathBuf> {
    let lights = gemmad_tests::workspace::plugins()?.join("lights/lights.wasm");
    write_plugin(house, &std::fs::read(lights)?, topics, "")
}

fn write_plugin(
    house: &Path,
    component: &[u8],
    topics: &[&str],
    limits: &str,
) -> anyhow::Result<PathBuf> {
    let plugins = house.join("plugins");
    let folder = plugins.join("guest");
    std::fs::create_dir_all(&folder)?;
    let manifest = format!(
        "name = \"guest\"\nversion = \"0.1.0\"\ndescription = \"Misbehaves.\"\n{SET_LIGHT}\n\
         [grants]\nmqtt = {topics:?}\n\n[limits]\n{limits}\n"
    );
    std::fs::write(folder.join("plugin.toml"), manifest)?;
    std::fs::write(folder.join("guest.wasm"), component)?;
    Ok(plugins)
}

fn component(code: &str) -> String {
    format!(
        r#"(component
          (core module $guest
            (memory (export "memory") 1)
            (data (i32.const 1024) "nonsense")
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 2048))
            (func (export "call") (param i32 i32 i32 i32) (result i32) {code}))
          (core instance $instance (instantiate $guest))
          (func (export "call") (param "name" string) (param "arguments" string)
              (result (result string (error string)))
            (canon lift (core func $instance "call")
              (memory (core memory $instance "memory"))
              (realloc (core func $instance "realloc")))))"#
    )
}
