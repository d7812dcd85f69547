//! GatherBlockQuantized of ONNX Runtime: rows of a table that is quantised in blocks. The table stays
//! so; only the rows that are asked for are widened.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::blocks::{Blocks, Layout};
use super::elements::{float_type, integers, known, tensor};
use super::operator::{Built, Operator, built, needed, places};

/// Reads a node.
///
/// # Errors
/// When it gathers along another axis than the first, or its table is quantised along another axis
/// than the last.
pub(super) fn gather_block_quantized(_context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let [_, _, scales, zeros] = places(node);
    let bits: usize = node.get_attr_opt("bits")?.unwrap_or(4);
    let block: usize = node.get_attr_opt("block_size")?.unwrap_or(128);
    let gather_axis = node.get_attr_opt("gather_axis")?.unwrap_or(0_i64);
    let quantize_axis = node.get_attr_opt("quantize_axis")?.unwrap_or(1_i64);
    ensure!(matches!(bits, 2 | 4 | 8), "GatherBlockQuantized with {bits} bits; 2, 4 or 8 are due");
    ensure!(block >= 8 && block.is_multiple_of(8), "GatherBlockQuantized in blocks of {block}");
    ensure!(gather_axis == 0, "GatherBlockQuantized along axis {gather_axis}; 0 is due");
    let scales = needed(scales, node, "scales")?;
    built(node, BlockGather { bits, block, quantize_axis, scales, zeros }, 1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct BlockGather {
    bits: usize,
    block: usize,
    quantize_axis: i64,
    scales: usize,
    zeros: Option<usize>,
}

impl BlockGather {
    /// The table as a matrix, and how many of its rows make one entry of the table.
    fn layout<D: DimLike>(&self, table: &[D]) -> TractResult<(Layout, usize)> {
        let known = |dim: &D| known(&dim.to_dim(), "a size of the table of GatherBlockQuantized");
        let sizes = table.iter().map(known).collect::<TractResult<TVec<usize>>>()?;
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
}

impl Operator for BlockGather {
    const NAME: &'static str = "GatherBlockQuantized";

    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let table = inputs[0];
        ensure!(table.datum_type == DatumType::U8, "a table of {:?}", table.datum_type);
        let kind = float_type(inputs[self.scales], "scales")?;
        let (layout, _) = self.layout(&table.shape)?;
        let count = layout.rows * layout.blocks();
        let scales = inputs[self.scales].shape.volume();
        ensure!(scales == count.to_dim(), "{scales} scales for {count} blocks");
        let mut shape = inputs[1].shape.to_tvec();
        shape.extend(table.shape.iter().skip(1).take(table.rank() - 2).cloned());
        shape.push(layout.columns.to_dim());
        Ok(tvec![kind.fact(shape)])
    }

    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let (table, scales) = (&inputs[0], &inputs[self.scales]);
        let (layout, inner) = self.layout(table.shape())?;
        let blocks = Blocks::new(layout, table, scales, self.zeros.map(|place| &*inputs[place]))?;
        let (entries, wanted) = (table.shape()[0], integers(&inputs[1])?);
        let mut out = vec![0.0; wanted.len() * inner * layout.columns];
        for (index, out) in wanted.iter().zip(out.chunks_exact_mut(inner * layout.columns)) {
            let entry = if *index < 0 { index + entries as i64 } else { *index };
            let entry = usize::try_from(entry).ok().filter(|&entry| entry < entries);
            let entry = entry.with_context(|| format!("entry {index} of {entries}"))?;
            for (row, out) in out.chunks_exact_mut(layout.columns).enumerate() {
                blocks.row(entry * inner + row).widen(out);
            }
        }
        let mut shape: TVec<usize> = inputs[1].shape().into();
        shape.extend_from_slice(&table.shape()[1..table.rank() - 1]);
        shape.push(layout.columns);
        Ok(tvec![tensor(&shape, &out, scales.datum_type())?])
    }
}
