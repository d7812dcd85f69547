//! Bicubic scaling of 8-bit pictures with antialiasing, equal to Pillow's: the kernel is widened by
//! the factor of reduction, weights have 22 fractional bits, and each pass rounds to 8 bits.

/// Fractional bits of a weight.
const BITS: u32 = 22;

/// Reach of the kernel in pixels, before it is widened.
const REACH: f64 = 2.0;

/// Channels of a pixel.
const CHANNELS: usize = 3;

/// Scales `[height, width, 3] u8` from one size to another; sizes are (width, height).
pub(super) fn bicubic(rgb: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let ((width, height), (new_width, new_height)) = (from, to);
    let wide =
        if width == new_width { rgb.to_vec() } else { across(rgb, width, &taps(width, new_width)) };
    if height == new_height { wide } else { down(&wide, new_width, &taps(height, new_height)) }
}

/// Source pixels of one target pixel, and their weights.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of every target pixel along one side.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widen = scale.max(1.0);
    let reach = REACH * widen;
    (0..to)
        .map(|target| {
            let centre = (target as f64 + 0.5) * scale;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let weight = |source: usize| kernel((source as f64 - centre + 0.5) / widen);
            let weights: Vec<f64> = (first..end).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: f64| (weight / sum * f64::from(1 << BITS)).round() as i32;
            Taps { first, weights: weights.into_iter().map(fixed).collect() }
        })
        .collect()
}

/// Keys' cubic convolution with a = -1/2.
fn kernel(distance: f64) -> f64 {
    let x = distance.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// Scales every line of a picture.
fn across(rgb: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let mut scaled = Vec::with_capacity(rgb.len() / width * taps.len());
    for line in rgb.chunks_exact(width * CHANNELS) {
        for Taps { first, weights } in taps {
            let mut sums = [0; CHANNELS];
            let pixels = line[first * CHANNELS..].chunks_exact(CHANNELS);
            for (pixel, weight) in pixels.zip(weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            scaled.extend(sums.map(rounded));
        }
    }
    scaled
}

/// Scales every column of a picture, a line at a time.
fn down(rgb: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let stride = width * CHANNELS;
    let mut scaled = Vec::with_capacity(stride * taps.len());
    let mut sums = vec![0; stride];
    for Taps { first, weights } in taps {
        sums.fill(0);
        for (line, weight) in rgb[first * stride..].chunks_exact(stride).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += i32::from(*value) * weight;
            }
        }
        scaled.extend(sums.iter().map(|sum| rounded(*sum)));
    }
    scaled
}

/// A sum of weighted values as a value from 0 to 255.
fn rounded(sum: i32) -> u8 {
    let value = (sum + (1 << (BITS - 1))) >> BITS;
    u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scales a picture of one line whose channels are alike.
    fn check(line: &[u8], to: usize, expected: &[u8]) {
        let rgb: Vec<u8> = line.iter().flat_map(|value| [*value; 3]).collect();
        let channel = |rgb: Vec<u8>| rgb.into_iter().step_by(3).collect::<Vec<_>>();
        assert_eq!(channel(bicubic(&rgb, (line.len(), 1), (to, 1))), expected);
        assert_eq!(channel(bicubic(&rgb, (1, line.len()), (1, to))), expected);
    }

    #[test]
    fn lines_scale_as_in_pillow() {
        check(&[0, 255], 5, &[0, 17, 128, 238, 255]);
        check(&[10, 200, 30, 90, 250, 0, 60], 3, &[90, 122, 75]);
        check(&[0, 0, 255, 255, 0, 40, 90, 10, 255, 3], 4, &[69, 157, 46, 112]);
        check(&[7], 4, &[7, 7, 7, 7]);
        check(&[1, 2, 3, 250], 4, &[1, 2, 3, 250]);
    }

    #[test]
    fn a_plain_picture_stays_plain() {
        for (from, to) in [((7, 5), (48, 96)), ((500, 3), (48, 48)), ((1, 1), (48, 48))] {
            let rgb = vec![201; from.0 * from.1 * 3];
            assert_eq!(bicubic(&rgb, from, to), vec![201; to.0 * to.1 * 3]);
        }
    }
}
