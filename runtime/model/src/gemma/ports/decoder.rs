//! Ports of the graph that turns embeddings, or token ids, into logits.

use std::collections::BTreeSet;

use super::{Found, names};
use crate::engine::{Dim, GraphSpec, Window};
use crate::error::Error;
use crate::folder::Names;
use crate::gemma::config::{Config, KvShape, LayerKind};
use crate::graph::{Graph, Port};

const ROLE: &str = "decoder";

/// For how many of the last tokens logits are wanted.
const KEEP: &str = "num_logits_to_keep";

/// Kind of each token, for graphs that let the tokens of a picture see each other.
const TYPES: &str = "mm_token_type_ids";

/// Ports of the graph that turns embeddings into logits.
#[derive(Debug)]
pub(crate) struct DecoderPorts {
    /// Embeddings, `[1, step, hidden]`; a graph that embeds tokens itself has none.
    pub(crate) embeds: Option<Port>,
    /// Per-layer inputs, `[1, step, layers, width]` or `[1, step, layers * width]`.
    pub(crate) per_layer: Option<Port>,
    /// Which tokens count, `[1, total]`: all.
    pub(crate) mask: Option<Port>,
    /// Positions, `[1, step]`.
    pub(crate) positions: Option<Port>,
    /// Token ids with the media placeholders, `[1, step]`.
    pub(crate) ids: Option<Port>,
    /// 1 where a soft token of a picture stands, `[1, step]`.
    pub(crate) types: Option<Port>,
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
    /// Which tokens the layer sees.
    pub(crate) kind: LayerKind,
    /// Place of the keys among the outputs.
    pub(crate) key_output: usize,
    /// Place of the values among the outputs.
    pub(crate) value_output: usize,
    /// Name of the output of the keys.
    pub(crate) key_present: String,
    /// Name of the output of the values.
    pub(crate) value_present: String,
}

impl KvPorts {
    /// Bytes of the keys and values of one token.
    pub(crate) fn bytes(&self) -> usize {
        let row = self.shape.heads * self.shape.width;
        row * (self.key.element.bytes() + self.value.element.bytes())
    }
}

impl DecoderPorts {
    /// Finds the ports of a decoder graph.
    ///
    /// # Errors
    /// When an input is unknown, a port that every decoder has is missing, or one has a rank or
    /// size that no Gemma 4 decoder has.
    pub(crate) fn find(graph: &Graph, names_of: &Names, config: &Config) -> Result<Self, Error> {
        let found = Found { graph, role: ROLE };
        let kv = kv_ports(found, names_of, config)?;
        let embeds = found.float_input(&names_of.inputs_embeds, &[3])?;
        let ids = found.input(&names_of.input_ids, &[2])?;
        if embeds.is_none() && ids.is_none() {
            let (given, embeds) = (names(&graph.inputs), &names_of.inputs_embeds);
            let reason = format!("it takes {given}; expected {embeds} or {}", names_of.input_ids);
            return Err(found.wrong(reason));
        }
        embeds.iter().try_for_each(|port| found.width(port, "hidden_size", config.hidden))?;
        let Some((logits, port)) = graph.output(&names_of.logits) else {
            let (given, logits) = (names(&graph.outputs), &names_of.logits);
            return Err(found.wrong(format!("it gives {given}; expected {logits}")));
        };
        found.rank(port, &[3])?;
        found.floats(port)?;
        found.width(port, "vocab_size", config.vocabulary)?;
        let ports = Self {
            embeds,
            per_layer: found.float_input(&names_of.per_layer_inputs, &[3, 4])?,
            mask: found.input(&names_of.attention_mask, &[2])?,
            positions: found.input(&names_of.position_ids, &[2])?,
            ids,
            types: found.input(TYPES, &[2])?,
            keep: found.input(KEEP, &[0, 1])?,
            kv,
            logits,
        };
        ports.check(found, config)?;
        Ok(ports)
    }

    /// Whether the graph can know which tokens belong to a picture.
    pub(crate) fn knows_pictures(&self) -> bool {
        self.types.is_some() || (self.ids.is_some() && self.embeds.is_some())
    }

