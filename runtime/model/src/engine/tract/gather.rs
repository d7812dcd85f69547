//! GatherBlockQuantized of ONNX Runtime: rows of a table that is quantised in blocks. The table stays
//! so; only the rows that are asked for are widened.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::blocks::{Blocks, Layout};
use super::elements::{integers, tensor};
use super::held::Held;
use super::operator::{Built, Operator, built};

/// Reads a node.
///
/// # Errors
/// When it gathers along another axis than the first, or its table is quantised along another axis
/// than the last.
pub(super) fn gather_block_quantized(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let bits: usize = node.get_attr_opt("bits")?.unwrap_or(4);
    let block: usize = node.get_attr_opt("block_size")?.unwrap_or(128);
    let gather_axis = node.get_attr_opt("gather_axis")?.unwrap_or(0_i64);
    let quantize_axis = node.get_attr_opt("quantize_axis")?.unwrap_or(1_i64);
    ensure!(matches!(bits, 2 | 4 | 8), "GatherBlockQuantized with {bits} bits; 2, 4 or 8 are due");
    ensure!(block >= 8 && block.is_multiple_of(8), "GatherBlockQuantized in blocks of {block}");
    ensure!(gather_axis == 0, "GatherBlockQuantized along axis {gather_axis}; 0 is due");
    let find = |place| Held::find(context, node, place);
    let missing = "GatherBlockQuantized without a constant table";
    let (table, scales) = (find(0)?.context(missing)?, find(2)?.context(missing)?);
    built(node, BlockGather { bits, block, quantize_axis, table, scales, zeros: find(3)? }, 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct BlockGather {
    bits: usize,
    block: usize,
    quantize_axis: i64,
    table: Held,
    scales: Held,
    zeros: Option<Held>,
}

impl BlockGather {
    /// The table as a matrix, and how many of its rows make one entry of the table.
    fn layout(&self) -> TractResult<(Layout, usize)> {
        let sizes = self.table.dims();
        ensure!(sizes.len() >= 2, "GatherBlockQuantized from a table of rank {}", sizes.len());
        let last = sizes.len() - 1;
        let is_last = [last as i64, -1].contains(&self.quantize_axis);
        ensure!(is_last, "GatherBlockQuantized quantised along axis {}", self.quantize_axis);
        let layout = Layout {
            rows: sizes[..last].iter().product(),
            columns: sizes[last] * 8 / self.bits,
            bits: self.bits,
            block: self.block,
            row_bytes: sizes[last],
            middle: 1 << (self.bits - 1),
        };
        layout.check()?;
        Ok((layout, sizes[1..last].iter().product()))
    }

    /// The table, where its parts have the sizes that they must have.
    fn blocks(&self, layout: Layout) -> TractResult<Blocks<'_>> {
        let zeros = self.zeros.as_ref().map(Held::bytes).transpose()?;
        Blocks::held(layout, self.table.bytes()?, self.scales.scales()?, zeros)
    }
}

impl Operator for BlockGather {
    const NAME: &'static str = "GatherBlockQuantized";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let (layout, _) = self.layout()?;
        self.blocks(layout)?;
        let mut shape = inputs[0].shape.to_tvec();
        let sizes = self.table.dims();
        shape.extend(sizes[1..sizes.len() - 1].iter().map(ToDim::to_dim));
        shape.push(layout.columns.to_dim());
        Ok(tvec![self.scales.kind().fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (layout, inner) = self.layout()?;
        let (blocks, sizes) = (self.blocks(layout)?, self.table.dims());
        let (entries, wanted) = (sizes[0], integers(&inputs[0])?);
        let mut out = vec![0.0; wanted.len() * inner * layout.columns];
        for (index, out) in wanted.iter().zip(out.chunks_exact_mut(inner * layout.columns)) {
            let entry = if *index < 0 { index + entries as i64 } else { *index };
            let entry = usize::try_from(entry).ok().filter(|&entry| entry < entries);
            let entry = entry.with_context(|| format!("entry {index} of {entries}"))?;
            for (row, out) in out.chunks_exact_mut(layout.columns).enumerate() {
                blocks.row(entry * inner + row).widen(out);
            }
        }
        let mut shape: TVec<usize> = inputs[0].shape().into();
        shape.extend_from_slice(&sizes[1..sizes.len() - 1]);
        shape.push(layout.columns);
        Ok(tvec![tensor(&shape, &out, self.scales.kind())?])
    }
}
