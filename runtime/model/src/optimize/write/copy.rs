//! Operators that are taken over as they are: those that make embeddings of token ids.

use std::collections::HashSet;

use super::{IDS, Writer};
use crate::graph::edit::Attribute;
use crate::graph::tensor::element;

/// Operators that look up and choose rows; what they do is the same in all versions of theirs.
const TAKEN_OVER: [&str; 17] = [
    "And",
    "Cast",
    "Equal",
    "Gather",
    "GatherBlockQuantized",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "Less",
    "LessOrEqual",
    "Mul",
    "Not",
    "Or",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Where",
];

impl Writer<'_> {
    /// Takes over the operators that make a value of token ids; its name in 32-bit floats.
    pub(super) fn copied(&mut self, value: &str, output: &str) -> Result<String, String> {
        let made_of_ids = self.ports.ids.as_ref().filter(|_| self.ports.embeds.is_none());
        let ids = made_of_ids.map(|port| port.name.clone());
        let ids = ids.ok_or_else(|| format!("{value} is made of more than the inputs"))?;
        let wanted = self.made_of(&ids, value)?;
        let source = self.source;
        for node in &source.nodes {
            let Some(first) = node.output.first().filter(|name| wanted.contains(*name)) else {
                continue;
            };
            for tensor in node.input.iter().filter_map(|name| source.tensor(name)) {
                self.weight(tensor);
            }
            if self.known.insert(first.clone()) {
                let mut node = node.clone();
                let renamed = node.input.iter_mut().filter(|name| **name == ids);
                renamed.for_each(|name| IDS.clone_into(name));
                self.body.node.push(node);
            }
        }
        if self.known.insert(output.into()) {
            let to = [Attribute::int("to", i64::from(element::F32))];
            self.op("", "Cast", &[value], output, &to);
        }
        Ok(output.into())
    }

    /// The first outputs of all operators between token ids and a value.
    fn made_of(&self, ids: &str, value: &str) -> Result<HashSet<String>, String> {
        let (mut wanted, mut open) = (HashSet::new(), vec![value]);
        while let Some(name) = open.pop() {
            if name.is_empty() || name == ids || self.source.tensor(name).is_some() {
                continue;
            }
            let Some((node, _)) = self.source.producer(name) else {
                return Err(format!("{value} is made of {name}, not of token ids alone"));
            };
            if !TAKEN_OVER.contains(&node.op_type.as_str()) {
                return Err(format!("{value} is made by {}, expected look-ups", node.op_type));
            }
            if wanted.insert(node.output.first().cloned().unwrap_or_default()) {
                open.extend(node.input.iter().map(String::as_str));
            }
        }
        Ok(wanted)
    }
}
