//! How the graphs of a folder become a model: each is read, held against the configuration and the
//! others, and loaded; then it is tried whether sliding layers can be kept short.

use std::time::Duration;

use super::Gemma;
use super::config::Config;
use super::decoder::fast::FastDecoder;
use super::decoder::published::PublishedDecoder;
use super::decoder::{Decoder, Given};
use super::drafter::Drafter;
use super::encoded::Encoded;
use super::encoder::Encoder;
use super::fast::{self, Fast};
use super::ports::{DecoderPorts, EmbedPorts, FastPorts};
use super::worth::Worth;
use crate::engine::Engine;
use crate::error::Error;
use crate::folder::{Folder, GraphFile, Role};
use crate::graph::{Graph, Port};

/// How the graphs are to be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    /// Whether the logits of every token of a block are kept.
    pub(crate) all_logits: bool,
    /// Tokens of the longest conversation.
    pub(crate) context_tokens: usize,
    /// Which decoder runs.
    pub(crate) fast: Fast,
    /// Bytes that conversations may take beside the one that is answered.
    pub(crate) kv_bytes_max: Option<usize>,
}

/// What is known about one graph of an open model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphInfo {
    /// What it is for: `embedding`, `decoder`, `vision`, `audio`, or `assistant`, which drafts tokens.
    pub role: &'static str,
    /// Its file.
    pub file: std::path::PathBuf,
    /// Its precision: `fp32`, `fp16`, `q8`, `q4`, `q4f16` ...
    pub dtype: &'static str,
    /// Bytes on disk, weights included.
    pub bytes: u64,
    /// Bytes of weights that a run with one token reads.
    pub step_bytes: u64,
}

impl GraphInfo {
    fn of(role: &'static str, graph: &Graph, dtype: &'static str) -> Self {
        let Graph { path, bytes, step_bytes, .. } = graph;
        Self { role, file: path.clone(), dtype, bytes: *bytes, step_bytes: *step_bytes }
    }
}

/// What the graph that drafts tokens is called, as its publishers do.
const DRAFTER: &str = "assistant";

/// The graphs of a folder, read but not loaded.
pub(crate) struct Graphs {
    embed: Option<Graph>,
    pub(crate) decoder: Graph,
    vision: Option<Graph>,
    audio: Option<Graph>,
    drafter: Option<Graph>,
    pub(crate) infos: Vec<GraphInfo>,
}

impl Graphs {
    pub(crate) fn read(folder: &Folder) -> Result<Self, Error> {
        let mut infos = Vec::new();
        let mut read = |role: Role, file: &GraphFile| {
            let graph = Graph::read(&file.path)?;
            let dtype = file.dtype.unwrap_or(graph.dtype);
            infos.push(GraphInfo::of(role.name(), &graph, dtype));
            Ok::<_, Error>(graph)
        };
        let embed = folder.embed.iter().map(|file| read(Role::Embedding, file)).next();
        let decoder = read(Role::Decoder, &folder.decoder)?;
        let vision = folder.vision.iter().map(|file| read(Role::Vision, file)).next();
        let audio = folder.audio.iter().map(|file| read(Role::Audio, file)).next();
        let (embed, vision, audio) = (embed.transpose()?, vision.transpose()?, audio.transpose()?);
        let drafter = folder.drafter.as_deref().map(Graph::read).transpose()?;
        infos.extend(drafter.iter().map(|graph| GraphInfo::of(DRAFTER, graph, graph.dtype)));
        Ok(Self { embed, decoder, vision, audio, drafter, infos })
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
        let Graphs { embed, decoder: graph, vision, audio, drafter, mut infos } =
            Graphs::read(folder)?;
        let embed_ports =
            embed.as_ref().map(|graph| EmbedPorts::find(graph, &folder.names, &config));
        let embed_ports = embed_ports.transpose()?;
        let embed = embed.as_ref().zip(embed_ports);
        let decoder = match open_fast(&engine, folder, &config, used)? {
            Some((decoder, info)) => {
                let decoders = infos.iter_mut().filter(|info| info.role == Role::Decoder.name());
                decoders.for_each(|published| *published = info.clone());
                Decoder::Fast(decoder)
            }
            None => {
                // A graph may have been made for shorter conversations than the model.
                let most = graph.positions.unwrap_or(usize::MAX);
                config.context_tokens = config.context_tokens.min(most);
                open_published(&engine, folder, &graph, &config, used)?
            }
        };
        let found = embed.as_ref().map(|(graph, ports)| (*graph, ports));
        check_together(found, &graph, decoder.embeds(), decoder.per_layer())?;
        let embed = match embed {
            Some((graph, ports)) => Some((engine.load(&ports.spec(graph, &config))?, ports)),
            None => None,
        };
        let vision = Encoder::open(&engine, vision, "vision", config.hidden)?;
        let vision = vision.and_then(|encoder| match config.images_see_all {
            true if !decoder.knows_pictures() => Err(BLIND.into()),
            true | false => Ok(encoder),
        });
        let audio = Encoder::open(&engine, audio, "audio", config.hidden)?;
        let drafter = drafter.map(|graph| {
            if !decoder.verifies() || embed.is_none() {
                return Err(UNVERIFIED.to_owned());
            }
            Drafter::open(&engine, &graph, &config).map_err(|error| error.to_string())
        });
        if let Some(Err(reason)) = &drafter {
            tracing::warn!("no tokens are drafted: {reason}");
        }
        let new = Self {
            engine,
            config,
            embed,
            decoder,
            vision,
            audio,
            drafter,
            given: Given::default(),
            all_logits: used.all_logits,
            engine_time: Duration::ZERO,
            encoded: Encoded::default(),
            worth: Worth::unknown(),
        };
        Ok((new, infos))
    }
}

