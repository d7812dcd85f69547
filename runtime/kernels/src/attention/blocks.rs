//! Keys or values of one head, a block of positions at a time, in single precision.

use std::ops::Range;

use super::{Heads, Rows};
use crate::simd::{Simd, widen};

/// Positions in a block, a multiple of [`crate::tile::TALL`].
pub(super) const BLOCK: usize = 96;

/// Rows of one head: row j begins at j * stride.
#[derive(Clone, Copy)]
pub(super) struct HeadRows<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) stride: usize,
}

impl Rows<'_> {
    /// Some rows of a head; `room` is used where they are not in single precision.
    #[inline(always)]
    pub(super) fn of_head<'a, S: Simd>(
        &'a self,
        simd: S,
        heads: &Heads,
        kv_head: usize,
        rows: Range<usize>,
        room: &'a mut Vec<f32>,
    ) -> HeadRows<'a> {
        let (width, between) = (heads.width, heads.kv * heads.width);
        let first = rows.start * between + kv_head * width;
        match self {
            Self::F32(numbers) => HeadRows { numbers: &numbers[first..], stride: between },
            Self::F16(numbers) => {
                room.resize(rows.len() * width, 0.0);
                for (row, into) in room.chunks_exact_mut(width).enumerate() {
                    widen(simd, &numbers[first + row * between..][..width], into);
                }
                HeadRows { numbers: room, stride: width }
            }
        }
    }
}
