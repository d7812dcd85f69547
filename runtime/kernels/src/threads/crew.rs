//! The protocol between one caller at a time and the workers: the caller lends its work, everybody
//! takes ranges of it until none is left, and the caller waits for those who took part. As long as
//! nobody sleeps, no lock is taken and the system is not asked: a step of a model lends a few hundred
//! pieces of work of some ten microseconds.
#![expect(unsafe_code, reason = "work is lent to threads that outlive the loan")]

use std::{
    any::Any,
    cell::UnsafeCell,
    hint::spin_loop,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

/// How long a thread looks out for the next work, or for the end of the others', before it sleeps:
/// the gap between two operators of a graph is shorter, the gap between two steps is not.
const LOOKOUT: Duration = Duration::from_micros(50);

/// What workers and callers share.
#[derive(Default)]
pub(super) struct Crew {
    /// Number of the loan in the upper half, [`OPEN`], and how many workers hold it.
    state: AtomicU64,
    /// Written only by the caller, while the loan is closed and nobody holds it.
    loan: UnsafeCell<Option<Loan>>,
    /// First item that nobody has taken.
    next: AtomicUsize,
    /// Workers that sleep, or are about to.
    sleeping: AtomicUsize,
    /// Whether the caller sleeps, or is about to.
    waits: AtomicBool,
    dismissed: AtomicBool,
    /// Held by who goes to sleep or wakes somebody; what the work of a worker threw.
    thrown: Mutex<Option<Box<dyn Any + Send>>>,
    /// Told when there is work, or when all shall go home.
    work: Condvar,
    /// Told when the last worker has left the work.
    left: Condvar,
}

// SAFETY: `loan` is the only part that is not shared by itself. Workers read it only while they are
// counted in `state`, the caller writes it only while nobody is and nobody can be.
unsafe impl Sync for Crew {}
// SAFETY: a loan holds a reference to what is `Sync`.
unsafe impl Send for Crew {}

/// Set while workers may take the loan.
const OPEN: u64 = 1 << 31;
/// How many workers hold the loan.
const HOLDERS: u64 = OPEN - 1;

const fn number(state: u64) -> u64 {
    state >> 32
}

/// Work of a caller who waits until nobody holds it.
#[derive(Clone, Copy)]
struct Loan {
    work: &'static (dyn Fn(Range<usize>) + Sync),
    ranges: Ranges,
}

/// How work is cut.
#[derive(Clone, Copy)]
pub(super) struct Ranges {
    pub(super) items: usize,
    /// Ranges are multiples of it, except the last.
    pub(super) grain: usize,
    pub(super) threads: usize,
}

impl Ranges {
    /// The end of the range that begins at `start`. Ranges become shorter: long ones read memory in
    /// one go, short ones at the end let all finish at once, even where a thread is held up.
    fn end(&self, start: usize) -> usize {
        let rest = self.items - start;
        let fair = (rest / self.threads.saturating_mul(2)).max(1);
        start + fair.div_ceil(self.grain).saturating_mul(self.grain).min(rest)
    }
}

impl Crew {
    /// Has `work` done in ranges. The caller makes sure that only one is in here.
    pub(super) fn share(&self, work: &(dyn Fn(Range<usize>) + Sync), ranges: Ranges) {
        // SAFETY: the loan leaves this function only through `self.loan`, from where workers copy it
        // while they are counted as holders. `recall` closes it and waits until nobody holds it before
        // this function returns or unwinds (nothing between can unwind: the work itself is caught),
        // so nobody uses `work` after its borrow has ended.
        let work = unsafe {
            std::mem::transmute::<
                &(dyn Fn(Range<usize>) + Sync),
                &'static (dyn Fn(Range<usize>) + Sync),
            >(work)
        };
        let loan = Loan { work, ranges };
        self.lend(loan);
        let own = catch_unwind(AssertUnwindSafe(|| self.take_part(loan)));
        let others = self.recall();
        if let Some(panic) = own.err().or(others) {
            resume_unwind(panic);
        }
    }

    /// A worker's life.
    pub(super) fn serve(&self) {
        let mut seen = 0;
        while let Some((loan, number)) = self.accept(seen) {
            seen = number;
            let result = catch_unwind(AssertUnwindSafe(|| self.take_part(loan)));
            if let Err(panic) = result {
                *self.lock() = Some(panic);
            }
            // In one order with `waits`: the caller either sees that nobody holds the loan, or is seen.
            let before = self.state.fetch_sub(1, SeqCst);
            if before & HOLDERS == 1 && self.waits.load(SeqCst) {
                drop(self.lock());
                self.left.notify_all();
            }
        }
    }

    /// Lets the workers end.
    pub(super) fn dismiss(&self) {
        self.dismissed.store(true, SeqCst);
        drop(self.lock());
        self.work.notify_all();
    }

    fn lend(&self, loan: Loan) {
        // SAFETY: the last loan was recalled: it is closed, and nobody holds it.
        unsafe { *self.loan.get() = Some(loan) };
        self.next.store(0, Relaxed);
        let number = number(self.state.load(Relaxed)).wrapping_add(1);
        // In one order with `sleeping`: a worker either sees the loan, or is seen.
        self.state.store(number << 32 | OPEN, SeqCst);
        if self.sleeping.load(SeqCst) > 0 {
            drop(self.lock());
            self.work.notify_all();
        }
    }

    /// Waits for a loan that was not seen yet; none when the crew is dismissed.
    fn accept(&self, mut seen: u64) -> Option<(Loan, u64)> {
        loop {
            let is_new = || number(self.state.load(SeqCst)) != seen;
            if !look_out(|| is_new() || self.dismissed.load(Relaxed)) {
                self.sleep(&is_new);
            }
            if self.dismissed.load(SeqCst) {
                return None;
            }
            let (loan, number) = self.join();
            if let Some(loan) = loan {
                return Some((loan, number));
            }
            seen = number;
        }
    }

    /// Sleeps until there is a new loan, or the crew is dismissed.
    fn sleep(&self, is_new: &impl Fn() -> bool) {
        let mut guard = self.lock();
        self.sleeping.fetch_add(1, SeqCst);
        while !is_new() && !self.dismissed.load(SeqCst) {
            guard = self.work.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, SeqCst);
    }

    /// Takes the loan, if it is still open, and its number.
    fn join(&self) -> (Option<Loan>, u64) {
        let mut state = self.state.load(Acquire);
        while state & OPEN != 0 {
            match self.state.compare_exchange_weak(state, state + 1, Acquire, Acquire) {
                // SAFETY: this worker is counted, so the caller does not write.
                Ok(_) => return (unsafe { *self.loan.get() }, number(state)),
                Err(newer) => state = newer,
            }
        }
        (None, number(state))
    }

    fn take_part(&self, Loan { work, ranges }: Loan) {
        let mut start = self.next.load(Relaxed);
        while start < ranges.items {
            let end = ranges.end(start);
            match self.next.compare_exchange_weak(start, end, Relaxed, Relaxed) {
                Ok(_) => {
                    work(start..end);
                    start = self.next.load(Relaxed);
                }
                Err(newer) => start = newer,
            }
        }
    }

    /// Takes the loan back and waits for those who hold it; returns what one of them threw.
    fn recall(&self) -> Option<Box<dyn Any + Send>> {
        self.state.fetch_and(!OPEN, SeqCst);
        let is_left = || self.state.load(SeqCst) & HOLDERS == 0;
        if !look_out(is_left) {
            let mut guard = self.lock();
            self.waits.store(true, SeqCst);
            while !is_left() {
                guard = self.left.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.waits.store(false, SeqCst);
        }
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.thrown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at `done` again and again, for a moment; whether it came true.
fn look_out(done: impl Fn() -> bool) -> bool {
    const LOOKS_PER_GLANCE_AT_THE_CLOCK: usize = 64;
    let start = Instant::now();
    while start.elapsed() < LOOKOUT {
        for _ in 0..LOOKS_PER_GLANCE_AT_THE_CLOCK {
            if done() {
                return true;
            }
            spin_loop();
        }
    }
    done()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Barrier},
        thread,
    };

    use super::*;

    const RANGES: Ranges = Ranges { items: 2, grain: 1, threads: 2 };

    /// A crew with one worker.
    fn crew() -> (Arc<Crew>, thread::JoinHandle<()>) {
        let crew = Arc::new(Crew::default());
        let worker = Arc::clone(&crew);
        (crew, thread::spawn(move || worker.serve()))
    }

    fn wait(until: impl Fn() -> bool) {
        while !until() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_worker_that_sleeps_is_woken_for_work_and_to_go_home() {
        let (crew, worker) = crew();
        for _ in 0..20 {
            wait(|| crew.sleeping.load(SeqCst) == 1);
            // Nobody gets through alone.
            let both = Barrier::new(2);
            let meet = |_| {
                both.wait();
            };
            crew.share(&meet, RANGES);
        }
        wait(|| crew.sleeping.load(SeqCst) == 1);
        crew.dismiss();
        assert!(worker.join().is_ok());
    }

    #[test]
    fn a_caller_that_sleeps_is_woken_when_the_last_worker_leaves() {
        let (crew, worker) = crew();
        let caller = thread::current().id();
        for _ in 0..20 {
            let both = Barrier::new(2);
            let finished = AtomicBool::new(false);
            crew.share(
                &|_| {
                    both.wait();
                    if thread::current().id() != caller {
                        wait(|| crew.waits.load(SeqCst));
                        finished.store(true, SeqCst);
                    }
                },
                RANGES,
            );
            assert!(finished.load(SeqCst) && !crew.waits.load(SeqCst));
        }
        crew.dismiss();
        assert!(worker.join().is_ok());
    }
}
