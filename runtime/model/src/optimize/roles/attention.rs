//! The weights of attention: found through the inputs of past keys and values and the outputs of
//! present ones, whether attention is one operator or many.

use std::collections::{BTreeSet, HashSet};

use super::{Layer, Search};
use crate::graph::edit::Node;
use crate::optimize::reading::{Norm, Product, VIEWS};

/// The weights of a layer's attention.
#[derive(Debug)]
pub(in crate::optimize) struct Attention<'s> {
    /// The product that makes the queries.
    pub(in crate::optimize) query: Product<'s>,
    /// The norm of each query.
    pub(in crate::optimize) query_norm: Norm<'s>,
    /// Heads of the queries.
    pub(in crate::optimize) heads: usize,
    /// Which keys and values are read, among those that the graph takes.
    pub(in crate::optimize) kv: usize,
    /// What makes keys and values; `None` where they are those of an earlier layer.
    pub(in crate::optimize) own: Option<Own<'s>>,
}

/// The weights of the keys and values of a layer.
#[derive(Clone, Copy, Debug)]
pub(in crate::optimize) struct Own<'s> {
    /// The product that makes the keys.
    pub(in crate::optimize) key: Product<'s>,
    /// The norm of each key.
    pub(in crate::optimize) key_norm: Norm<'s>,
    /// The product that makes the values; in some layers the one that makes the keys.
    pub(in crate::optimize) value: Product<'s>,
}

/// What stands behind a value, up to products of weights.
#[derive(Default)]
struct Reached<'s> {
    /// Names of values that are products of weights.
    products: Vec<&'s str>,
    /// Norms.
    norms: Vec<Norm<'s>>,
    /// Keys and values of the past or present.
    kv: BTreeSet<usize>,
}

/// Inputs of an operator that does all of attention: queries, keys, values, past keys, past values.
fn places(node: &Node) -> Option<[usize; 5]> {
    match (node.domain.as_str(), node.op_type.as_str()) {
        ("com.microsoft", "GroupQueryAttention") => Some([0, 1, 2, 3, 4]),
        ("com.microsoft", "MultiHeadAttention") => Some([0, 1, 2, 6, 7]),
        ("" | "ai.onnx", "Attention") => Some([0, 1, 2, 4, 5]),
        _ => None,
    }
}

impl<'s> Search<'s> {
    /// The weights behind what attention gives.
    pub(super) fn attention(&self, output: &'s str) -> Result<Attention<'s>, String> {
        let found = self.source.producer(self.source.behind(output, &VIEWS));
        let found = found.filter(|(_, place)| *place == 0).map(|(node, _)| node);
        let (queries, kv) = match found.and_then(|node| Some((node, places(node)?))) {
            Some((node, places)) => self.of_operator(node, places)?,
            None => self.of_operators(output)?,
        };
        let [query] = queries.products[..] else {
            let count = queries.products.len();
            return Err(format!("its queries come from {count} products of weights, expected one"));
        };
        let weighted: Vec<Norm<'s>> = weighted(&queries.norms);
        let [query_norm] = weighted[..] else {
            let count = weighted.len();
            return Err(format!("its queries pass {count} norms with factors, expected one"));
        };
        let query = self.source.product(query).ok_or("its queries are no product")?;
        let width = query_norm.weight.and_then(crate::graph::tensor::Tensor::count);
        let shape = self.ports.kv.get(kv).map(|kv| kv.shape);
        let shape = shape.filter(|shape| Some(shape.width) == width && shape.width > 0);
        let shape = shape.ok_or_else(|| {
            format!("its queries have norms of {width:?} columns, unlike the keys they meet")
        })?;
        let heads = query.columns / shape.width;
        if heads == 0 || heads * shape.width != query.columns || heads % shape.heads.max(1) != 0 {
            let (columns, width, kv) = (query.columns, shape.width, shape.heads);
            return Err(format!(
                "its queries have {columns} columns, which are no heads of {width} for {kv} heads \
                 of keys"
            ));
        }
        Ok(Attention { query, query_norm, heads, kv, own: None })
    }

    /// Queries, and keys and values, of one operator that does all of attention.
    fn of_operator(
        &self,
        node: &'s Node,
        places: [usize; 5],
    ) -> Result<(Reached<'s>, usize), String> {
        let input = |place: usize| {
            let name = node.input.get(place).filter(|name| !name.is_empty());
            name.map(String::as_str)
        };
        let [query, rest @ ..] = places;
        if input(1).is_none() && input(2).is_none() && input(places[3]).is_some() {
            return Err(format!("its {} takes queries, keys and values in one", node.op_type));
        }
        let queries = self.reach(input(query).into_iter().collect(), true);
        let others = self.reach(rest.into_iter().filter_map(input).collect(), true);
        Ok((queries, only(&others.kv)?))
    }

    /// Queries, and keys and values, where many operators do attention.
    fn of_operators(&self, output: &'s str) -> Result<(Reached<'s>, usize), String> {
        let mut all = self.reach(vec![output], true);
        let kv = only(&all.kv)?;
        // Keys and values may be joined with the past behind the outputs, not before them.
        for part in [Part::Key, Part::Value] {
            let others = self.new_rows(kv, part)?;
            all.products.retain(|name| !others.products.contains(name));
            all.norms.retain(|norm| others.norms.iter().all(|other| other.of != norm.of));
        }
        Ok((all, kv))
    }

    /// What stands behind the new rows of keys or values.
    fn new_rows(&self, kv: usize, part: Part) -> Result<Reached<'s>, String> {
        let ports = self.ports.kv.get(kv).ok_or("it reads keys that no input holds")?;
        let (name, place) = match part {
            Part::Key => (&ports.key_present, 1),
            Part::Value => (&ports.value_present, 2),
        };
        let name = self.source.value(name);
        let found = self.source.producer(name).map(|(node, _)| node);
        let from = match found.filter(|node| places(node).is_some()) {
            Some(node) => node.input.get(place).map_or(name, String::as_str),
            None => name,
        };
        Ok(self.reach(vec![from], false))
    }

