//! Rotary positions: the angles by which the parts of a head are turned at each position.

/// How a layer turns its heads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rotation {
    /// Base of the frequencies.
    pub(crate) theta: f32,
    /// How many of the pairs are turned, from the fastest on.
    pub(crate) rotated: usize,
    /// Width of a head: two halves, whose elements are pairs.
    pub(crate) width: usize,
}

/// Cosines and sines of consecutive positions.
pub(crate) struct Angles {
    rotation: Rotation,
    first: usize,
    rows: usize,
    /// Cosine and sine of every pair that is turned, `[rows, 2, rotated]`.
    turns: Vec<f32>,
}

impl Angles {
    /// The angles of so many positions from `first` on.
    pub(super) fn new(rotation: Rotation, first: usize, rows: usize) -> Self {
        // In 32 bits, as the reference computes frequencies and angles.
        let exponent = |pair: usize| (2 * pair) as f32 / rotation.width as f32;
        let frequency = |pair: usize| rotation.theta.powf(exponent(pair)).recip();
        let frequencies: Vec<f32> = (0..rotation.rotated).map(frequency).collect();
        let mut turns = Vec::with_capacity(2 * rows * rotation.rotated);
        for position in first..first.saturating_add(rows) {
            let angles = || frequencies.iter().map(|frequency| position as f32 * frequency);
            turns.extend(angles().map(f32::cos));
            turns.extend(angles().map(f32::sin));
        }
        Self { rotation, first, rows, turns }
    }

    /// Whether these are the angles of so many positions from `first` on.
    pub(super) fn are(&self, rotation: Rotation, first: usize, rows: usize) -> bool {
        (self.rotation, self.first, self.rows) == (rotation, first, rows)
    }

    /// Turns a head that stands at the row-th of the positions.
    pub(super) fn turn(&self, head: &mut [f32], row: usize) {
        let pairs = self.rotation.rotated;
        let turns = self.turns.get(2 * row * pairs..2 * (row + 1) * pairs).unwrap_or_default();
        let (cosines, sines) = turns.split_at(turns.len() / 2);
        let (low, high) = head.split_at_mut(self.rotation.width / 2);
        let pairs = low.iter_mut().zip(high).zip(cosines.iter().zip(sines));
        for ((low, high), (cosine, sine)) in pairs {
            (*low, *high) = (*low * cosine - *high * sine, *high * cosine + *low * sine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rotated: usize, row: usize, expected: [f32; 4]) {
        let rotation = Rotation { theta: 100.0, rotated, width: 4 };
        let mut head = [1.0, 2.0, 3.0, 4.0];
        Angles::new(rotation, 5, 3).turn(&mut head, row);
        let near = head.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-6);
        assert!(near, "{head:?} {expected:?}");
    }

    #[test]
    fn elements_are_turned_with_those_of_the_other_half() {
        let turned = |low: f32, high: f32, angle: f32| {
            (low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin())
        };
        let fast = turned(1.0, 3.0, 7.0);
        let slow = turned(2.0, 4.0, 7.0 / 10.0);
        check(2, 2, [fast.0, slow.0, fast.1, slow.1]);
        check(1, 2, [fast.0, 2.0, fast.1, 4.0]);
        check(0, 1, [1.0, 2.0, 3.0, 4.0]);
    }
}
