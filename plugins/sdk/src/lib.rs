//! What the author of a plugin needs: the capabilities of the contract as functions, and [`tools!`],
//! which turns plain functions into the tools of a component.
//!
//! ```ignore
//! #[derive(serde::Deserialize)]
//! struct Add { left: f64, right: f64 }
//!
//! fn add(arguments: Add) -> gemma_plugin::Result<f64> {
//!     Ok(arguments.left + arguments.right)
//! }
//!
//! gemma_plugin::tools! { "add" => add }
//! ```

pub mod clock;
pub mod log;
pub mod mqtt;

#[doc(hidden)]
#[allow(missing_docs, reason = "generated from the contract, which has the words")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "plugin",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        default_bindings_module: "gemma_plugin::bindings",
    });
}

pub use serde;
pub use serde_json::{Value, json};

use bindings::gemmad::plugin::types;

/// What a tool returns: something that becomes JSON, or words that tell the model what went wrong.
pub type Result<T> = core::result::Result<T, Failure>;

/// Arguments of a tool that has none.
#[derive(Debug, serde::Deserialize)]
pub struct Nothing {}

/// Why a tool did not do as asked, in words for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<types::Error> for Failure {
    fn from(error: types::Error) -> Self {
        let (types::Error::NotGranted(text)
        | types::Error::Invalid(text)
        | types::Error::OverLimit(text)
        | types::Error::Unavailable(text)) = error;
        Self(text)
    }
}

/// Runs one tool: JSON in, JSON out. A panic inside it is written to the log before the guest ends.
#[doc(hidden)]
pub fn run<A, R>(tool: fn(A) -> Result<R>, arguments: &str) -> core::result::Result<String, String>
where
    A: serde::de::DeserializeOwned,
    R: serde::Serialize,
{
    std::panic::set_hook(Box::new(|panic| log::warn(&panic.to_string())));
    let arguments =
        serde_json::from_str(arguments).map_err(|error| format!("wrong arguments: {error}"))?;
    let value = tool(arguments).map_err(|failure| failure.0)?;
    serde_json::to_string(&value).map_err(|error| format!("the result is not JSON: {error}"))
}

/// Makes the listed functions the tools of this plugin: `tools! { "name" => function, .. }`.
///
/// A function takes one argument that serde can read from the JSON object of the call, and returns
/// [`Result`] of something that serde can write.
#[macro_export]
macro_rules! tools {
    ($($name:literal => $function:path),+ $(,)?) => {
        struct Plugin;

        impl $crate::bindings::Guest for Plugin {
            fn call(
                name: ::std::string::String,
                arguments: ::std::string::String,
            ) -> ::core::result::Result<::std::string::String, ::std::string::String> {
                match name.as_str() {
                    $($name => $crate::run($function, &arguments),)+
                    _ => ::core::result::Result::Err(::std::format!("no tool named {name}")),
                }
            }
        }

        $crate::bindings::export_plugin!(Plugin with_types_in $crate::bindings);
    };
}
