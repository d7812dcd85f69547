//! tract as the engine: pure Rust, compiled in, one thread. It runs the text and vision graphs of a
//! model that uses standard operators; one plan serves prefill and decode, because the lengths of
//! the step and of the past stay symbols. Audio encoders need a length known beforehand: refused.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use half::f16;
use tract_onnx::model::ParseResult;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{DimFact, ShapeFactoid, ToDim};

use super::{Data, Dim, Engine, EngineKind, GraphSpec, Tensor as HostTensor, copy_rows};
use crate::error::Error;
use crate::graph::{Element, Graph, Port};

const NAME: &str = "tract";

/// Operators that tract refuses in the form in which published graphs use them.
const REFUSED: [&str; 1] = ["com.microsoft::GroupQueryAttention"];

/// The engine; it has no state of its own.
pub(crate) struct Tract;

/// A plan and the names of its inputs, in its order.
pub(crate) struct TractGraph {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<String>,
    role: &'static str,
}

impl Engine for Tract {
    const KIND: EngineKind = EngineKind::Tract;
    type Graph = TractGraph;
    type Value = TValue;

    fn load(&self, spec: &GraphSpec<'_>) -> Result<TractGraph, Error> {
        let context = || format!("cannot load {}", spec.graph.path.display());
        refuse_unknown(spec.graph).map_err(|reason| Error::engine(NAME, context(), reason))?;
        // tract may panic on a graph that it does not expect.
        match catch_unwind(AssertUnwindSafe(|| build(spec))) {
            Ok(Ok(graph)) => Ok(graph),
            Ok(Err(error)) => Err(Error::engine(NAME, context(), format!("{error:#}"))),
            Err(_) => {
                Err(Error::engine(NAME, context(), "it has a shape that tract cannot handle"))
            }
        }
    }

    fn enter(&self, tensor: HostTensor) -> Result<TValue, Error> {
        let HostTensor { shape, data } = tensor;
        let tensor = match &data {
            Data::F32(data) => Tensor::from_shape(&shape, data),
            Data::F16(data) => Tensor::from_shape(&shape, data),
            Data::I64(data) => Tensor::from_shape(&shape, data),
            Data::I32(data) => Tensor::from_shape(&shape, data),
            Data::Bool(data) => Tensor::from_shape(&shape, data),
        };
        let tensor = tensor.map_err(|error| Error::engine(NAME, "cannot take a tensor", error))?;
        Ok(tensor.into())
    }

    fn run(
        &self,
        graph: &mut TractGraph,
        inputs: &[(&str, &TValue)],
    ) -> Result<Vec<TValue>, Error> {
        let context = || format!("the {} graph failed", graph.role);
        let ordered = graph.inputs.iter().map(|name| {
            let input = inputs.iter().find(|(given, _)| given == name);
            let (_, value) = input.ok_or_else(|| {
                Error::engine(NAME, context(), format!("input {name} is missing"))
            })?;
            Ok((*value).clone())
        });
        let ordered = ordered.collect::<Result<TVec<TValue>, Error>>()?;
        let run = catch_unwind(AssertUnwindSafe(|| graph.plan.run(ordered)));
        let outputs = run.map_err(|_| Error::engine(NAME, context(), "an operator panicked"))?;
        let outputs =
            outputs.map_err(|error| Error::engine(NAME, context(), format!("{error:#}")))?;
        Ok(outputs.into_vec())
    }

    fn floats<'v>(&self, value: &'v TValue) -> Result<(Vec<usize>, Cow<'v, [f32]>), Error> {
        let tensor: &Tensor = value;
        let failed = |error: TractError| Error::engine(NAME, "cannot read a tensor", error);
        let plain = tensor.try_as_plain_ram().map_err(failed)?;
        let data = if tensor.datum_type() == f16::datum_type() {
            let halves = plain.as_slice::<f16>().map_err(failed)?;
            Cow::Owned(halves.iter().map(|half| half.to_f32()).collect())
        } else {
            Cow::Borrowed(plain.as_slice::<f32>().map_err(failed)?)
        };
        Ok((tensor.shape().to_vec(), data))
    }

    fn first_rows(&self, value: &TValue, rows: usize) -> Result<TValue, Error> {
        self.some_rows(value, rows, |_| 0..rows)
    }

    fn last_rows(&self, value: &TValue, rows: usize) -> Result<TValue, Error> {
        self.some_rows(value, rows, |of| of - rows..of)
    }

    fn takes_recent(&self, _graph: &TractGraph) -> bool {
        false
    }
}

