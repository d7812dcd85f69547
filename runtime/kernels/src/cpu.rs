//! What this processor can do, and which version of each computation therefore runs.

use std::sync::OnceLock;

use crate::simd::Simd;
#[cfg(target_arch = "x86_64")]
use crate::simd::avx2::{Avx2, PLAIN, VNNI, VNNI_512};
#[cfg(target_arch = "aarch64")]
use crate::simd::neon::{DOTS, MATRICES, Neon, PLAIN};

/// The variable of the environment that chooses a version: `portable`, or the one without the dot
/// product of bytes, `avx2` or on ARM `neon`. It is read once.
pub const FORCE: &str = "GEMMAD_KERNELS";

/// A computation in its versions.
pub(crate) trait Versions {
    /// For any processor.
    fn portable(self);
    /// With vector instructions.
    fn fast<S: Simd>(self, simd: S);
}

/// Each computation with the name of the version that runs on this processor.
pub fn paths() -> Vec<(&'static str, &'static str)> {
    let name = chosen().name();
    ["product", "gated product", "attention"].map(|computation| (computation, name)).into()
}

/// Runs the best version for this processor of what multiplies no bytes.
pub(crate) fn run(versions: impl Versions) {
    match chosen() {
        Path::Portable => versions.portable(),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2(simd) => versions.fast(simd),
        #[cfg(target_arch = "x86_64")]
        Path::Vnni(simd) => versions.fast(simd.plain()),
        #[cfg(target_arch = "x86_64")]
        Path::Vnni512(simd) => versions.fast(simd.plain()),
        #[cfg(target_arch = "aarch64")]
        Path::Neon(simd) => versions.fast(simd),
        #[cfg(target_arch = "aarch64")]
        Path::DotProduct(simd) => versions.fast(simd.plain()),
        #[cfg(target_arch = "aarch64")]
        Path::Matrices(simd) => versions.fast(simd.plain()),
    }
}

/// Runs the best version for this processor of what multiplies bytes; every kind of instructions for
/// that is compiled by itself.
pub(crate) fn run_in_bytes(versions: impl Versions) {
    match chosen() {
        Path::Portable => versions.portable(),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2(simd) => versions.fast(simd),
        #[cfg(target_arch = "x86_64")]
        Path::Vnni(simd) => versions.fast(simd),
        #[cfg(target_arch = "x86_64")]
        Path::Vnni512(simd) => versions.fast(simd),
        #[cfg(target_arch = "aarch64")]
        Path::Neon(simd) => versions.fast(simd),
        #[cfg(target_arch = "aarch64")]
        Path::DotProduct(simd) => versions.fast(simd),
        #[cfg(target_arch = "aarch64")]
        Path::Matrices(simd) => versions.fast(simd),
    }
}

/// A kind of processor that there is a version for.
#[derive(Debug, Clone, Copy)]
enum Path {
    /// Any processor.
    Portable,
    /// x86 with AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2<PLAIN>),
    /// The same with the dot product of bytes in AVX.
    #[cfg(target_arch = "x86_64")]
    Vnni(Avx2<VNNI>),
    /// The same with the dot product of bytes in AVX-512.
    #[cfg(target_arch = "x86_64")]
    Vnni512(Avx2<VNNI_512>),
    /// Any 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon<PLAIN>),
    /// 64-bit ARM with the dot product of bytes.
    #[cfg(target_arch = "aarch64")]
    DotProduct(Neon<DOTS>),
    /// 64-bit ARM with that and the product of matrices of bytes.
    #[cfg(target_arch = "aarch64")]
    Matrices(Neon<MATRICES>),
}

fn chosen() -> Path {
    static CHOSEN: OnceLock<Path> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let forced = std::env::var_os(FORCE);
        let forced = forced.as_ref().and_then(|forced| forced.to_str()).unwrap_or_default();
        if forced == "portable" { Path::Portable } else { detect(forced) }
    })
}

#[cfg(target_arch = "x86_64")]
fn detect(forced: &str) -> Path {
    let plain = || Avx2::<PLAIN>::detect().map_or(Path::Portable, Path::Avx2);
    let vnni = || Avx2::<VNNI>::detect().map(Path::Vnni);
    let vnni_512 = || Avx2::<VNNI_512>::detect().map(Path::Vnni512);
    if forced == "avx2" { plain() } else { vnni().or_else(vnni_512).unwrap_or_else(plain) }
}

#[cfg(target_arch = "aarch64")]
fn detect(forced: &str) -> Path {
    let plain = || Path::Neon(Neon::<PLAIN>::new());
    let dots = || Neon::<DOTS>::detect().map(Path::DotProduct);
    let matrices = || Neon::<MATRICES>::detect().map(Path::Matrices);
    if forced == "neon" { plain() } else { matrices().or_else(dots).unwrap_or_else(plain) }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect(_forced: &str) -> Path {
    Path::Portable
}

impl Path {
    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => "avx2 with vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Vnni512(_) => "avx2 with vnni of avx-512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::DotProduct(_) => "neon with dot product",
            #[cfg(target_arch = "aarch64")]
            Self::Matrices(_) => "neon with matrices of bytes",
        }
    }
}
