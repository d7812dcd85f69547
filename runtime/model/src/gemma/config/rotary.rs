//! How fast the heads of a layer are turned with the position.

use serde::Deserialize;
use serde_json::Value;

use super::LayerKind;

/// Base and share of the turning of a layer's heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rotary {
    /// Base of the frequencies.
    pub(crate) theta: f32,
    /// Which part of the pairs of a head turns at all.
    pub(crate) share: f32,
}

#[derive(Default, Deserialize)]
struct Raw {
    rope_theta: Option<f32>,
    partial_rotary_factor: Option<f32>,
}

impl Rotary {
    /// That of sliding and of global layers.
    ///
    /// # Errors
    /// When the text configuration says something impossible.
    pub(super) fn of_kinds(text: &Value) -> Result<[Self; 2], String> {
        Ok([Self::read(text, LayerKind::Sliding)?, Self::read(text, LayerKind::Global)?])
    }

    /// What the text configuration says, else what all published sizes have.
    ///
    /// # Errors
    /// When it says something impossible.
    fn read(text: &Value, kind: LayerKind) -> Result<Self, String> {
        let (name, published) = match kind {
            LayerKind::Sliding => ("sliding_attention", Self { theta: 1e4, share: 1.0 }),
            LayerKind::Global => ("full_attention", Self { theta: 1e6, share: 0.25 }),
        };
        let raw = text.get("rope_parameters").and_then(|all| all.get(name));
        let raw: Raw = match raw {
            None => return Ok(published),
            Some(raw) => serde_json::from_value(raw.clone())
                .map_err(|error| format!("rope_parameters.{name}: {error}"))?,
        };
        let theta = raw.rope_theta.unwrap_or(published.theta);
        // Where the base is named, all turns unless a share is named, too.
        let share = raw.partial_rotary_factor.unwrap_or(1.0);
        if !(theta > 1.0 && theta.is_finite() && (0.0..=1.0).contains(&share)) {
            return Err(format!(
                "rope_parameters.{name} has rope_theta {theta} and partial_rotary_factor {share}; \
                 expected more than 1, and 0 to 1"
            ));
        }
        Ok(Self { theta, share })
    }

    /// Pairs that turn of a head of this width.
    pub(crate) fn pairs(&self, width: usize) -> usize {
        (self.share * width as f32 / 2.0) as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::json;

    use super::*;

    fn check(text: &Value, expected: [(f32, usize); 2]) {
        let found = [LayerKind::Sliding, LayerKind::Global].map(|kind| {
            let rotary = Rotary::read(text, kind).unwrap();
            (rotary.theta, rotary.pairs(512))
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn the_published_turning_is_read_and_assumed() {
        let global = json!({"rope_theta": 1e6, "partial_rotary_factor": 0.25});
        let both = json!({"sliding_attention": {"rope_theta": 1e4}, "full_attention": global});
        check(&json!({"rope_parameters": both}), [(1e4, 256), (1e6, 64)]);
        check(&json!({}), [(1e4, 256), (1e6, 64)]);
        let other = json!({"full_attention": {"rope_theta": 5e5}});
        check(&json!({"rope_parameters": other}), [(1e4, 256), (5e5, 256)]);
    }

    #[test]
    fn what_cannot_turn_is_refused() {
        for raw in [json!({"rope_theta": 0}), json!({"partial_rotary_factor": 2}), json!([])] {
            let text = json!({"rope_parameters": {"full_attention": raw}});
            let error = Rotary::read(&text, LayerKind::Global).unwrap_err();
            assert!(error.starts_with("rope_parameters.full_attention"), "{error}");
        }
    }
}
