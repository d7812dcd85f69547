//! Which way a product takes on a processor with vector instructions.

use std::{
    borrow::Cow,
    marker::PhantomData,
    sync::{Mutex, PoisonError},
};

use super::{
    Activations,
    few::{Few, ROUNDED_ROWS_MAX, ROWS_MAX},
    integer::{self, Integer, Ordered},
    kind::{BytesExact, BytesRounded, Kind, NibblesExact, NibblesRounded},
    many::{Many, Panels},
    portable,
    prepared::Prepared,
};
use crate::{
    Matrix, Threads, Weights,
    output::Output,
    rounded::Rounded,
    simd::{Kernel, Simd},
};

/// Rows below which they are prepared by one thread.
const PREPARED_ALONE: usize = 8;

/// A product, or with `gate` a gated one; lengths agree, nothing is empty.
pub(super) struct Fast<'a> {
    pub(super) weights: &'a Weights<'a>,
    pub(super) gate: Option<&'a Weights<'a>>,
    pub(super) input: &'a [f32],
    pub(super) activations: Activations,
}

impl Fast<'_> {
    /// Whether activations are multiplied as bytes, not as what they round to.
    pub(super) fn is_in_bytes(&self) -> bool {
        self.activations == Activations::Int8
            && match self.weights.bits {
                4 => true,
                8 => self.rows() <= ROWS_MAX,
                _ => false,
            }
            && self.is_of_one_form()
    }

    /// The product of bytes.
    pub(super) fn run_in_bytes<S: Simd>(&self, simd: S, output: &mut [f32], threads: &Threads) {
        match self.weights.bits {
            4 if self.rows() > ROUNDED_ROWS_MAX => self.integer(simd, output, threads),
            4 => self.rounded::<S, NibblesRounded>(simd, output, threads),
            _ => self.rounded::<S, BytesRounded>(simd, output, threads),
        }
    }

    /// Any other product.
    pub(super) fn run<S: Simd>(&self, simd: S, output: &mut [f32], threads: &Threads) {
        if !self.is_of_one_form() {
            return self.portable(output, threads);
        }
        match self.weights.bits {
            4 | 8 if self.rows() > ROWS_MAX => self.many(simd, output, threads),
            8 => self.exact::<S, BytesExact>(simd, output, threads),
            4 => self.exact::<S, NibblesExact>(simd, output, threads),
            _ => self.many(simd, output, threads),
        }
    }

    fn rows(&self) -> usize {
        self.input.len() / self.weights.columns
    }

    fn is_of_one_form(&self) -> bool {
        let of = |weights: &Weights<'_>| (weights.bits, weights.block);
        self.gate.is_none_or(|gate| of(gate) == of(self.weights))
    }

    fn exact<S: Simd, K: Kind<Value = f32>>(&self, simd: S, output: &mut [f32], threads: &Threads) {
        let prepare = |input: &[f32]| simd.enter(Exact::<K>(self, input, PhantomData));
        let prepared = self.in_parts(threads, prepare, Prepared::followed_by);
        self.few(simd, &prepared, output, threads);
    }

    fn rounded<S: Simd, K: Kind<Value = i8>>(
        &self,
        simd: S,
        output: &mut [f32],
        threads: &Threads,
    ) {
        let prepare = |input: &[f32]| simd.enter(RoundedRows::<K>(self, input, PhantomData));
        let prepared = self.in_parts(threads, prepare, Prepared::followed_by);
        self.few(simd, &prepared, output, threads);
    }

    /// What is made of all rows, by all threads where there are many; `join` appends the later rows.
    fn in_parts<T: Send>(
        &self,
        threads: &Threads,
        make: impl Fn(&[f32]) -> T + Sync,
        join: impl Fn(T, T) -> T,
    ) -> T {
        let columns = self.weights.columns;
        let rows = self.input.len() / columns;
        if rows < PREPARED_ALONE || threads.count() == 1 {
            return make(self.input);
        }
        // A few parts for each thread, each of whole steps of the kernels.
        let each = rows.div_ceil(4 * threads.count()).next_multiple_of(integer::ROWS);
        let parts: Vec<&[f32]> = self.input.chunks(each * columns).collect();
        let made: Vec<_> = parts.iter().map(|_| Mutex::new(None)).collect();
        threads.split(parts.len(), 1, &|range| {
            for at in range {
                *made[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(make(parts[at]));
            }
        });
        let made = made.into_iter().filter_map(|part| part.into_inner().ok().flatten());
        made.reduce(join).unwrap_or_else(|| make(self.input))
    }

    fn few<S: Simd, K: Kind>(
        &self,
        simd: S,
        prepared: &Prepared<K>,
        output: &mut [f32],
        threads: &Threads,
    ) {
        let rows = self.input.len() / self.weights.columns;
        let output = Output::new(output);
        let Self { weights, gate, .. } = *self;
        Few { weights, gate, prepared, rows, output }.run(simd, threads);
    }

    fn integer<S: Simd>(&self, simd: S, output: &mut [f32], threads: &Threads) {
        let order = |input: &[f32]| simd.enter(OrderedRows(self, input));
        let ordered = self.in_parts(threads, order, Ordered::followed_by);
        let Self { weights, gate, .. } = *self;
        let rows = self.input.len() / weights.columns;
        let output = Output::new(output);
        Integer { weights, gate, ordered: &ordered, rows, output }.run(simd, threads);
    }

    fn many<S: Simd>(&self, simd: S, output: &mut [f32], threads: &Threads) {
        let weights = Matrix::Quantized(*self.weights);
        let gate = self.gate.map(|gate| Matrix::Quantized(*gate));
        let columns = self.weights.columns;
        let input = match self.activations {
            Activations::Exact => Cow::Borrowed(self.input),
            Activations::Int8 => Cow::Owned(self.rounded_values()),
        };
        let panels = Panels::new(&weights, &input, columns, threads);
        let many = Many {
            matrix: &weights,
            gate: gate.as_ref(),
            columns,
            outputs: self.weights.rows,
            panels: &panels,
            output: Output::new(output),
        };
        many.run(simd, threads);
    }

    /// The activations as they are after rounding.
    fn rounded_values(&self) -> Vec<f32> {
        let Weights { columns, block, .. } = *self.weights;
        let rounded = Rounded::new(self.input, columns, block);
        let blocks = columns.div_ceil(block);
        let rows = rounded.levels.chunks_exact(blocks * block);
        let rows = rows.zip(rounded.scales.chunks_exact(blocks));
        let value = |(levels, scales): (&[i8], &[f32])| -> Vec<f32> {
            let levels = levels.iter().take(columns).enumerate();
            levels.map(|(k, &level)| f32::from(level) * scales[k / block]).collect()
        };
        rows.flat_map(value).collect()
    }

    pub(super) fn portable(&self, output: &mut [f32], threads: &Threads) {
        let Self { weights, gate, input, activations } = *self;
        match gate {
            Some(gate) => {
                portable::gated_product(gate, weights, input, output, activations, threads);
            }
            None => portable::product(weights, input, Output::new(output), activations, threads),
        }
    }
}

