//! The numbers of tests.

/// Random numbers, good enough to tell places from one another.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// The next number, below 2^31.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        self.0 >> 33
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// So many numbers between -1 and 1.
    pub(crate) fn floats(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| (self.next() % 4001) as f32 / 2000.0 - 1.0).collect()
    }
}
