//! How many bytes of weights one step of a graph reads: all that its operators compute with, but of
//! tables that are looked up single rows only, and of experts as many as a token has.

use std::collections::HashMap;

use super::onnx::{GraphProto, NodeProto, TensorProto};
use super::{dense_bytes, positions};

/// Bytes of weights that a step with one token reads. A tensor that several operators read counts
/// once: it is as often read from memory, for all of them are far larger than any cache together.
pub(super) fn step_bytes(graph: &GraphProto) -> u64 {
    let sizes = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
    let sizes: HashMap<&str, &TensorProto> = sizes.collect();
    let mut read: HashMap<&str, u64> = HashMap::new();
    for node in &graph.node {
        for (place, name) in node.input.iter().enumerate() {
            let Some(tensor) = sizes.get(name.as_str()) else { continue };
            if !is_looked_up(node, place) {
                read.insert(&tensor.name, of_a_token(node, tensor));
            }
        }
    }
    read.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
}

/// Whether an operator reads single rows of this input.
fn is_looked_up(node: &NodeProto, place: usize) -> bool {
    match node.op_type.as_str() {
        "Gather" => place == 0,
        "GatherBlockQuantized" => place != 1,
        _ => positions::is_table(node, place),
    }
}

/// Bytes that one token needs: a share of the experts, all of anything else.
fn of_a_token(node: &NodeProto, tensor: &TensorProto) -> u64 {
    let bytes = bytes(tensor);
    if !matches!(node.op_type.as_str(), "MoE" | "QMoE" | "Experts") {
        return bytes;
    }
    let chosen = node.attribute.iter().find(|attribute| attribute.name == "k");
    let chosen = chosen.and_then(|attribute| u64::try_from(attribute.i).ok()).unwrap_or(1);
    let experts = tensor.dims.first().and_then(|&dim| u64::try_from(dim).ok()).unwrap_or(1);
    bytes / experts.max(1) * chosen.min(experts)
}

/// Bytes of a tensor by its shape; types narrower than a byte have four bits.
fn bytes(tensor: &TensorProto) -> u64 {
    dense_bytes(tensor).unwrap_or_else(|| {
        let elements = tensor.dims.iter().map(|&dim| u64::try_from(dim).unwrap_or(0));
        elements.fold(1, u64::saturating_mul) / 2
    })
}

#[cfg(test)]
mod tests {
    use super::super::onnx::AttributeProto;
    use super::*;

    fn node(op_type: &str, input: &[&str]) -> NodeProto {
        let domain = if op_type == "Gather" { "" } else { "com.microsoft" };
        let input = input.iter().map(|&name| name.to_owned()).collect();
        let attribute = vec![AttributeProto { name: "k".into(), i: 2 }];
        NodeProto { input, op_type: op_type.into(), attribute, domain: domain.into() }
    }

    /// Tensors of bytes.
    fn check(nodes: Vec<NodeProto>, tensors: &[(&str, &[i64])], expected: u64) {
        let tensor = |(name, dims): &(&str, &[i64])| TensorProto {
            name: (*name).to_owned(),
            dims: dims.to_vec(),
            data_type: 2,
            ..TensorProto::default()
        };
        let initializer = tensors.iter().map(tensor).collect();
        let graph = GraphProto { node: nodes, initializer, ..GraphProto::default() };
        assert_eq!(step_bytes(&graph), expected);
    }

    #[test]
    fn products_read_all_of_their_weights_once() {
        let tensors: [(&str, &[i64]); 3] = [("data", &[8, 4]), ("scales", &[8]), ("unread", &[99])];
        let product = || node("MatMulNBits", &["x", "data", "scales"]);
        check(vec![product()], &tensors, 40);
        check(vec![product(), product()], &tensors, 40);
    }

    #[test]
    fn of_tables_single_rows_are_read() {
        let tables: [(&str, &[i64]); 2] = [("table", &[100, 4]), ("scales", &[100])];
        check(vec![node("Gather", &["table", "ids"])], &tables, 0);
        check(vec![node("GatherBlockQuantized", &["table", "ids", "scales"])], &tables, 0);
        let turned = ["x", "", "", "", "", "", "", "table", "scales"];
        check(vec![node("GroupQueryAttention", &turned)], &tables, 0);
    }

    #[test]
    fn of_experts_as_many_are_read_as_a_token_has() {
        let experts: [(&str, &[i64]); 1] = [("experts", &[8, 10, 10])];
        for operator in ["QMoE", "Experts"] {
            check(vec![node(operator, &["x", "router", "experts"])], &experts, 200);
        }
    }
}
