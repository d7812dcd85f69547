//! The precision of a graph's weights, told by the operators that read them.

use std::collections::{BTreeMap, HashMap};

use super::onnx::{GraphProto, NodeProto};
use super::positions;

const F32: i32 = 1;
const F16: i32 = 10;
const BF16: i32 = 16;

/// Precision of the weights, as people name it: that of the operator that reads most of them.
pub(super) fn dtype(graph: &GraphProto) -> &'static str {
    let sizes = graph.initializer.iter().map(|tensor| {
        let elements = tensor.dims.iter().map(|&dim| u64::try_from(dim).unwrap_or(0));
        (tensor.name.as_str(), (tensor.data_type, elements.fold(1, u64::saturating_mul)))
    });
    let sizes: HashMap<&str, (i32, u64)> = sizes.collect();
    let mut weights: BTreeMap<&'static str, u64> = BTreeMap::new();
    for node in &graph.node {
        for (place, input) in node.input.iter().enumerate() {
            let Some(&(kind, elements)) = sizes.get(input.as_str()) else { continue };
            // Rotations of every position are larger than the weights of a layer, and read in each.
            if positions::is_table(node, place) {
                continue;
            }
            if let Some(name) = name(node, place, kind, scale_kind(node, &sizes)) {
                *weights.entry(name).or_default() += elements;
            }
        }
    }
    // Of two with as many weights, the first by name: the same file gives the same answer.
    let most = weights.iter().max_by_key(|(_, elements)| **elements);
    most.map_or("fp32", |(name, _)| name)
}

/// Element type of the scales of an operator with weights in blocks.
fn scale_kind(node: &NodeProto, sizes: &HashMap<&str, (i32, u64)>) -> Option<i32> {
    let scales = node.input.get(2).and_then(|scales| sizes.get(scales.as_str()));
    scales.map(|(kind, _)| *kind)
}

/// What weights of this element type are called, at this input of this operator.
fn name(node: &NodeProto, place: usize, kind: i32, scales: Option<i32>) -> Option<&'static str> {
    let bits = node.attribute.iter().find(|attribute| attribute.name == "bits");
    let bits = bits.map_or(4, |attribute| attribute.i);
    let is_data = match node.op_type.as_str() {
        "MatMulNBits" | "Product" => place == 1,
        "GatedProduct" => place == 1 || place == 4,
        "GatherBlockQuantized" => place == 0,
        "QMoE" => kind == 2 || kind == 3,
        _ => {
            return match kind {
                F32 => Some("fp32"),
                F16 => Some("fp16"),
                BF16 => Some("bf16"),
                2 => Some("uint8"),
                3 => Some("int8"),
                _ => None,
            };
        }
    };
    match (is_data, bits, scales == Some(F16)) {
        (false, ..) => None,
        (true, 8, _) => Some("q8"),
        (true, 2, false) => Some("q2"),
        (true, 2, true) => Some("q2f16"),
        (true, _, false) => Some("q4"),
        (true, _, true) => Some("q4f16"),
    }
}

/// Whether a matrix product has weights in 16-bit floats.
pub(super) fn multiplies_in_f16(graph: &GraphProto) -> bool {
    let halves = graph.initializer.iter().filter(|tensor| tensor.data_type == F16);
    let halves: std::collections::HashSet<&str> =
        halves.map(|tensor| tensor.name.as_str()).collect();
    let products = graph.node.iter().filter(|node| {
        matches!(node.op_type.as_str(), "MatMul" | "Gemm" | "MatMulNBits" | "FusedMatMul")
    });
    products.flat_map(|node| &node.input).any(|input| halves.contains(input.as_str()))
}
