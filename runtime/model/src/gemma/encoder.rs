//! An encoder of pictures or of sound: one graph from prepared input to features that stand in the
//! prompt like embeddings.

use super::audio::PreparedAudio;
use super::image::PreparedImage;
use crate::engine::{Dim, Engine, EngineKind, GraphSpec, Tensor};
use crate::error::Error;
use crate::graph::{Element, Graph, Port};

/// Roles of encoders, as errors call them.
const VISION: &str = "vision";
const AUDIO: &str = "audio";

/// What the encoders want pictures and sound to be made into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    /// Most soft tokens of a picture.
    pub(crate) image_budget: usize,
    /// Pictures.
    pub(crate) image: Form,
    /// Sound.
    pub(crate) sound: Form,
}

/// What the content of an encoder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// For a tower: patches of 16 pixels, or frames of mel bins.
    #[default]
    Tower,
    /// One row per soft token: patches of 48 pixels, or raw frames.
    Unified,
}

/// Widths of a picture's and of sound's content, for a tower and one row per soft token.
const IMAGE_WIDTHS: [usize; 2] = [768, 6912];
const SOUND_WIDTHS: [usize; 2] = [128, 640];

/// A loaded encoder graph.
pub(crate) struct Encoder<E: Engine> {
    graph: E::Graph,
    /// What is encoded, `[1, patches or frames, width]`.
    content: Port,
    /// Where the patches are, `[1, patches, 2]`, or which frames count, `[1, frames]`. A graph of
    /// raw frames may do without.
    place: Option<Port>,
    /// Place of the features among the outputs.
    features: usize,
    form: Form,
    role: &'static str,
    hidden: usize,
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
        let features = features(&graph, role)?;
        let form = form(&graph, &content, role)?;
        if form == Form::Unified && role == VISION && graph.multiplies_in_f16 {
            return Ok(Err(
                "its encoder of pictures computes in 16-bit floats, in which the first \
                           layer overflows; use its fp32 or q8 graph"
                    .into(),
            ));
        }
        let dims = graph.inputs.iter().map(media_dims).collect();
        let spec = GraphSpec::new(&graph, role, dims);
        match engine.load(&spec) {
            Ok(loaded) => {
                Ok(Ok(Self { graph: loaded, content, place, features, form, role, hidden }))
            }
            // tract runs no audio encoder; a model that answers words is better than none.
            Err(error) if E::KIND == EngineKind::Tract => {
                Ok(Err(format!("{error}; use the engine ort")))
            }
            Err(error) => Err(error),
        }
    }

    /// What its content is.
    pub(crate) fn form(&self) -> Form {
        self.form
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
        let place = self.place(vec![1, length, 2], data);
        self.run(engine, content, place, image.soft_tokens)
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
        let place = self.place(vec![1, length], data);
        self.run(engine, content, place, sound.soft_tokens)
    }

    fn place(&self, shape: Vec<usize>, data: Vec<i64>) -> Option<Result<Tensor, String>> {
        self.place.as_ref().map(|port| Tensor::integers(shape, data, port.element))
    }

    fn run(
        &mut self,
        engine: &E,
        content: Result<Tensor, String>,
        place: Option<Result<Tensor, String>>,
        soft_tokens: usize,
    ) -> Result<Vec<f32>, Error> {
        let failed = |reason: String| Error::engine("encoder", self.role, reason);
        let enter = |tensor: Result<Tensor, String>| engine.enter(tensor.map_err(failed)?);
        let (content, place) = (enter(content)?, place.map(enter).transpose()?);
        let mut inputs = vec![(self.content.name.as_str(), &content)];
        let place = self.place.as_ref().zip(place.as_ref());
        inputs.extend(place.map(|(port, value)| (port.name.as_str(), value)));
        let outputs = engine.run(&mut self.graph, &inputs)?;
        let features = outputs.get(self.features).map(|value| engine.floats(value)).transpose()?;
        let (shape, features) = features.ok_or_else(|| failed("it gave nothing".into()))?;
        let width = shape.last().copied().unwrap_or(0);
        // One row per soft token: rows that only fill a fixed size come last.
        let fits = match self.form {
            Form::Tower => features.len() == soft_tokens * width,
            Form::Unified => features.len() >= soft_tokens * width,
        };
        if width != self.hidden || !fits {
            return Err(failed(format!(
                "it gave {shape:?}; expected {soft_tokens} rows of {}",
                self.hidden
            )));
        }
        let features = features.get(..soft_tokens * width).unwrap_or_default();
        match features.iter().all(|feature| feature.is_finite()) {
            true => Ok(features.to_vec()),
            false => Err(failed("a feature is no number; use its fp32 or q8 graph".into())),
        }
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
fn ports(graph: &Graph, role: &'static str) -> Result<(Port, Option<Port>), Error> {
    let is_float = |port: &&Port| matches!(port.element, Element::F32 | Element::F16);
    let content = graph.inputs.iter().find(|port| is_float(port) && port.dims.len() == 3);
    let place = graph.inputs.iter().find(|port| !is_float(port) && port.dims.len() >= 2);
    match (content, place, graph.inputs.len()) {
        (Some(content), Some(place), 2) => Ok((content.clone(), Some(place.clone()))),
        (Some(content), None, 1) if role == AUDIO => Ok((content.clone(), None)),
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

/// The output with the features: the first that holds floats.
fn features(graph: &Graph, role: &'static str) -> Result<usize, Error> {
    let is_float = |port: &Port| matches!(port.element, Element::F32 | Element::F16);
    let found = graph.outputs.iter().position(is_float);
    found.ok_or_else(|| graph.wrong(role, "none of its outputs holds floats"))
}

/// What the content of an encoder is, by the width that its graph declares.
fn form(graph: &Graph, content: &Port, role: &'static str) -> Result<Form, Error> {
    let [tower, unified] = if role == VISION { IMAGE_WIDTHS } else { SOUND_WIDTHS };
    match content.dims.last().copied().flatten() {
        Some(width) if width == unified => Ok(Form::Unified),
        Some(width) if width != tower => {
            let name = &content.name;
            let reason = format!("{name} has width {width}; expected {tower} or {unified}");
            Err(graph.wrong(role, reason))
        }
        Some(_) | None => Ok(Form::Tower),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::gemma::ports::tests::{OPEN, graph, port};

    fn content(width: Option<usize>) -> Port {
        port("content", Element::F32, &[Some(1), OPEN, width])
    }

    fn mask() -> Port {
        port("mask", Element::Bool, &[Some(1), OPEN])
    }

    fn check_form(role: &'static str, width: Option<usize>, expected: Option<Form>) {
        let graph = graph(vec![content(width), mask()], Vec::new());
        assert_eq!(form(&graph, &content(width), role).ok(), expected, "{role} {width:?}");
    }

    #[test]
    fn the_width_of_the_content_tells_what_it_is() {
        check_form(VISION, Some(768), Some(Form::Tower));
        check_form(VISION, Some(6912), Some(Form::Unified));
        check_form(VISION, None, Some(Form::Tower));
        check_form(VISION, Some(640), None);
        check_form(AUDIO, Some(128), Some(Form::Tower));
        check_form(AUDIO, Some(640), Some(Form::Unified));
        check_form(AUDIO, Some(768), None);
    }

    fn check_error(role: &'static str, inputs: Vec<Port>, expected: &str) {
        let error = ports(&graph(inputs, Vec::new()), role).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn errors_name_the_ports_and_what_would_be_right() {
        let raw = ports(&graph(vec![content(Some(640))], Vec::new()), AUDIO).unwrap();
        assert_eq!(raw, (content(Some(640)), None));
        check_error(VISION, vec![content(Some(6912))], "it takes content; expected content of");
        check_error(AUDIO, vec![mask()], "it takes mask; expected content of rank 3");
        let graph = graph(vec![content(Some(100)), mask()], vec![mask()]);
        let error = form(&graph, &graph.inputs[0], AUDIO).unwrap_err().to_string();
        assert!(error.ends_with("content has width 100; expected 128 or 640"), "{error}");
        let error = features(&graph, AUDIO).unwrap_err().to_string();
        assert!(error.ends_with("none of its outputs holds floats"), "{error}");
    }

    #[test]
    fn features_are_the_first_floats_that_come_out() {
        let graph = graph(Vec::new(), vec![mask(), content(None)]);
        assert_eq!(features(&graph, AUDIO).unwrap(), 1);
    }
}
