//! Films: which of their frames the model is shown. Each frame then goes the way of a picture, within a
//! budget of its own.

/// Frames that the model is shown of one film.
pub const FRAMES_MAX: usize = 32;

/// Soft tokens of a frame at most, one of [`BUDGETS`](super::image::BUDGETS).
pub const FRAME_BUDGET: usize = 70;

/// The frames that stand for a film of `total` frames: [`FRAMES_MAX`], evenly spaced from the first, or
/// all of a film that has no more. (The reference refuses a shorter film.)
#[must_use]
pub fn sampled(total: usize) -> Vec<usize> {
    let shown = total.min(FRAMES_MAX);
    let place = |index: usize| (index as u128 * total as u128 / shown as u128) as usize;
    (0..shown).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_sampled_as_published() {
        assert_eq!(sampled(0), Vec::<usize>::new());
        assert_eq!(sampled(3), [0, 1, 2]);
        assert_eq!(sampled(32), (0..32).collect::<Vec<_>>());
        assert_eq!(sampled(33)[..], (0..32).collect::<Vec<_>>());
        assert_eq!(sampled(64), (0..64).step_by(2).collect::<Vec<_>>());
        let hundred = sampled(100);
        assert_eq!(hundred[..5], [0, 3, 6, 9, 12]);
        assert_eq!((hundred.len(), hundred[31]), (32, 96));
        assert_eq!(sampled(usize::MAX).len(), 32);
    }
}
