//! Lets inner loops use the wide instructions of the processor at hand. The loops are plain Rust;
//! only the promise that the processor has the instructions is not.
#![expect(unsafe_code, reason = "a function for newer processors may run on those alone")]

/// Inner loops. `run` and all that it calls must be `#[inline(always)]`, or they stay slow.
pub(super) trait Loops {
    /// What they give.
    type Output;

    /// Runs them. `FUSED` says that multiply-and-add is one instruction.
    fn run<const FUSED: bool>(self) -> Self::Output;
}

/// Runs loops with the widest instructions that the processor has.
pub(super) fn fast<L: Loops>(loops: L) -> L::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features, which the line above asks it.
        return unsafe { wide(loops) };
    }
    loops.run::<{ cfg!(target_arch = "aarch64") }>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn wide<L: Loops>(loops: L) -> L::Output {
    loops.run::<true>()
}

/// Elements that are worked on side by side.
pub(super) const LANES: usize = 8;

/// Such elements.
pub(super) type Lanes = [f32; LANES];

/// `left * right + sum`.
#[inline(always)]
pub(super) fn multiply_add<const FUSED: bool>(left: f32, right: f32, sum: f32) -> f32 {
    if FUSED { left.mul_add(right, sum) } else { left * right + sum }
}

/// `left * right + sum` in every lane. Whole lanes by value are what the compiler makes one wide
/// instruction of.
#[inline(always)]
pub(super) fn multiply_add_lanes<const FUSED: bool>(
    left: &Lanes,
    right: &Lanes,
    sum: Lanes,
) -> Lanes {
    let mut out = sum;
    for lane in 0..LANES {
        out[lane] = multiply_add::<FUSED>(left[lane], right[lane], sum[lane]);
    }
    out
}

/// The sum of the lanes. Apart from the loops that fill them, lest the compiler takes the order of
/// this sum for the width of those.
#[inline(never)]
pub(super) fn total(lanes: &Lanes) -> f32 {
    let [a, b, c, d, e, f, g, h] = *lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
