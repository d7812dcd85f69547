//! What arrived, in order, and waiting for what has not arrived yet. Every wait of the harness is
//! one of these: for something, with a deadline.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::watch;

/// How long something that happens at once on an idle machine may take on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Items shown when a wait fails.
const SHOWN_MAX: usize = 40;

/// A growing list that many can read and wait on.
#[derive(Debug)]
pub struct Record<T> {
    items: Arc<watch::Sender<Vec<Arc<T>>>>,
}

impl<T> Clone for Record<T> {
    fn clone(&self) -> Self {
        Self { items: Arc::clone(&self.items) }
    }
}

impl<T> Default for Record<T> {
    fn default() -> Self {
        Self { items: Arc::new(watch::Sender::new(Vec::new())) }
    }
}

impl<T: Display> Record<T> {
    /// Adds an item.
    pub fn push(&self, item: T) {
        self.items.send_modify(|items| items.push(Arc::new(item)));
    }

    /// The number of items so far: a place to wait from.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.items.borrow().len()
    }

    /// Everything since `mark`.
    #[must_use]
    pub fn since(&self, mark: usize) -> Vec<Arc<T>> {
        self.items.borrow().get(mark..).unwrap_or_default().to_vec()
    }

    /// Waits for the item at `index`, however long it takes.
    pub async fn at(&self, index: usize) -> Arc<T> {
        let mut receiver = self.items.subscribe();
        loop {
            if let Some(item) = receiver.borrow_and_update().get(index) {
                return Arc::clone(item);
            }
            // The sender lives in `self`: there is always a next change to wait for.
            let _ = receiver.changed().await;
        }
    }

    /// The first thing since `mark` that `pick` picks, if it is there already.
    pub fn find<R>(&self, mark: usize, pick: impl FnMut(&T) -> Option<R>) -> Option<R> {
        let items = self.items.borrow();
        items.get(mark..).unwrap_or_default().iter().map(AsRef::as_ref).find_map(pick)
    }

    /// Waits for the first thing since `mark` that `pick` picks.
    ///
    /// # Errors
    /// When nothing of the kind came within [`PATIENCE`]; the error lists what came instead.
    pub async fn wait<R>(
        &self,
        mark: usize,
        what: &str,
        pick: impl FnMut(&T) -> Option<R>,
    ) -> anyhow::Result<R> {
        self.wait_within(PATIENCE, mark, what, pick).await
    }

    /// Waits for the first thing since `mark` that `pick` picks, for at most `patience`.
    ///
    /// # Errors
    /// When nothing of the kind came in time; the error lists what came instead.
    pub async fn wait_within<R>(
        &self,
        patience: Duration,
        mark: usize,
        what: &str,
        mut pick: impl FnMut(&T) -> Option<R>,
    ) -> anyhow::Result<R> {
        let mut receiver = self.items.subscribe();
        let mut next = mark;
        let mut picked = None;
        let arrival = receiver.wait_for(|items| {
            for item in items.get(next..).unwrap_or_default() {
                next += 1;
                picked = pick(item);
                if picked.is_some() {
                    return true;
                }
            }
            false
        });
        let arrived = tokio::time::timeout(patience, arrival).await.is_ok();
        match picked {
            Some(picked) if arrived => Ok(picked),
            _ => {
                bail!("no {what} within {} s; what came:\n{}", patience.as_secs(), self.tail(mark))
            }
        }
    }

    /// The last items since `mark`, one a line.
    #[must_use]
    pub fn tail(&self, mark: usize) -> String {
        let items = self.since(mark);
        let shown = items.len().saturating_sub(SHOWN_MAX);
        let mut lines: Vec<String> = Vec::new();
        if shown > 0 {
            lines.push(format!("  ... {shown} before"));
        }
        lines.extend(items.iter().skip(shown).map(|item| format!("  {item}")));
        if lines.is_empty() { "  (nothing)".to_owned() } else { lines.join("\n") }
    }
}
