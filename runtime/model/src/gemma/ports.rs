//! Which inputs and outputs of the graphs are which, found by what the graphs declare: conversions
//! differ in ranks, element types and in what they leave out.

use std::collections::BTreeSet;

use super::config::{Config, KvShape};
use crate::engine::{Dim, GraphSpec};
use crate::error::Error;
use crate::graph::{Element, Graph, Port};

const EMBED: &str = "embedding";
const DECODER: &str = "decoder";

/// Ports of the graph that turns token ids into embeddings.
#[derive(Debug)]
pub(crate) struct EmbedPorts {
    /// Token ids, `[1, tokens]`.
    pub(crate) ids: Port,
    /// Place of the embeddings, `[1, tokens, hidden]`, among the outputs.
    pub(crate) embeds: usize,
    /// Element type of the embeddings.
    pub(crate) embeds_element: Element,
    /// Place and port of the per-layer inputs among the outputs.
    pub(crate) per_layer: Option<(usize, Port)>,
}

/// Ports of the graph that turns embeddings into logits.
#[derive(Debug)]
pub(crate) struct DecoderPorts {
    /// Embeddings, `[1, step, hidden]`.
    pub(crate) embeds: Port,
    /// Per-layer inputs, `[1, step, layers, width]` or `[1, step, layers * width]`.
    pub(crate) per_layer: Option<Port>,
    /// Which tokens count, `[1, total]`: all.
    pub(crate) mask: Option<Port>,
    /// Positions, `[1, step]`.
    pub(crate) positions: Option<Port>,
    /// Token ids with the media placeholders, `[1, step]`.
    pub(crate) ids: Option<Port>,
    /// For how many of the last tokens logits are wanted, `[]` or `[1]`.
    pub(crate) keep: Option<Port>,
    /// Keys and values of the layers that own some, in the order of the layers.
    pub(crate) kv: Vec<KvPorts>,
    /// Place of the logits, `[1, kept, vocabulary]`, among the outputs.
    pub(crate) logits: usize,
}

/// Where the keys and values of a layer go in and come out.
#[derive(Debug)]
pub(crate) struct KvPorts {
    /// Keys of the past, `[1, heads, past, width]`.
    pub(crate) key: Port,
    /// Values of the past, of the same shape.
    pub(crate) value: Port,
    /// Heads and width.
    pub(crate) shape: KvShape,
    /// Place of the keys among the outputs.
    pub(crate) key_output: usize,
    /// Place of the values among the outputs.
    pub(crate) value_output: usize,
}

impl EmbedPorts {
    /// Finds the ports of an embedding graph.
    ///
    /// # Errors
    /// When it takes anything but token ids, or gives no embeddings.
    pub(crate) fn find(graph: &Graph, config: &Config) -> Result<Self, Error> {
        let [ids] = graph.inputs.as_slice() else {
            let names = names(&graph.inputs);
            let reason = format!("it takes {names}; expected input_ids alone");
            return Err(graph.wrong(EMBED, reason));
        };
        rank(graph, EMBED, ids, &[2])?;
        let Some((embeds, port)) = graph.output("inputs_embeds") else {
            let names = names(&graph.outputs);
            return Err(graph.wrong(EMBED, format!("it gives {names}; expected inputs_embeds")));
        };
        rank(graph, EMBED, port, &[3])?;
        width(graph, EMBED, port, "hidden_size", config.hidden)?;
        let per_layer = graph.output("per_layer_inputs");
        Ok(Self {
            ids: ids.clone(),
            embeds,
            embeds_element: port.element,
            per_layer: per_layer.map(|(place, port)| (place, port.clone())),
        })
    }

    /// What an engine must know to load the graph.
    pub(crate) fn spec<'a>(&self, graph: &'a Graph) -> GraphSpec<'a> {
        let dims = vec![vec![Dim::Fixed(1), Dim::Step]];
        GraphSpec { graph, role: EMBED, dims, constants: Vec::new() }
    }
}

impl DecoderPorts {
    /// Finds the ports of a decoder graph.
    ///
    /// # Errors
    /// When an input is unknown, a port that every decoder has is missing, or one has a rank or
    /// size that no Gemma 4 decoder has.
    pub(crate) fn find(graph: &Graph, config: &Config) -> Result<Self, Error> {
        let kv = kv_ports(graph, config)?;
        let take = |name: &str, ranks: &[usize]| match graph.input(name) {
            Some(port) => rank(graph, DECODER, port, ranks).map(|()| Some(port.clone())),
            None => Ok(None),
        };
        let embeds = take("inputs_embeds", &[3])?;
        let Some(embeds) = embeds else {
            let names = names(&graph.inputs);
            return Err(graph.wrong(DECODER, format!("it takes {names}; expected inputs_embeds")));
        };
        width(graph, DECODER, &embeds, "hidden_size", config.hidden)?;
        let Some((logits, port)) = graph.output("logits") else {
            let names = names(&graph.outputs);
            return Err(graph.wrong(DECODER, format!("it gives {names}; expected logits")));
        };
        rank(graph, DECODER, port, &[3])?;
        width(graph, DECODER, port, "vocab_size", config.vocabulary)?;
        let ports = Self {
            embeds,
            per_layer: take("per_layer_inputs", &[3, 4])?,
            mask: take("attention_mask", &[2])?,
            positions: take("position_ids", &[2])?,
            ids: take("input_ids", &[2])?,
            keep: take("num_logits_to_keep", &[0, 1])?,
            kv,
            logits,
        };
        ports.refuse_unknown(graph)?;
        Ok(ports)
    }

