//! The published sizes of Gemma 4, told apart by how they are built.

use std::fmt;

/// How a model is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Per-layer inputs, keys and values shared between layers, wider layers at the end.
    E2B,
    /// Per-layer inputs, keys and values shared between layers.
    E4B,
    /// Pictures and sound without towers of their own.
    Unified12B,
    /// A mixture of experts.
    A4B26B,
    /// One set of weights for keys and values in global layers.
    Dense31B,
}

/// Which of the published sizes a model is, or is built like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// How it is built.
    pub family: Family,
    /// Layers of the decoder.
    pub layers: usize,
    /// Width of an embedding.
    pub hidden: usize,
}

impl Family {
    const ALL: [Self; 5] = [Self::E2B, Self::E4B, Self::Unified12B, Self::A4B26B, Self::Dense31B];

    /// The family whose published model has these layers and this width.
    pub(crate) fn of_published(layers: usize, hidden: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.published() == (layers, hidden))
    }

    /// Layers and width of the published model.
    fn published(self) -> (usize, usize) {
        match self {
            Self::E2B => (35, 1536),
            Self::E4B => (42, 2560),
            Self::Unified12B => (48, 3840),
            Self::A4B26B => (30, 2816),
            Self::Dense31B => (60, 5376),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::E2B => "E2B",
            Self::E4B => "E4B",
            Self::Unified12B => "12B",
            Self::A4B26B => "26B-A4B",
            Self::Dense31B => "31B",
        })
    }
}

/// The name of a published size; of another one, whose build it has and how large it is.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, layers, hidden } = *self;
        match (layers, hidden) == family.published() {
            true => family.fmt(f),
            false => write!(f, "built like {family}, {layers} layers of {hidden}"),
        }
    }
}

/// What tells the published sizes apart.
pub(crate) struct Facts {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) is_unified: bool,
    pub(crate) has_experts: bool,
    pub(crate) has_per_layer_inputs: bool,
    pub(crate) widens: bool,
}

impl Facts {
    /// The size that these facts belong to.
    pub(crate) fn variant(&self) -> Variant {
        let family = if self.is_unified {
            Family::Unified12B
        } else if self.has_experts {
            Family::A4B26B
        } else if !self.has_per_layer_inputs {
            Family::Dense31B
        } else if self.widens {
            Family::E2B
        } else {
            Family::E4B
        };
        Variant { family, layers: self.layers, hidden: self.hidden }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Facts = Facts {
        layers: 60,
        hidden: 5376,
        is_unified: false,
        has_experts: false,
        has_per_layer_inputs: false,
        widens: false,
    };

    fn check(facts: &Facts, expected: &str) {
        assert_eq!(facts.variant().to_string(), expected);
    }

    #[test]
    fn the_published_sizes_are_told_apart() {
        check(&PLAIN, "31B");
        check(&Facts { layers: 30, hidden: 2816, has_experts: true, ..PLAIN }, "26B-A4B");
        check(&Facts { layers: 48, hidden: 3840, is_unified: true, ..PLAIN }, "12B");
        let small = Facts { layers: 42, hidden: 2560, has_per_layer_inputs: true, ..PLAIN };
        check(&small, "E4B");
        check(&Facts { layers: 35, hidden: 1536, widens: true, ..small }, "E2B");
        check(&Facts { layers: 3, ..small }, "built like E4B, 3 layers of 2560");
    }
}
