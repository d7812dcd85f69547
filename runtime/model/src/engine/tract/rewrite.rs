//! Changes to a graph before tract reads it, where it stumbles over forms that mean the same.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

use super::load::Source;
use super::own;

/// Rewrites a graph.
pub(super) fn rewrite(graph: &mut pb::GraphProto, source: &Source) {
    fix_constants(graph, source);
    prune_outputs(graph);
    rewrite_equal(graph);
    rewrite_compress(graph);
    rewrite_strides(graph);
    own::rewrite(graph, source.threads);
}

/// Turns inputs that never change into initializers: tract wants the sizes of slices constant.
fn fix_constants(graph: &mut pb::GraphProto, source: &Source) {
    for (port, value) in source.constants() {
        graph.input.retain(|input| input.name != port.name);
        graph.initializer.push(pb::TensorProto {
            name: port.name.clone(),
            dims: vec![1; port.dims.len()],
            data_type: pb::tensor_proto::DataType::Int64 as i32,
            int64_data: vec![value],
            ..pb::TensorProto::default()
        });
    }
}

/// Operators whose output is always of truth values.
const LOGICAL: [&str; 9] =
    ["And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor"];

/// Writes the equality of truth values as "not either-or": tract compares numbers only.
fn rewrite_equal(graph: &mut pb::GraphProto) {
    let is_bool = |kind: i32| kind == pb::tensor_proto::DataType::Bool as i32;
    let to_bool = |node: &&pb::NodeProto| {
        let to = node.attribute.iter().find(|attribute| attribute.name == "to");
        node.op_type == "Cast" && to.is_some_and(|to| i32::try_from(to.i).is_ok_and(is_bool))
    };
    let constants = graph.initializer.iter().filter(|tensor| is_bool(tensor.data_type));
    let logical = graph.node.iter().filter(|node| LOGICAL.contains(&node.op_type.as_str()));
    let computed = logical.chain(graph.node.iter().filter(to_bool)).flat_map(|node| &node.output);
    let bools: HashSet<String> =
        constants.map(|tensor| &tensor.name).chain(computed).cloned().collect();
    let nodes = std::mem::take(&mut graph.node);
    for mut node in nodes {
        if node.op_type != "Equal" || !node.input.iter().any(|input| bools.contains(input)) {
            graph.node.push(node);
            continue;
        }
        let differs = format!("{}_differs", node.output.first().map_or("", String::as_str));
        let not = pb::NodeProto {
            op_type: "Not".into(),
            name: format!("{}_not", node.name),
            input: vec![differs.clone()],
            output: std::mem::replace(&mut node.output, vec![differs]),
            ..pb::NodeProto::default()
        };
        node.op_type = "Xor".into();
        graph.node.extend([node, not]);
    }
}

/// Drops the names of node outputs that nothing reads: tract rejects optional outputs with a name.
fn prune_outputs(graph: &mut pb::GraphProto) {
    let read: HashSet<String> = (graph.node.iter())
        .flat_map(|node| node.input.iter().cloned())
        .chain(graph.output.iter().map(|output| output.name.clone()))
        .collect();
    for node in &mut graph.node {
        let has_subgraph = node.attribute.iter().any(|attribute| attribute.g.is_some());
        for output in node.output.iter_mut().skip(1) {
            if !has_subgraph && !read.contains(output) {
                output.clear();
            }
        }
        while node.output.len() > 1 && node.output.last().is_some_and(String::is_empty) {
            node.output.pop();
        }
    }
}

/// Writes a selection as a gathering: tract has no form of `Compress` that it could run.
fn rewrite_compress(graph: &mut pb::GraphProto) {
    let nodes = std::mem::take(&mut graph.node);
    for mut node in nodes {
        let axis = node.attribute.iter().find(|attribute| attribute.name == "axis").map(|a| a.i);
        let ([input, condition], [output]) = (node.input.as_slice(), node.output.as_slice()) else {
            graph.node.push(node);
            continue;
        };
        if node.op_type != "Compress" {
            graph.node.push(node);
            continue;
        }
        let name = |part: &str| format!("{output}/{part}");
        let mut data = input.clone();
        if axis.is_none() {
            graph.initializer.push(numbers(&name("flat"), &[-1]));
            graph.node.push(plain("Reshape", &[&data, &name("flat")], &name("row")));
            data = name("row");
        }
        graph.initializer.push(numbers(&name("one_row"), &[-1]));
        let (chosen, places) = (name("chosen"), name("places"));
        let gather = plain("Gather", &[&data, &places], output);
        graph.node.push(plain("NonZero", &[condition], &chosen));
        graph.node.push(plain("Reshape", &[&chosen, &name("one_row")], &places));
        node = pb::NodeProto { attribute: std::mem::take(&mut node.attribute), ..gather };
        graph.node.push(node);
    }
}

/// Names a slice that takes every so many rows for what it is: tract cannot take such slices of
/// lengths that are open.
fn rewrite_strides(graph: &mut pb::GraphProto) {
    let constants: HashMap<String, i64> = graph.initializer.iter().filter_map(number).collect();
    for node in graph.node.iter_mut().filter(|node| node.op_type == "Slice") {
        let given = node.input.iter().skip(1).map(|name| constants.get(name).copied());
        let given: Option<Vec<i64>> = given.collect();
        let Some(&[0, end, axis, step]) = given.as_deref() else { continue };
        if step < 2 || end < i64::from(i32::MAX) {
            continue;
        }
        node.op_type = "EveryNth".into();
        node.input.truncate(1);
        node.attribute = vec![whole("axis", axis), whole("step", step)];
    }
}

/// A constant that is one number, with its name.
fn number(tensor: &pb::TensorProto) -> Option<(String, i64)> {
    let is_number = tensor.data_type == pb::tensor_proto::DataType::Int64 as i32;
    let value = match (tensor.raw_data.as_slice(), tensor.int64_data.as_slice()) {
        ([], [value]) => *value,
        (raw, []) => i64::from_le_bytes(raw.try_into().ok()?),
        _ => return None,
    };
    is_number.then(|| (tensor.name.clone(), value))
}

/// A constant of whole numbers.
fn numbers(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: pb::tensor_proto::DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..pb::TensorProto::default()
    }
}

/// A node of a standard operator with one output.
fn plain(operator: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    pb::NodeProto {
        op_type: operator.to_owned(),
        name: format!("{output}/{operator}"),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..pb::NodeProto::default()
    }
}

/// An attribute that is a whole number.
pub(super) fn whole(name: &str, value: i64) -> pb::AttributeProto {
    let r#type = pb::attribute_proto::AttributeType::Int as i32;
    pb::AttributeProto { name: name.to_owned(), i: value, r#type, ..pb::AttributeProto::default() }
}
