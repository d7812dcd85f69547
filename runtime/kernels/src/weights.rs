//! Weights as the published graphs store them: blocks of small integers with a scale for each, in the
//! layout of ONNX Runtime's `MatMulNBits`, or plain numbers. Nothing is copied; this is only a view.

use half::f16;

use crate::mismatch::{Mismatch, check_length};

/// One scale for each block of weights, `[rows, blocks]`.
#[derive(Debug, Clone, Copy)]
pub enum Scales<'a> {
    /// In single precision.
    F32(&'a [f32]),
    /// In half precision.
    F16(&'a [f16]),
}

/// Quantised weights: weight = (level - zero point) * scale of its block.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// How many outputs, `N`.
    pub rows: usize,
    /// How many inputs, `K`.
    pub columns: usize,
    /// Width of a level: 2, 4 or 8 bits.
    pub bits: u8,
    /// Weights that share a scale: a power of two from 16 to 256.
    pub block: usize,
    /// Levels `[rows, blocks, block * bits / 8]` u8, the first in the lowest bits. The last block of a
    /// row is whole even where `columns` ends inside it.
    pub data: &'a [u8],
    /// `[rows, blocks]`.
    pub scales: Scales<'a>,
    /// Levels that mean zero, `[rows, ceil(blocks * bits / 8)]` u8, the first in the lowest bits; where
    /// there are none it is the middle level.
    pub zero_points: Option<&'a [u8]>,
}

/// A matrix `[rows, columns]` whose rows are multiplied with the input.
#[derive(Debug, Clone, Copy)]
pub enum Matrix<'a> {
    /// Blocks of small integers.
    Quantized(Weights<'a>),
    /// Plain single precision.
    F32(&'a [f32]),
    /// Plain half precision.
    F16(&'a [f16]),
}

impl Scales<'_> {
    /// Number of scales.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(scales) => scales.len(),
            Self::F16(scales) => scales.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The scale at `index`, 0 where there is none.
    pub(crate) fn get(&self, index: usize) -> f32 {
        match self {
            Self::F32(scales) => scales.get(index).copied().unwrap_or(0.0),
            Self::F16(scales) => scales.get(index).map_or(0.0, |scale| scale.to_f32()),
        }
    }
}

impl Weights<'_> {
    /// Blocks in one row, the last of which may reach beyond `columns`.
    #[inline]
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(self.block.max(1))
    }

    /// Whether the lengths agree with the shape.
    ///
    /// # Errors
    /// Names the first thing that does not.
    pub fn check(&self) -> Result<(), Mismatch> {
        if !matches!(self.bits, 2 | 4 | 8) {
            return Err(Mismatch::new(format!("weights have {} bits, not 2, 4 or 8", self.bits)));
        }
        if !self.block.is_power_of_two() || !(16..=256).contains(&self.block) {
            let block = self.block;
            return Err(Mismatch::new(format!(
                "weights have blocks of {block}, not a power of two from 16 to 256"
            )));
        }
        let blocks = self.blocks();
        if blocks.checked_mul(self.block).is_none() {
            return Err(Mismatch::new(format!("weights have {} columns", self.columns)));
        }
        check_length("the weights' data", self.data.len(), &[self.rows, blocks, self.blob()])?;
        check_length("the weights' scales", self.scales.len(), &[self.rows, blocks])?;
        let Some(zero_points) = self.zero_points else { return Ok(()) };
        let shape = [self.rows, self.zero_point_bytes()];
        check_length("the weights' zero points", zero_points.len(), &shape)
    }

    /// Bytes of one block.
    #[inline]
    pub(crate) fn blob(&self) -> usize {
        self.block * usize::from(self.bits) / 8
    }

    /// Bytes of one row of `data`.
    #[inline]
    pub(crate) fn row_bytes(&self) -> usize {
        self.blocks() * self.blob()
    }

    /// Bytes of one row of `zero_points`.
    #[inline]
    pub(crate) fn zero_point_bytes(&self) -> usize {
        (self.blocks() * usize::from(self.bits)).div_ceil(8)
    }

    /// The level that means zero in a block of a row.
    pub(crate) fn zero_point(&self, row: usize, block: usize) -> u8 {
        let Some(zero_points) = self.zero_points else { return 1 << (self.bits - 1) };
        let first = row * self.zero_point_bytes();
        zero_points.get(first..).map_or(0, |of_row| level(of_row, block, self.bits))
    }

    /// Puts the levels of one block, less their zero point, into `levels`.
    pub(crate) fn levels(&self, row: usize, block: usize, levels: &mut [i16]) {
        let zero_point = i16::from(self.zero_point(row, block));
        let first = row * self.row_bytes() + block * self.blob();
        let Some(blob) = self.data.get(first..first + self.blob()) else { return };
        for (index, place) in levels.iter_mut().take(self.block).enumerate() {
            *place = i16::from(level(blob, index, self.bits)) - zero_point;
        }
    }
}

/// The number at `index` of a row of numbers of 2, 4 or 8 bits.
pub(crate) fn level(bytes: &[u8], index: usize, bits: u8) -> u8 {
    let in_byte = usize::from(8 / bits);
    let byte = bytes.get(index / in_byte).copied().unwrap_or(0);
    let shift = (index % in_byte) as u8 * bits;
    (byte >> shift) & (u8::MAX >> (8 - bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights<'a>(
        data: &'a [u8],
        scales: &'a [f32],
        zero_points: Option<&'a [u8]>,
    ) -> Weights<'a> {
        let scales = Scales::F32(scales);
        Weights { rows: 2, columns: 48, bits: 4, block: 32, data, scales, zero_points }
    }

    #[test]
    fn lengths_that_agree_pass_and_every_other_is_named() {
        let check = |data: usize, scales: usize, zero_points: usize, expected: &str| {
            let (data, scales, zero) = (vec![0; data], vec![0.0; scales], vec![0; zero_points]);
            let found = weights(&data, &scales, Some(&zero)).check();
            let found = found.map_or_else(|mismatch| mismatch.to_string(), |()| "fits".into());
            assert!(found.contains(expected), "{found}");
        };
        check(64, 4, 2, "fits");
        check(63, 4, 2, "data has 63 elements where 2 x 2 x 16");
        check(64, 3, 2, "scales has 3 elements where 2 x 2");
        check(64, 4, 4, "zero points has 4 elements where 2 x 1");
    }

    #[test]
    fn shapes_that_overflow_or_are_odd_are_refused() {
        let mut odd = weights(&[], &[], None);
        odd.rows = usize::MAX;
        assert!(odd.check().is_err());
        odd.columns = usize::MAX;
        assert!(odd.check().is_err());
        odd.block = 24;
        assert!(odd.check().is_err());
        odd.bits = 3;
        assert!(odd.check().is_err());
    }

    #[test]
    fn levels_are_read_from_the_low_bits_up_and_less_their_zero_point() {
        let data: Vec<u8> = (0..64).map(|byte| 0x51 + (byte / 16) as u8).collect();
        let weights = weights(&data, &[1.0; 4], Some(&[0x32, 0x54]));
        let mut levels = [0; 32];
        weights.levels(1, 1, &mut levels);
        assert_eq!(levels[..4], [-1, 0, -1, 0]);
        assert_eq!(weights.zero_point(1, 1), 5);
    }
}
