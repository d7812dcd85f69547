//! The protocol between one caller at a time and the workers: the caller lends its work, everybody
//! takes ranges of it until none is left, and the caller waits for those who took part.
#![expect(unsafe_code, reason = "work is lent to threads that outlive the loan")]

use std::{
    any::Any,
    hint::spin_loop,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a thread looks out for the next work, or for the end of the others', before it sleeps:
/// the gap between two operators of a graph is shorter, the gap between two steps is not.
const LOOKOUT: Duration = Duration::from_micros(50);

/// What workers and callers share.
#[derive(Default)]
pub(super) struct Crew {
    state: Mutex<State>,
    /// Told when there is work, or when all shall go home.
    work: Condvar,
    /// Told when the last worker has left the work.
    left: Condvar,
    /// Number of loans so far; changed only under the lock, read without it while looking out.
    loans: AtomicUsize,
    /// Workers that hold the loan; changed only under the lock.
    active: AtomicUsize,
    /// First item that nobody has taken.
    next: AtomicUsize,
}

#[derive(Default)]
struct State {
    loan: Option<Loan>,
    sleeping: usize,
    dismissed: bool,
    panic: Option<Box<dyn Any + Send>>,
}

/// Work of a caller who waits until nobody holds it.
#[derive(Clone, Copy)]
struct Loan {
    work: &'static (dyn Fn(Range<usize>) + Sync),
    items: usize,
    stride: usize,
}

impl Crew {
    /// Has `work` done in ranges of `stride` items. The caller makes sure that only one is in here.
    pub(super) fn share(&self, items: usize, stride: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        // SAFETY: the loan leaves this function only through `state`, from where workers copy it while
        // they are counted in `active`, both under the lock. `recall` takes it away and waits until
        // `active` is zero before this function returns or unwinds (nothing between can unwind: the
        // work itself is caught), so nobody uses `work` after its borrow has ended.
        let work = unsafe {
            std::mem::transmute::<
                &(dyn Fn(Range<usize>) + Sync),
                &'static (dyn Fn(Range<usize>) + Sync),
            >(work)
        };
        let loan = Loan { work, items, stride };
        self.lend(loan);
        let own = catch_unwind(AssertUnwindSafe(|| self.take_part(loan)));
        let others = self.recall();
        if let Some(panic) = own.err().or(others) {
            resume_unwind(panic);
        }
    }

    /// A worker's life.
    pub(super) fn serve(&self) {
        let mut loans_seen = 0;
        while let Some((loan, number)) = self.accept(loans_seen) {
            loans_seen = number;
            let result = catch_unwind(AssertUnwindSafe(|| self.take_part(loan)));
            let mut state = self.lock();
            if let Err(panic) = result {
                state.panic = Some(panic);
            }
            if self.active.fetch_sub(1, Ordering::Release) == 1 {
                self.left.notify_all();
            }
        }
    }

    /// Lets the workers end.
    pub(super) fn dismiss(&self) {
        self.lock().dismissed = true;
        self.work.notify_all();
    }

    fn lend(&self, loan: Loan) {
        let mut state = self.lock();
        self.next.store(0, Ordering::Relaxed);
        state.loan = Some(loan);
        self.loans.fetch_add(1, Ordering::Release);
        let anybody_sleeps = state.sleeping > 0;
        drop(state);
        if anybody_sleeps {
            self.work.notify_all();
        }
    }

    /// Waits for a loan that was not seen yet; none when the crew is dismissed.
    fn accept(&self, mut seen: usize) -> Option<(Loan, usize)> {
        look_out(|| self.loans.load(Ordering::Acquire) != seen);
        let mut state = self.lock();
        loop {
            if state.dismissed {
                return None;
            }
            let number = self.loans.load(Ordering::Relaxed);
            if let Some(loan) = state.loan.filter(|_| number != seen) {
                self.active.fetch_add(1, Ordering::Relaxed);
                return Some((loan, number));
            }
            seen = number;
            state.sleeping += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
        }
    }

    fn take_part(&self, loan: Loan) {
        loop {
            let start = self.next.fetch_add(loan.stride, Ordering::Relaxed);
            if start >= loan.items {
                return;
            }
            (loan.work)(start..loan.items.min(start + loan.stride));
        }
    }

    /// Takes the loan back and waits for those who hold it; returns what one of them threw.
    fn recall(&self) -> Option<Box<dyn Any + Send>> {
        self.lock().loan = None;
        look_out(|| self.active.load(Ordering::Acquire) == 0);
        let mut state = self.lock();
        while self.active.load(Ordering::Acquire) > 0 {
            state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.panic.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at `done` again and again, for a moment.
fn look_out(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        for _ in 0..32 {
            spin_loop();
        }
        if start.elapsed() > LOOKOUT {
            return;
        }
    }
}
