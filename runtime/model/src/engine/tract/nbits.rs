//! MatMulNBits of ONNX Runtime: activations times the transpose of a matrix that is quantised in
//! blocks. The product is computed in f32, whatever `accuracy_level` allows.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::blocks::{Blocks, Layout};
use super::elements::{float_type, floats, tensor};
use super::operator::{Built, Operator, built, needed, places};
use super::product::product;

/// Reads a node.
///
/// # Errors
/// When it reorders columns (`g_idx`), or its attributes make no sense.
pub(super) fn matmul_nbits(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let [_, codes, scales, zeros, order, bias] = places(node);
    ensure!(order.is_none(), "MatMulNBits with the input g_idx is not supported");
    let (columns, bits): (usize, usize) =
        (node.get_attr("K")?, node.get_attr_opt("bits")?.unwrap_or(4));
    let block: usize = node.get_attr("block_size")?;
    ensure!(block > 0 && (1..=8).contains(&bits), "{bits} bits in blocks of {block}");
    let row_bytes = columns.div_ceil(block).saturating_mul(block).saturating_mul(bits) / 8;
    let (rows, middle) = (node.get_attr("N")?, 1 << (bits - 1));
    let layout = Layout { rows, columns, bits, block, row_bytes, middle };
    layout.check()?;
    let operator = BlockProduct {
        layout,
        codes: needed(codes, node, "B")?,
        scales: needed(scales, node, "scales")?,
        zeros,
        bias,
    };
    built(node, operator, 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct BlockProduct {
    layout: Layout,
    codes: usize,
    scales: usize,
    zeros: Option<usize>,
    bias: Option<usize>,
}

impl Operator for BlockProduct {
    const NAME: &'static str = "MatMulNBits";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let kind = float_type(inputs[0], "A")?;
        let mut shape = inputs[0].shape.to_tvec();
        let columns = shape.pop().context("MatMulNBits: A has no dimensions")?;
        let Layout { rows, columns: due, row_bytes, .. } = self.layout;
        ensure!(columns == due.to_dim(), "MatMulNBits: A has {columns} columns; K is {due}");
        let bytes = inputs[self.codes].shape.volume();
        ensure!(
            bytes == (rows * row_bytes).to_dim() && inputs[self.codes].datum_type == DatumType::U8,
            "MatMulNBits: B holds {bytes} {:?}; {} bytes are due",
            inputs[self.codes].datum_type,
            rows * row_bytes
        );
        let count = rows * self.layout.blocks();
        let scales = inputs[self.scales].shape.volume();
        ensure!(scales == count.to_dim(), "MatMulNBits: {scales} scales for {count} blocks");
        shape.push(rows.to_dim());
        Ok(tvec![kind.fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let zeros = self.zeros.map(|place| &*inputs[place]);
        let matrix = Blocks::new(self.layout, &inputs[self.codes], &inputs[self.scales], zeros)?;
        let left = floats(&inputs[0])?;
        let (rows, columns, padded) =
            (left.len() / self.layout.columns, self.layout.columns, self.layout.padded());
        let mut arranged = vec![0.0; rows * padded];
        for (row, out) in left.chunks_exact(columns).zip(arranged.chunks_exact_mut(padded)) {
            self.layout.arranged(row, out);
        }
        let mut out = product(&matrix, &arranged, rows)?;
        if let Some(place) = self.bias {
            let bias = floats(&inputs[place])?;
            ensure!(bias.len() == self.layout.rows, "MatMulNBits: {} biases", bias.len());
            for row in out.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias.iter()).for_each(|(out, bias)| *out += bias);
            }
        }
        let mut shape: TVec<usize> = inputs[0].shape().into();
        if let Some(last) = shape.last_mut() {
            *last = self.layout.rows;
        }
        Ok(tvec![tensor(&shape, &out, inputs[0].datum_type())?])
    }
}
