//! How long to wait before the next attempt to reach a bus or a broker.

use std::time::Duration;

/// Waits that double from [`Backoff::FIRST`] to [`Backoff::LAST`].
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The wait after the first failure.
    pub(super) const FIRST: Duration = Duration::from_millis(250);
    /// The longest wait.
    pub(super) const LAST: Duration = Duration::from_secs(16);

    /// Starts with the shortest wait.
    pub(super) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// Starts over, after an attempt that succeeded.
    pub(super) const fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    /// The wait before the next attempt.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(Self::LAST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_and_start_over() {
        let mut backoff = Backoff::new();
        let waits: Vec<u128> = (0..8).map(|_| backoff.wait().as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 16000]);
        backoff.reset();
        assert_eq!(backoff.wait(), Backoff::FIRST);
    }
}
