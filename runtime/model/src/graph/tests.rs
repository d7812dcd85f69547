//! Whole, damaged and hostile graph files, written with the very schema that reads them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use prost::Message;

use super::onnx::{
    AttributeProto, DimensionProto, EntryProto, ModelProto, NodeProto, OperatorSetProto,
    ShapeProto, TensorTypeProto, TypeProto,
};
use super::*;

fn value(name: &str, elem_type: i32, dims: &[Option<i64>]) -> ValueInfoProto {
    let dim = dims.iter().map(|&dim_value| DimensionProto { dim_value, dim_param: None }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(ShapeProto { dim }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor) });
    ValueInfoProto { name: name.into(), r#type }
}

fn external(entries: &[(&str, &str)]) -> TensorProto {
    let entry = |&(key, value): &(&str, &str)| EntryProto { key: key.into(), value: value.into() };
    TensorProto {
        name: "weights".into(),
        dims: vec![2, 4],
        data_type: 1,
        data_location: EXTERNAL,
        external_data: entries.iter().map(entry).collect(),
    }
}

fn model(initializer: TensorProto) -> ModelProto {
    let node = |op_type: &str, domain: &str| NodeProto {
        op_type: op_type.into(),
        domain: domain.into(),
        ..NodeProto::default()
    };
    ModelProto {
        graph: Some(GraphProto {
            node: vec![node("Gather", ""), node("FastGelu", "com.microsoft")],
            initializer: vec![initializer],
            input: vec![value("input_ids", 7, &[Some(1), None]), value("weights", 1, &[])],
            output: vec![value("inputs_embeds", 1, &[Some(1), None, Some(4)])],
        }),
        opset_import: vec![OperatorSetProto { version: 17 }],
        metadata_props: Vec::new(),
    }
}

/// Reads a graph file of these bytes, with 32 bytes of weights beside it.
fn read(bytes: &[u8]) -> Result<Graph, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.onnx");
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(folder.path().join("graph.onnx_data"), [0; 32]).unwrap();
    Graph::read(&path)
}

fn whole() -> Vec<u8> {
    let entries = [("location", "graph.onnx_data"), ("offset", "0"), ("length", "32")];
    model(external(&entries)).encode_to_vec()
}

#[test]
fn a_whole_graph_tells_its_interface() {
    let bytes = whole();
    let graph = read(&bytes).unwrap();
    let dims = vec![Some(1), None];
    let ids = Port { name: "input_ids".into(), element: Element::I64, dims };
    assert_eq!(graph.inputs, [ids]);
    let (place, embeds) = graph.output("inputs_embeds").unwrap();
    assert_eq!((place, embeds.element, embeds.dims[2]), (0, Element::F32, Some(4)));
    assert_eq!(
        graph.operators,
        BTreeSet::from(["Gather".into(), "com.microsoft::FastGelu".into()])
    );
    assert_eq!(graph.bytes, bytes.len() as u64 + 32);
}

#[test]
fn tables_of_rotations_limit_the_positions() {
    let mut whole = model(TensorProto::default());
    let table = |name: &str, rows| TensorProto {
        name: name.into(),
        dims: vec![rows, 8],
        data_type: 1,
        ..TensorProto::default()
    };
    let rotating = |domain: &str, op_type: &str, input: &[&str]| NodeProto {
        input: input.iter().map(|&name| name.into()).collect(),
        domain: domain.into(),
        op_type: op_type.into(),
        ..NodeProto::default()
    };
    assert_eq!(read(&whole.encode_to_vec()).unwrap().positions, None);
    let graph = whole.graph.as_mut().unwrap();
    graph.initializer = vec![table("near", 640), table("far", 320), table("other", 4)];
    graph.node.push(rotating("com.microsoft", "RotaryEmbedding", &["x", "places", "near"]));
    graph.node.push(rotating("", "RotaryEmbedding", &["x", "far", "other"]));
    assert_eq!(read(&whole.encode_to_vec()).unwrap().positions, Some(320));
}

