//! What a method call on the bus can be refused with: names under `org.gemmad.Gemmad1.Error`.

use crate::event::Refusal;

/// Why a method call was refused.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.gemmad.Gemmad1.Error")]
pub(super) enum Error {
    /// The bus itself failed.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// Too many questions wait; ask again later.
    Busy(String),
    /// There is no model to ask.
    NoModel(String),
    /// An argument is wrong.
    Invalid(String),
    /// The caller has an open request with this token.
    InUse(String),
    /// The request belongs to another caller.
    NotYours(String),
    /// The daemon goes down.
    Stopping(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Busy { .. } => Self::Busy(text),
            Refusal::NoModel(_) => Self::NoModel(text),
            Refusal::Invalid(_) => Self::Invalid(text),
        }
    }
}

impl Error {
    /// The daemon no longer takes commands.
    pub(super) fn stopping() -> Self {
        Self::Stopping("the daemon is going down".into())
    }
}
