//! The conversations that are kept beside the one that is being answered, so that several clients
//! can go on with theirs without paying for the whole prompt again. All of them together stay below
//! a number of bytes; who was used longest ago leaves first. Prefixes that every conversation begins
//! with are pinned: they are branched from, and never leave for a conversation.

pub(crate) mod folder;

use std::collections::HashSet;

use crate::sequence::{Sequence, Slot};

/// Conversations that are kept, however few bytes they take.
const KEPT_MAX: usize = 16;
/// Prefixes that are pinned; the oldest leave.
const PINNED_MAX: usize = 4;
/// Last tokens of a prompt that say how an answer begins, and are left out once it is history.
const OPENING_TOKENS: usize = 4;

/// Keys and values of a conversation that can go back and branch: a [`Sequence`] of ours, or a
/// [`Cache`](crate::gemma::cache::Cache) of an engine's tensors.
pub(crate) trait Kept: Sized {
    /// What its rows stand for.
    fn slots(&self) -> &[Slot];

    /// How many of its first tokens a prompt may keep.
    fn shared(&self, prompt: &[Slot]) -> usize;

    /// The same tokens once more, so that one of the two can be written to.
    fn branch(&self) -> Self;

    /// Bytes of memory of those rows that are not among the parts counted already.
    fn count_bytes(&self, counted: &mut HashSet<usize>) -> usize;
}

impl Kept for Sequence {
    fn slots(&self) -> &[Slot] {
        self.slots()
    }

    fn shared(&self, prompt: &[Slot]) -> usize {
        self.shared(prompt)
    }

    fn branch(&self) -> Self {
        self.branch()
    }

    fn count_bytes(&self, counted: &mut HashSet<usize>) -> usize {
        self.count_bytes(counted)
    }
}

/// Conversations that are kept.
#[derive(Debug)]
pub(crate) struct Sequences<K> {
    bytes_max: usize,
    /// Unpinned ones; who was used last is at the end.
    kept: Vec<Entry<K>>,
    /// The oldest first.
    pinned: Vec<K>,
    /// Tokens of the last prompt.
    asked: usize,
}

#[derive(Debug)]
struct Entry<K> {
    kept: K,
    /// How many of its tokens were asked; the others were answered.
    asked: usize,
}

impl<K: Kept> Sequences<K> {
    /// None yet; they may take so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Vec::new(), pinned: Vec::new(), asked: 0 }
    }

    /// Takes what was worked with since the last call, and gives what the prompt shares most with,
    /// with the number of first tokens that they share; all others of it are to be cut off. `None`
    /// where no token is shared.
    pub(crate) fn change(&mut self, current: K, prompt: &[Slot]) -> Option<(K, usize)> {
        let asked = self.asked.min(current.slots().len());
        if !current.slots().is_empty() {
            self.kept.push(Entry { kept: current, asked });
        }
        self.asked = prompt.len();
        let best = self.best(prompt);
        self.make_room();
        best
    }

    /// Keeps a prefix until others are pinned, and gives it back for the conversation to go on with.
    pub(crate) fn pin(&mut self, prefix: K) {
        self.pinned.retain(|pinned| pinned.slots() != prefix.slots());
        self.pinned.push(prefix);
        let surplus = self.pinned.len().saturating_sub(PINNED_MAX);
        self.pinned.drain(..surplus);
    }

    /// The pinned prefix of just these tokens.
    pub(crate) fn pinned(&self, slots: &[Slot]) -> Option<&K> {
        self.pinned.iter().find(|pinned| pinned.slots() == slots)
    }

    /// Soft tokens of a medium that one of them has met.
    pub(crate) fn soft_tokens(&self, media: u128) -> Option<usize> {
        self.all().find_map(|kept| crate::sequence::soft_tokens(kept.slots(), media))
    }

    /// Bytes of memory of all of them and of the one that is worked with.
    pub(crate) fn bytes(&self, current: &K) -> usize {
        let mut counted = HashSet::new();
        self.all().chain([current]).map(|kept| kept.count_bytes(&mut counted)).sum()
    }

    fn all(&self) -> impl Iterator<Item = &K> {
        self.kept.iter().map(|entry| &entry.kept).chain(&self.pinned)
    }

    /// What the prompt shares most with: the conversation itself where the prompt goes on with it,
    /// else a branch, so that the conversation can still be gone on with.
    fn best(&mut self, prompt: &[Slot]) -> Option<(K, usize)> {
        let shared = |kept: &K| kept.shared(prompt);
        // The last of those with the most, which was used last.
        let kept = self.kept.iter().map(|entry| shared(&entry.kept)).enumerate();
        let best = kept.max_by_key(|(_, shared)| *shared).filter(|(_, shared)| *shared > 0);
        let pinned = self.pinned.iter().map(|pinned| (shared(pinned), pinned));
        let pinned = pinned.max_by_key(|(shared, _)| *shared).filter(|(shared, _)| *shared > 0);
        match (best, pinned) {
            (Some((place, shared)), pinned)
                if pinned.as_ref().is_none_or(|(other, _)| *other < shared) =>
            {
                let entry = self.kept.remove(place);
                if entry.is_continued(shared) {
                    return Some((entry.kept, shared));
                }
                let branch = entry.kept.branch();
                self.kept.push(entry);
                Some((branch, shared))
            }
            (_, pinned) => pinned.map(|(shared, pinned)| (pinned.branch(), shared)),
        }
    }

    fn make_room(&mut self) {
        let surplus = self.kept.len().saturating_sub(KEPT_MAX);
        self.kept.drain(..surplus);
        while !self.kept.is_empty() && self.kept_bytes() > self.bytes_max {
            self.kept.remove(0);
        }
    }

    /// Bytes of those that are not pinned, as far as they do not share them with a pinned one.
    fn kept_bytes(&self) -> usize {
        let mut counted = HashSet::new();
        self.pinned.iter().for_each(|pinned| {
            pinned.count_bytes(&mut counted);
        });
        self.kept.iter().map(|entry| entry.kept.count_bytes(&mut counted)).sum()
    }
}

impl<K> Entry<K> {
    /// Whether a prompt that shares so many tokens is the next one of the same conversation.
    fn is_continued(&self, shared: usize) -> bool {
        shared + OPENING_TOKENS >= self.asked
    }
}

#[cfg(test)]
mod tests;
