//! The plugin host: a tool call in, a tool result out. A plugin is a WebAssembly component that can
//! do nothing but compute, and what its manifest grants; every call runs in a fresh instance under
//! limits of time, work, memory and messages.

mod arguments;
mod cache;
mod call;
mod clock;
mod component;
mod file;
mod grants;
mod host;
mod instance;
mod limits;
mod log;
mod manifest;
mod mqtt;
mod plugin;
mod problem;
mod schema;

/// The contract of plugins/wit as Rust.
mod contract {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

pub use component::{ComponentError, componentize};
pub use grants::TopicError;
pub use host::{Error, Host, Options, PluginInfo};
pub use limits::{LimitError, Limits};
pub use manifest::{ManifestCause, ManifestError, Risk, Tool};
pub use mqtt::Publication;
pub use problem::{Problem, Reason};
pub use schema::SchemaError;
