//! The innermost loop of everything with many rows: a few numbers of each of two operands become a
//! tile of sums that stays in registers.

use crate::simd::{LANES, Simd};

/// Numbers of the operand that is read one by one.
pub(crate) const TALL: usize = 6;
/// One step of the operand that is read in vectors.
pub(crate) type Step<const WIDE: usize> = [[f32; LANES]; WIDE];
/// A tile of sums.
pub(crate) type Tile<const WIDE: usize> = [Step<WIDE>; TALL];

/// tile[i, j] += sum over k of rows[i][k] * steps[k][j]; as many k as all of them have.
#[inline(always)]
pub(crate) fn add_rows<S: Simd, const WIDE: usize>(
    simd: S,
    rows: [&[f32]; TALL],
    steps: &[Step<WIDE>],
    tile: &mut Tile<WIDE>,
) {
    let mut depth = steps.len();
    for row in rows {
        depth = depth.min(row.len());
    }
    let [a, b, c, d, e, f] = rows;
    let rows = [&a[..depth], &b[..depth], &c[..depth], &d[..depth], &e[..depth], &f[..depth]];
    let steps = &steps[..depth];
    let mut sums = load(simd, tile);
    for k in 0..depth {
        let step = load_step(simd, &steps[k]);
        for i in 0..TALL {
            let number = simd.splat(rows[i][k]);
            for j in 0..WIDE {
                sums[i][j] = simd.fma(number, step[j], sums[i][j]);
            }
        }
    }
    store(simd, sums, tile);
}

/// tile[i, j] += sum over k of columns[k * stride + i] * steps[k][j].
#[inline(always)]
pub(crate) fn add_columns<S: Simd, const WIDE: usize>(
    simd: S,
    columns: &[f32],
    stride: usize,
    steps: &[Step<WIDE>],
    tile: &mut Tile<WIDE>,
) {
    let mut sums = load(simd, tile);
    for (k, step) in steps.iter().enumerate() {
        let Some(column) = columns.get(k * stride..).and_then(|from| from.first_chunk::<TALL>())
        else {
            break;
        };
        let step = load_step(simd, step);
        for i in 0..TALL {
            let number = simd.splat(column[i]);
            for j in 0..WIDE {
                sums[i][j] = simd.fma(number, step[j], sums[i][j]);
            }
        }
    }
    store(simd, sums, tile);
}

/// The vectors of a step.
#[inline(always)]
pub(crate) fn load_step<S: Simd, const WIDE: usize>(simd: S, step: &Step<WIDE>) -> [S::F; WIDE] {
    let mut vectors = [simd.splat(0.0); WIDE];
    for j in 0..WIDE {
        vectors[j] = simd.load(&step[j]);
    }
    vectors
}

#[inline(always)]
fn load<S: Simd, const WIDE: usize>(simd: S, tile: &Tile<WIDE>) -> [[S::F; WIDE]; TALL] {
    let mut sums = [[simd.splat(0.0); WIDE]; TALL];
    for i in 0..TALL {
        sums[i] = load_step(simd, &tile[i]);
    }
    sums
}

#[inline(always)]
fn store<S: Simd, const WIDE: usize>(simd: S, sums: [[S::F; WIDE]; TALL], tile: &mut Tile<WIDE>) {
    for i in 0..TALL {
        for j in 0..WIDE {
            simd.store(sums[i][j], &mut tile[i][j]);
        }
    }
}
