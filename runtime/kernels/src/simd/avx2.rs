//! AVX2 with FMA and F16C: every x86 processor since about 2013 (Intel) and 2015 (AMD) that is not of
//! the smallest kind; and with it the dot product of bytes (VNNI), in either of the two forms in which
//! processors have it: with AVX (Alder Lake and its small kin such as the N100, Zen 5) or with AVX-512
//! (Cascade Lake, Zen 4).
#![expect(unsafe_code, reason = "instructions that the compiler does not choose by itself")]

use std::arch::x86_64::*;

use half::f16;

use super::{Kernel, LANES, Simd, UNIT};

/// No dot product of bytes.
pub(crate) const PLAIN: u8 = 0;
/// The dot product of bytes as an instruction of AVX.
pub(crate) const VNNI: u8 = 1;
/// The dot product of bytes as an instruction of AVX-512, on registers of AVX.
pub(crate) const VNNI_512: u8 = 2;

/// Proof that AVX2, FMA and F16C are there, and the dot product of bytes in the form of `DOT`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2<const DOT: u8>(());

impl Avx2<PLAIN> {
    /// A value, if this processor has the instructions.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }
}

impl Avx2<VNNI> {
    /// A value, if this processor has the instructions and they give what they should.
    pub(crate) fn detect() -> Option<Self> {
        let plain = Avx2::<PLAIN>::detect()?;
        let found = is_x86_feature_detected!("avxvnni").then_some(Self(()));
        found.filter(|simd| simd.agrees_with(plain))
    }
}

impl Avx2<VNNI_512> {
    /// A value, if this processor has the instructions and they give what they should.
    pub(crate) fn detect() -> Option<Self> {
        let plain = Avx2::<PLAIN>::detect()?;
        let found = is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512vnni");
        found.then_some(Self(())).filter(|simd| simd.agrees_with(plain))
    }
}

impl<const DOT: u8> Avx2<DOT> {
    /// The same without a dot product.
    pub(crate) fn plain(self) -> Avx2<PLAIN> {
        Avx2(())
    }

    /// Whether the dot products are those of AVX2 alone. No machine that this was developed on has
    /// the instructions: so they are tried before they are used.
    fn agrees_with(self, plain: Avx2<PLAIN>) -> bool {
        let steps = self.enter(Probe);
        let expected = plain.enter(Probe);
        steps == expected
    }
}

/// One of each kind of dot product, of the largest numbers and of many others.
struct Probe;

impl Kernel<[[f32; LANES]; 3]> for Probe {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [[f32; LANES]; 3] {
        let mut levels = [[0; UNIT]; 8];
        let mut rounded = [[0; 4]; 8];
        let mut order = [0_i8; 64];
        for at in 0..64_u8 {
            let (step, place) = (usize::from(at / 8), usize::from(at % 8));
            for lane in 0..4 {
                levels[step][4 * place + lane] = at.wrapping_mul(7 + lane as u8) % 16;
            }
            rounded[step][place % 4] = if at % 3 == 0 { 129 } else { at.wrapping_mul(37) };
            order[usize::from(at)] = if at % 5 == 0 { -127 } else { at.wrapping_mul(91) as i8 };
        }
        let [sums] = simd.steps(&levels, [&rounded]);
        let dot = simd.nibbles_dot(&[0xf3; UNIT], &order);
        let all = [&levels[1], &levels[3], &[0xff; UNIT], &[0x70; UNIT]];
        let mut stored = [[0.0; LANES]; 3];
        simd.store(sums, &mut stored[0]);
        simd.store(dot, &mut stored[1]);
        simd.store(simd.nibbles_dots(all, [&order; 4]), &mut stored[2]);
        stored
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn enter<const DOT: u8, R, K: Kernel<R>>(simd: Avx2<DOT>, kernel: K) -> R {
    kernel.run(simd)
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn enter_vnni<const DOT: u8, R, K: Kernel<R>>(simd: Avx2<DOT>, kernel: K) -> R {
    kernel.run(simd)
}

#[target_feature(enable = "avx2,fma,f16c,avx512vl,avx512vnni")]
fn enter_vnni_512<const DOT: u8, R, K: Kernel<R>>(simd: Avx2<DOT>, kernel: K) -> R {
    kernel.run(simd)
}

// SAFETY of every block below: a value of `Avx2` proves that the processor has the instructions, with
// the dot product in the form of `DOT`, and memory is only touched through references to arrays of
// exactly the length that an instruction reads or writes; all of these allow any alignment.
impl<const DOT: u8> Simd for Avx2<DOT> {
    type F = __m256;

    #[inline(always)]
    fn enter<R, K: Kernel<R>>(self, kernel: K) -> R {
        // SAFETY: see above.
        unsafe {
            match DOT {
                VNNI => enter_vnni(self, kernel),
                VNNI_512 => enter_vnni_512(self, kernel),
                _ => enter(self, kernel),
            }
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_half(self, from: &[f16; LANES]) -> __m256 {
        // SAFETY: see above; f16 is sixteen bits without more.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store(self, lanes: __m256, into: &mut [f32; LANES]) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(into.as_mut_ptr(), lanes) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn fnma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn where_above(self, x: __m256, limit: __m256, value: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, limit), value) }
    }

    #[inline(always)]
    fn shift_exponent(self, value: __m256, power: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let power = _mm256_slli_epi32::<23>(_mm256_castps_si256(power));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), power))
        }
    }

