//! What the encoders made of the media that were met last: a picture is encoded once, however often
//! it is asked about, by whomever, and whatever was said before it.

use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of features that are kept: nine pictures of 280 soft tokens for the smallest model, two for
/// the largest.
const BYTES_MAX: usize = 16 << 20;

/// Features `[soft tokens, hidden] f32` of media, by their fingerprints.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// The one that was used last comes first.
    kept: VecDeque<(u128, Arc<[f32]>)>,
}

impl Encoded {
    /// Numbers that a medium was encoded to, if they are kept.
    pub(crate) fn numbers(&self, medium: u128) -> Option<usize> {
        let (_, features) = self.kept.iter().find(|(kept, _)| *kept == medium)?;
        Some(features.len())
    }

    /// What a medium was encoded to, if it is kept.
    pub(crate) fn get(&mut self, medium: u128) -> Option<Arc<[f32]>> {
        let place = self.kept.iter().position(|(kept, _)| *kept == medium)?;
        let (medium, features) = self.kept.remove(place)?;
        self.kept.push_front((medium, Arc::clone(&features)));
        Some(features)
    }

    /// Keeps what a medium was encoded to, and forgets what was not used for longest.
    pub(crate) fn keep(&mut self, medium: u128, features: Vec<f32>) -> Arc<[f32]> {
        let features: Arc<[f32]> = features.into();
        self.kept.push_front((medium, Arc::clone(&features)));
        while self.bytes() > BYTES_MAX {
            self.kept.pop_back();
        }
        features
    }

    /// Bytes that are kept.
    fn bytes(&self) -> usize {
        self.kept.iter().map(|(_, features)| size_of_val::<[f32]>(features)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: usize = BYTES_MAX / 4 / size_of::<f32>();

    #[test]
    fn what_was_not_used_for_longest_is_forgotten() {
        let mut encoded = Encoded::default();
        for medium in 0..4 {
            let features = encoded.keep(medium, vec![medium as f32; QUARTER]);
            assert_eq!(features[0], medium as f32);
        }
        assert_eq!(encoded.get(0).map(|features| features[0]), Some(0.0));
        encoded.keep(4, vec![4.0; QUARTER]);
        assert_eq!((encoded.numbers(0), encoded.numbers(1)), (Some(QUARTER), None));
        assert_eq!(encoded.bytes(), BYTES_MAX);
    }

    #[test]
    fn what_is_larger_than_all_room_is_given_and_not_kept() {
        let mut encoded = Encoded::default();
        let features = encoded.keep(7, vec![1.0; 5 * QUARTER]);
        assert_eq!((features.len(), encoded.numbers(7), encoded.bytes()), (5 * QUARTER, None, 0));
    }
}
