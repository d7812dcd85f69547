//! The product of a strip of outputs: weights are taken as they lie, some rows of a few hundred
//! outputs each, while the sums stay in the first cache.

use std::ops::Range;

use half::f16;

use super::Columns;
use crate::{
    Threads,
    output::Output,
    simd::{Kernel, LANES, Simd},
};

/// Outputs of a strip where there are few rows of activations, and where there are many: all sums of
/// a strip should stay in the caches.
const WIDE: usize = 512;
const NARROW: usize = 128;

/// Rows of activations up to which they are few.
const FEW: usize = 8;

/// Inputs whose weights are used for all rows of activations before the next are read.
const DEPTH: usize = 256;

/// Outputs that a thread takes at least: a line of bytes.
const GRAIN: usize = 64;

/// One element of a matrix.
pub(super) trait Element: Copy + Send + Sync {
    /// Its value.
    fn one(self) -> f32;

    /// Eight values.
    fn eight<S: Simd>(simd: S, elements: &[Self; LANES]) -> S::F;
}

impl Element for f32 {
    #[inline(always)]
    fn one(self) -> f32 {
        self
    }

    #[inline(always)]
    fn eight<S: Simd>(simd: S, elements: &[Self; LANES]) -> S::F {
        simd.load(elements)
    }
}

impl Element for f16 {
    #[inline(always)]
    fn one(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn eight<S: Simd>(simd: S, elements: &[Self; LANES]) -> S::F {
        simd.load_half(elements)
    }
}

impl Element for u8 {
    #[inline(always)]
    fn one(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn eight<S: Simd>(simd: S, elements: &[Self; LANES]) -> S::F {
        simd.bytes_of_word(elements)
    }
}

impl Element for i8 {
    #[inline(always)]
    fn one(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn eight<S: Simd>(simd: S, elements: &[Self; LANES]) -> S::F {
        // With the sign turned a byte is 128 more than its value, and never less than zero.
        let turned = elements.map(|element| element.cast_unsigned() ^ 0x80);
        simd.add(simd.bytes_of_word(&turned), simd.splat(-128.0))
    }
}

/// A product with a matrix `[inputs, outputs]`.
pub(super) struct Strips<'a, T> {
    pub(super) matrix: &'a Columns<'a>,
    pub(super) elements: &'a [T],
    pub(super) input: &'a [f32],
    pub(super) output: Output<'a>,
}

impl<T: Element> Strips<'_, T> {
    /// Does it all.
    pub(super) fn run<S: Simd>(&self, simd: S, threads: &Threads) {
        let sums = self.input_sums();
        let each = (self.matrix.outputs / (4 * threads.count())).next_multiple_of(GRAIN);
        threads.split(self.matrix.outputs, each.max(GRAIN), &|range| {
            simd.enter(Part { strips: self, range, input_sums: &sums });
        });
    }

    /// The same for any processor, written to be read.
    pub(super) fn portable(&self, threads: &Threads) {
        let (input_sums, Columns { inputs, outputs, .. }) = (self.input_sums(), *self.matrix);
        threads.split(outputs, GRAIN, &|range| {
            let mut sums = vec![0.0; range.len()];
            for (row, input) in self.input.chunks_exact(inputs).enumerate() {
                sums.fill(0.0);
                for (x, weights) in input.iter().zip(self.elements.chunks_exact(outputs)) {
                    for (sum, weight) in sums.iter_mut().zip(&weights[range.clone()]) {
                        *sum += x * weight.one();
                    }
                }
                self.write(row, range.start, &mut sums, input_sums[row]);
            }
        });
    }

    /// The sum of each row of activations, which the zero points are multiplied by.
    fn input_sums(&self) -> Vec<f32> {
        self.input.chunks_exact(self.matrix.inputs).map(|row| row.iter().sum()).collect()
    }

    /// Writes sums over plain elements as products with what they mean.
    #[inline(always)]
    fn write(&self, row: usize, first: usize, sums: &mut [f32], input_sum: f32) {
        let of = |numbers: &[f32], at: usize, otherwise: f32| match numbers {
            [] => otherwise,
            [one] => *one,
            _ => numbers[at],
        };
        for (at, sum) in sums.iter_mut().enumerate() {
            let zero_point = of(self.matrix.zero_points, first + at, 0.0);
            *sum = (*sum - zero_point * input_sum) * of(self.matrix.scales, first + at, 1.0);
        }
        self.output.set(row * self.matrix.outputs + first, sums);
    }
}

/// A range of the outputs.
struct Part<'a, T> {
    strips: &'a Strips<'a, T>,
    range: Range<usize>,
    input_sums: &'a [f32],
}

