//! Rotary positions: pairs of a row's elements are turned by angles that grow with its position.
//! Cosines and sines come as tables.

use tract_onnx::tract_hir::internal::*;

/// Tables `[positions, half]` of cosines and sines.
pub(super) struct Angles<'a> {
    cosines: &'a [f32],
    sines: &'a [f32],
    half: usize,
    /// Whether a pair lies side by side, and not half a row apart.
    interleaved: bool,
}

impl<'a> Angles<'a> {
    /// Tables of rows of `half` elements.
    ///
    /// # Errors
    /// When they are of no or of different sizes.
    pub(super) fn new(
        cosines: &'a [f32],
        sines: &'a [f32],
        half: usize,
        interleaved: bool,
    ) -> TractResult<Self> {
        ensure!(half > 0, "rotary tables of rows without elements");
        ensure!(
            cosines.len() == sines.len() && cosines.len().is_multiple_of(half),
            "rotary tables of {} cosines and {} sines in rows of {half}",
            cosines.len(),
            sines.len()
        );
        Ok(Self { cosines, sines, half, interleaved })
    }

    /// Turns a row; what lies behind its first `2 * half` elements stays.
    ///
    /// # Errors
    /// When the row is too short, or the tables end before its position.
    pub(super) fn turn(&self, row: &mut [f32], position: usize) -> TractResult<()> {
        let span = position * self.half..(position + 1) * self.half;
        let (cosines, sines) = (self.cosines.get(span.clone()), self.sines.get(span));
        let (Some(cosines), Some(sines)) = (cosines, sines) else {
            let positions = self.cosines.len() / self.half;
            bail!("position {position} in rotary tables of {positions}");
        };
        let width = row.len();
        let turned = row.get_mut(..2 * self.half);
        let turned = turned.with_context(|| format!("a head of {width} elements is too narrow"))?;
        let turn = |first: &mut f32, second: &mut f32, cosine: f32, sine: f32| {
            let (x, y) = (*first, *second);
            *first = x * cosine - y * sine;
            *second = x * sine + y * cosine;
        };
        let angles = cosines.iter().zip(sines);
        if self.interleaved {
            for (pair, (cosine, sine)) in turned.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                let [first, second] = pair;
                turn(first, second, *cosine, *sine);
            }
        } else {
            let (low, high) = turned.split_at_mut(self.half);
            for ((low, high), (cosine, sine)) in low.iter_mut().zip(high).zip(angles) {
                turn(low, high, *cosine, *sine);
            }
        }
        Ok(())
    }
}

/// A position that an input gives.
///
/// # Errors
/// When it is negative.
pub(super) fn position(given: i64) -> TractResult<usize> {
    usize::try_from(given).with_context(|| format!("position {given}"))
}
