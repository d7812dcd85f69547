//! Makes a decoder take a shorter past in its sliding layers than in the others.
//!
//! Published decoders give all layers one length. A sliding layer needs the end of its past only, so
//! here the lengths of those layers are taken from their own past, and masks are cut to their last
//! columns. With a whole past the graph computes what it did before; whether it does so with a
//! shorter one is tried by whoever loads it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::engine::Window;
use crate::graph::edit::{Attribute, Edit, Node};

/// Files beyond this hold their weights themselves, and a copy of those is dear.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Places of the inputs of `com.microsoft::GroupQueryAttention`.
mod group_query {
    pub(super) const PAST_KEY: usize = 3;
    pub(super) const LAST_TOKEN: usize = 5;
    pub(super) const TOTAL: usize = 6;
    pub(super) const POSITIONS: usize = 9;
    pub(super) const BIAS: usize = 10;
}

/// Places of the inputs of `Attention`.
mod attention {
    pub(super) const MASK: usize = 3;
}

/// Place of the keys among the outputs of both.
const PRESENT_KEY: usize = 1;

/// Names of what is put into a graph.
const TOTAL: &str = "gemmad/recent_total";
const TOTAL_32: &str = "gemmad/recent_total_32";
const LAST_TOKEN: &str = "gemmad/recent_last_token";
const START: &str = "gemmad/recent_start";
const POSITIONS: &str = "gemmad/positions";
const END: &str = "gemmad/end";
const LAST_AXIS: &str = "gemmad/last_axis";

/// The bytes of a graph file whose sliding layers go by the length of their own past; `None` where
/// the graph cannot be understood.
pub(super) fn rewrite(path: &Path, window: &Window<'_>) -> Option<Vec<u8>> {
    if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let mut edit = Edit::open(&std::fs::read(path).ok()?)?;
    let found = Found::search(&edit.nodes, window);
    if found.attention.is_empty() && found.masks.is_empty() {
        return None;
    }
    let mut nodes = lengths(window)?;
    let mut cut = HashSet::new();
    for (at, mut node) in std::mem::take(&mut edit.nodes).into_iter().enumerate() {
        if found.attention.contains(&at) {
            go_by_recent(&mut node, window);
        }
        if let Some(&place) = found.masks.get(&at)
            && let Some(mask) = node.input.get_mut(place).filter(|mask| !mask.is_empty())
        {
            let name = format!("gemmad/recent/{mask}");
            if cut.insert(name.clone()) {
                let inputs = [mask.as_str(), START, END, LAST_AXIS];
                nodes.push(Node::standard("Slice", &inputs, &name, &[]));
            }
            *mask = name;
        }
        nodes.push(node);
    }
    edit.nodes = nodes;
    Some(edit.close())
}

/// Where the keys of the sliding layers lead to.
#[derive(Debug, Default)]
struct Found {
    /// Operators that are told lengths.
    attention: HashSet<usize>,
    /// Operators with a mask over the keys, and which input it is.
    masks: HashMap<usize, usize>,
}

