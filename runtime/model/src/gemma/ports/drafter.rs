//! Ports of a drafter, as exports of `gemma-4-*-it-assistant` name them.

use super::{Found, names};
use crate::engine::{Dim, GraphSpec};
use crate::error::Error;
use crate::gemma::config::{Config, LayerKind};
use crate::graph::{Graph, Port};

const ROLE: &str = "assistant";

/// An operator that takes all keys and values in one buffer of fixed size, as on a GPU.
const BUFFERED: &str = "com.microsoft::GroupQueryAttention";

/// Ports of a drafter.
#[derive(Debug)]
pub(crate) struct DrafterPorts {
    /// The embedding of a token beside the state before it, `[1, 1, 2 * hidden]`.
    pub(crate) embeds: Port,
    /// Position of the token that all of a draft follow, `[1, 1]`.
    pub(crate) positions: Option<Port>,
    /// A one for each token that is seen, `[1, tokens]`.
    pub(crate) mask: Option<Port>,
    /// Keys and values of the decoder's last layers.
    pub(crate) kv: Vec<BorrowedKv>,
    /// Place of the logits, `[1, 1, vocabulary]`, among the outputs.
    pub(crate) logits: usize,
    /// Place of the state for the next token, `[1, 1, hidden]`.
    pub(crate) state: usize,
}

/// Keys and values that a drafter reads.
#[derive(Debug)]
pub(crate) struct BorrowedKv {
    /// The layer of the decoder that they are of: the last of its kind that has some of its own.
    pub(crate) layer: usize,
    /// Rows that are seen; `None` where all are.
    pub(crate) rows: Option<usize>,
    /// Keys, `[1, heads, rows, width]`.
    pub(crate) key: Port,
    /// Values, likewise.
    pub(crate) value: Port,
}

impl DrafterPorts {
    /// Finds the ports of a drafter for a decoder of this configuration.
    ///
    /// # Errors
    /// When one is missing or of another form, or the graph is one that we cannot feed.
    pub(crate) fn find(graph: &Graph, config: &Config) -> Result<Self, Error> {
        let found = Found { graph, role: ROLE };
        if graph.operators.contains(BUFFERED) {
            let reason = format!(
                "it is made for a GPU ({BUFFERED}); export it with the standard Attention operators"
            );
            return Err(found.wrong(reason));
        }
        let (given, made) = (names(&graph.inputs), names(&graph.outputs));
        let embeds = found.float_input("inputs_embeds", &[3])?;
        let embeds = embeds
            .ok_or_else(|| found.wrong(format!("it takes {given}; expected inputs_embeds")))?;
        found.width(&embeds, "twice hidden_size", 2 * config.hidden)?;
        let kinds = [
            ("sliding_attention", LayerKind::Sliding, Some(config.window_tokens + 1)),
            ("full_attention", LayerKind::Global, None),
        ];
        let mut kv = Vec::new();
        for (name, kind, rows) in kinds {
            let port = |part: &str| found.float_input(&format!("shared_kv.{name}.{part}"), &[4]);
            let (Some(key), Some(value)) = (port("key")?, port("value")?) else { continue };
            let owners = config.layers - config.shared_layers;
            let layer = (0..owners).rev().find(|&at| config.kind(at) == Some(kind));
            let shape = layer.and_then(|layer| Some((layer, config.kv_shape(layer)?)));
            let Some((layer, shape)) = shape else {
                return Err(found.wrong(format!("it reads {name}, which no layer here has")));
            };
            for port in [&key, &value] {
                let wanted = [Some(1), Some(shape.heads), None, Some(shape.width)];
                let fits = |(dim, wanted): (&Option<usize>, &Option<usize>)| {
                    dim.is_none() || wanted.is_none() || dim == wanted
                };
                if !port.dims.iter().zip(&wanted).all(fits) {
                    let reason = format!(
                        "{} has the dimensions {:?}; the decoder has {} heads of {} numbers",
                        port.name, port.dims, shape.heads, shape.width
                    );
                    return Err(found.wrong(reason));
                }
            }
            kv.push(BorrowedKv { layer, rows, key, value });
        }
        if kv.is_empty() {
            return Err(found.wrong(format!("it takes {given}; expected shared_kv.*")));
        }
        let output = |name: &str, field: &str, width: usize| {
            let missing = || found.wrong(format!("it gives {made}; expected {name}"));
            let (place, port) = graph.output(name).ok_or_else(missing)?;
            found.floats(port)?;
            found.width(port, field, width)?;
            Ok::<_, Error>(place)
        };
        let (positions, mask) =
            (found.input("position_ids", &[2])?, found.input("attention_mask", &[2])?);
        let known = 1 + usize::from(positions.is_some()) + usize::from(mask.is_some());
        if graph.inputs.len() != known + 2 * kv.len() {
            return Err(found.wrong(format!("it takes {given}, of which some are unknown")));
        }
        Ok(Self {
            logits: output("logits", "vocab_size", config.vocabulary)?,
            state: output("projected_state", "hidden_size", config.hidden)?,
            embeds,
            positions,
            mask,
            kv,
        })
    }

    /// What an engine must know to load the graph.
    pub(crate) fn spec<'a>(&'a self, graph: &'a Graph, config: &Config) -> GraphSpec<'a> {
        let dims = graph.inputs.iter().map(|port| self.dims(port, config)).collect();
        GraphSpec::new(graph, ROLE, dims)
    }

    fn dims(&self, port: &Port, config: &Config) -> Vec<Dim> {
        let is = |other: &Option<Port>| other.as_ref().is_some_and(|other| other.name == port.name);
        if is(&self.mask) {
            return vec![Dim::Fixed(1), Dim::Past];
        }
        if is(&self.positions) {
            return vec![Dim::Fixed(1); 2];
        }
        for kv in &self.kv {
            let is_part = [&kv.key, &kv.value].into_iter().any(|part| part.name == port.name);
            if let Some(shape) = config.kv_shape(kv.layer).filter(|_| is_part) {
                // All that an engine must know of the two lengths is that either may be any.
                let rows = if kv.rows.is_some() { Dim::Step } else { Dim::Past };
                return vec![Dim::Fixed(1), Dim::Fixed(shape.heads), rows, Dim::Fixed(shape.width)];
            }
        }
        vec![Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(2 * config.hidden)]
    }
}
