//! Sequences by number. A graph takes tensors only, so the attention operators are told a number
//! and find the sequence here. Numbers are never used twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Sequence;

type Shared = Arc<Mutex<Sequence>>;

static OPEN: Mutex<BTreeMap<i64, Shared>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicI64 = AtomicI64::new(1);

/// A sequence that operators can find; dropping it takes it out again.
#[derive(Debug)]
pub(crate) struct Handle {
    number: i64,
    sequence: Shared,
}

/// Lets operators find a sequence.
pub(crate) fn enter(sequence: Sequence) -> Handle {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let sequence = Arc::new(Mutex::new(sequence));
    lock(&OPEN).insert(number, sequence.clone());
    Handle { number, sequence }
}

/// Works with the sequence of a number; `None` if there is none. Others that want it wait.
pub(crate) fn with<T>(number: i64, work: impl FnOnce(&mut Sequence) -> T) -> Option<T> {
    let sequence = lock(&OPEN).get(&number).cloned()?;
    let mut sequence = lock(&sequence);
    Some(work(&mut sequence))
}

impl Handle {
    /// The number by which operators find it.
    pub(crate) fn number(&self) -> i64 {
        self.number
    }

    /// Works with the sequence. Others that want it wait.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Sequence) -> T) -> T {
        work(&mut lock(&self.sequence))
    }

    /// Puts another sequence in its place, under the same number.
    pub(crate) fn replace(&self, sequence: Sequence) -> Sequence {
        std::mem::replace(&mut lock(&self.sequence), sequence)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&OPEN).remove(&self.number);
    }
}

/// Locks what stays sound if somebody panics: a sequence between two steps is whole, and what is
/// left of an unfinished step is cut off before the next.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::super::{LayerShape, Slot, Store};
    use super::*;

    fn sequence(tokens: usize) -> Sequence {
        let shape = LayerShape { heads: 1, width: 1, window: None };
        let mut sequence = Sequence::new(&[shape], Store::F32);
        sequence.begin(&vec![Slot::Token(0); tokens], &[]);
        sequence.write(0, 0, &vec![0.0; tokens], &vec![0.0; tokens]).unwrap();
        sequence.commit().unwrap();
        sequence
    }

    #[test]
    fn a_sequence_is_found_by_its_number_until_the_handle_is_dropped() {
        let (one, two) = (enter(sequence(1)), enter(sequence(2)));
        let numbers = [one.number(), two.number()];
        let lengths = || numbers.map(|number| with(number, |found| found.len()));
        assert_eq!(lengths(), [Some(1), Some(2)]);
        assert_eq!(one.replace(sequence(3)).len(), 1);
        assert_eq!(lengths(), [Some(3), Some(2)]);
        drop(one);
        assert_eq!(lengths(), [None, Some(2)]);
        assert!(!numbers.contains(&enter(sequence(1)).number()));
    }
}
