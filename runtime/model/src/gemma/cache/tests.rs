//! The cache holds what it says, whatever was added, cut off and gone back to.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// Rows of a tensor, each by the position that it belongs to.
type Rows = Vec<usize>;

struct Rowwise;

impl Shorten<Rows> for Rowwise {
    type Error = Infallible;

    fn first(&self, value: &Rows, rows: usize) -> Result<Rows, Infallible> {
        Ok(value[..rows].to_vec())
    }

    fn last(&self, value: &Rows, rows: usize) -> Result<Rows, Infallible> {
        Ok(value[value.len() - rows..].to_vec())
    }
}

fn tokens(ids: &[u32]) -> Vec<Slot> {
    ids.iter().map(|&id| Slot::Token(id)).collect()
}

fn medium(media: u128, rows: u32) -> Vec<Slot> {
    (0..rows).map(|row| Slot::Soft { media, row, of: rows }).collect()
}

/// A cache of a sliding and a global layer.
fn empty(window: Option<usize>) -> Cache<Rows> {
    let none = || [Rows::new(), Rows::new()];
    Cache::empty(vec![(none(), true), (none(), false)], window)
}

/// Adds tokens as a step of the decoder does.
fn add(cache: &mut Cache<Rows>, slots: &[Slot]) {
    let (old, new) = (cache.len(), cache.len() + slots.len());
    let longer = |rows: &Rows| rows.iter().copied().chain(old..new).collect();
    let layers = cache.layers().iter().map(|[key, value]| [longer(key), longer(value)]);
    cache.advance(layers.collect(), slots);
    cache.trim(&Rowwise).unwrap();
}

fn cache(slots: &[Slot]) -> Cache<Rows> {
    let mut cache = empty(None);
    add(&mut cache, slots);
    cache
}

fn check_shared(old: &[Vec<Slot>], new: &[Vec<Slot>], expected: usize) {
    assert_eq!(cache(&old.concat()).shared(&new.concat()), expected);
}

#[test]
fn a_prompt_keeps_the_prefix_it_shares() {
    check_shared(&[tokens(&[1, 2, 3])], &[tokens(&[1, 2, 3, 4])], 3);
    check_shared(&[tokens(&[1, 2, 3])], &[tokens(&[1, 9, 3, 4])], 1);
    check_shared(&[tokens(&[1, 2, 3])], &[tokens(&[1, 2, 3])], 2);
    check_shared(&[tokens(&[1, 2, 3])], &[tokens(&[1])], 0);
    check_shared(&[tokens(&[1])], &[], 0);
}

#[test]
fn a_medium_is_kept_whole_or_not_at_all() {
    let old = [tokens(&[1]), medium(7, 3), tokens(&[2])];
    check_shared(&old, &[tokens(&[1]), medium(7, 3), tokens(&[3])], 4);
    check_shared(&old, &[tokens(&[1]), medium(8, 3), tokens(&[2])], 1);
    check_shared(&old, &[tokens(&[1]), medium(7, 3)], 1);
}

#[test]
fn soft_tokens_of_a_cached_medium_are_known() {
    let mut cut = [tokens(&[1]), medium(7, 3)].concat();
    cut.pop();
    let cache = cache(&cut);
    assert_eq!((cache.soft_tokens(7), cache.soft_tokens(8)), (Some(3), None));
}

/// A conversation longer than the window: a prompt, and what was said after it.
fn conversation(prompt: usize, said: usize) -> Cache<Rows> {
    let mut cache = empty(Some(8));
    add(&mut cache, &tokens(&vec![1; prompt]));
    cache.remember(&Rowwise).unwrap();
    (0..said).for_each(|_| add(&mut cache, &tokens(&[2])));
    cache
}

#[test]
fn a_sliding_layer_keeps_its_window_and_little_more() {
    let cache = conversation(100, 300);
    assert!((9..=9 + SPARE_ROWS).contains(&cache.recent()), "{}", cache.recent());
    let [[sliding, _], [global, _]] = cache.layers() else { panic!("two layers") };
    assert_eq!((sliding.len(), global.len()), (cache.recent(), 400));
    assert_eq!(cache.spared(), 9);
}

#[test]
fn one_can_go_back_to_the_end_of_the_prompt() {
    let next = [tokens(&[1; 100]), tokens(&[3])].concat();
    assert_eq!(conversation(100, 300).shared(&next), 100);
    assert_eq!(conversation(100, 0).shared(&tokens(&[1; 100])), 99);
    assert_eq!(conversation(100, 300).shared(&tokens(&[1; 100])), 99);
    // Within what is still there, to any place; beyond it, to the end of the prompt or not at all.
    let place = |said: usize, kept: usize| {
        let next = [vec![1; 100], vec![2; kept], vec![3]].concat();
        conversation(100, said).shared(&tokens(&next))
    };
    assert_eq!(place(40, 7), 107);
    assert_eq!(place(300, 7), 100);
    assert_eq!(conversation(100, 300).shared(&tokens(&[1; 60])), 0);
}

proptest! {
    #[test]
    fn what_is_shared_is_equal_and_leaves_work(
        old in proptest::collection::vec(0_u32..3, 0..12),
        new in proptest::collection::vec(0_u32..3, 1..12),
    ) {
        let (old, new) = (tokens(&old), tokens(&new));
        let mut cache = cache(&old);
        let shared = cache.shared(&new);
        prop_assert!(shared < new.len());
        prop_assert_eq!(&old[..shared], &new[..shared]);
        cache.truncate(shared, &Rowwise).unwrap();
        prop_assert_eq!(cache.len(), shared);
        let rows = cache.layers()[0][0].len();
        prop_assert_eq!(rows, shared);
    }

    /// Whatever conversations follow each other, each layer holds the rows that it should.
    #[test]
    fn every_layer_ends_with_the_rows_of_its_last_tokens(
        prompts in proptest::collection::vec((0_usize..300, 1_usize..200, 0_usize..200), 1..8),
        window in 1_usize..40,
    ) {
        let mut cache = empty(Some(window));
        let mut history: Vec<u32> = Vec::new();
        for (turn, (kept, added, said)) in prompts.into_iter().enumerate() {
            history.truncate(kept);
            let id = u32::try_from(turn).unwrap();
            history.extend(vec![id; added]);
            let prompt = tokens(&history);
            let shared = cache.shared(&prompt);
            prop_assert!(shared < prompt.len());
            if shared == 0 {
                cache = empty(Some(window));
            }
            cache.truncate(shared, &Rowwise).unwrap();
            prop_assert_eq!(cache.len(), shared);
            for block in prompt[shared..].chunks(50) {
                add(&mut cache, block);
            }
            cache.remember(&Rowwise).unwrap();
            history.extend(vec![1000; said]);
            (0..said).for_each(|_| add(&mut cache, &tokens(&[1000])));
            let length = history.len();
            let expected: Rows = (length - cache.recent()..length).collect();
            prop_assert!(cache.recent() >= window.min(length));
            prop_assert_eq!(&cache.layers()[0], &[expected.clone(), expected]);
            let all: Rows = (0..length).collect();
            prop_assert_eq!(&cache.layers()[1], &[all.clone(), all]);
        }
    }
}
