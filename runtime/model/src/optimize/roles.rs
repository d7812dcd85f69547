//! Which weights of a published decoder do what. Found backwards from the logits, along the stream
//! that every layer adds to; names of values and operators play no part.

mod attention;
mod experts;
mod per_layer;

use super::reading::{Gated, Norm, Product, VIEWS};
use super::source::Source;
use crate::gemma::config::Config;
use crate::gemma::ports::DecoderPorts;
pub(super) use attention::Attention;
pub(super) use experts::{Experts, Router};
pub(super) use per_layer::{PerLayer, Tokens};

/// Operators that leave out rows whose logits are not wanted.
const KEPT: [&str; 6] = ["Cast", "Identity", "Slice", "Gather", "Squeeze", "Reshape"];

/// The weights of a decoder.
#[derive(Debug)]
pub(super) struct Roles<'s> {
    /// The stream before the first layer.
    pub(super) start: &'s str,
    /// What the layers get besides the stream.
    pub(super) per_layer: Option<PerLayer<'s>>,
    /// From the first layer to the last.
    pub(super) layers: Vec<Layer<'s>>,
    /// The norm before the logits.
    pub(super) norm: Norm<'s>,
    /// The product that makes the logits.
    pub(super) head: Product<'s>,
    /// Bound of the logits, where they are bent to stay below one.
    pub(super) softcap: Option<f32>,
}

/// The weights of a layer.
#[derive(Debug)]
pub(super) struct Layer<'s> {
    /// Before attention.
    pub(super) input_norm: Norm<'s>,
    /// Queries, keys and values.
    pub(super) attention: Attention<'s>,
    /// What attention gives, and its norm.
    pub(super) output: (Product<'s>, Norm<'s>),
    /// Before the feed-forward part.
    pub(super) feed_norm: Norm<'s>,
    /// Gate and up product, which have one input.
    pub(super) gate_up: [Product<'s>; 2],
    /// What the feed-forward part gives, and its norm.
    pub(super) down: (Product<'s>, Norm<'s>),
    /// The experts whose answer is added to what the feed-forward part gives.
    pub(super) experts: Option<Experts<'s>>,
    /// The part with the per-layer inputs.
    pub(super) extra: Option<Extra<'s>>,
    /// What the stream is multiplied by at the end.
    pub(super) scalar: f32,
}

/// The part of a layer with its per-layer inputs.
#[derive(Debug)]
pub(super) struct Extra<'s> {
    /// From the stream to the width of the per-layer inputs.
    pub(super) gate: Product<'s>,
    /// The per-layer inputs of this layer.
    input: &'s str,
    /// Back to the stream, and its norm.
    pub(super) projection: (Product<'s>, Norm<'s>),
}

/// Looks for the weights.
struct Search<'s> {
    source: &'s Source,
    ports: &'s DecoderPorts,
}

/// Finds the weights of a decoder.
///
/// # Errors
/// When the graph is not built as a Gemma 4 decoder is; says where it differs.
pub(super) fn find<'s>(
    source: &'s Source,
    ports: &'s DecoderPorts,
    logits: &'s str,
    config: &Config,
) -> Result<Roles<'s>, String> {
    let search = Search { source, ports };
    let (softcap, scores) = search.softcap(logits);
    let head = source.product(source.behind(scores, &KEPT));
    let head = head.ok_or("its logits are not made by one product of weights")?;
    let norm = source.norm(source.behind(head.of, &KEPT)).filter(|norm| norm.weight.is_some());
    let norm = norm.ok_or("there is no norm before its logits")?;
    let mut stream = source.behind(norm.of, &KEPT);
    let mut layers = Vec::new();
    for at in (0..config.layers).rev() {
        let in_layer = |reason: String| format!("layer {at}: {reason}");
        let (layer, before) = search.layer(stream).map_err(in_layer)?;
        layers.push(layer);
        stream = before;
    }
    layers.reverse();
    attention::tell_owners(&search, &mut layers)?;
    let start = source.value(stream);
    let per_layer = per_layer::find(&search, &layers, start)?;
    Ok(Roles { start, per_layer, layers, norm, head, softcap })
}

