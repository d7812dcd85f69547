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

/// The cosines that an operator rotates by.
fn table(node: &NodeProto) -> Option<&str> {
    let place = match (node.domain.as_str(), node.op_type.as_str()) {
        ("com.microsoft", "GroupQueryAttention") => 7,
        ("com.microsoft", "RotaryEmbedding") => 2,
        ("", "RotaryEmbedding") => 1,
        _ => return None,
    };
    node.input.get(place).map(String::as_str)
}
