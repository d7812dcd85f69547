//! Boxes, and by how much of their area two lists of them are the same.

use gemma_runtime::tasks::{Boxes, DetectedBox};
use serde::Deserialize;

/// A thing and where it is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::client::selftest) struct Edges {
    /// Top, left, bottom and right in thousandths of the picture.
    box_2d: [f64; 4],
    label: String,
}

impl Edges {
    /// The thing and its edges, in one line.
    pub(super) fn shown(&self) -> String {
        format!("{} {:?}", self.label, self.box_2d)
    }
}

/// The boxes of an answer that was read on a grid of 1000 by 1000.
pub(super) fn edges(boxes: &Boxes) -> Vec<Edges> {
    let one = |found: &DetectedBox| Edges {
        box_2d: [found.y_min_px, found.x_min_px, found.y_max_px, found.x_max_px].map(f64::from),
        label: found.label.clone(),
    };
    boxes.found.iter().map(one).collect()
}

/// Mean overlap of each right box with the best found box of its name; a box too many counts as 0.
pub(super) fn mean_overlap(right: &[Edges], found: &[Edges]) -> f64 {
    let most = right.len().max(found.len());
    if most == 0 {
        return 1.0;
    }
    let best = |wanted: &Edges| {
        let same = found.iter().filter(|other| other.label == wanted.label);
        same.map(|other| overlap(wanted.box_2d, other.box_2d)).fold(0.0, f64::max)
    };
    right.iter().map(best).sum::<f64>() / most as f64
}

/// Area that both boxes cover over the area that either covers.
pub(super) fn overlap(one: [f64; 4], other: [f64; 4]) -> f64 {
    let side =
        |from: usize, to: usize| (one[to].min(other[to]) - one[from].max(other[from])).max(0.0);
    let area = |edges: [f64; 4]| (edges[2] - edges[0]).max(0.0) * (edges[3] - edges[1]).max(0.0);
    let both = side(0, 2) * side(1, 3);
    let either = area(one) + area(other) - both;
    if either > 0.0 { both / either } else { 0.0 }
}