    /// The weights that make the keys and values of a layer.
    fn own(&self, kv: usize) -> Result<Own<'s>, String> {
        let (keys, values) = (self.new_rows(kv, Part::Key)?, self.new_rows(kv, Part::Value)?);
        let ([key], [value]) = (&keys.products[..], &values.products[..]) else {
            let (keys, values) = (keys.products.len(), values.products.len());
            return Err(format!(
                "its keys come from {keys} products of weights and its values from {values}, \
                 expected one each"
            ));
        };
        let product = |name: &'s str| self.source.product(name);
        let (Some(key), Some(value)) = (product(key), product(value)) else {
            return Err("its keys or values are no products".into());
        };
        let [key_norm] = weighted(&keys.norms)[..] else {
            return Err("its keys pass no norm with factors, or several".into());
        };
        let plain = |norm: &Norm<'_>| norm.weight.is_none_or(|weight| self.is_ones(weight));
        match &values.norms[..] {
            [norm] if plain(norm) => Ok(Own { key, key_norm, value }),
            _ => Err("its values pass no norm without factors".into()),
        }
    }

    fn is_ones(&self, weight: &crate::graph::tensor::Tensor) -> bool {
        let values = weight.to_floats(&self.source.folder);
        values.is_some_and(|values| values.iter().all(|value| *value == 1.0))
    }

    /// Goes back from values to products of weights. Present keys and values end the way, too, if
    /// `to_present`.
    fn reach(&self, from: Vec<&'s str>, to_present: bool) -> Reached<'s> {
        let mut reached = Reached::default();
        let (mut open, mut seen) = (from, HashSet::new());
        while let Some(name) = open.pop() {
            let name = self.source.value(name);
            if name.is_empty() || !seen.insert(name) || self.source.tensor(name).is_some() {
                continue;
            }
            if let Some(kv) = self.past(name).or_else(|| self.present(name).filter(|_| to_present))
            {
                reached.kv.insert(kv);
            } else if self.source.product(name).is_some() {
                reached.products.push(name);
            } else if let Some(norm) = self.source.norm(name) {
                reached.norms.push(norm);
                open.push(norm.of);
            } else if let Some((node, _)) = self.source.producer(name) {
                // Lengths are taken from all kinds of values.
                let inputs = node.input.iter().filter(|_| node.op_type != "Shape");
                open.extend(inputs.map(String::as_str));
            }
        }
        reached
    }

    fn past(&self, name: &str) -> Option<usize> {
        self.ports.kv.iter().position(|kv| kv.key.name == name || kv.value.name == name)
    }

    fn present(&self, name: &str) -> Option<usize> {
        let is = |output: &str| self.source.value(output) == name;
        self.ports.kv.iter().position(|kv| is(&kv.key_present) || is(&kv.value_present))
    }
}

/// Keys or values.
#[derive(Clone, Copy)]
enum Part {
    Key,
    Value,
}

fn weighted<'s>(norms: &[Norm<'s>]) -> Vec<Norm<'s>> {
    norms.iter().copied().filter(|norm| norm.weight.is_some()).collect()
}

fn only(kv: &BTreeSet<usize>) -> Result<usize, String> {
    match kv.iter().copied().collect::<Vec<_>>()[..] {
        [kv] => Ok(kv),
        ref all => {
            Err(format!("it reads the keys and values of {} layers, expected one", all.len()))
        }
    }
}

/// Gives each layer that is the first to read some keys and values the weights that make them.
pub(super) fn tell_owners<'s>(search: &Search<'s>, layers: &mut [Layer<'s>]) -> Result<(), String> {
    let mut owners = 0;
    for (at, layer) in layers.iter_mut().enumerate() {
        let kv = layer.attention.kv;
        if kv < owners {
            continue;
        }
        if kv > owners {
            return Err(format!("layer {at} reads keys and values of a later layer"));
        }
        let in_layer = |reason: String| format!("layer {at}: {reason}");
        layer.attention.own = Some(search.own(kv).map_err(in_layer)?);
        owners += 1;
    }
    match search.ports.kv.len() {
        all if all == owners => Ok(()),
        all => Err(format!("{owners} of {all} keys and values are read by a layer")),
    }
}
