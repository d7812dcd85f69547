//! How far a graph can count: tables of rotations have a row for each position.

use std::collections::HashMap;

use super::onnx::{GraphProto, NodeProto};

/// Positions that every table of rotations in a graph has; `None` where it has no tables.
pub(super) fn counted(graph: &GraphProto) -> Option<usize> {
    let rows = graph.initializer.iter().filter_map(|tensor| {
        let rows = tensor.dims.first().copied().and_then(|rows| usize::try_from(rows).ok());
        Some((tensor.name.as_str(), rows?))
    });
    let rows: HashMap<&str, usize> = rows.collect();
    let tables = graph.node.iter().filter_map(table);
    tables.filter_map(|name| rows.get(name).copied()).min()
}

/// Whether this input of an operator is a table of cosines or sines.
pub(super) fn is_table(node: &NodeProto, place: usize) -> bool {
    cosines(node).is_some_and(|first| place == first || place == first + 1)
}

/// The cosines that an operator rotates by.
fn table(node: &NodeProto) -> Option<&str> {
    node.input.get(cosines(node)?).map(String::as_str)
}

/// Where an operator takes its cosines; the sines follow.
fn cosines(node: &NodeProto) -> Option<usize> {
    match (node.domain.as_str(), node.op_type.as_str()) {
        ("com.microsoft", "GroupQueryAttention") => Some(7),
        ("com.microsoft", "RotaryEmbedding") => Some(2),
        ("", "RotaryEmbedding") => Some(1),
        _ => None,
    }
}
