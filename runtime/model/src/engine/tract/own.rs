//! Our operators in tract. It reads constants into memory of its own; the weights of products are
//! taken out of the graph before it does, and mapped by the operators that read them.

mod attention;
mod columns;
mod experts;
mod product;
mod rows;

use std::collections::{HashMap, HashSet};

use tract_onnx::model::OnnxOpRegister;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::TractError;

use super::held;
use super::rewrite::whole;
use crate::engine::own::{
    ATTENTION, Attributes, COLUMN_PRODUCT, DOMAIN, EXPERTS, GATED_PRODUCT, PRODUCT,
};

/// Our operators that graphs may use.
pub(super) const NAMES: [&str; 5] = [PRODUCT, GATED_PRODUCT, COLUMN_PRODUCT, EXPERTS, ATTENTION];

/// Names under which tract knows our operators: it looks at names only, and `Attention` is one of
/// the standard's, too.
const OWN_PRODUCT: &str = "gemmad.Product";
const OWN_GATED_PRODUCT: &str = "gemmad.GatedProduct";
const OWN_COLUMN_PRODUCT: &str = "gemmad.ColumnProduct";
const OWN_EXPERTS: &str = "gemmad.Experts";
const OWN_ATTENTION: &str = "gemmad.Attention";
const LAST_ROWS: &str = "gemmad.LastRows";
const COUNT_ROWS: &str = "gemmad.CountRows";

/// Attribute of our operators: the threads that do their work.
const THREADS: &str = "gemmad.threads";

/// Makes our operators known.
pub(super) fn register(operators: &mut OnnxOpRegister) {
    operators.insert(OWN_PRODUCT, product::product_of_one);
    operators.insert(OWN_GATED_PRODUCT, product::product_of_two);
    operators.insert(OWN_COLUMN_PRODUCT, columns::column_product);
    operators.insert(OWN_EXPERTS, experts::experts);
    operators.insert(OWN_ATTENTION, attention::attention);
    operators.insert(LAST_ROWS, rows::last_rows);
    operators.insert(COUNT_ROWS, rows::count_rows);
}

/// Writes a graph with operators of ours in the form in which tract gets them.
pub(super) fn rewrite(graph: &mut pb::GraphProto, threads: usize) {
    let is_own = graph.node.iter().any(|node| node.domain == DOMAIN);
    if is_own {
        rename(graph, threads);
        name_rows(graph);
    }
    adopt_products(graph, threads);
    hold_weights(graph);
}

fn rename(graph: &mut pb::GraphProto, threads: usize) {
    for node in graph.node.iter_mut().filter(|node| node.domain == DOMAIN) {
        let threads = i64::try_from(threads).unwrap_or(0);
        node.op_type = format!("{DOMAIN}.{}", node.op_type);
        node.domain.clear();
        node.attribute.push(whole(THREADS, threads));
    }
}

/// Makes products of ONNX Runtime's domain that are like ours into ours, whose weights stay in their
/// file.
fn adopt_products(graph: &mut pb::GraphProto, threads: usize) {
    let constants = graph.initializer.iter();
    let kinds: HashMap<String, i32> =
        constants.map(|tensor| (tensor.name.clone(), tensor.data_type)).collect();
    for node in &mut graph.node {
        let is = |place: usize, kind: DataType| {
            let found = node.input.get(place).and_then(|name| kinds.get(name));
            found.is_some_and(|found| *found == kind as i32)
        };
        let is_given = |place: usize| node.input.get(place).is_some_and(|name| !name.is_empty());
        let has_weights = is(1, DataType::Uint8) && is(2, DataType::Float);
        let has_zeros = !is_given(3) || is(3, DataType::Uint8);
        let has_more = is_given(4) || is_given(5);
        let size = |name: &str| node.integer(name).and_then(|size| usize::try_from(size).ok());
        let fits = size("block_size").is_some_and(|block| {
            block.is_power_of_two()
                && (16..=256).contains(&block)
                && size("K").is_some_and(|columns| columns.is_multiple_of(block))
                && matches!(size("bits"), None | Some(4 | 8))
        });
        let is_product = node.op_type == "MatMulNBits" && node.domain == "com.microsoft";
        if is_product && has_weights && has_zeros && !has_more && fits {
            node.op_type = OWN_PRODUCT.into();
            node.domain.clear();
            node.input.truncate(4);
            node.attribute.push(whole(THREADS, i64::try_from(threads).unwrap_or(0)));
        }
    }
}

/// Which inputs of an operator are weights that it holds itself.
fn weights(op_type: &str) -> &'static [usize] {
    match op_type {
        OWN_PRODUCT | OWN_COLUMN_PRODUCT => &[1, 2, 3],
        OWN_EXPERTS => &[3, 4, 5, 6, 7, 8],
        OWN_GATED_PRODUCT => &[1, 2, 3, 4, 5, 6],
        "GatherBlockQuantized" => &[0, 2, 3],
        _ => &[],
    }
}

/// Turns weights from inputs into attributes, without reading them.
fn hold_weights(graph: &mut pb::GraphProto) {
    let constants: HashMap<String, pb::TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor.clone())).collect();
    let mut held = HashSet::new();
    for node in &mut graph.node {
        let places = weights(&node.op_type).iter();
        let given: Vec<(usize, String)> = places
            .filter_map(|&place| Some((place, node.input.get(place)?.clone())))
            .filter(|(_, input)| !input.is_empty())
            .collect();
        // All of them, or none: what is computed cannot be held.
        if !given.iter().all(|(_, input)| constants.contains_key(input)) {
            continue;
        }
        for (place, input) in given {
            let Some(tensor) = constants.get(&input) else { continue };
            node.attribute.push(constant(&held::name(place), tensor.clone()));
            if let Some(input) = node.input.get_mut(place) {
                held.insert(std::mem::take(input));
            }
        }
    }
    let read: HashSet<&String> = graph.node.iter().flat_map(|node| &node.input).collect();
    graph.initializer.retain(|tensor| !held.contains(&tensor.name) || read.contains(&tensor.name));
}

fn constant(name: &str, tensor: pb::TensorProto) -> pb::AttributeProto {
    let r#type = pb::attribute_proto::AttributeType::Tensor as i32;
    let (name, t) = (name.to_owned(), Some(tensor));
    pb::AttributeProto { name, t, r#type, ..pb::AttributeProto::default() }
}

/// Names what counts rows and takes the last of them for what it is: how many they are is known when
/// the graph runs, and tract wants slices of known lengths.
fn name_rows(graph: &mut pb::GraphProto) {
    let constants: HashSet<&String> = graph.initializer.iter().map(|tensor| &tensor.name).collect();
    for node in &mut graph.node {
        let attribute = |name: &str| node.attribute.iter().find(|found| found.name == name);
        match node.op_type.as_str() {
            "Shape" if attribute("start").is_some_and(|start| start.i == 1) => {
                node.op_type = COUNT_ROWS.into();
            }
            "Slice" if node.input.get(1).is_some_and(|start| !constants.contains(start)) => {
                node.op_type = LAST_ROWS.into();
                node.input.truncate(2);
            }
            _ => {}
        }
    }
}

impl Attributes for pb::NodeProto {
    fn integer(&self, name: &str) -> Option<i64> {
        self.attribute.iter().find(|attribute| attribute.name == name).map(|found| found.i)
    }

    fn fraction(&self, name: &str) -> Option<f32> {
        self.attribute.iter().find(|attribute| attribute.name == name).map(|found| found.f)
    }
}

/// Words of ours as an error of tract.
fn wrong(reason: String) -> TractError {
    TractError::msg(reason)
}