    #[inline(always)]
    fn pairs(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above. The addition works in halves; the permutation puts them in order.
        unsafe {
            let halves = _mm256_castps_pd(_mm256_hadd_ps(a, b));
            _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(halves))
        }
    }

    #[inline(always)]
    fn fours(self, a: __m256, b: __m256, c: __m256, d: __m256) -> __m256 {
        // SAFETY: see above. As above, with one permutation for all.
        unsafe {
            let halves = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            _mm256_permutevar8x32_ps(halves, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
        }
    }

    #[inline(always)]
    fn nibbles_of_word(self, word: &[u8; 4]) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
            let word = _mm256_set1_epi32(i32::from_le_bytes(*word));
            let shifted = _mm256_srlv_epi32(word, shifts);
            _mm256_cvtepi32_ps(_mm256_and_si256(shifted, _mm256_set1_epi32(15)))
        }
    }

    #[inline(always)]
    fn bytes_of_word(self, word: &[u8; 8]) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let word = _mm_set1_epi64x(i64::from_le_bytes(*word));
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(word))
        }
    }

    #[inline(always)]
    fn nibbles(self, levels: &[u8; UNIT]) -> [__m256; 8] {
        // SAFETY: see above.
        unsafe {
            let all = _mm256_loadu_si256(levels.as_ptr().cast());
            let low = _mm256_set1_epi32(15);
            [
                _mm256_cvtepi32_ps(_mm256_and_si256(all, low)),
                _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<4>(all), low)),
                _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<8>(all), low)),
                _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<12>(all), low)),
                _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<16>(all), low)),
                _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<20>(all), low)),
                _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<24>(all), low)),
                _mm256_cvtepi32_ps(_mm256_srli_epi32::<28>(all)),
            ]
        }
    }

    #[inline(always)]
    fn bytes(self, levels: &[u8; UNIT]) -> [__m256; 4] {
        // SAFETY: see above.
        unsafe {
            let all = _mm256_loadu_si256(levels.as_ptr().cast());
            let low = _mm256_set1_epi32(255);
            [
                _mm256_cvtepi32_ps(_mm256_and_si256(all, low)),
                _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<8>(all), low)),
                _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<16>(all), low)),
                _mm256_cvtepi32_ps(_mm256_srli_epi32::<24>(all)),
            ]
        }
    }

    #[inline(always)]
    fn nibbles_dot(self, levels: &[u8; UNIT], rounded: &[i8; 64]) -> __m256 {
        // SAFETY: see above.
        unsafe {
            if DOT == PLAIN {
                let fours = fours(levels, rounded);
                return _mm256_cvtepi32_ps(_mm256_madd_epi16(fours, _mm256_set1_epi16(1)));
            }
            _mm256_cvtepi32_ps(eights_of::<DOT>(levels, rounded))
        }
    }

    #[inline(always)]
    fn nibbles_dots(self, levels: [&[u8; UNIT]; 4], rounded: [&[i8; 64]; 4]) -> __m256 {
        // SAFETY: see above. Sixteen products of at most 15 * 127 still fit into sixteen bits, so that
        // only the last addition widens. Half of a register is a block: first its two halves are
        // added, two blocks in one register, then the halves of these, four blocks in one. The dot
        // product widens at once, and leaves additions of pairs.
        unsafe {
            if DOT != PLAIN {
                let mut dots = [_mm256_setzero_si256(); 4];
                for at in 0..4 {
                    dots[at] = eights_of::<DOT>(levels[at], rounded[at]);
                }
                let halves = _mm256_hadd_epi32(
                    _mm256_hadd_epi32(dots[0], dots[1]),
                    _mm256_hadd_epi32(dots[2], dots[3]),
                );
                let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                return _mm256_cvtepi32_ps(_mm256_permutevar8x32_epi32(halves, order));
            }
            let a = fours(levels[0], rounded[0]);
            let b = fours(levels[1], rounded[1]);
            let c = fours(levels[2], rounded[2]);
            let d = fours(levels[3], rounded[3]);
            let (ab, cd) = (eights(a, b), eights(c, d));
            let (ab, cd) = (_mm256_castsi256_ps(ab), _mm256_castsi256_ps(cd));
            let even = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(ab, cd));
            let odd = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(ab, cd));
            let sixteens = _mm256_add_epi16(even, odd);
            let sums = _mm256_madd_epi16(sixteens, _mm256_set1_epi16(1));
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_cvtepi32_ps(_mm256_permutevar8x32_epi32(sums, order))
        }
    }

    #[inline(always)]
    fn bytes_dot(self, levels: &[u8; UNIT], rounded: &[i8; UNIT]) -> __m256 {
        // SAFETY: see above. Both are widened to sixteen bits, even and odd bytes by themselves.
        unsafe {
            let all = _mm256_loadu_si256(levels.as_ptr().cast());
            let all = _mm256_xor_si256(all, _mm256_set1_epi8(i8::MIN));
            let rounded = _mm256_loadu_si256(rounded.as_ptr().cast());
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(all));
            let rounded_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(rounded));
            let evens = _mm256_madd_epi16(even, rounded_even);
            let odd = _mm256_srai_epi16::<8>(all);
            let odds = _mm256_madd_epi16(odd, _mm256_srai_epi16::<8>(rounded));
            _mm256_cvtepi32_ps(_mm256_add_epi32(evens, odds))
        }
    }

    #[inline(always)]
    fn steps<const ROWS: usize, const STEPS: usize>(
        self,
        levels: &[[u8; UNIT]; STEPS],
        rounded: [&[[u8; 4]; STEPS]; ROWS],
    ) -> [__m256; ROWS] {
        // SAFETY: see above. Two products of at most 15 * 127 in each of eight steps fit into sixteen
        // bits.
        unsafe {
            if DOT != PLAIN {
                let mut sums = [_mm256_setzero_si256(); ROWS];
                for step in 0..STEPS {
                    let levels = _mm256_loadu_si256(levels[step].as_ptr().cast());
                    for row in 0..ROWS {
                        let four = _mm256_set1_epi32(i32::from_ne_bytes(rounded[row][step]));
                        sums[row] = dot::<DOT>(sums[row], levels, four);
                    }
                }
                let mut floats = [_mm256_setzero_ps(); ROWS];
                for row in 0..ROWS {
                    floats[row] = _mm256_cvtepi32_ps(sums[row]);
                }
                return floats;
            }
            let mut short = [_mm256_setzero_si256(); ROWS];
            for step in 0..STEPS {
                let levels = _mm256_loadu_si256(levels[step].as_ptr().cast());
                for row in 0..ROWS {
                    let four = _mm256_set1_epi32(i32::from_ne_bytes(rounded[row][step]));
                    let product = _mm256_maddubs_epi16(levels, four);
                    short[row] = _mm256_add_epi16(short[row], product);
                }
            }
            let mut floats = [_mm256_setzero_ps(); ROWS];
            for row in 0..ROWS {
                let wide = _mm256_madd_epi16(short[row], _mm256_set1_epi16(1));
                floats[row] = _mm256_cvtepi32_ps(wide);
            }
            floats
        }
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8; UNIT], offset: usize) {
        // SAFETY: see above; asking for memory in advance never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(offset).cast()) }
    }
}

