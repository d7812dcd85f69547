//! The inputs of single layers: given by the embedding graph whole, or put together in the decoder from
//! what belongs to the token and what is projected from the stream.

use super::{Layer, Search};
use crate::optimize::reading::{Norm, Product, VIEWS};

/// Where the per-layer inputs come from.
#[derive(Debug)]
pub(in crate::optimize) enum PerLayer<'s> {
    /// All of them from an input.
    Given,
    /// From the stream and the tokens.
    Projected {
        /// The product that projects the stream.
        product: Product<'s>,
        /// What the projection is multiplied by, and its norm.
        norm: (f32, Norm<'s>),
        /// What belongs to the tokens.
        tokens: Tokens<'s>,
        /// What the sum is multiplied by.
        scale: f32,
    },
}

/// Where the part of the per-layer inputs comes from that belongs to the tokens.
#[derive(Clone, Copy, Debug)]
pub(in crate::optimize) enum Tokens<'s> {
    /// From an input.
    Given,
    /// From token ids, by these operators.
    Computed(&'s str),
}

/// Finds where the per-layer inputs of all layers come from.
pub(super) fn find<'s>(
    search: &Search<'s>,
    layers: &[Layer<'s>],
    start: &'s str,
) -> Result<Option<PerLayer<'s>>, String> {
    let mut all = None;
    for (at, layer) in layers.iter().enumerate() {
        let Some(extra) = &layer.extra else { continue };
        let (stacked, index) = search.layer_input(extra.input).ok_or_else(|| {
            format!("layer {at}: {} is no part of the per-layer inputs", extra.input)
        })?;
        if index != at || *all.get_or_insert(stacked) != stacked {
            return Err(format!("layer {at} takes per-layer inputs number {index} of {stacked}"));
        }
    }
    let count = layers.iter().filter(|layer| layer.extra.is_some()).count();
    match all {
        None => Ok(None),
        Some(_) if count != layers.len() => {
            Err(format!("{count} of {} layers take per-layer inputs", layers.len()))
        }
        Some(stacked) => search.per_layer(stacked, start).map(Some),
    }
}

impl<'s> Search<'s> {
    /// The per-layer inputs of all layers that a layer's are cut out of, and their number.
    fn layer_input(&self, name: &'s str) -> Option<(&'s str, usize)> {
        let (node, place) = self.source.producer(self.source.behind(name, &VIEWS))?;
        let stacked = self.source.behind(node.input.first()?, &VIEWS);
        let integer = |at: usize| {
            let tensor = node.input.get(at).and_then(|name| self.source.stored(name))?;
            let values = tensor.to_integers(&self.source.folder)?;
            usize::try_from(*values.first().filter(|_| values.len() == 1)?).ok()
        };
        let index = match node.op_type.as_str() {
            "Gather" => integer(1)?,
            "Split" => place,
            "Slice" => {
                let (start, end) = (integer(1)?, integer(2)?);
                let width = end.checked_sub(start).filter(|width| *width > 0)?;
                (start % width == 0).then_some(start / width)?
            }
            _ => return None,
        };
        Some((stacked, index))
    }

    /// Where all per-layer inputs come from.
    fn per_layer(&self, stacked: &'s str, start: &'s str) -> Result<PerLayer<'s>, String> {
        if self.is_per_layer_input(stacked) {
            return Ok(PerLayer::Given);
        }
        let (scale, sum) = self.through(stacked);
        let [a, b] = self.source.sum(sum).ok_or("its per-layer inputs are no sum")?;
        let norm_of = |name: &'s str| {
            let norm = self.source.norm(self.source.behind(name, &VIEWS));
            norm.filter(|norm| norm.weight.is_some())
        };
        let (norm, tokens) = match (norm_of(a), norm_of(b)) {
            (Some(norm), None) => (norm, b),
            (None, Some(norm)) => (norm, a),
            _ => return Err("its per-layer inputs are no sum of one norm and another value".into()),
        };
        let (factor, projected) = self.through(norm.of);
        let product = self.source.product(projected);
        let product = product.filter(|product| self.source.value(product.of) == start);
        let product =
            product.ok_or("its per-layer inputs are not projected from the embeddings")?;
        let tokens = match self.is_per_layer_input(self.source.behind(tokens, &VIEWS)) {
            true => Tokens::Given,
            false => Tokens::Computed(tokens),
        };
        Ok(PerLayer::Projected { product, norm: (factor, norm), tokens, scale })
    }

    fn is_per_layer_input(&self, name: &str) -> bool {
        self.ports.per_layer.as_ref().is_some_and(|port| port.name == name)
    }

    /// The value behind changes of shape and factors, and the product of those.
    fn through(&self, name: &'s str) -> (f32, &'s str) {
        let (mut factor, mut name) = (1.0, name);
        loop {
            let (by, next) = self.source.scaled(self.source.behind(name, &VIEWS));
            factor *= by;
            if next == name {
                return (factor, name);
            }
            name = next;
        }
    }
}
