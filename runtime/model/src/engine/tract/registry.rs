//! The operators that graphs may use: those of tract that are right, and ours.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use tract_onnx::Onnx;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb;
use tract_onnx::prelude::*;

use super::gather::gather_block_quantized;
use super::grouped::group_query_attention;
use super::halves::{WIDENED, fused_matmul, widened};
use super::layer_norm::layer_norm;
use super::nbits::matmul_nbits;
use super::norm::{rms_norm, skip_rms_norm};
use super::operator::Built;
use super::own;
use super::padding::pad;
use super::rotary::rotary_embedding;
use super::standard::{attention, multi_head_attention};
use super::stride::every_nth;
use crate::engine::own::DOMAIN;

/// Operators of ONNX Runtime's own domain that are known here; all others of that domain are refused,
/// since tract looks at names only and would take them for something else.
const CONTRIB: [&str; 11] = [
    "BiasGelu",
    "FastGelu",
    "FusedMatMul",
    "GatherBlockQuantized",
    "Gelu",
    "GroupQueryAttention",
    "MatMulNBits",
    "MultiHeadAttention",
    "QuickGelu",
    "RotaryEmbedding",
    "SkipSimplifiedLayerNormalization",
];

/// tract's reader of graphs, with our operators in place of its own.
pub(super) fn reader() -> Onnx {
    // Shapes that an exporter noted inside the graph may contradict the symbols we set.
    let mut onnx = onnx().with_ignore_value_info(true);
    register(&mut onnx.op_register);
    onnx
}

fn register(operators: &mut OnnxOpRegister) {
    for name in WIDENED {
        operators.insert(name, widened);
    }
    operators.insert("Attention", attention);
    operators.insert("EveryNth", every_nth);
    operators.insert("FusedMatMul", fused_matmul);
    operators.insert("GatherBlockQuantized", gather_block_quantized);
    operators.insert("GroupQueryAttention", group_query_attention);
    operators.insert("LayerNormalization", layer_norm);
    operators.insert("MatMulNBits", matmul_nbits);
    operators.insert("MultiHeadAttention", multi_head_attention);
    operators.insert("Pad", pad);
    own::register(operators);
    operators.insert("RMSNormalization", rms_norm);
    operators.insert("RotaryEmbedding", rotary_embedding);
    operators.insert("SimplifiedLayerNormalization", rms_norm);
    operators.insert("SkipSimplifiedLayerNormalization", skip_rms_norm);
}

/// A node as tract itself reads it.
///
/// # Errors
/// What tract says of the node.
pub(super) fn original(context: &ParsingContext<'_>, node: &pb::NodeProto) -> Built {
    // Made once: a graph has hundreds of such nodes.
    static ORIGINAL: LazyLock<Onnx> = LazyLock::new(onnx);
    let builder = ORIGINAL.op_register.0.get(&node.op_type);
    builder.ok_or_else(|| TractError::msg(format!("{} is unknown", node.op_type)))?(context, node)
}

/// Names the operators that are not to be had, before tract is asked for them.
///
/// # Errors
/// When there are some.
pub(super) fn refuse_unknown(onnx: &Onnx, graph: &pb::GraphProto) -> TractResult<()> {
    let mut unknown = BTreeSet::new();
    collect_unknown(onnx, graph, &mut unknown);
    if unknown.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = unknown.into_iter().collect();
    Err(TractError::msg(format!(
        "it uses {}, which tract does not run; use the engine ort, or a conversion to standard \
         operators",
        names.join(", ")
    )))
}

fn collect_unknown(onnx: &Onnx, graph: &pb::GraphProto, unknown: &mut BTreeSet<String>) {
    for node in &graph.node {
        let standard = matches!(node.domain.as_str(), "" | "ai.onnx");
        let named = onnx.op_register.0.contains_key(&node.op_type);
        let contrib = node.domain == "com.microsoft" && CONTRIB.contains(&node.op_type.as_str());
        let own = node.domain == DOMAIN && own::NAMES.contains(&node.op_type.as_str());
        if !(own || named && (standard || contrib)) {
            let domain = if standard { String::new() } else { format!("{}::", node.domain) };
            unknown.insert(format!("{domain}{}", node.op_type));
        }
        let inner = node.attribute.iter().flat_map(|attribute| &attribute.g);
        inner.for_each(|graph| collect_unknown(onnx, graph, unknown));
    }
}