    /// What an engine must know to load the graph. Logits are wanted for the last token only.
    pub(crate) fn spec<'a>(&'a self, graph: &'a Graph, config: &Config) -> GraphSpec<'a> {
        let keep = self.keep.iter().map(|port| (port.name.as_str(), 1));
        let dims = self.dims(graph, config);
        GraphSpec { graph, role: DECODER, dims, constants: keep.collect() }
    }

    /// What the dimensions of each input mean, in the order of the graph.
    fn dims(&self, graph: &Graph, config: &Config) -> Vec<Vec<Dim>> {
        let fixed = |size: &Option<usize>, other: usize| Dim::Fixed(size.unwrap_or(other));
        let dims = |port: &Port| match port.name.as_str() {
            "inputs_embeds" => vec![Dim::Fixed(1), Dim::Step, Dim::Fixed(config.hidden)],
            "attention_mask" => vec![Dim::Fixed(1), Dim::Total],
            "position_ids" | "input_ids" => vec![Dim::Fixed(1), Dim::Step],
            "num_logits_to_keep" => vec![Dim::Fixed(1); port.dims.len()],
            "per_layer_inputs" => match port.dims.as_slice() {
                [_, _, layers, width] => vec![
                    Dim::Fixed(1),
                    Dim::Step,
                    fixed(layers, config.layers),
                    fixed(width, config.per_layer_width),
                ],
                other => vec![
                    Dim::Fixed(1),
                    Dim::Step,
                    fixed(other.last().unwrap_or(&None), config.layers * config.per_layer_width),
                ],
            },
            name => {
                let kv = self.kv.iter().find(|kv| kv.key.name == name || kv.value.name == name);
                let shape = kv.map(|kv| kv.shape).unwrap_or(KvShape { heads: 1, width: 1 });
                let heads = Dim::Fixed(shape.heads);
                vec![Dim::Fixed(1), heads, Dim::Past, Dim::Fixed(shape.width)]
            }
        };
        graph.inputs.iter().map(dims).collect()
    }

    fn refuse_unknown(&self, graph: &Graph) -> Result<(), Error> {
        let named = [&self.per_layer, &self.mask, &self.positions, &self.ids, &self.keep];
        let kv = self.kv.iter().flat_map(|kv| [&kv.key, &kv.value]);
        let known = named.into_iter().flatten().chain([&self.embeds]).chain(kv);
        let known: BTreeSet<&str> = known.map(|port| port.name.as_str()).collect();
        match graph.inputs.iter().find(|port| !known.contains(port.name.as_str())) {
            Some(port) => Err(graph
                .wrong(DECODER, format!("it takes {}, which no known conversion has", port.name))),
            None => Ok(()),
        }
    }
}

/// Keys and values of every layer that has some.
fn kv_ports(graph: &Graph, config: &Config) -> Result<Vec<KvPorts>, Error> {
    let mut layers = BTreeSet::new();
    for port in &graph.inputs {
        let Some(rest) = port.name.strip_prefix("past_key_values.") else { continue };
        let layer = rest.split('.').next().and_then(|layer| layer.parse::<usize>().ok());
        match layer.filter(|&layer| layer < config.layers) {
            Some(layer) => layers.insert(layer),
            None => {
                let reason = format!("{} is none of {} layers", port.name, config.layers);
                return Err(graph.wrong(DECODER, reason));
            }
        };
    }
    if layers.is_empty() {
        return Err(graph.wrong(DECODER, "it takes no past_key_values; expected a merged decoder"));
    }
    layers.into_iter().map(|layer| layer_ports(graph, config, layer)).collect()
}

fn layer_ports(graph: &Graph, config: &Config, layer: usize) -> Result<KvPorts, Error> {
    let input = |kind: &str| {
        let name = format!("past_key_values.{layer}.{kind}");
        let port = graph.input(&name);
        let port = port.ok_or_else(|| graph.wrong(DECODER, format!("input {name} is missing")))?;
        rank(graph, DECODER, port, &[4])?;
        Ok::<_, Error>(port.clone())
    };
    let output = |kind: &str| {
        let name = format!("present.{layer}.{kind}");
        let found = graph.output(&name).map(|(place, _)| place);
        found.ok_or_else(|| graph.wrong(DECODER, format!("output {name} is missing")))
    };
    let (key, value) = (input("key")?, input("value")?);
    let from_config = config.kv_shape(layer).unwrap_or(KvShape { heads: 1, width: 1 });
    let size = |at: usize, other: usize| key.dims.get(at).copied().flatten().unwrap_or(other);
    let shape = KvShape { heads: size(1, from_config.heads), width: size(3, from_config.width) };
    Ok(KvPorts { shape, key_output: output("key")?, value_output: output("value")?, key, value })
}

fn rank(graph: &Graph, role: &'static str, port: &Port, ranks: &[usize]) -> Result<(), Error> {
    if !ranks.contains(&port.dims.len()) {
        let reason = format!("{} has rank {}; expected {ranks:?}", port.name, port.dims.len());
        return Err(graph.wrong(role, reason));
    }
    match port.dims.first() {
        Some(Some(batch)) if *batch != 1 => {
            Err(graph.wrong(role, format!("{} has batch {batch}; expected 1 or open", port.name)))
        }
        _ => Ok(()),
    }
}

/// Checks the last dimension of a port against the configuration, where the graph tells it.
fn width(
    graph: &Graph,
    role: &'static str,
    port: &Port,
    field: &str,
    expected: usize,
) -> Result<(), Error> {
    match port.dims.last().copied().flatten() {
        Some(width) if width != expected => Err(graph.wrong(
            role,
            format!("{} has width {width}, but {field} in config.json is {expected}", port.name),
        )),
        _ => Ok(()),
    }
}

fn names(ports: &[Port]) -> String {
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}
