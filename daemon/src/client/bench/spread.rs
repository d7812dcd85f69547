//! Several measurements of one thing.

use serde::Serialize;

/// The median, and how far the others are from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    /// The one in the middle.
    pub(super) median: f64,
    /// The least.
    pub(super) min: f64,
    /// The largest.
    pub(super) max: f64,
}

impl Spread {
    /// Of all measurements, in any order; `None` where there is none.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], expected: Option<[f64; 3]>) {
        let found = Spread::of(values.to_vec());
        assert_eq!(found.map(|found| [found.median, found.min, found.max]), expected);
    }

    #[test]
    fn one_that_is_far_off_does_not_move_the_median() {
        check(&[3.0, 1.0, 100.0], Some([3.0, 1.0, 100.0]));
        check(&[4.0, 1.0, 3.0, 2.0], Some([2.5, 1.0, 4.0]));
        check(&[7.0], Some([7.0, 7.0, 7.0]));
        check(&[], None);
    }
}
