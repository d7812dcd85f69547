//! Products in integers: activations become bytes with one scale for a whole step, and are multiplied
//! with bytes whose outputs lie side by side.

use super::{Product, Weights, pair};
use crate::graph::edit::Node;
use crate::optimize::source::Source;

impl Source {
    /// The product of integers that an operator makes a value of floats of, or does itself.
    pub(super) fn integer_product<'s>(&'s self, node: &'s Node) -> Option<Product<'s>> {
        let input = |place: usize| node.input.get(place).filter(|name| !name.is_empty());
        match node.op_type.as_str() {
            "Mul" => {
                let [a, b] = pair(node)?;
                self.scaled_integers(a, b).or_else(|| self.scaled_integers(b, a))
            }
            "MatMulIntegerToFloat" if input(6).is_none() => {
                let names = [input(0)?, input(2)?, input(4)?];
                let of = self.rounded(names.map(String::as_str))?;
                self.byte_product(of, node, [input(1)?, input(3)?], input(5))
            }
            "DynamicQuantizeMatMul" if input(4).is_none() => {
                self.byte_product(input(0)?, node, [input(1)?, input(2)?], input(3))
            }
            _ => None,
        }
    }

    /// A sum of products of integers, times the scale of the activations and that of the weights.
    fn scaled_integers<'s>(&'s self, sum: &'s str, scale: &'s str) -> Option<Product<'s>> {
        let of_kind = |name: &'s str, kind: &str| {
            let (node, place) = self.producer(self.value(name))?;
            (node.op_type == kind && place == 0).then_some(node)
        };
        let product = of_kind(sum, "MatMulInteger")?;
        let [a, b] = pair(of_kind(scale, "Mul")?)?;
        let (scale, scales) = if self.stored(b).is_some() { (a, b) } else { (b, a) };
        let [rounded, data] = pair(product)?;
        let zero = product.input.get(2).filter(|name| !name.is_empty())?;
        let of = self.rounded([rounded, scale, zero])?;
        self.byte_product(of, product, [data, scales], product.input.get(3))
    }

    /// What was made bytes, with their scale and their zero point.
    fn rounded<'s>(&'s self, names: [&'s str; 3]) -> Option<&'s str> {
        let node = self.producer(names[0])?.0;
        let is_right = node.op_type == "DynamicQuantizeLinear"
            && names.iter().zip(&node.output).all(|(name, output)| *name == output.as_str());
        node.input.first().filter(|_| is_right).map(String::as_str)
    }

    fn byte_product<'s>(
        &'s self,
        of: &'s str,
        node: &'s Node,
        [data, scales]: [&'s str; 2],
        zeros: Option<&'s String>,
    ) -> Option<Product<'s>> {
        let (data, scales) = (self.tensor(data)?, self.stored(scales)?);
        let zeros = match zeros.filter(|name| !name.is_empty()) {
            Some(name) => Some(self.tensor(name)?),
            None => None,
        };
        let [_, columns] = data.dims[..] else { return None };
        let weights = Weights::Bytes([data, scales], zeros);
        Some(Product { of, node, weights, columns: usize::try_from(columns).ok()? })
    }
}
