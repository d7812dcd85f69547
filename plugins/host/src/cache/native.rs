//! Native code from bytes: the one unsafe step of the plugin host.

#![expect(unsafe_code, reason = "loading compiled code cannot be checked by the compiler")]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads code that [`Engine::precompile_component`] made, in this process or an earlier one.
pub(super) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` comes straight from the compiler, or from an entry that the compiler's output
    // was written to: the checksum over the whole of it matched, and its folder is writable only
    // for the account that runs this code. The engine itself refuses other versions and CPUs.
    unsafe { Component::deserialize(engine, code) }
}
