//! A core module as a component: the last step of building a plugin, so that authors need no tool
//! but a compiler.

use wit_component::ComponentEncoder;

/// Why a module could not become a component, as the encoder says it.
#[derive(Debug, thiserror::Error)]
#[error("not a core module of a plugin: {0}")]
pub struct ComponentError(String);

/// Wraps a core module, as a guest compiler leaves it, into a component.
///
/// # Errors
///
/// The bytes are no module, or the module lacks what the contract asks of it.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| ComponentError(format!("{error:#}")))
}
