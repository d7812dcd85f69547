//! An encoder of pictures or of sound: one graph from prepared input to features that stand in the
//! prompt like embeddings.

use super::audio::PreparedAudio;
use super::image::PreparedImage;
use crate::engine::{Dim, Engine, EngineKind, GraphSpec, Tensor};
use crate::error::Error;
use crate::graph::{Element, Graph, Port};

/// A loaded encoder graph.
pub(crate) struct Encoder<E: Engine> {
    graph: E::Graph,
    /// What is encoded, `[1, patches or frames, width]`.
    content: Port,
    /// Where the patches are, `[1, patches, 2]`, or which frames count, `[1, frames]`.
    place: Port,
    role: &'static str,
    hidden: usize,
    bytes: u64,
}

impl<E: Engine> Encoder<E> {
    /// Loads an encoder; `Err` within says why there is none.
    ///
    /// # Errors
    /// When the graph is no encoder, or ONNX Runtime refuses it.
    pub(crate) fn open(
        engine: &E,
        graph: Option<Graph>,
        role: &'static str,
        hidden: usize,
    ) -> Result<Result<Self, String>, Error> {
        let Some(graph) = graph else {
            let reason = format!("its folder has no {role}_encoder; use a folder that has one");
            return Ok(Err(reason));
        };
        let (content, place) = ports(&graph, role)?;
        let dims = graph.inputs.iter().map(media_dims).collect();
        let spec = GraphSpec { graph: &graph, role, dims, constants: Vec::new() };
        match engine.load(&spec) {
            Ok(loaded) => {
                Ok(Ok(Self { graph: loaded, content, place, role, hidden, bytes: graph.bytes }))
            }
            // tract runs no audio encoder; a model that answers words is better than none.
            Err(error) if E::KIND == EngineKind::Tract => {
                Ok(Err(format!("{error}; use the engine ort")))
            }
            Err(error) => Err(error),
        }
    }

    /// Bytes of the graph on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Features of a picture.
    ///
    /// # Errors
    /// When the engine fails, or gives another number of soft tokens than the picture takes.
    pub(crate) fn image(&mut self, engine: &E, image: &PreparedImage) -> Result<Vec<f32>, Error> {
        let (pixels, positions) = (&image.pixels, &image.positions);
        let length = self.content.dims.get(1).copied().flatten().unwrap_or(pixels.dim().1);
        let data = padded(pixels.iter().copied(), pixels.dim().2 * length, 0.0);
        let shape = vec![1, length, pixels.dim().2];
        let content = Tensor::floats(shape, data, self.content.element);
        let data = padded(positions.iter().copied(), 2 * length, -1);
        let place = Tensor::integers(vec![1, length, 2], data, self.place.element);
        self.run(engine, [content, place], image.soft_tokens)
    }

    /// Features of sound.
    ///
    /// # Errors
    /// When the engine fails, or gives another number of soft tokens than the sound takes.
    pub(crate) fn sound(&mut self, engine: &E, sound: &PreparedAudio) -> Result<Vec<f32>, Error> {
        let (frames, mask) = (&sound.features, &sound.mask);
        let length = self.content.dims.get(1).copied().flatten().unwrap_or(frames.dim().1);
        let data = padded(frames.iter().copied(), frames.dim().2 * length, 0.0);
        let shape = vec![1, length, frames.dim().2];
        let content = Tensor::floats(shape, data, self.content.element);
        let data = padded(mask.iter().map(|&real| i64::from(real)), length, 0);
        let place = Tensor::integers(vec![1, length], data, self.place.element);
        self.run(engine, [content, place], sound.soft_tokens)
    }

    fn run(
        &mut self,
        engine: &E,
        inputs: [Result<Tensor, String>; 2],
        soft_tokens: usize,
    ) -> Result<Vec<f32>, Error> {
        let failed = |reason: String| Error::engine("encoder", self.role, reason);
        let [content, place] = inputs;
        let content = engine.enter(content.map_err(failed)?)?;
        let place = engine.enter(place.map_err(failed)?)?;
        let names = (self.content.name.as_str(), self.place.name.as_str());
        let outputs = engine.run(&mut self.graph, &[(names.0, &content), (names.1, &place)])?;
        let features = outputs.first().map(|value| engine.floats(value)).transpose()?;
        let (shape, features) = features.ok_or_else(|| failed("it gave nothing".into()))?;
        let width = shape.last().copied().unwrap_or(0);
        if width != self.hidden || features.len() != soft_tokens * width {
            return Err(failed(format!(
                "it gave {shape:?}; expected {soft_tokens} rows of {}",
                self.hidden
            )));
        }
        Ok(features.into_owned())
    }
}

/// What the dimensions of an input mean.
fn media_dims(port: &Port) -> Vec<Dim> {
    let dims = port.dims.iter().enumerate().map(|(at, size)| match (at, size) {
        (0, _) => Dim::Fixed(1),
        (1, None) => Dim::Media,
        (_, size) => Dim::Fixed(size.unwrap_or(2)),
    });
    dims.collect()
}

/// The input with the content and the one that places it, told apart by their element types.
fn ports(graph: &Graph, role: &'static str) -> Result<(Port, Port), Error> {
    let is_float = |port: &&Port| matches!(port.element, Element::F32 | Element::F16);
    let content = graph.inputs.iter().find(|port| is_float(port) && port.dims.len() == 3);
    let place = graph.inputs.iter().find(|port| !is_float(port) && port.dims.len() >= 2);
    match (content, place, graph.inputs.len()) {
        (Some(content), Some(place), 2) => Ok((content.clone(), place.clone())),
        _ => {
            let names: Vec<&str> = graph.inputs.iter().map(|port| port.name.as_str()).collect();
            let reason = format!(
                "it takes {}; expected content of rank 3 and its positions or mask",
                names.join(", ")
            );
            Err(graph.wrong(role, reason))
        }
    }
}

/// Elements, filled up to the length that a graph of fixed size wants.
fn padded<T: Copy>(elements: impl Iterator<Item = T>, length: usize, fill: T) -> Vec<T> {
    let mut elements: Vec<T> = elements.collect();
    if elements.len() < length {
        elements.resize(length, fill);
    }
    elements
}
