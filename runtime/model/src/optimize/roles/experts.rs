//! The part of a layer that is a mixture of experts, beside its gated product.

use super::{Part, Search};
use crate::graph::tensor::Tensor;
use crate::optimize::reading::{Mixture, Norm, Product, VIEWS};

/// The weights of a mixture of experts.
#[derive(Debug)]
pub(in crate::optimize) struct Experts<'s> {
    /// Behind the gated product of the layer, which is added.
    pub(in crate::optimize) beside: Norm<'s>,
    /// Before the experts.
    pub(in crate::optimize) input_norm: Norm<'s>,
    /// The experts.
    pub(in crate::optimize) mixture: Mixture<'s>,
    /// Behind them.
    pub(in crate::optimize) norm: Norm<'s>,
    /// From the stream to a score for each expert.
    pub(in crate::optimize) router: Router<'s>,
}

/// The weights of a router: a norm of the stream, factors for its columns, a product.
#[derive(Debug)]
pub(in crate::optimize) struct Router<'s> {
    pub(in crate::optimize) norm: Norm<'s>,
    pub(in crate::optimize) factors: Vec<&'s Tensor>,
    pub(in crate::optimize) factor: f32,
    pub(in crate::optimize) product: Product<'s>,
}

/// A part that is the sum of a product and of experts, before their norms are looked at.
#[derive(Clone, Copy)]
pub(super) struct Mixed<'s> {
    pub(super) part: Part<'s>,
    beside: Norm<'s>,
    norm: Norm<'s>,
    mixture: Mixture<'s>,
}

impl<'s> Search<'s> {
    /// What was added to a stream last, if that is the sum of a product and of experts.
    pub(super) fn mixed(&self, stream: &'s str) -> Result<Option<Mixed<'s>>, String> {
        let Some([a, b]) = self.source.sum(stream) else { return Ok(None) };
        for (added, to) in [(b, a), (a, b)] {
            let norm = self.source.norm(added).filter(|norm| norm.weight.is_some());
            let Some((norm, [c, d])) =
                norm.and_then(|norm| Some((norm, self.source.sum(norm.of)?)))
            else {
                continue;
            };
            for (dense, sparse) in [(c, d), (d, c)] {
                let (Some(beside), Some(behind)) =
                    (self.source.norm(dense), self.source.norm(sparse))
                else {
                    continue;
                };
                let Some(product) = self.source.product(beside.of) else { continue };
                if let Some(mixture) = self.source.mixture(behind.of)? {
                    let part = (to, product, norm);
                    return Ok(Some(Mixed { part, beside, norm: behind, mixture }));
                }
            }
        }
        Ok(None)
    }

    /// The rest of what experts need, which all begins with the stream.
    pub(super) fn experts(&self, mixed: Mixed<'s>, stream: &str) -> Result<Experts<'s>, String> {
        let Mixed { beside, norm, mixture, .. } = mixed;
        let input_norm = self.norm_of(mixture.of, stream, "mixture of experts")?;
        let product = self.source.product(self.source.behind(mixture.scores, &VIEWS));
        let product = product.ok_or("the scores of its experts are no product of weights")?;
        let scaled = self.source.scaled_norm(self.source.behind(product.of, &VIEWS));
        let scaled =
            scaled.filter(|scaled| self.source.value(scaled.norm.of) == self.source.value(stream));
        let scaled =
            scaled.ok_or("the router of its experts does not begin with a norm of the stream")?;
        let router =
            Router { norm: scaled.norm, factors: scaled.factors, factor: scaled.factor, product };
        Ok(Experts { beside, input_norm, mixture, norm, router })
    }
}
