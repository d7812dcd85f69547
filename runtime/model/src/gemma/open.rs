//! How the graphs of a folder become a model: each is read, held against the configuration and the
//! others, and loaded; then it is tried whether sliding layers can be kept short.

use std::time::Duration;

use super::config::Config;
use super::encoder::Encoder;
use super::ports::{DecoderPorts, EmbedPorts};
use super::{Gemma, empty_cache, window};
use crate::engine::Engine;
use crate::error::Error;
use crate::folder::{Folder, GraphFile, Role};
use crate::graph::Graph;

/// How the graphs are to be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    /// Whether the logits of every token of a block are kept.
    pub(crate) all_logits: bool,
    /// Tokens of the longest conversation.
    pub(crate) context_tokens: usize,
}

/// What is known about one graph of an open model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphInfo {
    /// What it is for: `embedding`, `decoder`, `vision` or `audio`.
    pub role: &'static str,
    /// Its file.
    pub file: std::path::PathBuf,
    /// Its precision: `fp32`, `fp16`, `q8`, `q4`, `q4f16` ...
    pub dtype: &'static str,
    /// Bytes on disk, weights included.
    pub bytes: u64,
}

/// The graphs of a folder, read but not loaded.
pub(crate) struct Graphs {
    embed: Option<Graph>,
    pub(crate) decoder: Graph,
    vision: Option<Graph>,
    audio: Option<Graph>,
    pub(crate) infos: Vec<GraphInfo>,
}

impl Graphs {
    pub(crate) fn read(folder: &Folder) -> Result<Self, Error> {
        let mut infos = Vec::new();
        let mut read = |role: Role, file: &GraphFile| {
            let graph = Graph::read(&file.path)?;
            let (file, dtype) = (file.path.clone(), file.dtype.unwrap_or(graph.dtype));
            infos.push(GraphInfo { role: role.name(), file, dtype, bytes: graph.bytes });
            Ok::<_, Error>(graph)
        };
        let embed = folder.embed.iter().map(|file| read(Role::Embedding, file)).next();
        let decoder = read(Role::Decoder, &folder.decoder)?;
        let vision = folder.vision.iter().map(|file| read(Role::Vision, file)).next();
        let audio = folder.audio.iter().map(|file| read(Role::Audio, file)).next();
        let (embed, vision, audio) = (embed.transpose()?, vision.transpose()?, audio.transpose()?);
        Ok(Self { embed, decoder, vision, audio, infos })
    }
}

impl<E: Engine> Gemma<E> {
    /// Loads the graphs of a folder.
    ///
    /// # Errors
    /// When a file is damaged, a graph is not of its role, or the engine refuses one that every
    /// reply needs. A refused encoder is remembered, and said when something is to be encoded.
    pub(crate) fn open(
        engine: E,
        folder: &Folder,
        mut config: Config,
        used: Use,
    ) -> Result<(Self, Vec<GraphInfo>), Error> {
        let Graphs { embed, decoder: graph, vision, audio, infos } = Graphs::read(folder)?;
        // A graph may have been made for shorter conversations than the model.
        config.context_tokens = config.context_tokens.min(graph.positions.unwrap_or(usize::MAX));
        let embed_ports =
            embed.as_ref().map(|graph| EmbedPorts::find(graph, &folder.names, &config));
        let embed_ports = embed_ports.transpose()?;
        let decoder_ports = DecoderPorts::find(&graph, &folder.names, &config)?;
        let embed = embed.as_ref().zip(embed_ports);
        check_together(
            embed.as_ref().map(|(graph, ports)| (*graph, ports)),
            &graph,
            &decoder_ports,
        )?;
        let embed = match embed {
            Some((graph, ports)) => Some((engine.load(&ports.spec(graph, &config))?, ports)),
            None => None,
        };
        let mut decoder = engine.load(&decoder_ports.spec(&graph, &config, used.all_logits))?;
        let vision = Encoder::open(&engine, vision, "vision", config.hidden)?;
        let vision = vision.and_then(|encoder| match check_pictures(&config, &decoder_ports) {
            Ok(()) => Ok(encoder),
            Err(reason) => Err(reason),
        });
        let audio = Encoder::open(&engine, audio, "audio", config.hidden)?;
        let is_short = used.context_tokens.min(config.context_tokens) <= config.window_tokens;
        let window = match !is_short && engine.takes_recent(&decoder) {
            true => window::tried(&engine, &mut decoder, &decoder_ports, &config),
            false => None,
        };
        let cache = empty_cache(&engine, &decoder_ports, window)?;
        let new = Self {
            engine,
            config,
            embed,
            decoder,
            decoder_ports,
            vision,
            audio,
            cache,
            window,
            logits: Vec::new(),
            all_logits: used.all_logits,
            engine_time: Duration::ZERO,
        };
        Ok((new, infos))
    }
}

