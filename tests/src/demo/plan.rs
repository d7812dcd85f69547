//! Which scenes are played: what `tests/fixtures/demo/scenes.json` says of the demo model, all of them
//! for another one, or as it was typed.

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Arguments;
use crate::workspace;

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

/// What is played.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The scenes, in order.
    pub(super) scenes: Vec<Scene>,
}

impl Plan {
    /// What was typed, and for the demo model what its file says.
    pub(super) fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        let path = workspace::fixture("scenes.json")?;
        let own = std::fs::read_to_string(&path).map_err(anyhow::Error::from);
        let own = own.and_then(|text| Self::read(&text));
        let own = own.with_context(|| format!("{}", path.display()))?;
        if !arguments.scene.is_empty() {
            let typed = arguments.scene.iter().map(|name| Scene::of(name));
            return Ok(Self { scenes: typed.collect::<anyhow::Result<_>>()? });
        }
        Ok(match arguments.model {
            Some(_) => Self { scenes: Scene::ALL.to_vec() },
            None => own,
        })
    }

    fn read(text: &str) -> anyhow::Result<Self> {
        let plan: Value = serde_json::from_str(text)?;
        let names = plan["scenes"].as_array().context("scenes is no list")?;
        let scene = |name: &Value| Scene::of(name.as_str().unwrap_or_default());
        let scenes = names.iter().map(scene).collect::<anyhow::Result<Vec<_>>>()?;
        if scenes.is_empty() {
            bail!("scenes is empty; expected at least one");
        }
        Ok(Self { scenes })
    }
}
