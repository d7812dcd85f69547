//! Activations rounded to 8 bits: symmetric, one scale for each block of the weights' block size, as
//! `accuracy_level` 4 of `MatMulNBits` does it.

/// Rounded rows: value = level * scale of its block.
pub(crate) struct Rounded {
    /// `[rows, blocks * block]` i8 from -127 to 127; what lies behind `columns` is zero.
    pub(crate) levels: Vec<i8>,
    /// `[rows, blocks]`.
    pub(crate) scales: Vec<f32>,
}

impl Rounded {
    /// Rounds `[rows, columns]` f32; both `columns` and `block` are more than zero.
    #[inline(always)]
    pub(crate) fn new(input: &[f32], columns: usize, block: usize) -> Self {
        let blocks = columns.div_ceil(block);
        let rows = input.len() / columns;
        let mut levels = vec![0; rows * blocks * block];
        let mut scales = vec![0.0; rows * blocks];
        for row in 0..rows {
            let values = &input[row * columns..][..columns];
            let levels = &mut levels[row * blocks * block..][..blocks * block];
            for index in 0..blocks {
                let values = &values[index * block..columns.min((index + 1) * block)];
                let levels = &mut levels[index * block..][..values.len()];
                scales[row * blocks + index] = round(values, levels);
            }
        }
        Self { levels, scales }
    }
}

/// Rounds one block to the nearest level, halves to the even one, and returns the scale: the largest
/// value becomes level 127. What is too small to be told from zero, or not finite, has scale zero.
#[inline(always)]
fn round(values: &[f32], levels: &mut [i8]) -> f32 {
    let largest = largest(values);
    let scale = largest / 127.0;
    if !scale.is_normal() {
        return 0.0;
    }
    // Adding it leaves the nearest integer in the low bits of the mantissa, halves to the even one.
    const ROUND: f32 = 12_582_912.0;
    let inverse = 1.0 / scale;
    for (level, value) in levels.iter_mut().zip(values) {
        *level = (value * inverse + ROUND).to_bits() as u8 as i8;
    }
    scale
}

/// The largest absolute value, or what is no number. Bits of numbers without a sign have the order of
/// the numbers, and the compiler knows how to find the largest integer with any instructions.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    f32::from_bits(values.iter().fold(0, |largest, value| largest.max(value.abs().to_bits())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f32], levels: &[i8], scale: f32) {
        let rounded = Rounded::new(values, values.len(), 16);
        assert_eq!(&rounded.levels[..values.len()], levels);
        assert_eq!(rounded.scales, [scale]);
    }

    #[test]
    fn the_largest_value_becomes_the_last_level_and_halves_go_to_the_even_one() {
        check(&[127.0, -127.0, 0.5, 1.5, -2.5, 0.0], &[127, -127, 0, 2, -2, 0], 1.0);
    }

    #[test]
    fn values_without_a_usable_scale_become_zero() {
        check(&[0.0, 0.0], &[0, 0], 0.0);
        check(&[1e-40, 0.0], &[0, 0], 0.0);
        check(&[f32::INFINITY, 1.0], &[0, 0], 0.0);
        check(&[f32::NAN, 0.0], &[0, 0], 0.0);
    }
}