impl Found {
    /// Follows the keys from where they come in to the operators that compare them with queries.
    fn search(nodes: &[Node], window: &Window<'_>) -> Self {
        let mut readers: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        for (at, node) in nodes.iter().enumerate() {
            for (place, input) in node.input.iter().enumerate() {
                readers.entry(input).or_default().push((at, place));
            }
        }
        let mut found = Self::default();
        let mut seen: HashSet<&str> = HashSet::new();
        // Each with whether it holds scores rather than keys.
        let mut open: Vec<(&str, bool)> =
            window.layers.iter().map(|([key, _], _)| (*key, false)).collect();
        while let Some((name, is_score)) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            for &(at, place) in readers.get(name).into_iter().flatten() {
                let Some(node) = nodes.get(at) else { continue };
                let next = found.visit(at, node, place, is_score);
                open.extend(next.and_then(|(output, is_score)| {
                    Some((node.output.get(output)?.as_str(), is_score))
                }));
            }
        }
        found
    }

    /// Notes what an operator does with keys or scores; which of its outputs holds them then.
    fn visit(
        &mut self,
        at: usize,
        node: &Node,
        place: usize,
        is_score: bool,
    ) -> Option<(usize, bool)> {
        match (node.op_type.as_str(), is_score) {
            ("GroupQueryAttention", false) if place == group_query::PAST_KEY => {
                self.attention.insert(at);
                let has_bias =
                    node.input.get(group_query::BIAS).is_some_and(|bias| !bias.is_empty());
                has_bias.then(|| self.masks.insert(at, group_query::BIAS));
                Some((PRESENT_KEY, false))
            }
            ("Attention", false) => {
                self.masks.insert(at, attention::MASK);
                Some((PRESENT_KEY, false))
            }
            ("MatMul" | "FusedMatMul", false) => Some((0, true)),
            ("Concat" | "Transpose" | "Unsqueeze" | "Squeeze" | "Expand" | "Reshape", _)
            | ("Cast" | "Identity" | "Mul" | "Div", _)
            | ("Tanh", true) => (place == 0 || node.op_type == "Concat" || node.op_type == "Mul")
                .then_some((0, is_score)),
            ("Add", true) => {
                self.masks.insert(at, 1 - place.min(1));
                None
            }
            ("Where", true) if place > 0 => {
                self.masks.insert(at, 0);
                None
            }
            _ => None,
        }
    }
}

/// Makes an attention operator go by the length of its own past.
fn go_by_recent(node: &mut Node, window: &Window<'_>) {
    let set = |node: &mut Node, place: usize, name: &str| {
        if node.input.len() <= place {
            node.input.resize(place + 1, String::new());
        }
        if let Some(slot) = node.input.get_mut(place) {
            name.clone_into(slot);
        }
    };
    set(node, group_query::LAST_TOKEN, LAST_TOKEN);
    set(node, group_query::TOTAL, TOTAL_32);
    let told = node.input.get(group_query::POSITIONS).is_some_and(|name| !name.is_empty());
    // Without positions it would rotate by the length that it is told, which is a shorter one now.
    if node.int("do_rotary") == Some(1) && !told {
        set(node, group_query::POSITIONS, window.positions.unwrap_or(POSITIONS));
    }
}

