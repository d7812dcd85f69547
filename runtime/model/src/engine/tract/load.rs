//! From a graph file to a plan: the file is read, rewritten where tract stumbles, and compiled for
//! the sizes that its inputs will have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_onnx::model::ParseResult;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, StringStringEntryProto};
use tract_onnx::prelude::multithread::Executor;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{DimFact, Framework, ShapeFactoid, ToDim};

use super::Tract;
use super::registry::{reader, refuse_unknown};
use super::rewrite::rewrite;
use crate::engine::{Dim, GraphSpec, window};
use crate::graph::links::Elsewhere;
use crate::graph::{Element, Port};

/// A compiled graph.
pub(super) type Plan = Arc<TypedRunnableModel>;

/// What a plan is made from.
pub(super) struct Source {
    path: PathBuf,
    ports: Vec<(Port, Vec<Dim>)>,
    constants: Vec<(String, i64)>,
    /// Whether attention is one operator, which counts keys from the end of the sequence.
    attends: bool,
    /// The graph with sliding layers that go by the length of their own past, where it can be made so.
    recent: Option<Vec<u8>>,
    executor: Executor,
    /// Threads of our operators; 0 is one for each core.
    pub(super) threads: usize,
}

/// Operators that take fewer keys than the sequence has.
const ATTENTION: [&str; 2] = ["Attention", "com.microsoft::GroupQueryAttention"];

/// Which sizes a plan leaves open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// The length of a picture or of sound.
    pub(super) length: Length,
    /// Whether sliding layers may have a shorter past than the others.
    pub(super) recent: bool,
}

/// The length of a picture or of sound in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Any multiple of this.
    Multiple(usize),
    /// This one only.
    Exactly(usize),
}

impl Source {
    /// What a graph's plans are made from.
    pub(super) fn new(spec: &GraphSpec<'_>, engine: &Tract) -> Self {
        let ports = spec.graph.inputs.iter().cloned().zip(spec.dims.iter().cloned());
        let constants = spec.constants.iter().map(|(name, value)| ((*name).to_owned(), *value));
        Self {
            path: spec.graph.path.clone(),
            ports: ports.collect(),
            constants: constants.collect(),
            attends: ATTENTION.iter().any(|&name| spec.graph.operators.contains(name)),
            recent: spec.window.as_ref().and_then(|of| window::rewrite(&spec.graph.path, of)),
            executor: engine.executor.clone(),
            threads: engine.threads,
        }
    }

    /// Inputs that never change, with their values.
    pub(super) fn constants(&self) -> impl Iterator<Item = (&Port, i64)> {
        self.constants.iter().filter_map(|(name, value)| Some((self.port(name)?.0, *value)))
    }

    /// An input and what its dimensions mean.
    pub(super) fn port(&self, name: &str) -> Option<(&Port, &[Dim])> {
        let found = self.ports.iter().find(|(port, _)| port.name == name);
        found.map(|(port, dims)| (port, dims.as_slice()))
    }

    /// Where the length of a medium stands among the sizes of an input.
    pub(super) fn media_place(&self, name: &str) -> Option<usize> {
        self.port(name)?.1.iter().position(|dim| *dim == Dim::Media)
    }

    /// Whether some input has a dimension of this meaning.
    pub(super) fn has(&self, meaning: Dim) -> bool {
        self.ports.iter().any(|(_, dims)| dims.contains(&meaning))
    }

    /// Whether sliding layers may be tried with a shorter past than the others.
    pub(super) fn may_forget(&self) -> bool {
        (self.attends || self.recent.is_some()) && self.has(Dim::Recent)
    }

    /// Whether an input of truth values says which parts of the medium are real.
    pub(super) fn has_mask(&self) -> bool {
        let is_mask = |(port, dims): &(Port, Vec<Dim>)| {
            port.element == Element::Bool && dims.contains(&Dim::Media)
        };
        self.ports.iter().any(is_mask)
    }

