//! Which inputs and outputs of the graphs are which, found by what the graphs declare: conversions
//! differ in ranks, element types and in what they leave out.

mod decoder;
mod drafter;
mod embedding;
mod fast;

pub(crate) use decoder::{DecoderPorts, KvPorts};
pub(crate) use drafter::DrafterPorts;
pub(crate) use embedding::EmbedPorts;
pub(crate) use fast::FastPorts;

use crate::error::Error;
use crate::graph::{Element, Graph, Port};

/// A graph, and what its errors call it.
#[derive(Clone, Copy)]
struct Found<'g> {
    graph: &'g Graph,
    role: &'static str,
}

impl Found<'_> {
    fn wrong(&self, reason: impl Into<String>) -> Error {
        self.graph.wrong(self.role, reason)
    }

    /// The input of a name, where the graph has it, once its rank is one of those that are known.
    fn input(&self, name: &str, ranks: &[usize]) -> Result<Option<Port>, Error> {
        let port = self.graph.input(name);
        port.map(|port| self.rank(port, ranks).map(|()| port.clone())).transpose()
    }

    /// The input of a name, which holds floats.
    fn float_input(&self, name: &str, ranks: &[usize]) -> Result<Option<Port>, Error> {
        let port = self.input(name, ranks)?;
        port.iter().try_for_each(|port| self.floats(port))?;
        Ok(port)
    }

    fn rank(&self, port: &Port, ranks: &[usize]) -> Result<(), Error> {
        if !ranks.contains(&port.dims.len()) {
            let (name, rank) = (&port.name, port.dims.len());
            return Err(self.wrong(format!("{name} has rank {rank}; expected {ranks:?}")));
        }
        Ok(())
    }

    /// Checks that the first dimension may be 1.
    fn batch(&self, port: &Port) -> Result<(), Error> {
        match port.dims.first() {
            Some(Some(batch)) if *batch != 1 => {
                Err(self.wrong(format!("{} has batch {batch}; expected 1 or open", port.name)))
            }
            _ => Ok(()),
        }
    }

    fn floats(&self, port: &Port) -> Result<(), Error> {
        match port.element {
            Element::F32 | Element::F16 => Ok(()),
            Element::I64 | Element::I32 | Element::Bool => {
                Err(self.wrong(format!("{} holds {:?}; expected floats", port.name, port.element)))
            }
        }
    }

    /// Checks the last dimension of a port against the configuration, where the graph tells it.
    fn width(&self, port: &Port, field: &str, expected: usize) -> Result<(), Error> {
        match port.dims.last().copied().flatten() {
            Some(width) if width != expected => Err(self.wrong(format!(
                "{} has width {width}, but {field} in config.json is {expected}",
                port.name
            ))),
            _ => Ok(()),
        }
    }
}

fn names(ports: &[Port]) -> String {
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

#[cfg(test)]
pub(crate) mod tests;