/// The fast graph of a folder, if it is wanted, there, and of use to the engine.
fn open_fast<E: Engine>(
    engine: &E,
    folder: &Folder,
    config: &Config,
    used: Use,
) -> Result<Option<(FastDecoder<E>, GraphInfo)>, Error> {
    let GraphFile { path, dtype } = &folder.decoder;
    let Some((graph, notes)) = fast::find(path, used.fast)? else { return Ok(None) };
    let ports = FastPorts::find(&graph, &notes, config);
    let decoder = ports.and_then(|ports| FastDecoder::open(engine, &graph, ports, config, used));
    match (decoder, used.fast) {
        (Ok(decoder), _) => {
            let dtype = dtype.unwrap_or(graph.dtype);
            Ok(Some((decoder, GraphInfo::of(Role::Decoder.name(), &graph, dtype))))
        }
        (Err(error), Fast::Required | Fast::Candidate) => {
            Err(fast::refused(&graph.path, &error.to_string()))
        }
        (Err(error), Fast::Auto | Fast::Off) => {
            tracing::warn!("{} is passed over: {error}", graph.path.display());
            Ok(None)
        }
    }
}

fn open_published<E: Engine>(
    engine: &E,
    folder: &Folder,
    graph: &Graph,
    config: &Config,
    used: Use,
) -> Result<Decoder<E>, Error> {
    let ports = DecoderPorts::find(graph, &folder.names, config)?;
    let decoder = PublishedDecoder::open(engine, graph, ports, config, used)?;
    Ok(Decoder::Published(decoder))
}

/// Checks that the graph of the embeddings gives what the decoder takes.
fn check_together(
    embed: Option<(&Graph, &EmbedPorts)>,
    decoder: &Graph,
    embeds: Option<&Port>,
    per_layer: Option<&Port>,
) -> Result<(), Error> {
    let Some((graph, embed)) = embed else {
        if embeds.is_none() && per_layer.is_none() {
            return Ok(());
        }
        let reason = "it takes inputs_embeds, but its folder has no graph of token embeddings";
        return Err(decoder.wrong("decoder", reason));
    };
    if embeds.is_none() {
        let reason = "it takes no inputs_embeds, which the embedding graph gives";
        return Err(decoder.wrong("decoder", reason));
    }
    let Some(taken) = per_layer else { return Ok(()) };
    let Some((_, given)) = &embed.per_layer else {
        let reason = "the decoder needs per_layer_inputs, which it does not give";
        return Err(graph.wrong("embedding", reason));
    };
    let sizes = |port: &Port| port.dims.iter().skip(2).copied().product();
    match (sizes(taken), sizes(given)) {
        (Some::<usize>(taken), Some::<usize>(given)) if taken != given => {
            let reason = format!("it gives {given} per-layer inputs, the decoder takes {taken}");
            Err(graph.wrong("embedding", reason))
        }
        _ => Ok(()),
    }
}

/// Why a drafter is of no use.
const UNVERIFIED: &str = "what is drafted can only be verified by the fast graph of a decoder that \
                          takes embeddings; `gemmad model optimize` writes it";

/// Why a model cannot see although it has eyes.
const BLIND: &str = "its decoder takes no input_ids, so it cannot let the tokens of a picture see \
                     each other as this size was trained to; use a conversion whose decoder does";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::folder::Names;
    use crate::gemma::ports::tests::{OPEN, config, decoder, embeds, graph, ids, mask, port};
    use crate::graph::Element;

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
        let (embeds, per_layer) = (ports.embeds.as_ref(), ports.per_layer.as_ref());
        let error = check_together(found, &decoder, embeds, per_layer).err();
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
}
