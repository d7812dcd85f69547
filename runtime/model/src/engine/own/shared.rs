//! What our operators share: the threads that do their work, and the angles of the step. One for all
//! models of the process that want as many threads, so that no two pools fight for the cores.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gemma_kernels::Threads;

use super::angles::{Angles, Rotation};

/// What our operators share.
pub(crate) struct Shared {
    /// The threads that do their work.
    pub(crate) threads: Threads,
    /// Angles of the last steps, the newest last.
    angles: Mutex<Vec<Arc<Angles>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} threads", self.threads.count())
    }
}

/// The very same, not one with as many threads.
impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Shared {}

/// Angles that are kept: those of sliding and of global layers, of the whole step and of its end.
const ANGLES_MAX: usize = 4;

/// Those that are in use, by the number of threads.
static ALL: Mutex<BTreeMap<usize, Weak<Shared>>> = Mutex::new(BTreeMap::new());

impl Shared {
    /// What operators share that work on so many threads; 0 is one for each core.
    pub(crate) fn with(threads: usize) -> Arc<Self> {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(&threads).and_then(Weak::upgrade) {
            return found;
        }
        let angles = Mutex::new(Vec::new());
        let new = Arc::new(Self { threads: Threads::new(threads), angles });
        all.insert(threads, Arc::downgrade(&new));
        new
    }

    /// The angles of so many positions from `first` on.
    pub(super) fn angles(&self, rotation: Rotation, first: usize, rows: usize) -> Arc<Angles> {
        let mut kept = self.angles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.iter().find(|angles| angles.are(rotation, first, rows)) {
            return Arc::clone(found);
        }
        if kept.len() >= ANGLES_MAX {
            kept.remove(0);
        }
        let new = Arc::new(Angles::new(rotation, first, rows));
        kept.push(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_with_as_many_threads_share_them() {
        let (one, same, other) = (Shared::with(1), Shared::with(1), Shared::with(2));
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn the_angles_of_a_step_are_computed_once() {
        let shared = Shared::with(1);
        let rotation = Rotation { theta: 1e4, rotated: 4, width: 8 };
        let first = shared.angles(rotation, 7, 2);
        assert!(Arc::ptr_eq(&first, &shared.angles(rotation, 7, 2)));
        let next = (0..ANGLES_MAX).map(|at| shared.angles(rotation, 8 + at, 2));
        assert!(next.into_iter().all(|next| !Arc::ptr_eq(&first, &next)));
        assert!(!Arc::ptr_eq(&first, &shared.angles(rotation, 7, 2)));
    }
}
