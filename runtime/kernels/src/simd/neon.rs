//! NEON, which every 64-bit ARM processor has, and with it the dot product of bytes where that is
//! there (Cortex-A75 and A55 of 2017 and later, so not the Raspberry Pi 4, but the 5), or the product
//! of small matrices of bytes (Neoverse V1, Cortex-A510 and A710 of 2021 and later).
#![expect(unsafe_code, reason = "instructions that the compiler does not choose by itself")]

use std::arch::{aarch64::*, asm, is_aarch64_feature_detected};

use half::f16;

use super::{Kernel, LANES, Simd, UNIT};

/// No products of bytes but the base ones.
pub(crate) const PLAIN: u8 = 0;
/// The dot product of bytes.
pub(crate) const DOTS: u8 = 1;
/// That and the product of matrices of 2 x 8 bytes.
pub(crate) const MATRICES: u8 = 2;

/// NEON; `DOT` proves which products of bytes are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon<const DOT: u8>(());

impl Neon<PLAIN> {
    /// What every processor has.
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl Neon<DOTS> {
    /// A value, if this processor has the dot product.
    pub(crate) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("dotprod").then_some(Self(()))
    }
}

impl Neon<MATRICES> {
    /// A value, if this processor has both.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_aarch64_feature_detected!("dotprod") && is_aarch64_feature_detected!("i8mm");
        found.then_some(Self(()))
    }
}

impl<const DOT: u8> Neon<DOT> {
    /// The same with the base products of bytes only.
    pub(crate) fn plain(self) -> Neon<PLAIN> {
        Neon(())
    }
}

/// Eight f32 in two registers.
type Eight = (float32x4_t, float32x4_t);

// SAFETY of every block below: NEON is part of the target, a value of `Neon` proves that the products
// of `DOT` are there, and memory is only touched through references to arrays of exactly the length
// that an instruction reads or writes.
impl<const DOT: u8> Simd for Neon<DOT> {
    type F = Eight;

