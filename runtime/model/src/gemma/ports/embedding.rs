//! Ports of the graph that turns token ids into embeddings.

use super::{Found, names};
use crate::engine::{Dim, GraphSpec};
use crate::error::Error;
use crate::folder::Names;
use crate::gemma::config::Config;
use crate::graph::{Element, Graph, Port};

const ROLE: &str = "embedding";

/// Ports of the graph that turns token ids into embeddings.
#[derive(Debug)]
pub(crate) struct EmbedPorts {
    /// Token ids, `[1, tokens]`.
    pub(crate) ids: Port,
    /// Features of pictures, `[rows, hidden]`, where the graph puts them in place itself.
    pub(crate) image_features: Option<Port>,
    /// Features of sound, `[rows, hidden]`, where the graph puts them in place itself.
    pub(crate) audio_features: Option<Port>,
    /// Place of the embeddings, `[1, tokens, hidden]`, among the outputs.
    pub(crate) embeds: usize,
    /// Element type of the embeddings.
    pub(crate) embeds_element: Element,
    /// Place and port of the per-layer inputs among the outputs.
    pub(crate) per_layer: Option<(usize, Port)>,
}

impl EmbedPorts {
    /// Finds the ports of an embedding graph.
    ///
    /// # Errors
    /// When it takes anything but token ids and features, or gives no embeddings.
    pub(crate) fn find(graph: &Graph, names_of: &Names, config: &Config) -> Result<Self, Error> {
        let found = Found { graph, role: ROLE };
        let features = [&names_of.image_features, &names_of.audio_features];
        let known = |port: &Port| port.name == names_of.input_ids || features.contains(&&port.name);
        let ids = match found.input(&names_of.input_ids, &[2])? {
            Some(ids) if graph.inputs.iter().all(known) => ids,
            _ => {
                let (given, ids) = (names(&graph.inputs), &names_of.input_ids);
                let reason = format!("it takes {given}; expected {ids}, or features beside it");
                return Err(found.wrong(reason));
            }
        };
        found.batch(&ids)?;
        let [image_features, audio_features] = features.map(|name| {
            let port = found.float_input(name, &[2])?;
            port.iter().try_for_each(|port| found.width(port, "hidden_size", config.hidden))?;
            Ok::<_, Error>(port)
        });
        let Some((embeds, port)) = graph.output(&names_of.inputs_embeds) else {
            let (given, embeds) = (names(&graph.outputs), &names_of.inputs_embeds);
            return Err(found.wrong(format!("it gives {given}; expected {embeds}")));
        };
        found.rank(port, &[3])?;
        found.batch(port)?;
        found.floats(port)?;
        found.width(port, "hidden_size", config.hidden)?;
        let per_layer = graph.output(&names_of.per_layer_inputs);
        per_layer.iter().try_for_each(|(_, port)| found.floats(port))?;
        Ok(Self {
            ids,
            image_features: image_features?,
            audio_features: audio_features?,
            embeds,
            embeds_element: port.element,
            per_layer: per_layer.map(|(place, port)| (place, port.clone())),
        })
    }

    /// Whether the graph puts features in place, so that it wants placeholders among the ids.
    pub(crate) fn merges(&self) -> bool {
        self.image_features.is_some() || self.audio_features.is_some()
    }

    /// What an engine must know to load the graph.
    pub(crate) fn spec<'a>(&self, graph: &'a Graph, config: &Config) -> GraphSpec<'a> {
        let dims = |port: &Port| match port.name == self.ids.name {
            true => vec![Dim::Fixed(1), Dim::Step],
            false => vec![Dim::Media, Dim::Fixed(config.hidden)],
        };
        let dims = graph.inputs.iter().map(dims).collect();
        GraphSpec { reads_tables: true, ..GraphSpec::new(graph, ROLE, dims) }
    }
}
