//! Bicubic scaling of 8-bit pictures with antialiasing, equal to torchvision's, which the reference
//! uses: the kernel is widened by the factor of reduction, weights are as precise as 16 bits allow,
//! and each pass rounds to 8 bits. (Pillow differs by one or two grey levels in under one per cent of
//! the values: its weights have 22 fractional bits.)

/// Most fractional bits of a weight.
const BITS_MAX: u32 = 22;

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

/// How one side is scaled.
struct Taps {
    /// Those of every target pixel.
    targets: Vec<Target>,
    /// Fractional bits of the weights.
    bits: u32,
}

/// Source pixels of one target pixel, and their weights.
struct Target {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of every target pixel along one side.
fn taps(from: usize, to: usize) -> Taps {
    let scale = from as f64 / to as f64;
    let widen = scale.max(1.0);
    let reach = REACH * widen;
    let exact = |target: usize| {
        let centre = (target as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let weight = |source: usize| kernel((source as f64 - centre + 0.5) / widen);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        (first, weights.into_iter().map(|weight| weight / sum).collect::<Vec<_>>())
    };
    let targets: Vec<(usize, Vec<f64>)> = (0..to).map(exact).collect();
    let largest = targets.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
    let bits = fractional_bits(largest);
    let fixed = |weight: f64| (weight * f64::from(1 << bits)).round() as i32;
    let fix = |(first, weights): (usize, Vec<f64>)| Target {
        first,
        weights: weights.into_iter().map(fixed).collect(),
    };
    Taps { targets: targets.into_iter().map(fix).collect(), bits }
}

/// The most fractional bits with which the largest weight fits into 16 bits with a sign.
fn fractional_bits(largest: f64) -> u32 {
    let fits = |bits: &u32| (0.5 + largest * f64::from(1_u32 << bits)) < f64::from(1 << 15);
    (1..=BITS_MAX).take_while(fits).last().unwrap_or(0)
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
fn across(rgb: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
    let mut scaled = Vec::with_capacity(rgb.len() / width * taps.targets.len());
    for line in rgb.chunks_exact(width * CHANNELS) {
        for Target { first, weights } in &taps.targets {
            let mut sums = [0; CHANNELS];
            let pixels = line[first * CHANNELS..].chunks_exact(CHANNELS);
            for (pixel, weight) in pixels.zip(weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            scaled.extend(sums.map(|sum| rounded(sum, taps.bits)));
        }
    }
    scaled
}

/// Scales every column of a picture, a line at a time.
fn down(rgb: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
    let stride = width * CHANNELS;
    let mut scaled = Vec::with_capacity(stride * taps.targets.len());
    let mut sums = vec![0; stride];
    for Target { first, weights } in &taps.targets {
        sums.fill(0);
        for (line, weight) in rgb[first * stride..].chunks_exact(stride).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += i32::from(*value) * weight;
            }
        }
        scaled.extend(sums.iter().map(|sum| rounded(*sum, taps.bits)));
    }
    scaled
}

/// A sum of weighted values as a value from 0 to 255.
fn rounded(sum: i32, bits: u32) -> u8 {
    let value = (sum + (1 << bits >> 1)) >> bits;
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
    fn lines_scale_as_in_torchvision() {
        check(&[0, 255], 5, &[0, 17, 128, 238, 255]);
        check(&[10, 200, 30, 90, 250, 0, 60], 3, &[90, 122, 75]);
        check(&[0, 0, 255, 255, 0, 40, 90, 10, 255, 3], 4, &[69, 157, 46, 112]);
        // Here Pillow says 86 in the last place but one.
        let line = [134, 9, 125, 80, 49, 105, 16, 162, 41, 62, 138, 31];
        check(&line, 8, &[86, 81, 75, 75, 76, 85, 85, 72]);
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