    /// What an engine must know to load the graph. Logits are wanted for the last token only, or
    /// for all.
    pub(crate) fn spec<'a>(
        &'a self,
        graph: &'a Graph,
        config: &Config,
        all_logits: bool,
    ) -> GraphSpec<'a> {
        // 0 stands for all.
        let kept = if all_logits { 0 } else { 1 };
        let constants = self.keep.iter().map(|port| (port.name.as_str(), kept)).collect();
        let dims = graph.inputs.iter().map(|port| self.dims(port, config)).collect();
        let kv = self.kv.iter().flat_map(|kv| [kv.key_present.as_str(), kv.value_present.as_str()]);
        let (window, given_back) = (self.window(), kv.collect());
        GraphSpec { constants, window, given_back, ..GraphSpec::new(graph, ROLE, dims) }
    }

    /// The layers of which only the end of the past is needed.
    fn window(&self) -> Option<Window<'_>> {
        let sliding = self.kv.iter().filter(|kv| kv.kind == LayerKind::Sliding);
        let layers = sliding.map(|kv| {
            let past = [kv.key.name.as_str(), kv.value.name.as_str()];
            (past, [kv.key_present.as_str(), kv.value_present.as_str()])
        });
        let layers: Vec<_> = layers.collect();
        let positions = self.positions.as_ref().map(|port| port.name.as_str());
        let step = self.embeds.as_ref().or(self.ids.as_ref()).map(|port| port.name.as_str());
        let total = self.mask.as_ref().map(|port| port.name.as_str());
        (!layers.is_empty()).then_some(Window { layers, positions, step, total })
    }

    /// What the dimensions of an input mean.
    fn dims(&self, port: &Port, config: &Config) -> Vec<Dim> {
        let is = |other: &Option<Port>| other.as_ref().is_some_and(|other| other.name == port.name);
        if is(&self.embeds) {
            return vec![Dim::Fixed(1), Dim::Step, Dim::Fixed(config.hidden)];
        }
        if is(&self.mask) {
            return vec![Dim::Fixed(1), Dim::Total];
        }
        if is(&self.keep) {
            return vec![Dim::Fixed(1); port.dims.len()];
        }
        if is(&self.per_layer) {
            let sizes = match port.dims.len() {
                4 => vec![config.layers, config.per_layer_width],
                _ => vec![config.layers * config.per_layer_width],
            };
            let declared = port.dims.iter().skip(2);
            let sizes = sizes.into_iter().zip(declared).map(|(size, known)| known.unwrap_or(size));
            return [Dim::Fixed(1), Dim::Step].into_iter().chain(sizes.map(Dim::Fixed)).collect();
        }
        let owner = self.kv.iter().find(|kv| [&kv.key.name, &kv.value.name].contains(&&port.name));
        let Some(kv) = owner else { return vec![Dim::Fixed(1), Dim::Step] };
        let past = match kv.kind {
            LayerKind::Sliding => Dim::Recent,
            LayerKind::Global => Dim::Past,
        };
        vec![Dim::Fixed(1), Dim::Fixed(kv.shape.heads), past, Dim::Fixed(kv.shape.width)]
    }

    /// Checks what the ports say together.
    fn check(&self, found: Found<'_>, config: &Config) -> Result<(), Error> {
        let named = [&self.embeds, &self.per_layer, &self.mask, &self.positions, &self.ids];
        let named = named.into_iter().chain([&self.types, &self.keep]).flatten();
        for port in named.clone().filter(|port| !port.dims.is_empty()) {
            found.batch(port)?;
        }
        let kv = self.kv.iter().flat_map(|kv| [&kv.key, &kv.value]);
        let known: BTreeSet<&str> = named.chain(kv).map(|port| port.name.as_str()).collect();
        let inputs = &found.graph.inputs;
        if let Some(port) = inputs.iter().find(|port| !known.contains(port.name.as_str())) {
            let reason = format!("it takes {}, which no known conversion has", port.name);
            return Err(found.wrong(reason));
        }
        let (owners, expected) = (self.kv.len(), config.layers - config.shared_layers);
        if owners != expected {
            let (layers, shared) = (config.layers, config.shared_layers);
            return Err(found.wrong(format!(
                "{owners} layers have keys and values of their own; expected {expected}, since \
                 config.json has {layers} layers, {shared} of them sharing"
            )));
        }
        let per_layer = self.per_layer.iter();
        per_layer.into_iter().try_for_each(|port| check_per_layer(found, port, config))
    }
}

/// Checks the sizes of the per-layer inputs against the configuration, where the graph tells them.
fn check_per_layer(found: Found<'_>, port: &Port, config: &Config) -> Result<(), Error> {
    let sizes: Option<usize> = port.dims.iter().skip(2).copied().product();
    let expected = config.layers * config.per_layer_width;
    match sizes {
        Some(width) if width != expected => Err(found.wrong(format!(
            "{} has {width} values per token, but config.json has {} layers of {}",
            port.name, config.layers, config.per_layer_width
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Keys and values of every layer that has some.
fn kv_ports(found: Found<'_>, names: &Names, config: &Config) -> Result<Vec<KvPorts>, Error> {
    let layer = |port: &Port| Names::layer_of(&names.past_keys, &port.name);
    let layers: BTreeSet<usize> = found.graph.inputs.iter().filter_map(layer).collect();
    if layers.is_empty() {
        let past = names.past_keys.split('.').next().unwrap_or(&names.past_keys);
        return Err(found.wrong(format!("it takes no {past}; expected a merged decoder")));
    }
    layers.into_iter().map(|layer| layer_ports(found, names, config, layer)).collect()
}

fn layer_ports(
    found: Found<'_>,
    names: &Names,
    config: &Config,
    layer: usize,
) -> Result<KvPorts, Error> {
    let input = |pattern: &str| {
        let name = Names::of_layer(pattern, layer);
        let port = found.float_input(&name, &[4])?;
        let port = port.ok_or_else(|| found.wrong(format!("input {name} is missing")))?;
        found.batch(&port)?;
        Ok::<_, Error>(port)
    };
    let output = |pattern: &str| {
        let name = Names::of_layer(pattern, layer);
        let place = found.graph.output(&name).map(|(place, _)| place);
        let place = place.ok_or_else(|| found.wrong(format!("output {name} is missing")))?;
        Ok::<_, Error>((place, name))
    };
    let (key, value) = (input(&names.past_keys)?, input(&names.past_values)?);
    let (Some(kind), Some(from_config)) = (config.kind(layer), config.kv_shape(layer)) else {
        return Err(found.wrong(format!("{} is none of {} layers", key.name, config.layers)));
    };
    let size = |at: usize, other: usize| key.dims.get(at).copied().flatten().unwrap_or(other);
    let shape = KvShape { heads: size(1, from_config.heads), width: size(3, from_config.width) };
    let (key_output, key_present) = output(&names.present_keys)?;
    let (value_output, value_present) = output(&names.present_values)?;
    Ok(KvPorts { shape, kind, key, value, key_output, value_output, key_present, value_present })
}