impl<T: Element> Kernel for Part<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { strips, range, input_sums } = self;
        let rows = input_sums.len();
        let wide = if rows <= FEW { WIDE } else { NARROW };
        let mut sums = vec![0.0; rows * wide];
        for first in range.clone().step_by(wide) {
            let outputs = first..range.end.min(first + wide);
            let length = outputs.len();
            sums.fill(0.0);
            add_all(simd, strips, &outputs, &mut sums, wide);
            for (row, sums) in sums.chunks_exact_mut(wide).enumerate() {
                strips.write(row, first, &mut sums[..length], input_sums[row]);
            }
        }
    }
}

/// Adds the products of a strip to `sums`, `[rows, wide]`.
#[inline(always)]
fn add_all<S: Simd, T: Element>(
    simd: S,
    strips: &Strips<'_, T>,
    outputs: &Range<usize>,
    sums: &mut [f32],
    wide: usize,
) {
    let inputs = strips.matrix.inputs;
    for first in (0..inputs).step_by(DEPTH) {
        let depth = first..inputs.min(first + DEPTH);
        for (rows, sums) in sums.chunks_mut(4 * wide).enumerate() {
            let activations = &strips.input[4 * rows * inputs..];
            match sums.len() / wide {
                4 => add::<S, T, 4>(simd, strips, outputs, &depth, activations, sums),
                count => {
                    for row in 0..count {
                        let (activations, sums) =
                            (&activations[row * inputs..], &mut sums[row * wide..][..wide]);
                        add::<S, T, 1>(simd, strips, outputs, &depth, activations, sums);
                    }
                }
            }
        }
    }
}

/// Adds some inputs of `ROWS` rows of activations, four inputs at a time.
#[inline(always)]
fn add<S: Simd, T: Element, const ROWS: usize>(
    simd: S,
    strips: &Strips<'_, T>,
    outputs: &Range<usize>,
    depth: &Range<usize>,
    activations: &[f32],
    sums: &mut [f32],
) {
    let mut k = depth.start;
    while k + 4 <= depth.end {
        add_inputs::<S, T, ROWS, 4>(simd, strips, outputs, k, activations, sums);
        k += 4;
    }
    while k < depth.end {
        add_inputs::<S, T, ROWS, 1>(simd, strips, outputs, k, activations, sums);
        k += 1;
    }
}

#[inline(always)]
fn add_inputs<S: Simd, T: Element, const ROWS: usize, const DEEP: usize>(
    simd: S,
    strips: &Strips<'_, T>,
    outputs: &Range<usize>,
    k: usize,
    activations: &[f32],
    sums: &mut [f32],
) {
    let Columns { inputs, outputs: all, .. } = *strips.matrix;
    let wide = sums.len() / ROWS;
    let mut weights = [&strips.elements[..0]; DEEP];
    let mut x = [[0.0; DEEP]; ROWS];
    for deep in 0..DEEP {
        weights[deep] = &strips.elements[(k + deep) * all + outputs.start..][..outputs.len()];
        for row in 0..ROWS {
            x[row][deep] = activations[row * inputs + k + deep];
        }
    }
    let vectors = outputs.len() / LANES;
    for vector in 0..vectors {
        let mut values = [simd.splat(0.0); DEEP];
        for deep in 0..DEEP {
            let (eights, _) = weights[deep].as_chunks::<LANES>();
            values[deep] = T::eight(simd, &eights[vector]);
        }
        for row in 0..ROWS {
            let (places, _) = sums[row * wide..][..wide].as_chunks_mut::<LANES>();
            let mut sum = simd.load(&places[vector]);
            for deep in 0..DEEP {
                sum = simd.fma(values[deep], simd.splat(x[row][deep]), sum);
            }
            simd.store(sum, &mut places[vector]);
        }
    }
    for at in vectors * LANES..outputs.len() {
        for row in 0..ROWS {
            for deep in 0..DEEP {
                sums[row * wide + at] += x[row][deep] * weights[deep][at].one();
            }
        }
    }
}
