//! One pixel of brightness and two differences of colour, to red, green and blue, by the rules of
//! ITU-R BT.601, in 1/256.

/// Of limited range, where brightness goes from 16 to 235: what cameras and films use.
#[must_use]
pub fn rgb_of_yuv(y: u8, u: u8, v: u8) -> [u8; 3] {
    let y = 298 * (i32::from(y) - 16);
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    [y + 409 * v, y - 100 * u - 208 * v, y + 516 * u].map(level)
}

/// Of full range, where brightness goes from 0 to 255: what JPEG uses.
pub(crate) fn rgb_of_full_yuv(y: u8, u: u8, v: u8) -> [u8; 3] {
    let y = 256 * i32::from(y);
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    [y + 359 * v, y - 88 * u - 183 * v, y + 454 * u].map(level)
}

fn level(value: i32) -> u8 {
    ((value + 128) >> 8).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_white_and_red_come_out() {
        let check = |found: [u8; 3], expected: [u8; 3]| {
            let near = found.iter().zip(expected).all(|(one, other)| one.abs_diff(other) <= 3);
            assert!(near, "{found:?} instead of {expected:?}");
        };
        check(rgb_of_yuv(16, 128, 128), [0, 0, 0]);
        check(rgb_of_yuv(235, 128, 128), [255, 255, 255]);
        check(rgb_of_yuv(81, 90, 240), [255, 0, 0]);
        check(rgb_of_full_yuv(0, 128, 128), [0, 0, 0]);
        check(rgb_of_full_yuv(255, 128, 128), [255, 255, 255]);
        check(rgb_of_full_yuv(76, 85, 255), [255, 0, 0]);
    }
}