/// Operators that compute the length of the sliding layers' keys, and where masks are to be cut.
fn lengths(window: &Window<'_>) -> Option<Vec<Node>> {
    let ([past, _], _) = window.layers.first()?;
    let mut nodes = Vec::new();
    let mut add = |op: &str, inputs: &[&str], output: &str, attributes: &[Attribute]| {
        nodes.push(Node::standard(op, inputs, output, attributes));
    };
    let constant = |value| [Attribute::int("value_int", value)];
    let list = |value| [Attribute::ints("value_ints", vec![value])];
    let (int_32, int_64) = (6, 7);
    let cast = |kind| [Attribute::int("to", kind)];
    add("Constant", &[], "gemmad/1", &constant(1));
    add("Constant", &[], "gemmad/2", &constant(2));
    add("Constant", &[], "gemmad/list_0", &list(0));
    add("Constant", &[], END, &list(i64::MAX));
    add("Constant", &[], LAST_AXIS, &list(-1));
    add("Shape", &[past], "gemmad/past_shape", &[]);
    add("Gather", &["gemmad/past_shape", "gemmad/2"], "gemmad/past", &[]);
    add("Shape", &[window.step?], "gemmad/step_shape", &[]);
    add("Gather", &["gemmad/step_shape", "gemmad/1"], "gemmad/step", &[]);
    add("Add", &["gemmad/past", "gemmad/step"], TOTAL, &[]);
    add("Cast", &[TOTAL], TOTAL_32, &cast(int_32));
    add("Unsqueeze", &[TOTAL, "gemmad/list_0"], "gemmad/total_list", &[]);
    add("Neg", &["gemmad/total_list"], START, &[]);
    add("Sub", &["gemmad/total_list", "gemmad/1"], "gemmad/last_token_64", &[]);
    add("Cast", &["gemmad/last_token_64"], LAST_TOKEN, &cast(int_32));
    if let (None, Some(total)) = (window.positions, window.total) {
        add("Shape", &[total], "gemmad/all_shape", &[]);
        add("Gather", &["gemmad/all_shape", "gemmad/1"], "gemmad/all", &[]);
        add("Sub", &["gemmad/all", "gemmad/step"], "gemmad/first", &[]);
        add("Range", &["gemmad/first", "gemmad/all", "gemmad/1"], "gemmad/range", &[]);
        add("Unsqueeze", &["gemmad/range", "gemmad/list_0"], "gemmad/positions_any", &[]);
        add("Cast", &["gemmad/positions_any"], POSITIONS, &cast(int_64));
    }
    Some(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_LAYERS: ([&str; 2], [&str; 2]) = (["past.key", "past.value"], ["key", "value"]);

    fn window() -> Window<'static> {
        let (layers, total) = (vec![WINDOW_LAYERS], Some("mask"));
        Window { layers, positions: None, step: Some("embeds"), total }
    }

    fn node(op_type: &str, input: &[&str], output: &[&str]) -> Node {
        let mut node = Node::standard(op_type, input, "", &[]);
        node.output = output.iter().map(|&name| name.into()).collect();
        node
    }

    fn check(nodes: &[Node], attention: &[usize], masks: &[(usize, usize)]) {
        let found = Found::search(nodes, &window());
        assert_eq!(found.attention, attention.iter().copied().collect());
        assert_eq!(found.masks, masks.iter().copied().collect());
    }

    #[test]
    fn masks_are_found_behind_the_product_with_the_keys() {
        let plain = [
            node("Concat", &["past.key", "new"], &["key"]),
            node("Transpose", &["key"], &["turned"]),
            node("MatMul", &["query", "turned"], &["scores"]),
            node("Add", &["scores", "local_mask"], &["masked"]),
            node("Softmax", &["masked"], &["weights"]),
        ];
        check(&plain, &[], &[(3, 1)]);
        let mut where_mask = plain.to_vec();
        where_mask[3] = node("Where", &["visible", "scores", "never"], &["masked"]);
        check(&where_mask, &[], &[(3, 0)]);
        // A sum of keys is no sum of scores.
        let mut rotated_later = plain.to_vec();
        rotated_later[1] = node("Add", &["key", "sine"], &["turned"]);
        check(&rotated_later, &[], &[]);
    }

    #[test]
    fn layers_that_share_are_found_through_the_layer_they_share_with() {
        let own =
            node("GroupQueryAttention", &["q", "k", "v", "past.key", "past.value"], &["y", "key"]);
        let shares = node("GroupQueryAttention", &["q", "none", "none", "key", "value"], &["z"]);
        let other = node("GroupQueryAttention", &["q", "k", "v", "global.key"], &["a", "b"]);
        check(&[own, shares, other], &[0, 1], &[]);
        let own = node("Attention", &["q", "k", "v", "bias", "past.key"], &["y", "key"]);
        let shares = node("Attention", &["q", "key", "value", "bias"], &["z"]);
        check(&[own, shares], &[], &[(0, 3), (1, 3)]);
    }

    #[test]
    fn attention_is_told_positions_unless_it_rotates_nothing() {
        let mut node = node("GroupQueryAttention", &["q", "k", "v", "past.key"], &["y", "key"]);
        go_by_recent(&mut node, &window());
        assert_eq!(node.input.len(), 7);
        let rotates = Attribute::int("do_rotary", 1);
        node.attribute.push(prost::Message::encode_to_vec(&rotates));
        go_by_recent(&mut node, &window());
        assert_eq!(node.input.get(9).map(String::as_str), Some(POSITIONS));
    }
}