    /// Compiles the graph; also gives the names of its inputs, in the order of the plan.
    ///
    /// # Errors
    /// When the file is damaged, or tract cannot run the graph.
    pub(super) fn plan(&self, sizes: Sizes) -> TractResult<(Plan, Vec<String>)> {
        let onnx = reader();
        let mut proto = match self.recent.as_deref().filter(|_| sizes.recent) {
            Some(mut bytes) => onnx.proto_model_for_read(&mut bytes)?,
            None => onnx.proto_model_for_path(&self.path)?,
        };
        let elsewhere = proto.graph.as_mut().map(|graph| follow(graph, &self.path)).transpose()?;
        if let Some(graph) = proto.graph.as_mut() {
            refuse_unknown(&onnx, graph)?;
            rewrite(graph, self);
        }
        let folder = elsewhere.flatten();
        let folder = folder.as_deref().or_else(|| self.path.parent());
        let folder = folder.and_then(Path::to_str);
        let ParseResult { mut model, unresolved_inputs, .. } = onnx.parse(&proto, folder)?;
        drop(proto);
        if let Some(name) = unresolved_inputs.first() {
            return Err(TractError::msg(format!("nothing provides {name}")));
        }
        let inputs: Vec<String> = (model.input_outlets()?.iter())
            .map(|outlet| model.node(outlet.node).name.clone())
            .collect();
        let facts = self.facts(&model.symbols, &inputs, sizes)?;
        for (place, fact) in facts.into_iter().enumerate() {
            model.set_input_fact(place, fact)?;
        }
        let options = RunOptions { executor: Some(self.executor.clone()), ..RunOptions::default() };
        let plan = model.into_optimized()?.into_runnable_with_options(&options)?;
        Ok((plan, inputs))
    }

    /// Element types and sizes of the inputs.
    fn facts(
        &self,
        symbols: &SymbolScope,
        inputs: &[String],
        sizes: Sizes,
    ) -> TractResult<Vec<InferenceFact>> {
        for assertion in ["S>=1", "P>=0", "R>=0", "P>=R", "M>=1"] {
            symbols.add_assertion(assertion)?;
        }
        let [step, past, recent, media] =
            ["S", "P", "R", "M"].map(|name| symbols.sym(name).to_dim());
        let media = match sizes.length {
            Length::Multiple(factor) => media * factor,
            Length::Exactly(length) => length.to_dim(),
        };
        let size = |place: usize, at: usize, dim: &Dim| match *dim {
            Dim::Fixed(size) => size.to_dim(),
            Dim::Step => step.clone(),
            Dim::Recent if sizes.recent => recent.clone(),
            Dim::Past | Dim::Recent => past.clone(),
            Dim::Total => past.clone() + step.clone(),
            // Features of pictures and of sound are as many as they are, each for itself.
            Dim::Media if at == 0 => symbols.sym(&format!("F{place}")).to_dim(),
            Dim::Media => media.clone(),
        };
        let fact = |(place, name): (usize, &String)| {
            let port = self.port(name);
            let (port, dims) =
                port.ok_or_else(|| TractError::msg(format!("unexpected input {name}")))?;
            let dims = dims.iter().enumerate();
            let dims: TVec<DimFact> =
                dims.map(|(at, dim)| DimFact::from(size(place, at, dim))).collect();
            let fact = InferenceFact::new().with_datum_type(datum_type(port));
            Ok(fact.with_shape(ShapeFactoid::closed(dims)))
        };
        inputs.iter().enumerate().map(fact).collect()
    }
}

/// Names weights behind links by the places to which these lead; the folder of these places.
fn follow(graph: &mut GraphProto, path: &Path) -> TractResult<Option<PathBuf>> {
    let named = |entry: &&mut StringStringEntryProto| entry.key == "location";
    let mut entries: Vec<_> = graph
        .initializer
        .iter_mut()
        .filter(|tensor| tensor.data_location == Some(DataLocation::External as i32))
        .flat_map(|tensor| &mut tensor.external_data)
        .filter(named)
        .collect();
    let names = entries.iter().map(|entry| entry.value.as_str());
    let Some(elsewhere) = Elsewhere::of(path, names).map_err(TractError::msg)? else {
        return Ok(None);
    };
    for entry in &mut entries {
        if let Some(place) = elsewhere.place(&entry.value) {
            place.clone_into(&mut entry.value);
        }
    }
    Ok(Some(elsewhere.folder))
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
