//! Inner products of the rows of two matrices, and sums of weighted rows: the loops in which a model
//! spends its time. Each result is summed up in an order of its own, however the work is shared out.

use super::vector::{LANES, Loops, fast, multiply_add, multiply_add_lanes, total};

/// The product of every row of `left` and every row of `right`, all `width` long:
/// `out[right row][left row]`.
pub(super) fn dots(left: &[f32], right: &[f32], width: usize, out: &mut [f32]) {
    debug_assert!(width > 0 && left.len().is_multiple_of(width));
    fast(Dots { left, right, width, out });
}

/// Adds every row of `values`, weighted, to `out`, which is as long as a row.
pub(super) fn mix(weights: &[f32], values: &[f32], out: &mut [f32]) {
    fast(Mix { weights, values, out });
}

struct Dots<'a> {
    left: &'a [f32],
    right: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl Loops for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        // Several sums at a time hide how long one takes: of few rows on the left, more on the right.
        match self.left.len() < 4 * self.width {
            true => self.in_groups::<FUSED, 4>(),
            false => self.in_groups::<FUSED, 2>(),
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn in_groups<const FUSED: bool, const RIGHT: usize>(self) {
        let Self { left, right, width, out } = self;
        let rows = left.len() / width;
        let mut groups = right.chunks_exact(RIGHT * width);
        let mut outs = out.chunks_exact_mut(RIGHT * rows);
        for (group, out) in (&mut groups).zip(&mut outs) {
            let group = std::array::from_fn(|index| &group[index * width..(index + 1) * width]);
            beside::<FUSED, RIGHT>(left, group, out);
        }
        let rest = groups.remainder().chunks_exact(width);
        for (row, out) in rest.zip(outs.into_remainder().chunks_exact_mut(rows)) {
            beside::<FUSED, 1>(left, [row], out);
        }
    }
}

/// Every row of `left` with a few rows of `right`.
#[inline(always)]
fn beside<const FUSED: bool, const RIGHT: usize>(
    left: &[f32],
    right: [&[f32]; RIGHT],
    out: &mut [f32],
) {
    let width = right[0].len();
    let rows = left.len() / width;
    let mut at = 0;
    let mut fours = left.chunks_exact(4 * width);
    for four in &mut fours {
        let four = std::array::from_fn(|index| &four[index * width..(index + 1) * width]);
        let sums = tile::<FUSED, 4, RIGHT>(four, right);
        for (out, sums) in out.chunks_exact_mut(rows).zip(sums) {
            out[at..at + 4].copy_from_slice(&sums);
        }
        at += 4;
    }
    for row in fours.remainder().chunks_exact(width) {
        let sums = tile::<FUSED, 1, RIGHT>([row], right);
        for (out, [sum]) in out.chunks_exact_mut(rows).zip(sums) {
            out[at] = sum;
        }
        at += 1;
    }
}

/// The products of a few rows with a few others, which stay in registers.
#[inline(always)]
fn tile<const FUSED: bool, const LEFT: usize, const RIGHT: usize>(
    left: [&[f32]; LEFT],
    right: [&[f32]; RIGHT],
) -> [[f32; LEFT]; RIGHT] {
    let left = left.map(|row| row.as_chunks::<LANES>());
    let right = right.map(|row| row.as_chunks::<LANES>());
    let count = right[0].0.len();
    let lefts = left.map(|(chunks, _)| &chunks[..count]);
    let rights = right.map(|(chunks, _)| &chunks[..count]);
    let mut sums = [[[0.0_f32; LANES]; LEFT]; RIGHT];
    for at in 0..count {
        let mut r = 0;
        while r < RIGHT {
            let mut l = 0;
            while l < LEFT {
                sums[r][l] = multiply_add_lanes::<FUSED>(&lefts[l][at], &rights[r][at], sums[r][l]);
                l += 1;
            }
            r += 1;
        }
    }
    let mut results = [[0.0; LEFT]; RIGHT];
    for (r, results) in results.iter_mut().enumerate() {
        for (l, result) in results.iter_mut().enumerate() {
            let rest = left[l].1.iter().zip(right[r].1);
            *result =
                rest.fold(total(&sums[r][l]), |sum, (a, b)| multiply_add::<FUSED>(*a, *b, sum));
        }
    }
    results
}

/// Lanes of a row that are mixed at once, so that their sums stay in registers.
const STRIPE: usize = 4;

struct Mix<'a> {
    weights: &'a [f32],
    values: &'a [f32],
    out: &'a mut [f32],
}

// Loops by index are compiled into one, those over iterators not always.
impl Loops for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { weights, values, out } = self;
        let width = out.len();
        let mut at = 0;
        while at + STRIPE * LANES <= width {
            let (lanes, _) = out[at..at + STRIPE * LANES].as_chunks_mut::<LANES>();
            let mut sums = [[0.0; LANES]; STRIPE];
            sums.copy_from_slice(lanes);
            for row in 0..weights.len() {
                let values = &values[row * width + at..row * width + at + STRIPE * LANES];
                let (values, _) = values.as_chunks::<LANES>();
                let weight = [weights[row]; LANES];
                for part in 0..STRIPE {
                    sums[part] = multiply_add_lanes::<FUSED>(&weight, &values[part], sums[part]);
                }
            }
            lanes.copy_from_slice(&sums);
            at += STRIPE * LANES;
        }
        for row in 0..weights.len() {
            for column in at..width {
                let value = values[row * width + column];
                out[column] = multiply_add::<FUSED>(weights[row], value, out[column]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(rows: usize, width: usize, seed: usize) -> Vec<f32> {
        let element = |at: usize| ((at * 7919 + seed * 104_729) % 201) as f32 / 100.0 - 1.0;
        (0..rows * width).map(element).collect()
    }

    proptest! {
        #[test]
        fn products_are_those_of_the_definition(
            rows in 1_usize..10, columns in 1_usize..6, width in 1_usize..70, seed in 0_usize..100,
        ) {
            let (left, right) = (matrix(rows, width, seed), matrix(columns, width, seed + 1));
            let mut out = vec![0.0; rows * columns];
            dots(&left, &right, width, &mut out);
            for column in 0..columns {
                for row in 0..rows {
                    let pairs = left[row * width..].iter().zip(&right[column * width..]);
                    let exact: f64 =
                        pairs.take(width).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    prop_assert!((f64::from(out[column * rows + row]) - exact).abs() < 1e-4);
                }
            }
        }

        #[test]
        fn mixed_rows_are_those_of_the_definition(
            rows in 0_usize..10, width in 1_usize..70, seed in 0_usize..100,
        ) {
            let (weights, values) = (matrix(rows, 1, seed), matrix(rows, width, seed + 1));
            let mut out = matrix(1, width, seed + 2);
            let before = out.clone();
            mix(&weights, &values, &mut out);
            for column in 0..width {
                let sum = (0..rows).map(|row| weights[row] * values[row * width + column]);
                prop_assert!((out[column] - before[column] - sum.sum::<f32>()).abs() < 1e-4);
            }
        }
    }
}
