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

/// What the bus answers in the daemon's place when its policy keeps the caller out.
const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

/// The text of an error that the daemon answered with, without the error's name.
pub(super) fn explain(error: zbus::Error) -> anyhow::Error {
    let zbus::Error::MethodError(name, text, _) = &error else { return error.into() };
    match text {
        _ if name.as_str() == ACCESS_DENIED => anyhow::anyhow!(
            "the message bus does not let you talk with the daemon: that is for members of the \
             group gemmad; join it with `sudo adduser \"$USER\" gemmad`, then log in again"
        ),
        Some(text) => anyhow::Error::msg(text.clone()),
        None => error.into(),
    }
}
