//! Ports of our fast graph, and the layers whose keys and values it expects in a sequence.

use super::{Found, names};
use crate::engine::{Dim, GraphSpec};
use crate::error::Error;
use crate::gemma::config::{Config, LayerKind};
use crate::graph::{Element, Graph, Port};
use crate::optimize::{Kv, KvNote, Notes};
use crate::sequence::{LayerShape, Store};

const ROLE: &str = "decoder";

/// Ports of our fast graph.
#[derive(Debug)]
pub(crate) struct FastPorts {
    /// Embeddings, `[1, step, hidden]`; a graph that embeds tokens itself has none.
    pub(crate) embeds: Option<Port>,
    /// Token ids, `[1, step]`, of a graph that embeds them itself.
    pub(crate) ids: Option<Port>,
    /// Per-layer inputs, `[1, step, layers, width]` or `[1, step, layers * width]`.
    pub(crate) per_layer: Option<Port>,
    /// Number of the sequence, `[1]`.
    pub(crate) handle: Port,
    /// Position of the first token of the step, `[1]`.
    pub(crate) first: Port,
    /// For how many of the last tokens logits are wanted, `[1]`.
    pub(crate) keep: Port,
    /// Keys and values of the layers that own some, in the order of the layers.
    pub(crate) kv: Vec<LayerShape>,
    /// How they are kept.
    pub(crate) store: Store,
    /// Place of the logits, `[1, keep, vocabulary]`, among the outputs.
    pub(crate) logits: usize,
    /// Place of the states that they are made of, `[1, keep, hidden]`.
    pub(crate) states: usize,
}

impl FastPorts {
    /// Finds the ports of a fast graph.
    ///
    /// # Errors
    /// When one is missing or of another form, or the layers are not those of the configuration.
    pub(crate) fn find(graph: &Graph, notes: &Notes, config: &Config) -> Result<Self, Error> {
        let found = Found { graph, role: ROLE };
        let needed = |name: &str, ranks: &[usize]| {
            let given = names(&graph.inputs);
            let missing = || found.wrong(format!("it takes {given}; expected {name}"));
            found.input(name, ranks)?.ok_or_else(missing)
        };
        let number = |name: &str| {
            let port = needed(name, &[1])?;
            match port.element == Element::I64 {
                true => Ok(port),
                false => {
                    let element = port.element;
                    Err(found.wrong(format!("{name} holds {element:?}; expected I64")))
                }
            }
        };
        let embeds = found.float_input("inputs_embeds", &[3])?;
        let ids = found.input("input_ids", &[2])?;
        if embeds.is_some() == ids.is_some() {
            let given = names(&graph.inputs);
            let reason = format!("it takes {given}; expected either inputs_embeds or input_ids");
            return Err(found.wrong(reason));
        }
        embeds.iter().try_for_each(|port| found.width(port, "hidden_size", config.hidden))?;
        let output = |name: &str, field: &str, width: usize| {
            let given = names(&graph.outputs);
            let missing = || found.wrong(format!("it gives {given}; expected {name}"));
            let (place, port) = graph.output(name).ok_or_else(missing)?;
            found.floats(port)?;
            found.width(port, field, width)?;
            Ok::<_, Error>(place)
        };
        let logits = output("logits", "vocab_size", config.vocabulary)?;
        let states = output("states", "hidden_size", config.hidden)?;
        let per_layer = found.float_input("per_layer_inputs", &[3, 4])?;
        let (handle, first, keep) = (number("handle")?, number("first")?, number("keep")?);
        if graph.inputs.len() != 4 + usize::from(per_layer.is_some()) {
            return Err(found.wrong(format!("it takes {}", names(&graph.inputs))));
        }
        let kv = layers(&notes.kv, config).map_err(|reason| found.wrong(reason))?;
        let store = match notes.levers.kv {
            Kv::Published | Kv::F32 => Store::F32,
            Kv::F16 => Store::F16,
        };
        Ok(Self { embeds, ids, per_layer, handle, first, keep, kv, store, logits, states })
    }

    /// What an engine must know to load the graph.
    pub(crate) fn spec<'a>(&'a self, graph: &'a Graph, config: &Config) -> GraphSpec<'a> {
        let dims = graph.inputs.iter().map(|port| self.dims(port, config)).collect();
        GraphSpec::new(graph, ROLE, dims)
    }

    fn dims(&self, port: &Port, config: &Config) -> Vec<Dim> {
        let is = |other: &Option<Port>| other.as_ref().is_some_and(|other| other.name == port.name);
        let mut dims = vec![Dim::Fixed(1), Dim::Step];
        if is(&self.embeds) {
            dims.push(Dim::Fixed(config.hidden));
        } else if is(&self.per_layer) {
            let (layers, width) = (config.layers, config.per_layer_width);
            match port.dims.len() {
                4 => dims.extend([Dim::Fixed(layers), Dim::Fixed(width)]),
                _ => dims.push(Dim::Fixed(layers * width)),
            }
        } else if !is(&self.ids) {
            dims.truncate(1);
        }
        dims
    }
}

/// The layers that a fast graph expects in a sequence, held against the configuration.
fn layers(notes: &[KvNote], config: &Config) -> Result<Vec<LayerShape>, String> {
    let layer = |note: &KvNote| {
        let KvNote { heads, width, window } = *note;
        LayerShape { heads, width, window }
    };
    let layers: Vec<LayerShape> = notes.iter().map(layer).collect();
    let owners = config.layers - config.shared_layers;
    let fits = |(at, layer): (usize, &LayerShape)| {
        let shape = config.kv_shape(at);
        let most = match config.kind(at) {
            Some(LayerKind::Sliding) => Some(config.window_tokens),
            Some(LayerKind::Global) | None => None,
        };
        shape.is_some_and(|shape| (shape.heads, shape.width) == (layer.heads, layer.width))
            && (layer.window.is_none() || layer.window == most)
    };
    match layers.len() == owners && layers.iter().enumerate().all(fits) {
        true => Ok(layers),
        false => Err("its layers with keys and values are not those of config.json".into()),
    }
}