impl Tract {
    /// The rows of a value `[batch, heads, rows, width]` that `which` names out of all.
    fn some_rows(
        &self,
        value: &TValue,
        rows: usize,
        which: impl Fn(usize) -> Range<usize>,
    ) -> Result<TValue, Error> {
        let tensor: &Tensor = value;
        let context = "cannot shorten the cache";
        let failed = |error: TractError| Error::engine(NAME, context, error);
        let &[batch, heads, of_rows, width] = tensor.shape() else {
            let rank = tensor.rank();
            return Err(Error::engine(NAME, context, format!("rank {rank} is not 4")));
        };
        if rows > of_rows {
            return Err(Error::engine(NAME, context, format!("{rows} of {of_rows} rows")));
        }
        let which = which(of_rows);
        let plain = tensor.try_as_plain_ram().map_err(failed)?;
        let data = if tensor.datum_type() == f16::datum_type() {
            Data::F16(copy_rows(plain.as_slice::<f16>().map_err(failed)?, of_rows, width, which))
        } else {
            Data::F32(copy_rows(plain.as_slice::<f32>().map_err(failed)?, of_rows, width, which))
        };
        self.enter(HostTensor { shape: vec![batch, heads, rows, width], data })
    }
}

/// Names the operators that tract does not have before it is asked for them.
fn refuse_unknown(graph: &Graph) -> Result<(), String> {
    let known = onnx().op_register.0;
    let unknown = graph.operators.iter().filter(|operator| {
        let plain = operator.rsplit("::").next().unwrap_or(operator);
        REFUSED.contains(&operator.as_str()) || !known.contains_key(plain)
    });
    let unknown: Vec<&str> = unknown.map(String::as_str).collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "it uses {}, which tract does not run; use the engine ort, or a conversion to standard \
             operators",
            unknown.join(", ")
        )),
    }
}

fn build(spec: &GraphSpec<'_>) -> TractResult<TractGraph> {
    // Shapes that an exporter noted inside the graph may contradict the symbols set below.
    let onnx = onnx().with_ignore_value_info(true);
    let mut proto = onnx.proto_model_for_path(&spec.graph.path)?;
    if let Some(graph) = proto.graph.as_mut() {
        fix_constants(graph, spec);
        prune_outputs(graph);
        rewrite_equal(graph);
    }
    let folder = spec.graph.path.parent().and_then(Path::to_str);
    let ParseResult { mut model, unresolved_inputs, .. } = onnx.parse(&proto, folder)?;
    drop(proto);
    if let Some(name) = unresolved_inputs.first() {
        return Err(TractError::msg(format!("nothing provides {name}")));
    }
    let step = model.symbols.sym("S");
    let past = model.symbols.sym("P");
    let media = model.symbols.sym("M");
    for assertion in ["S>=1", "P>=0", "M>=1"] {
        model.symbols.add_assertion(assertion)?;
    }
    let dim = |dim: &Dim| match *dim {
        Dim::Fixed(size) => size.to_dim(),
        Dim::Step => step.to_dim(),
        Dim::Past | Dim::Recent => past.to_dim(),
        Dim::Total => past.to_dim() + step.to_dim(),
        Dim::Media => media.to_dim(),
    };
    let inputs: Vec<String> = (model.input_outlets()?.iter())
        .map(|outlet| model.node(outlet.node).name.clone())
        .collect();
    for (place, name) in inputs.iter().enumerate() {
        let ports = spec.graph.inputs.iter().zip(&spec.dims);
        let Some((port, dims)) = ports.into_iter().find(|(port, _)| port.name == *name) else {
            return Err(TractError::msg(format!("unexpected input {name}")));
        };
        let dims: TVec<DimFact> = dims.iter().map(|size| DimFact::from(dim(size))).collect();
        let fact = InferenceFact::new()
            .with_datum_type(datum_type(port))
            .with_shape(ShapeFactoid::closed(dims));
        model.set_input_fact(place, fact)?;
    }
    let plan = model.into_optimized()?.into_runnable()?;
    Ok(TractGraph { plan, inputs, role: spec.role })
}

fn datum_type(port: &Port) -> DatumType {
    match port.element {
        Element::F32 => f32::datum_type(),
        Element::F16 => f16::datum_type(),
        Element::I64 => i64::datum_type(),
        Element::I32 => i32::datum_type(),
        Element::Bool => bool::datum_type(),
    }
}

/// Turns inputs that never change into initializers: tract wants the sizes of slices constant.
fn fix_constants(graph: &mut pb::GraphProto, spec: &GraphSpec<'_>) {
    for (name, value) in &spec.constants {
        let Some(port) = spec.graph.input(name) else { continue };
        graph.input.retain(|input| input.name != *name);
        graph.initializer.push(pb::TensorProto {
            name: (*name).to_owned(),
            dims: vec![1; port.dims.len()],
            data_type: pb::tensor_proto::DataType::Int64 as i32,
            int64_data: vec![*value],
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