/// A part of a layer: what it adds to, its product and its norm.
type Part<'s> = (&'s str, Product<'s>, Norm<'s>);

impl<'s> Search<'s> {
    /// The bound of the logits, and what is bent.
    fn softcap(&self, logits: &'s str) -> (Option<f32>, &'s str) {
        let (bound, bent) = self.source.scaled(logits);
        let tangent = self.source.producer(bent).filter(|(node, _)| node.op_type == "Tanh");
        match tangent.and_then(|(node, _)| node.input.first()) {
            None => (None, self.source.value(logits)),
            Some(inner) => (Some(bound), self.source.scaled(inner).1),
        }
    }

    /// The layer that gives this stream, and the stream before it.
    fn layer(&self, stream: &'s str) -> Result<(Layer<'s>, &'s str), String> {
        let (scalar, stream) = self.source.scaled(stream);
        let mut mixed = self.mixed(stream)?;
        let mut part = self.fed(mixed.as_ref(), stream)?;
        let mut gated = self.source.gated(part.1.of);
        let mut extra = None;
        if let Some(found) = gated.and_then(|gated| self.extra(gated, part)) {
            mixed = self.mixed(part.0)?;
            part = self.fed(mixed.as_ref(), part.0)?;
            gated = self.source.gated(part.1.of);
            extra = Some(found);
        }
        let (stream, product, norm) = part;
        let down = (product, norm);
        let gated = gated.ok_or("its feed-forward part is no gated product")?;
        let gate_up = [gated.gate, gated.other].map(|name| self.source.product(name));
        let [Some(gate), Some(up)] = gate_up else {
            return Err("its gate and up parts are no products of weights".into());
        };
        if self.source.value(gate.of) != self.source.value(up.of) {
            return Err("its gate and up products have different inputs".into());
        }
        let feed_norm = self.norm_of(gate.of, stream, "feed-forward part")?;
        let experts = mixed.map(|mixed| self.experts(mixed, stream)).transpose()?;
        let (before, product, norm) = self.part(stream)?;
        let output = (product, norm);
        let attention = self.attention(product.of)?;
        let input_norm = self.norm_of(attention.query.of, before, "attention")?;
        let gate_up = [gate, up];
        let layer = Layer {
            input_norm,
            attention,
            output,
            feed_norm,
            gate_up,
            down,
            experts,
            extra,
            scalar,
        };
        Ok((layer, before))
    }

    /// What was added to a stream last, alone or with experts.
    fn fed(&self, mixed: Option<&experts::Mixed<'s>>, stream: &'s str) -> Result<Part<'s>, String> {
        mixed.map_or_else(|| self.part(stream), |mixed| Ok(mixed.part))
    }

    /// What was added to a stream last.
    fn part(&self, stream: &'s str) -> Result<Part<'s>, String> {
        let sum = self.source.sum(stream).ok_or_else(|| format!("{stream} is no sum"))?;
        let [a, b] = sum;
        let part = |added: &'s str, to: &'s str| {
            let norm = self.source.norm(added).filter(|norm| norm.weight.is_some())?;
            Some((to, self.source.product(norm.of)?, norm))
        };
        part(b, a).or_else(|| part(a, b)).ok_or_else(|| {
            format!("neither {a} nor {b}, which are added up, is a norm of a product of weights")
        })
    }

    /// The part with the per-layer inputs, if a part is one.
    fn extra(&self, gated: Gated<'s>, (stream, product, norm): Part<'s>) -> Option<Extra<'s>> {
        let gate = self.source.product(gated.gate)?;
        let is_extra = self.source.value(gate.of) == self.source.value(stream)
            && self.source.product(gated.other).is_none();
        let projection = (product, norm);
        is_extra.then_some(Extra { gate, input: gated.other, projection })
    }

    /// The norm that makes `name` of the stream.
    fn norm_of(&self, name: &'s str, stream: &str, part: &str) -> Result<Norm<'s>, String> {
        let norm = self.source.norm(self.source.behind(name, &VIEWS));
        let norm = norm.filter(|norm| norm.weight.is_some());
        let norm = norm.filter(|norm| self.source.value(norm.of) == self.source.value(stream));
        norm.ok_or_else(|| format!("its {part} does not begin with a norm of the stream"))
    }
}
