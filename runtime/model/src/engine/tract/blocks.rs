//! A matrix whose rows are quantised in blocks: codes of a few bits, and for each block a scale and
//! the code that stands for zero. It stays so in memory; rows are widened when they are needed.

use std::borrow::Cow;

use half::f16;
use tract_onnx::tract_hir::internal::*;

use super::elements::floats;
use super::product::Rows;
use super::vector::{LANES, Lanes};
use crate::engine::own::matrix::ScaleSlice;

/// How a matrix is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Rows of the matrix.
    pub(super) rows: usize,
    /// Elements of a row.
    pub(super) columns: usize,
    /// Bits of a code: 1, 2, 4 or 8.
    pub(super) bits: usize,
    /// Elements of a block; the last of a row may be shorter.
    pub(super) block: usize,
    /// Bytes from one row's codes to the next row's.
    pub(super) row_bytes: usize,
    /// The code of zero where the matrix does not tell.
    pub(super) middle: u8,
}

impl Layout {
    /// Checks the attributes of an operator.
    ///
    /// # Errors
    /// When the codes are none that fill bytes, or a block is none of whole bytes.
    pub(super) fn check(&self) -> TractResult<()> {
        ensure!(
            matches!(self.bits, 1 | 2 | 4 | 8),
            "codes of {} bits; 1, 2, 4 or 8 are due",
            self.bits
        );
        ensure!(
            self.block >= LANES && self.block.is_multiple_of(LANES),
            "blocks of {} elements; a multiple of 8 is due",
            self.block
        );
        ensure!(self.rows > 0 && self.columns > 0, "a matrix of {self:?}");
        let sizes = [self.rows, self.columns, self.row_bytes];
        ensure!(sizes.iter().all(|&size| size < 1 << 31), "a matrix of {self:?}");
        Ok(())
    }

    /// Blocks of a row.
    pub(super) fn blocks(&self) -> usize {
        self.columns.div_ceil(self.block)
    }

    /// Elements of a row with its last block filled up.
    pub(super) fn padded(&self) -> usize {
        self.blocks() * self.block
    }

    /// Bytes of the packed codes of zero of a row.
    pub(super) fn zero_bytes(&self) -> usize {
        (self.blocks() * self.bits).div_ceil(8)
    }

    /// Codes in a byte.
    fn parts(&self) -> usize {
        8 / self.bits
    }

    /// A row in the order in which codes are unpacked, its last block filled up with zeros: of each
    /// block first what lies in the low bits of its bytes, then what lies in the next.
    pub(super) fn arranged(&self, row: &[f32], out: &mut [f32]) {
        let parts = self.parts();
        let length = self.block / parts;
        out.fill(0.0);
        for (from, to) in row.chunks(self.block).zip(out.chunks_exact_mut(self.block)) {
            for (at, value) in from.iter().enumerate() {
                to[at % parts * length + at / parts] = *value;
            }
        }
    }
}

/// A quantised matrix.
pub(super) struct Blocks<'a> {
    layout: Layout,
    codes: &'a [u8],
    scales: ScaleSlice<'a>,
    zeros: Zeros<'a>,
}

enum Zeros<'a> {
    Middle(f32),
    Packed(&'a [u8]),
    Floats(Cow<'a, [f32]>),
}

impl<'a> Blocks<'a> {
    /// The matrix in the inputs of an operator.
    ///
    /// # Errors
    /// When one of them has another size than the layout says, or holds what it cannot hold.
    pub(super) fn new(
        layout: Layout,
        codes: &'a Tensor,
        scales: &'a Tensor,
        zeros: Option<&'a Tensor>,
    ) -> TractResult<Self> {
        let codes = codes.try_as_plain_ram()?.as_slice::<u8>()?;
        let plain = scales.try_as_plain_ram()?;
        let scales = match scales.datum_type() == DatumType::F16 {
            true => ScaleSlice::F16(plain.as_slice()?),
            false => ScaleSlice::F32(plain.as_slice()?),
        };
        let zeros = match zeros {
            None => Zeros::Middle(f32::from(layout.middle)),
            Some(zeros) if zeros.datum_type() == u8::datum_type() => {
                Zeros::Packed(zeros.try_as_plain_ram()?.as_slice::<u8>()?)
            }
            Some(zeros) => Zeros::Floats(floats(zeros)?),
        };
        let new = Self { layout, codes, scales, zeros };
        new.check()?;
        Ok(new)
    }

    /// The matrix in what an operator holds.
    ///
    /// # Errors
    /// When one part has another size than the layout says.
    pub(super) fn held(
        layout: Layout,
        codes: &'a [u8],
        scales: ScaleSlice<'a>,
        zeros: Option<&'a [u8]>,
    ) -> TractResult<Self> {
        let zeros = zeros.map_or(Zeros::Middle(f32::from(layout.middle)), Zeros::Packed);
        let new = Self { layout, codes, scales, zeros };
        new.check()?;
        Ok(new)
    }

    fn check(&self) -> TractResult<()> {
        let Self { layout, codes, scales, zeros } = self;
        let count = layout.rows * layout.blocks();
        let scale_count = match scales {
            ScaleSlice::F32(scales) => scales.len(),
            ScaleSlice::F16(scales) => scales.len(),
        };
        ensure!(codes.len() == layout.rows * layout.row_bytes, "{} bytes of codes", codes.len());
        ensure!(scale_count == count, "{scale_count} scales for {count} blocks");
        match zeros {
            Zeros::Middle(_) => {}
            Zeros::Packed(bytes) => {
                let due = layout.rows * layout.zero_bytes();
                ensure!(bytes.len() == due, "{} bytes of zero points; {due} are due", bytes.len());
            }
            Zeros::Floats(zeros) => {
                ensure!(zeros.len() == count, "{} zero points for {count} blocks", zeros.len());
            }
        }
        Ok(())
    }

    /// One row.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> Row<'_> {
        let blocks = self.layout.blocks();
        let span = row * blocks..(row + 1) * blocks;
        let scales = match self.scales {
            ScaleSlice::F32(scales) => RowScales::Full(&scales[span.clone()]),
            ScaleSlice::F16(scales) => RowScales::Half(&scales[span.clone()]),
        };
        let zeros = match &self.zeros {
            Zeros::Middle(zero) => RowZeros::Middle(*zero),
            Zeros::Packed(bytes) => {
                let length = self.layout.zero_bytes();
                RowZeros::Packed(&bytes[row * length..(row + 1) * length])
            }
            Zeros::Floats(zeros) => RowZeros::Floats(&zeros[span]),
        };
        let length = self.layout.row_bytes;
        let codes = &self.codes[row * length..(row + 1) * length];
        Row { layout: self.layout, codes, scales, zeros }
    }
}

