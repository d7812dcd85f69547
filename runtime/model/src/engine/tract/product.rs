//! The product of activations and the transpose of a matrix that is kept in a narrow form. Rows of the
//! matrix are shared out among threads; each result is the same however many there are.

use tract_onnx::tract_core::tract_linalg::multithread::par_chunks_mut;
use tract_onnx::tract_hir::internal::*;

use super::dots::dots;
use super::vector::{Loops, fast};

/// A matrix in a narrow form.
pub(super) trait Rows: Sync {
    /// Rows of the matrix.
    fn count(&self) -> usize;

    /// Elements of a widened row.
    fn width(&self) -> usize;

    /// One row as floats. To be `#[inline(always)]`.
    fn widen(&self, row: usize, out: &mut [f32]);
}

/// Rows of the matrix that are widened at once, so that they stay in the nearest caches while the
/// activations pass by: many, or few.
const TILE: usize = 16;
const TILE_FOR_FEW: usize = 4;

/// The product `[rows, matrix rows]` of activations `[rows, width]`.
///
/// # Errors
/// When the activations are not whole rows.
pub(super) fn product<R: Rows>(matrix: &R, left: &[f32], rows: usize) -> TractResult<Vec<f32>> {
    let (count, width) = (matrix.count(), matrix.width());
    ensure!(left.len() == rows * width, "{} activations in {rows} rows of {width}", left.len());
    let mut turned = vec![0.0; count * rows];
    if rows == 0 || width == 0 {
        return Ok(turned);
    }
    let work = count * width * rows.min(64);
    par_chunks_mut(&mut turned, rows, work, |first, out| {
        let tile_rows = if rows < 4 { TILE_FOR_FEW } else { TILE };
        let mut wide = vec![0.0; tile_rows.min(out.len() / rows) * width];
        for (tile, out) in out.chunks_mut(tile_rows * rows).enumerate() {
            let wide = &mut wide[..out.len() / rows * width];
            fast(Widen { matrix, first: first + tile * tile_rows, out: wide });
            dots(left, wide, width, out);
        }
        Ok(())
    })?;
    Ok(transposed(turned, rows, count))
}

/// A few rows of the matrix as floats.
struct Widen<'a, R> {
    matrix: &'a R,
    first: usize,
    out: &'a mut [f32],
}

impl<R: Rows> Loops for Widen<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let width = self.matrix.width();
        for at in 0..self.out.len() / width {
            self.matrix.widen(self.first + at, &mut self.out[at * width..(at + 1) * width]);
        }
    }
}

/// `[columns, rows]` as `[rows, columns]`.
fn transposed(turned: Vec<f32>, rows: usize, columns: usize) -> Vec<f32> {
    if rows == 1 {
        return turned;
    }
    let mut out = vec![0.0; turned.len()];
    for (column, values) in turned.chunks_exact(rows).enumerate() {
        for (row, value) in values.iter().enumerate() {
            out[row * columns + column] = *value;
        }
    }
    out
}