/// `sums` and in each of eight lanes the four products of unsigned `levels` and signed `rounded`.
///
/// # Safety
/// The processor must have AVX2, and the dot product in the form of `DOT`, which is not [`PLAIN`].
#[inline(always)]
unsafe fn dot<const DOT: u8>(sums: __m256i, levels: __m256i, rounded: __m256i) -> __m256i {
    // SAFETY: the caller answers for the instruction.
    unsafe {
        match DOT {
            VNNI => _mm256_dpbusd_avx_epi32(sums, levels, rounded),
            _ => _mm256_dpbusd_epi32(sums, levels, rounded),
        }
    }
}

/// Eight sums of eight products of levels and activations, in the order of the levels.
///
/// # Safety
/// As of [`dot`].
#[inline(always)]
unsafe fn eights_of<const DOT: u8>(levels: &[u8; UNIT], rounded: &[i8; 64]) -> __m256i {
    // SAFETY: the caller answers for the instructions; both references are as long as what is read.
    unsafe {
        let all = _mm256_loadu_si256(levels.as_ptr().cast());
        let low = _mm256_set1_epi8(15);
        let even = _mm256_loadu_si256(rounded.as_ptr().cast());
        let odd = _mm256_loadu_si256(rounded.as_ptr().add(UNIT).cast());
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(all), low);
        let sums = dot::<DOT>(_mm256_setzero_si256(), _mm256_and_si256(all, low), even);
        dot::<DOT>(sums, high, odd)
    }
}

/// Sixteen sums of four products of levels and activations, in the order of the levels.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn fours(levels: &[u8; UNIT], rounded: &[i8; 64]) -> __m256i {
    // SAFETY: the caller answers for AVX2; both references are as long as what is read.
    unsafe {
        let all = _mm256_loadu_si256(levels.as_ptr().cast());
        let low = _mm256_set1_epi8(15);
        let even = _mm256_loadu_si256(rounded.as_ptr().cast());
        let odd = _mm256_loadu_si256(rounded.as_ptr().add(UNIT).cast());
        let even = _mm256_maddubs_epi16(_mm256_and_si256(all, low), even);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(all), low);
        _mm256_add_epi16(even, _mm256_maddubs_epi16(high, odd))
    }
}

/// In each half of a register: the sums of the two quarters of `a`, then those of `b`.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn eights(a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the caller answers for AVX2.
    unsafe {
        let crossed = _mm256_alignr_epi8::<8>(b, a);
        _mm256_add_epi16(crossed, _mm256_blend_epi32::<0b1100_1100>(a, b))
    }
}
