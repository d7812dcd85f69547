//! A small pool that shares one piece of work between all cores and waits for it. A thread that has
//! nothing to do looks out for more for a few microseconds and then sleeps, so waiting costs nothing.

mod cores;
mod crew;

use std::{
    ops::Range,
    sync::{Arc, Mutex, TryLockError},
    thread::JoinHandle,
};

use crew::{Crew, Ranges};

/// Threads that wait for work; dropped, they end.
pub struct Threads {
    crew: Arc<Crew>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the caller whose work the crew is doing.
    turn: Mutex<()>,
}

impl Threads {
    /// Starts `count` threads less the caller's, which takes part; 0 stands for the physical cores that
    /// this process may use. Where the system refuses a thread, the pool stays smaller.
    pub fn new(count: usize) -> Self {
        let count = if count == 0 { cores::usable() } else { count };
        let crew = Arc::new(Crew::default());
        let start = |index: usize| {
            let crew = Arc::clone(&crew);
            let builder = std::thread::Builder::new().name(format!("kernels-{index}"));
            builder.spawn(move || crew.serve()).ok()
        };
        let workers = (1..count).map_while(start).collect();
        Self { crew, workers, turn: Mutex::new(()) }
    }

    /// How many threads work at once, the caller's included.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` for disjoint ranges that together are `0..items`, each a multiple of `grain` long
    /// except the last, and returns when all is done.
    ///
    /// Several threads may call at once, and `work` may call again: who finds the pool busy does its
    /// work alone.
    ///
    /// # Panics
    /// Where `work` panics, after the other threads have finished their ranges.
    pub fn split(&self, items: usize, grain: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        let grain = grain.max(1);
        if items == 0 {
            return;
        }
        if self.workers.is_empty() || items <= grain {
            return work(0..items);
        }
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return work(0..items),
        };
        self.crew.share(work, Ranges { items, grain, threads: self.count() });
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.crew.dismiss();
        for worker in self.workers.drain(..) {
            // A worker catches what its work throws, so there is nothing to hear of here.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn check(threads: &Threads, items: usize, grain: usize) {
        let seen: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
        threads.split(items, grain, &|range| {
            assert!(range.len().is_multiple_of(grain) || range.end == items);
            range.for_each(|item| {
                seen[item].fetch_add(1, Ordering::Relaxed);
            });
        });
        assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn every_item_is_worked_on_once() {
        for count in [1, 2, 5] {
            let threads = Threads::new(count);
            assert_eq!(threads.count(), count);
            for (items, grain) in [(0, 1), (1, 1), (7, 3), (100, 1), (1001, 16), (4096, 4096)] {
                (0..20).for_each(|_| check(&threads, items, grain));
            }
        }
    }

    #[test]
    fn callers_at_once_and_calls_inside_of_work_all_finish() {
        let threads = Threads::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..200).for_each(|round| check(&threads, 50 + round, 4)));
            }
        });
        threads.split(10, 1, &|_| check(&threads, 30, 2));
    }

    #[test]
    fn a_panic_in_work_reaches_the_caller_and_the_pool_goes_on() {
        let threads = Threads::new(3);
        for bad in 0..20 {
            let work = |range: Range<usize>| assert!(!range.contains(&bad), "item {bad}");
            let result = catch_unwind(AssertUnwindSafe(|| threads.split(20, 1, &work)));
            assert!(result.is_err());
            check(&threads, 100, 1);
        }
    }

    #[test]
    fn zero_stands_for_the_physical_cores() {
        let allowed = std::thread::available_parallelism().map_or(1, usize::from);
        assert!((1..=allowed).contains(&Threads::new(0).count()));
    }
}