    #[inline(always)]
    fn enter<R, K: Kernel<R>>(self, kernel: K) -> R {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Eight {
        // SAFETY: see above.
        unsafe { (vdupq_n_f32(value), vdupq_n_f32(value)) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Eight {
        // SAFETY: see above.
        unsafe { (vld1q_f32(from.as_ptr()), vld1q_f32(from.as_ptr().add(4))) }
    }

    #[inline(always)]
    fn load_half(self, from: &[f16; LANES]) -> Eight {
        // SAFETY: see above; f16 is sixteen bits without more. The standard library has the type of
        // these instructions only since 1.94, which is newer than what we promise.
        unsafe {
            let halves = vld1q_u16(from.as_ptr().cast());
            let (low, high): (float32x4_t, float32x4_t);
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) low, in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags));
            asm!("fcvtl2 {0:v}.4s, {1:v}.8h", out(vreg) high, in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags));
            (low, high)
        }
    }

    #[inline(always)]
    fn store(self, lanes: Eight, into: &mut [f32; LANES]) {
        // SAFETY: see above.
        unsafe {
            vst1q_f32(into.as_mut_ptr(), lanes.0);
            vst1q_f32(into.as_mut_ptr().add(4), lanes.1);
        }
    }

    #[inline(always)]
    fn add(self, a: Eight, b: Eight) -> Eight {
        // SAFETY: see above.
        unsafe { (vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul(self, a: Eight, b: Eight) -> Eight {
        // SAFETY: see above.
        unsafe { (vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn div(self, a: Eight, b: Eight) -> Eight {
        // SAFETY: see above.
        unsafe { (vdivq_f32(a.0, b.0), vdivq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn max(self, a: Eight, b: Eight) -> Eight {
        // SAFETY: see above.
        unsafe { (vmaxnmq_f32(a.0, b.0), vmaxnmq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn fma(self, a: Eight, b: Eight, c: Eight) -> Eight {
        // SAFETY: see above.
        unsafe { (vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }

    #[inline(always)]
    fn fnma(self, a: Eight, b: Eight, c: Eight) -> Eight {
        // SAFETY: see above.
        unsafe { (vfmsq_f32(c.0, a.0, b.0), vfmsq_f32(c.1, a.1, b.1)) }
    }

    #[inline(always)]
    fn where_above(self, x: Eight, limit: Eight, value: Eight) -> Eight {
        // SAFETY: see above.
        unsafe {
            let low = vandq_u32(vcgtq_f32(x.0, limit.0), vreinterpretq_u32_f32(value.0));
            let high = vandq_u32(vcgtq_f32(x.1, limit.1), vreinterpretq_u32_f32(value.1));
            (vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high))
        }
    }

    #[inline(always)]
    fn shift_exponent(self, value: Eight, power: Eight) -> Eight {
        (shift_four(value.0, power.0), shift_four(value.1, power.1))
    }

    #[inline(always)]
    fn pairs(self, a: Eight, b: Eight) -> Eight {
        // SAFETY: see above.
        unsafe { (vpaddq_f32(a.0, a.1), vpaddq_f32(b.0, b.1)) }
    }

    #[inline(always)]
    fn nibbles_of_word(self, word: &[u8; 4]) -> Eight {
        const SHIFTS: [[i32; 4]; 2] = [[0, -4, -8, -12], [-16, -20, -24, -28]];
        // SAFETY: see above.
        unsafe {
            let (word, low) = (vdupq_n_u32(u32::from_le_bytes(*word)), vdupq_n_u32(15));
            let first = vshlq_u32(word, vld1q_s32(SHIFTS[0].as_ptr()));
            let second = vshlq_u32(word, vld1q_s32(SHIFTS[1].as_ptr()));
            (vcvtq_f32_u32(vandq_u32(first, low)), vcvtq_f32_u32(vandq_u32(second, low)))
        }
    }

    #[inline(always)]
    fn bytes_of_word(self, word: &[u8; 8]) -> Eight {
        // SAFETY: see above.
        unsafe {
            let wide = vmovl_u8(vld1_u8(word.as_ptr()));
            let low = vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide)));
            (low, vcvtq_f32_u32(vmovl_high_u16(wide)))
        }
    }

    #[inline(always)]
    fn nibbles(self, levels: &[u8; UNIT]) -> [Eight; 8] {
        // SAFETY: see above.
        unsafe {
            let low = vreinterpretq_u32_u8(vld1q_u8(levels.as_ptr()));
            let high = vreinterpretq_u32_u8(vld1q_u8(levels.as_ptr().add(16)));
            let mut all = [self.splat(0.0); 8];
            let mask = vdupq_n_u32(15);
            for (part, place) in all.iter_mut().enumerate() {
                let shift = vdupq_n_s32(-4 * part as i32);
                let low = vandq_u32(vshlq_u32(low, shift), mask);
                let high = vandq_u32(vshlq_u32(high, shift), mask);
                *place = (vcvtq_f32_u32(low), vcvtq_f32_u32(high));
            }
            all
        }
    }

    #[inline(always)]
    fn bytes(self, levels: &[u8; UNIT]) -> [Eight; 4] {
        // SAFETY: see above.
        unsafe {
            let low = vreinterpretq_u32_u8(vld1q_u8(levels.as_ptr()));
            let high = vreinterpretq_u32_u8(vld1q_u8(levels.as_ptr().add(16)));
            let mut all = [self.splat(0.0); 4];
            let mask = vdupq_n_u32(255);
            for (part, place) in all.iter_mut().enumerate() {
                let shift = vdupq_n_s32(-8 * part as i32);
                let low = vandq_u32(vshlq_u32(low, shift), mask);
                let high = vandq_u32(vshlq_u32(high, shift), mask);
                *place = (vcvtq_f32_u32(low), vcvtq_f32_u32(high));
            }
            all
        }
    }

    #[inline(always)]
    fn nibbles_dot(self, levels: &[u8; UNIT], rounded: &[i8; 64]) -> Eight {
        // SAFETY: see above.
        unsafe {
            let mut sums = [vdupq_n_s32(0); 2];
            for (half, sums) in sums.iter_mut().enumerate() {
                let levels = vld1q_u8(levels.as_ptr().add(16 * half));
                let low = vreinterpretq_s8_u8(vandq_u8(levels, vdupq_n_u8(15)));
                let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(levels));
                let even = vld1q_s8(rounded.as_ptr().add(16 * half));
                let odd = vld1q_s8(rounded.as_ptr().add(UNIT + 16 * half));
                *sums = fours::<DOT>(fours::<DOT>(*sums, low, even), high, odd);
            }
            (vcvtq_f32_s32(sums[0]), vcvtq_f32_s32(sums[1]))
        }
    }

    #[inline(always)]
    fn bytes_dot(self, levels: &[u8; UNIT], rounded: &[i8; UNIT]) -> Eight {
        // SAFETY: see above.
        unsafe {
            let mut sums = [vdupq_n_s32(0); 2];
            for (half, sums) in sums.iter_mut().enumerate() {
                let levels = veorq_u8(vld1q_u8(levels.as_ptr().add(16 * half)), vdupq_n_u8(128));
                let rounded = vld1q_s8(rounded.as_ptr().add(16 * half));
                *sums = fours::<DOT>(*sums, vreinterpretq_s8_u8(levels), rounded);
            }
            (vcvtq_f32_s32(sums[0]), vcvtq_f32_s32(sums[1]))
        }
    }

    #[inline(always)]
    fn steps<const ROWS: usize, const STEPS: usize>(
        self,
        levels: &[[u8; UNIT]; STEPS],
        rounded: [&[[u8; 4]; STEPS]; ROWS],
    ) -> [Eight; ROWS] {
        // SAFETY: see above.
        unsafe {
            if DOT == MATRICES && ROWS.is_multiple_of(2) && STEPS.is_multiple_of(2) {
                return matrices(levels, rounded);
            }
            let mut sums = [[vdupq_n_s32(0); 2]; ROWS];
            for (step, levels) in levels.iter().enumerate() {
                let low = vreinterpretq_s8_u8(vld1q_u8(levels.as_ptr()));
                let high = vreinterpretq_s8_u8(vld1q_u8(levels.as_ptr().add(16)));
                for row in 0..ROWS {
                    let four = vdupq_n_s32(i32::from_ne_bytes(rounded[row][step]));
                    let four = vreinterpretq_s8_s32(four);
                    sums[row][0] = fours::<DOT>(sums[row][0], low, four);
                    sums[row][1] = fours::<DOT>(sums[row][1], high, four);
                }
            }
            let mut floats = [self.splat(0.0); ROWS];
            for row in 0..ROWS {
                floats[row] = (vcvtq_f32_s32(sums[row][0]), vcvtq_f32_s32(sums[row][1]));
            }
            floats
        }
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8; UNIT], offset: usize) {
        // SAFETY: see above; asking for memory in advance never faults.
        unsafe {
            asm!("prfm pldl1keep, [{0}]", in(reg) bytes.as_ptr().wrapping_add(offset),
                options(readonly, nostack, preserves_flags));
        }
    }
}

#[inline(always)]
fn shift_four(value: float32x4_t, power: float32x4_t) -> float32x4_t {
    // SAFETY: NEON is part of the target.
    unsafe {
        let power = vshlq_n_s32::<23>(vreinterpretq_s32_f32(power));
        vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(value), power))
    }
}

/// Adds to lane j the products of bytes 4 j to 4 j + 3.
///
/// # Safety
/// `DOT` only where the processor has the dot product.
#[inline(always)]
unsafe fn fours<const DOT: u8>(sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: NEON is part of the target; the caller answers for the dot product, which the standard
    // library has no stable function for.
    unsafe {
        if DOT != PLAIN {
            let mut sums = sums;
            asm!(".arch_extension dotprod", "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sums, in(vreg) a, in(vreg) b,
                options(pure, nomem, nostack, preserves_flags));
            return sums;
        }
        let low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        let high = vpaddlq_s16(vmull_high_s8(a, b));
        vaddq_s32(sums, vpaddq_s32(low, high))
    }
}

/// [`Simd::steps`], two steps and two rows of activations at a time: these are a matrix of 2 x 8 bytes,
/// and so are two rows of weights.
///
/// # Safety
/// The processor must have the product of matrices.
#[inline(always)]
unsafe fn matrices<const ROWS: usize, const STEPS: usize>(
    levels: &[[u8; UNIT]; STEPS],
    rounded: [&[[u8; 4]; STEPS]; ROWS],
) -> [Eight; ROWS] {
    // SAFETY: the caller answers for the product; memory is touched as above.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 4]; ROWS];
        for step in (0..STEPS).step_by(2) {
            let mut halves = [[vdupq_n_u32(0); 2]; 2];
            for (levels, halves) in levels[step..step + 2].iter().zip(&mut halves) {
                halves[0] = vreinterpretq_u32_u8(vld1q_u8(levels.as_ptr()));
                halves[1] = vreinterpretq_u32_u8(vld1q_u8(levels.as_ptr().add(16)));
            }
            let weights = [
                vzip1q_u32(halves[0][0], halves[1][0]),
                vzip2q_u32(halves[0][0], halves[1][0]),
                vzip1q_u32(halves[0][1], halves[1][1]),
                vzip2q_u32(halves[0][1], halves[1][1]),
            ];
            for pair in 0..ROWS / 2 {
                let mut rows = [0; 2];
                for row in 0..2 {
                    let eight = rounded[2 * pair + row].as_flattened().as_chunks().0[step / 2];
                    rows[row] = u64::from_ne_bytes(eight);
                }
                let rows = vcombine_u64(vcreate_u64(rows[0]), vcreate_u64(rows[1]));
                for two in 0..4 {
                    asm!(".arch_extension i8mm", "smmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
                        inout(vreg) sums[pair][two], in(vreg) rows, in(vreg) weights[two],
                        options(pure, nomem, nostack, preserves_flags));
                }
            }
        }
        let zeros = vdupq_n_f32(0.0);
        let mut floats = [(zeros, zeros); ROWS];
        for pair in 0..ROWS / 2 {
            let mut wide = [vdupq_n_s64(0); 4];
            for two in 0..4 {
                wide[two] = vreinterpretq_s64_s32(sums[pair][two]);
            }
            let low = [vzip1q_s64(wide[0], wide[1]), vzip1q_s64(wide[2], wide[3])];
            let high = [vzip2q_s64(wide[0], wide[1]), vzip2q_s64(wide[2], wide[3])];
            for (row, [first, last]) in [low, high].into_iter().enumerate() {
                let first = vcvtq_f32_s32(vreinterpretq_s32_s64(first));
                floats[2 * pair + row] = (first, vcvtq_f32_s32(vreinterpretq_s32_s64(last)));
            }
        }
        floats
    }
}
