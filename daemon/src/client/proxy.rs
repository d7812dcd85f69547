//! The daemon as seen from the other side of the bus.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

/// The main object.
#[zbus::proxy(
    interface = "org.gemmad.Gemmad1",
    default_service = "org.gemmad.Gemmad1",
    default_path = "/org/gemmad/Gemmad1"
)]
pub(super) trait Gemmad {
    fn ask(&self, options: HashMap<&str, Variant<'_>>) -> zbus::Result<OwnedObjectPath>;

    fn call_tool(
        &self,
        name: &str,
        arguments: &str,
    ) -> zbus::Result<(String, String, HashMap<String, OwnedVariant>)>;
}

/// A request object.
#[zbus::proxy(interface = "org.gemmad.Gemmad1.Request", default_service = "org.gemmad.Gemmad1")]
pub(super) trait Request {
    fn cancel(&self) -> zbus::Result<()>;
}

/// The text of an error that the daemon answered with, without the error's name.
pub(super) fn explain(error: zbus::Error) -> anyhow::Error {
    if let zbus::Error::MethodError(_, Some(text), _) = error {
        return anyhow::Error::msg(text);
    }
    error.into()
}