/// Checks that the graph of the embeddings gives what the decoder takes.
fn check_together(
    embed: Option<(&Graph, &EmbedPorts)>,
    decoder: &Graph,
    ports: &DecoderPorts,
) -> Result<(), Error> {
    let Some((graph, embed)) = embed else {
        if ports.embeds.is_none() && ports.per_layer.is_none() {
            return Ok(());
        }
        let reason = "it takes inputs_embeds, but its folder has no graph of token embeddings";
        return Err(decoder.wrong("decoder", reason));
    };
    if ports.embeds.is_none() {
        let reason = "it takes no inputs_embeds, which the embedding graph gives";
        return Err(decoder.wrong("decoder", reason));
    }
    let Some(taken) = &ports.per_layer else { return Ok(()) };
    let Some((_, given)) = &embed.per_layer else {
        let reason = "the decoder needs per_layer_inputs, which it does not give";
        return Err(graph.wrong("embedding", reason));
    };
    let sizes = |port: &crate::graph::Port| port.dims.iter().skip(2).copied().product();
    match (sizes(taken), sizes(given)) {
        (Some::<usize>(taken), Some::<usize>(given)) if taken != given => {
            let reason = format!("it gives {given} per-layer inputs, the decoder takes {taken}");
            Err(graph.wrong("embedding", reason))
        }
        _ => Ok(()),
    }
}

/// Says why a model cannot see although it has eyes: the tokens of a picture have to see each other,
/// and the decoder does not know which they are.
fn check_pictures(config: &Config, ports: &DecoderPorts) -> Result<(), String> {
    match config.images_see_all && !ports.knows_pictures() {
        true => {
            Err("its decoder takes no input_ids, so it cannot let the tokens of a picture see \
                     each other as this size was trained to; use a conversion whose decoder does"
                .into())
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::folder::Names;
    use crate::gemma::ports::tests::{OPEN, config, decoder, embeds, graph, ids, mask, port};
    use crate::graph::{Element, Port};

    fn per_layer(width: usize) -> Port {
        port("per_layer_inputs", Element::F32, &[OPEN, OPEN, Some(width)])
    }

    /// A decoder with these inputs, and an embedding graph with these outputs, held together.
    fn check(decoder_inputs: Vec<Port>, embedding: Option<Vec<Port>>, expected: &str) {
        let names = Names::default();
        let decoder = decoder(decoder_inputs, Element::F32);
        let ports = DecoderPorts::find(&decoder, &names, &config()).unwrap();
        let embedding = embedding.map(|outputs| graph(vec![ids()], outputs));
        let found = embedding
            .as_ref()
            .map(|graph| (graph, EmbedPorts::find(graph, &names, &config()).unwrap()));
        let found = found.as_ref().map(|(graph, ports)| (*graph, ports));
        let error = check_together(found, &decoder, &ports).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(error.is_empty(), expected.is_empty(), "{error}");
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_decoder_gets_what_it_takes() {
        check(vec![embeds(), mask(), per_layer(8)], Some(vec![embeds(), per_layer(8)]), "");
        check(vec![embeds(), mask()], Some(vec![embeds(), per_layer(8)]), "");
        check(vec![ids(), mask()], None, "");
        check(vec![embeds(), mask()], None, "its folder has no graph of token embeddings");
        check(vec![ids(), mask()], Some(vec![embeds()]), "it takes no inputs_embeds, which the");
        let missing = "the decoder needs per_layer_inputs, which it does not give";
        check(vec![embeds(), per_layer(8)], Some(vec![embeds()]), missing);
        let other = "it gives 6 per-layer inputs, the decoder takes 8";
        check(vec![embeds(), per_layer(8)], Some(vec![embeds(), per_layer(6)]), other);
    }

    #[test]
    fn pictures_need_a_decoder_that_knows_them() {
        let names = Names::default();
        let check = |images_see_all: bool, inputs: Vec<Port>, refused: bool| {
            let mut config = config();
            config.images_see_all = images_see_all;
            let decoder = decoder(inputs, Element::F32);
            let ports = DecoderPorts::find(&decoder, &names, &config).unwrap();
            let reason = check_pictures(&config, &ports).err();
            assert_eq!(reason.is_some(), refused, "{reason:?}");
        };
        let types = port("mm_token_type_ids", Element::I64, &[OPEN, OPEN]);
        check(false, vec![embeds(), mask()], false);
        check(true, vec![embeds(), mask()], true);
        check(true, vec![embeds(), mask(), ids()], false);
        check(true, vec![embeds(), mask(), types], false);
    }
}
