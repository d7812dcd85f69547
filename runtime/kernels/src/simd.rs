//! Eight numbers side by side: the few operations that every kernel is made of, as safe methods of a
//! value that exists only where the processor has the instructions. The kernels are written once
//! above this and compiled for each kind of processor.
//!
//! Everything on the way from [`Simd::enter`] to a method must be inlined, or it would be compiled
//! without the instructions, twenty times slower and with the same results: hence `#[inline(always)]`
//! and plain loops in all kernels, and no closures.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

use half::f16;

/// Lanes of a vector.
pub(crate) const LANES: usize = 8;
/// Bytes of weights that a method reads at once.
pub(crate) const UNIT: usize = 32;

/// Code to be compiled for the instructions of a processor.
pub(crate) trait Kernel<R = ()> {
    /// Runs it; must be `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> R;
}

/// The instructions of a processor, proven to be there by the existence of a value.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Eight f32.
    type F: Copy;

    /// Compiles `kernel` for this processor and runs it.
    fn enter<R, K: Kernel<R>>(self, kernel: K) -> R;

    fn splat(self, value: f32) -> Self::F;
    fn load(self, from: &[f32; LANES]) -> Self::F;
    fn load_half(self, from: &[f16; LANES]) -> Self::F;
    fn store(self, lanes: Self::F, into: &mut [f32; LANES]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger one; where one is not a number, either.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// a * b + c in one rounding.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// c - a * b in one rounding.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `value` in the lanes where `x` is greater than `limit`, else 0.
    fn where_above(self, x: Self::F, limit: Self::F, value: Self::F) -> Self::F;
    /// `value` times two to the power of the integer in the low bits of `power`.
    fn shift_exponent(self, value: Self::F, power: Self::F) -> Self::F;

    /// The eight sums of neighbouring pairs of `a`, then `b`.
    fn pairs(self, a: Self::F, b: Self::F) -> Self::F;

    /// The eight sums of neighbouring pairs of pairs of `a`, then `b`, `c` and `d`.
    #[inline(always)]
    fn fours(self, a: Self::F, b: Self::F, c: Self::F, d: Self::F) -> Self::F {
        self.pairs(self.pairs(a, b), self.pairs(c, d))
    }

    /// The eight numbers of 4 bits in a word, the lowest bits of the first byte first.
    fn nibbles_of_word(self, word: &[u8; 4]) -> Self::F;
    /// The eight bytes of a word.
    fn bytes_of_word(self, word: &[u8; 8]) -> Self::F;
    /// 64 levels of 4 bits; lane j of vector i is element 8 j + i.
    fn nibbles(self, levels: &[u8; UNIT]) -> [Self::F; 8];
    /// 32 levels of 8 bits; lane j of vector i is element 4 j + i.
    fn bytes(self, levels: &[u8; UNIT]) -> [Self::F; 4];

    /// Lane j is the sum over elements 8 j to 8 j + 7 of level times rounded activation; `rounded` has
    /// the 32 elements with even index, then the 32 others.
    fn nibbles_dot(self, levels: &[u8; UNIT], rounded: &[i8; 64]) -> Self::F;
    /// Lane j is the sum over elements 32 j to 32 j + 31 of level times rounded activation, over four
    /// units side by side; each as in [`Simd::nibbles_dot`].
    #[inline(always)]
    fn nibbles_dots(self, levels: [&[u8; UNIT]; 4], rounded: [&[i8; 64]; 4]) -> Self::F {
        self.fours(
            self.nibbles_dot(levels[0], rounded[0]),
            self.nibbles_dot(levels[1], rounded[1]),
            self.nibbles_dot(levels[2], rounded[2]),
            self.nibbles_dot(levels[3], rounded[3]),
        )
    }

    /// Lane j is the sum over elements 4 j to 4 j + 3 of (level - 128) times rounded activation.
    fn bytes_dot(self, levels: &[u8; UNIT], rounded: &[i8; UNIT]) -> Self::F;
    /// For `ROWS` rows of activations: lane n is the sum over the steps s and i below 4 of
    /// levels[s][4 n + i] * rounded[s][i], the latter read as i8. Levels are below 16, and there are
    /// no more than eight steps.
    fn steps<const ROWS: usize, const STEPS: usize>(
        self,
        levels: &[[u8; UNIT]; STEPS],
        rounded: [&[[u8; 4]; STEPS]; ROWS],
    ) -> [Self::F; ROWS];

    /// Asks for the memory at an offset behind `bytes` to be read soon; it may lie outside.
    fn prefetch(self, bytes: &[u8; UNIT], offset: usize);

    /// Lane j is the sum of all lanes of `all[j]`.
    #[inline(always)]
    fn sums(self, all: [Self::F; LANES]) -> Self::F {
        let [a, b, c, d, e, f, g, h] = all;
        self.pairs(self.fours(a, b, c, d), self.fours(e, f, g, h))
    }

    /// e to the power of each lane, to about 1e-7 of it; zero below the smallest normal number and
    /// where a lane is not a number.
    #[inline(always)]
    fn exp(self, x: Self::F) -> Self::F {
        const LARGEST: f32 = 88.0;
        const SMALLEST: f32 = -87.0;
        // Adding it leaves the nearest integer in the low bits of the mantissa.
        const ROUND: f32 = 12_582_912.0;
        // ln 2 in two parts, the first of which has few bits.
        const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
        // Taylor's series of e^r, |r| <= ln 2 / 2.
        const TERMS: [f32; 7] =
            [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
        let negative = self.splat(-1.0);
        let smallest = self.splat(SMALLEST);
        let bounded = self.max(x, smallest);
        let bounded = self.mul(bounded, negative);
        let bounded = self.mul(self.max(bounded, self.splat(-LARGEST)), negative);
        let power = self.fma(bounded, self.splat(std::f32::consts::LOG2_E), self.splat(ROUND));
        let whole = self.add(power, self.splat(-ROUND));
        let rest = self.fnma(whole, self.splat(LN_2[0]), bounded);
        let rest = self.fnma(whole, self.splat(LN_2[1]), rest);
        let mut series = self.splat(TERMS[0]);
        for term in &TERMS[1..] {
            series = self.fma(series, rest, self.splat(*term));
        }
        let series = self.fma(series, rest, self.splat(1.0));
        self.where_above(x, smallest, self.shift_exponent(series, power))
    }
}

/// Writes half precision numbers in single precision; lengths are the same.
#[inline(always)]
pub(crate) fn widen<S: Simd>(simd: S, from: &[f16], into: &mut [f32]) {
    let (from, from_rest) = from.as_chunks();
    let (into, into_rest) = into.as_chunks_mut();
    for (from, into) in from.iter().zip(into) {
        simd.store(simd.load_half(from), into);
    }
    for (from, into) in from_rest.iter().zip(into_rest) {
        *into = from.to_f32();
    }
}
