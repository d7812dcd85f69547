//! An output that several threads write at once. Every element is an atomic of its own, which costs
//! a plain store and makes it impossible to have a data race, whatever the threads do.
#![expect(unsafe_code, reason = "the standard library has no stable cast from a slice to atomics")]

use std::sync::atomic::{AtomicU32, Ordering};

/// A `[f32]` whose elements can be set through a shared reference.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a>(&'a [AtomicU32]);

impl<'a> Output<'a> {
    #[inline]
    pub(crate) fn new(elements: &'a mut [f32]) -> Self {
        let length = elements.len();
        let first = elements.as_mut_ptr().cast::<AtomicU32>();
        // SAFETY: f32 and AtomicU32 have the same size and alignment, every bit pattern is valid for
        // both, and the exclusive borrow of `elements` lasts as long as the shared one made here.
        Self(unsafe { std::slice::from_raw_parts(first, length) })
    }

    /// Writes `values` from `first` on; what lies behind the end is left out.
    #[inline]
    pub(crate) fn set(self, first: usize, values: &[f32]) {
        let Some(places) = self.0.get(first..) else { return };
        for (place, value) in places.iter().zip(values) {
            place.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}