#[test]
fn weights_tell_their_precision() {
    let check = |op_type: &str, input: &[&str], bits: i64, expected: (&str, bool)| {
        let mut whole = model(TensorProto::default());
        let weights = |name: &str, data_type, elements| TensorProto {
            name: name.into(),
            dims: vec![elements],
            data_type,
            ..TensorProto::default()
        };
        let graph = whole.graph.as_mut().unwrap();
        graph.initializer = vec![
            weights("floats", 1, 20),
            weights("halves", 10, 30),
            weights("bytes", 2, 40),
            weights("signed", 3, 40),
        ];
        graph.node.push(NodeProto {
            input: input.iter().map(|&name| name.into()).collect(),
            op_type: op_type.into(),
            attribute: vec![AttributeProto { name: "bits".into(), i: bits }],
            ..NodeProto::default()
        });
        let graph = read(&whole.encode_to_vec()).unwrap();
        assert_eq!((graph.dtype, graph.multiplies_in_f16), expected, "{op_type} {input:?}");
    };
    check("MatMul", &["x", "floats"], 0, ("fp32", false));
    check("MatMul", &["x", "halves"], 0, ("fp16", true));
    check("Cast", &["halves"], 0, ("fp16", false));
    check("MatMulInteger", &["x", "signed"], 0, ("int8", false));
    check("DequantizeLinear", &["bytes", "floats"], 0, ("uint8", false));
    check("MatMulNBits", &["x", "bytes", "floats"], 4, ("q4", false));
    check("MatMulNBits", &["x", "bytes", "halves"], 4, ("q4f16", true));
    check("MatMulNBits", &["x", "bytes", "floats"], 8, ("q8", false));
    check("GatherBlockQuantized", &["bytes", "ids", "halves"], 4, ("q4f16", false));
    check("Identity", &["nothing"], 0, ("fp32", false));
}

fn check_error(bytes: &[u8], expected: &str) {
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

fn check_weights(entries: &[(&str, &str)], expected: &str) {
    check_error(&model(external(entries)).encode_to_vec(), expected);
}

#[test]
fn weights_must_be_there_and_long_enough() {
    let file = ("location", "graph.onnx_data");
    check_weights(&[("location", "other")], "other, which is missing; download it again");
    check_weights(&[file, ("offset", "1")], "graph.onnx_data, which has 32;");
    check_weights(&[file, ("offset", "1")], "graph.onnx needs 33 bytes in ");
    check_weights(&[file, ("offset", "x")], "offset of tensor weights is \"x\", not a number");
    check_weights(&[file, ("offset", "18446744073709551615")], "ends beyond any file");
    check_weights(&[file, ("length", "31")], "weights has 32 bytes by its shape, 31 by its length");
    check_weights(&[], "tensor weights names no file");
    check_weights(&[("location", "../graph.onnx_data")], "lies outside the folder");
    check_weights(&[("location", "/etc/passwd")], "lies outside the folder");
}

#[test]
fn what_is_no_graph_is_refused() {
    check_error(b"", "not a whole ONNX file: it holds no graph");
    check_error(b"{}", "not a whole ONNX file");
    check_error(&[0xff; 64], "not a whole ONNX file");
    let mut odd = model(TensorProto::default());
    odd.graph.as_mut().unwrap().input[0] = value("input_ids", 8, &[]);
    check_error(&odd.encode_to_vec(), "input_ids holds string, which processors do not compute");
    odd.graph.as_mut().unwrap().input[0] = value("input_ids", 16, &[]);
    check_error(&odd.encode_to_vec(), "input_ids holds bfloat16, which processors do not compute");
}

#[test]
fn a_graph_cut_anywhere_is_refused() {
    let bytes = whole();
    for length in 0..bytes.len() {
        let cut = read(&bytes[..length]);
        assert!(matches!(cut, Err(Error::Truncated { .. })), "cut after {length} bytes");
    }
}

proptest! {
    #[test]
    fn damaged_graphs_never_panic(at in 0_usize..200, bits in 1_u8..) {
        let mut bytes = whole();
        let at = at % bytes.len();
        bytes[at] ^= bits;
        let _ = read(&bytes);
    }

    #[test]
    fn what_is_skipped_in_a_large_file_is_not_read_wrong(padding in 0_usize..300_000) {
        // Field 9 of a tensor holds its data, which the reader skips by seeking.
        let mut initializer = TensorProto { name: "inline".into(), ..Default::default() }.encode_to_vec();
        initializer.push(9 << 3 | 2);
        prost::encoding::encode_varint(padding as u64, &mut initializer);
        initializer.extend(std::iter::repeat_n(0xff, padding));
        let mut graph = model(TensorProto::default()).graph.unwrap().encode_to_vec();
        graph.push(5 << 3 | 2);
        prost::encoding::encode_varint(initializer.len() as u64, &mut graph);
        graph.extend(initializer);
        let mut bytes = ModelProto { graph: None, ..model(TensorProto::default()) }.encode_to_vec();
        bytes.push(7 << 3 | 2);
        prost::encoding::encode_varint(graph.len() as u64, &mut bytes);
        bytes.extend(graph);
        let graph = read(&bytes).unwrap();
        prop_assert_eq!(graph.bytes, bytes.len() as u64);
    }
}
