//! The gate's function: GELU in its approximation by tanh, as Gemma uses it.

use crate::simd::Simd;

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + (SQRT_2_OVER_PI * (x + CUBIC * x * x * x)).tanh())
}

/// The same for eight numbers, as x / (1 + e^(-2 t)), t being the argument of tanh above.
#[inline(always)]
pub(crate) fn gelu_lanes<S: Simd>(simd: S, x: S::F) -> S::F {
    let square = simd.mul(x, x);
    let factor = simd.fma(square, simd.splat(CUBIC), simd.splat(1.0));
    let t = simd.mul(simd.mul(x, factor), simd.splat(-2.0 * SQRT_2_OVER_PI));
    simd.div(x, simd.add(simd.splat(1.0), simd.exp(t)))
}
