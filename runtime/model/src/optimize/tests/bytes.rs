//! Products with blocks of bytes: a miniature with weights of four bits, each in a byte of its own.

use prost::bytes::Bytes;

use super::*;
use crate::fixture::{Decoder, Fixture, Layout};

/// The bytes of a tensor, wherever they lie.
fn stored(tensor: &Tensor, folder: &Path) -> Bytes {
    let Some((location, offset, length)) = tensor.place().filter(|_| tensor.is_external()) else {
        return tensor.raw_data.clone();
    };
    let file = Bytes::from(std::fs::read(folder.join(location)).unwrap());
    let first = usize::try_from(offset).unwrap();
    file.slice(first..first + usize::try_from(length).unwrap())
}

/// The first numbers of four bits of each row, in bytes.
fn widened(bytes: &[u8], row: usize, count: usize) -> Vec<u8> {
    let of_row = |row: &[u8]| -> Vec<u8> {
        row.iter().flat_map(|byte| [byte & 15, byte >> 4]).take(count).collect()
    };
    bytes.chunks(row).flat_map(of_row).collect()
}

/// Gives every product of a graph bytes for weights; how many there are.
fn widen_all(folder: &Path, whole: &mut Whole) -> usize {
    let body = whole.graph.as_mut().unwrap();
    let find = |body: &Body, name: &str| {
        body.initializer.iter().find(|tensor| tensor.name == name).unwrap().clone()
    };
    let mut products = 0;
    for at in 0..body.node.len() {
        let mut node = body.node[at].clone();
        if node.op_type != "MatMulNBits" {
            continue;
        }
        let [columns, block] = ["K", "block_size"].map(|name| node.int(name).unwrap() as usize);
        let blocks = columns.div_ceil(block);
        let data = stored(&find(body, &node.input[1]), folder);
        let data = widened(&data, blocks * block / 2, blocks * block);
        let zeros = stored(&find(body, &node.input[3]), folder);
        let zeros = widened(&zeros, blocks.div_ceil(2), blocks);
        let rows = node.int("N").unwrap() as usize;
        let dims = [vec![rows, blocks, block], vec![rows * blocks]];
        for ((place, bytes), dims) in [(1, data), (3, zeros)].into_iter().zip(dims) {
            let mut tensor = Tensor::floats(&format!("{}.wide", node.input[place]), &dims, &[]);
            tensor.data_type = element::U8;
            tensor.raw_data = bytes.into();
            node.input[place].clone_from(&tensor.name);
            body.initializer.push(tensor);
        }
        node.attribute.retain(|bytes| bytes.get(2..6) != Some(b"bits"));
        node.attribute.push(Attribute::size("bits", 8).encode_to_vec());
        body.node[at] = node;
        products += 1;
    }
    products
}

#[test]
fn products_with_blocks_of_bytes_are_made_fast_where_they_lie() {
    let (variant, layout, dtype, decoder) = ("e2b", Layout::B, "q4", Decoder::Published);
    let folder = Fixture { variant, layout, dtype, decoder }.assemble();
    let path = folder.path().join("decoder/model.onnx");
    let mut whole = Whole::read(std::fs::read(&path).unwrap().into()).unwrap();
    let products = widen_all(path.parent().unwrap(), &mut whole);
    assert!(products > 60, "{products}");
    std::fs::write(&path, whole.encode_to_vec()).unwrap();
    let mut report = None;
    for engine in [EngineKind::Ort, EngineKind::Tract] {
        std::fs::remove_file(crate::optimize::fast_path(&path)).ok();
        let made = make_fast(&folder, engine).unwrap_or_else(|error| panic!("{engine}: {error}"));
        // Scales are rounded to halves, which is all that makes a difference.
        assert!(made.scales > 0 && made.checked.difference < 0.05, "{engine}: {made:?}");
        report = Some(made);
    }
    let fast = Source::open(&report.unwrap().file).unwrap();
    let ours = fast.nodes.iter().filter(|node| node.domain == "gemmad");
    let wide = ours.filter(|node| node.int("bits") == Some(8)).count();
    assert!(wide > 50, "{wide}");
}