impl Rows for Blocks<'_> {
    fn count(&self) -> usize {
        self.layout.rows
    }

    fn width(&self) -> usize {
        self.layout.padded()
    }

    #[inline(always)]
    fn widen(&self, row: usize, out: &mut [f32]) {
        self.row(row).widen_arranged(out);
    }
}

/// One row of a quantised matrix.
pub(super) struct Row<'a> {
    layout: Layout,
    codes: &'a [u8],
    scales: RowScales<'a>,
    zeros: RowZeros<'a>,
}

#[derive(Clone, Copy)]
enum RowScales<'a> {
    Full(&'a [f32]),
    Half(&'a [f16]),
}

#[derive(Clone, Copy)]
enum RowZeros<'a> {
    Middle(f32),
    Packed(&'a [u8]),
    Floats(&'a [f32]),
}

impl Row<'_> {
    /// The scale of a block.
    #[inline(always)]
    fn scale(&self, block: usize) -> f32 {
        match self.scales {
            RowScales::Full(scales) => scales[block],
            RowScales::Half(scales) => widened(scales[block]),
        }
    }

    /// The code of zero of a block.
    #[inline(always)]
    fn zero(&self, block: usize) -> f32 {
        match self.zeros {
            RowZeros::Middle(zero) => zero,
            RowZeros::Packed(bytes) => f32::from(code(bytes, block, self.layout.bits)),
            RowZeros::Floats(zeros) => zeros[block],
        }
    }

    /// The elements in their own order.
    pub(super) fn widen(&self, out: &mut [f32]) {
        for (block, out) in out.chunks_mut(self.layout.block).enumerate() {
            let (scale, zero) = (self.scale(block), self.zero(block));
            for (at, out) in out.iter_mut().enumerate() {
                let at = block * self.layout.block + at;
                *out = (f32::from(code(self.codes, at, self.layout.bits)) - zero) * scale;
            }
        }
    }

    /// The elements in the order of [`Layout::arranged`]. Codes that fill up the last block give
    /// what nobody reads: they meet a zero of the other factor.
    #[inline(always)]
    fn widen_arranged(&self, out: &mut [f32]) {
        match self.layout.bits {
            1 => self.widen_parts::<1>(out),
            2 => self.widen_parts::<2>(out),
            4 => self.widen_parts::<4>(out),
            _ => self.widen_parts::<8>(out),
        }
    }

    /// In loops by index: what iterators add is not always compiled into the loops.
    #[inline(always)]
    fn widen_parts<const BITS: usize>(&self, out: &mut [f32]) {
        let (block, bytes) = (self.layout.block, self.layout.block * BITS / 8);
        for at in 0..out.len() / block {
            let (scale, zero) = (self.scale(at), self.zero(at));
            let codes = &self.codes[at * bytes..(at + 1) * bytes];
            let out = &mut out[at * block..(at + 1) * block];
            for part in 0..8 / BITS {
                let out = &mut out[part * bytes..(part + 1) * bytes];
                widen_part::<BITS>(codes, out, part, [scale, zero]);
            }
        }
    }
}

/// The elements that lie in one part of each byte.
// Loops by index are compiled into one, those over iterators not always.
#[inline(always)]
fn widen_part<const BITS: usize>(
    codes: &[u8],
    out: &mut [f32],
    part: usize,
    [scale, zero]: [f32; 2],
) {
    let (chunks, rest) = codes.as_chunks::<LANES>();
    let (lanes, out_rest) = out.as_chunks_mut::<LANES>();
    let lanes = &mut lanes[..chunks.len()];
    for at in 0..chunks.len() {
        let mut wide: Lanes = [0.0; LANES];
        for lane in 0..LANES {
            wide[lane] = (unpacked::<BITS>(chunks[at][lane], part) - zero) * scale;
        }
        lanes[at] = wide;
    }
    for at in 0..rest.len() {
        out_rest[at] = (unpacked::<BITS>(rest[at], part) - zero) * scale;
    }
}

/// A finite half as a whole float, in fewer steps than a conversion that minds infinities.
#[inline(always)]
fn widened(half: f16) -> f32 {
    let bits = u32::from(half.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// A code of a byte, the lowest bits first.
#[inline(always)]
fn unpacked<const BITS: usize>(byte: u8, part: usize) -> f32 {
    let mask = (0xff_u32 >> (8 - BITS)) as i32;
    ((i32::from(byte) >> (BITS * part)) & mask) as f32
}

/// A code of a row of bytes, the lowest bits first.
fn code(bytes: &[u8], at: usize, bits: usize) -> u8 {
    let bit = at * bits;
    (bytes[bit / 8] >> (bit % 8)) & (0xff >> (8 - bits))
}