struct Exact<'a, K>(&'a Fast<'a>, &'a [f32], PhantomData<K>);
struct OrderedRows<'a>(&'a Fast<'a>, &'a [f32]);
struct RoundedRows<'a, K>(&'a Fast<'a>, &'a [f32], PhantomData<K>);

impl<K: Kind<Value = f32>> Kernel<Prepared<K>> for Exact<'_, K> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Prepared<K> {
        Prepared::exact(self.1, self.0.weights.columns, self.0.weights.block)
    }
}

impl<K: Kind<Value = i8>> Kernel<Prepared<K>> for RoundedRows<'_, K> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Prepared<K> {
        Prepared::rounded(self.1, self.0.weights.columns, self.0.weights.block)
    }
}

impl Kernel<Ordered> for OrderedRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Ordered {
        Ordered::new(self.1, self.0.weights.columns, self.0.weights.block)
    }
}

/// A product with a plain matrix `[outputs, columns]`.
pub(super) fn plain_product<S: Simd>(
    simd: S,
    matrix: &Matrix<'_>,
    columns: usize,
    input: &[f32],
    output: &mut [f32],
    threads: &Threads,
) {
    let panels = Panels::new(matrix, input, columns, threads);
    let outputs = output.len() / (input.len() / columns);
    let output = Output::new(output);
    Many { matrix, gate: None, columns, outputs, panels: &panels, output }.run(simd, threads);
}
