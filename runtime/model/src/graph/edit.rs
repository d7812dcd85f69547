//! Changes the operators of a graph file and leaves everything else in it byte for byte.

use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use super::tensor::Tensor;

/// Field of a model that holds its graph, and field of a graph that holds its operators.
const GRAPH: u32 = 7;
const NODE: u32 = 1;

/// One operator. What is not read here is carried along: attributes and notes as bytes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) output: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, tag = "4")]
    pub(crate) op_type: String,
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(crate) attribute: Vec<Vec<u8>>,
    #[prost(string, tag = "7")]
    pub(crate) domain: String,
    #[prost(string, tag = "8")]
    pub(crate) overload: String,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(crate) metadata: Vec<Vec<u8>>,
}

/// One attribute of an operator that we write or look for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(float, tag = "2")]
    pub(crate) f: f32,
    #[prost(int64, tag = "3")]
    pub(crate) i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) s: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub(crate) t: Option<Tensor>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub(crate) ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub(crate) kind: i32,
}

impl Attribute {
    /// A number.
    pub(crate) fn float(name: &str, f: f32) -> Self {
        Self { name: name.into(), f, kind: 1, ..Self::default() }
    }

    /// An integer.
    pub(crate) fn int(name: &str, i: i64) -> Self {
        Self { name: name.into(), i, kind: 2, ..Self::default() }
    }

    /// A size.
    pub(crate) fn size(name: &str, size: usize) -> Self {
        Self::int(name, i64::try_from(size).unwrap_or(i64::MAX))
    }

    /// A word.
    pub(crate) fn word(name: &str, word: &str) -> Self {
        Self { name: name.into(), s: word.into(), kind: 3, ..Self::default() }
    }

    /// Several integers.
    pub(crate) fn ints(name: &str, ints: Vec<i64>) -> Self {
        Self { name: name.into(), ints, kind: 7, ..Self::default() }
    }
}

impl Node {
    /// A standard operator.
    pub(crate) fn standard(
        op_type: &str,
        input: &[&str],
        output: &str,
        attributes: &[Attribute],
    ) -> Self {
        Self {
            input: input.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            name: output.into(),
            op_type: op_type.into(),
            attribute: attributes.iter().map(Message::encode_to_vec).collect(),
            ..Self::default()
        }
    }

    /// An integer among its attributes.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.find(name).map(|attribute| attribute.i)
    }

    /// One of its attributes.
    pub(crate) fn find(&self, name: &str) -> Option<Attribute> {
        let attributes = self.attribute.iter();
        let mut attributes = attributes.filter_map(|bytes| Attribute::decode(&bytes[..]).ok());
        attributes.find(|attribute| attribute.name == name)
    }
}

/// A graph file taken apart.
pub(crate) struct Edit {
    /// Its operators, in an order in which each comes after what it reads.
    pub(crate) nodes: Vec<Node>,
    /// Everything else in the graph.
    graph: Vec<u8>,
    /// Everything else in the file.
    model: Vec<u8>,
}

impl Edit {
    /// Takes a graph file apart; `None` where it is none.
    pub(crate) fn open(bytes: &[u8]) -> Option<Self> {
        let mut new = Self { nodes: Vec::new(), graph: Vec::new(), model: Vec::new() };
        for field in Fields(bytes) {
            let field = field?;
            match (field.tag, field.content) {
                (GRAPH, Some(graph)) => new.take_graph(graph)?,
                _ => new.model.extend_from_slice(field.whole),
            }
        }
        Some(new)
    }

    fn take_graph(&mut self, graph: &[u8]) -> Option<()> {
        for field in Fields(graph) {
            let field = field?;
            match (field.tag, field.content) {
                (NODE, Some(node)) => self.nodes.push(Node::decode(node).ok()?),
                _ => self.graph.extend_from_slice(field.whole),
            }
        }
        Some(())
    }

    /// The file put together again.
    pub(crate) fn close(self) -> Vec<u8> {
        let mut graph = self.graph;
        for node in &self.nodes {
            encode_key(NODE, WireType::LengthDelimited, &mut graph);
            encode_varint(node.encoded_len() as u64, &mut graph);
            graph.extend(node.encode_to_vec());
        }
        let mut model = self.model;
        encode_key(GRAPH, WireType::LengthDelimited, &mut model);
        encode_varint(graph.len() as u64, &mut model);
        model.extend(graph);
        model
    }
}

/// The fields of a message; `None` where its bytes end too early.
struct Fields<'a>(&'a [u8]);

/// One field of a message.
struct Field<'a> {
    tag: u32,
    /// Its bytes, its number included.
    whole: &'a [u8],
    /// What is in it, where it has a length.
    content: Option<&'a [u8]>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = split_field(self.0);
        self.0 = field.as_ref().map_or(&[], |field| &self.0[field.whole.len()..]);
        Some(field)
    }
}

fn split_field(bytes: &[u8]) -> Option<Field<'_>> {
    let mut rest = bytes;
    let (tag, kind) = decode_key(&mut rest).ok()?;
    let length = match kind {
        WireType::Varint => {
            let before = rest.len();
            let mut after = rest;
            decode_varint(&mut after).ok()?;
            before - after.len()
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => usize::try_from(decode_varint(&mut rest).ok()?).ok()?,
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    let content = rest.get(..length)?;
    let whole = bytes.get(..bytes.len() - rest.len() + length)?;
    let content = (kind == WireType::LengthDelimited).then_some(content);
    Some(Field { tag, whole, content })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::graph::Graph;

    fn demo() -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-model/onnx");
        std::fs::read(folder.join("decoder_model_merged_fp16.onnx")).unwrap()
    }

    #[test]
    fn a_graph_taken_apart_and_put_together_says_the_same() {
        let edit = Edit::open(&demo()).unwrap();
        assert!(edit.nodes.len() > 100);
        let read = |bytes: &[u8]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("graph.onnx");
            std::fs::write(&path, bytes).unwrap();
            std::fs::write(
                folder.path().join("decoder_model_merged_fp16.onnx_data"),
                vec![0; 1 << 24],
            )
            .unwrap();
            let graph = Graph::read(&path).unwrap();
            (graph.inputs, graph.outputs, graph.operators)
        };
        let nodes = edit.nodes.clone();
        let bytes = edit.close();
        assert_eq!(read(&bytes), read(&demo()));
        assert_eq!(Edit::open(&bytes).unwrap().nodes, nodes);
    }

    #[test]
    fn attributes_are_found_by_name() {
        let axis = Attribute::int("axis", -2);
        let node =
            Node::standard("Concat", &["a", "b"], "c", &[axis, Attribute::ints("x", vec![4])]);
        assert_eq!((node.int("axis"), node.int("window")), (Some(-2), None));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0_usize..100_000, bits in 1_u8.., cut in 0_usize..100_000) {
            let mut bytes = demo();
            let (at, cut) = (at % bytes.len(), cut % bytes.len());
            bytes[at] ^= bits;
            let _ = Edit::open(&bytes).map(Edit::close);
            let _ = Edit::open(&bytes[..cut]).map(Edit::close);
        }
    }
}
