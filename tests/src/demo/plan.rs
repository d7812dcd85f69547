//! The scenes, and which of them are played.

use anyhow::Context as _;

use super::Arguments;

/// A scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scene {
    /// Somebody speaks to the house, then writes to it.
    Request,
    /// A watch looks at the front door, until a parcel comes.
    Door,
    /// Somebody interrupts an answer.
    Interruption,
}

impl Scene {
    const ALL: [Self; 3] = [Self::Request, Self::Door, Self::Interruption];

    fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Door => "door",
            Self::Interruption => "interruption",
        }
    }

    /// What the screen says before it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Request => "A request: somebody speaks, the camera sees, a tool is called",
            Self::Door => "The front door: a watch looks, and publishes what it sees as JSON",
            Self::Interruption => "An interruption: an answer is stopped, a new request is done",
        }
    }

    fn of(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|scene| scene.name() == name);
        let known = || Self::ALL.map(Self::name).join(", ");
        found.with_context(|| format!("{name:?} is no scene; there are {}", known()))
    }
}

/// What is played: what was typed, else everything.
///
/// # Errors
/// When there is no such scene.
pub(super) fn scenes(arguments: &Arguments) -> anyhow::Result<Vec<Scene>> {
    match arguments.scene.as_slice() {
        [] => Ok(Scene::ALL.to_vec()),
        typed => typed.iter().map(|name| Scene::of(name)).collect(),
    }
}
