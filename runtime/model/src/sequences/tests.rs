//! Whoever comes back finds as much of its conversation as there is room for.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::sequence::{LayerShape, Store};

const SHAPES: [LayerShape; 2] = [
    LayerShape { heads: 1, width: 1, window: Some(8) },
    LayerShape { heads: 1, width: 1, window: None },
];
/// Bytes of a block of both layers.
const BLOCKS: usize = 2 * 2 * 128 * 4;

fn slots(ids: &[u32]) -> Vec<Slot> {
    ids.iter().map(|&id| Slot::Token(id)).collect()
}

/// A model of which only what it remembers matters: it answers with the tokens it is told to.
struct Model {
    current: Sequence,
    others: Sequences<Sequence>,
}

impl Model {
    fn new(bytes_max: usize) -> Self {
        Self { current: Sequence::new(&SHAPES, Store::F32), others: Sequences::new(bytes_max) }
    }

    fn add(&mut self, ids: &[u32]) {
        let first = self.current.len();
        self.current.begin(&slots(ids), &[]);
        let rows: Vec<f32> = ids.iter().map(|&id| id as f32).collect();
        (0..2).for_each(|layer| self.current.write(layer, first, &rows, &rows).unwrap());
        self.current.commit().unwrap();
    }

    /// Answers a prompt; how many of its tokens were there.
    fn ask(&mut self, prompt: &[u32], answer: &[u32]) -> usize {
        let shared = self.begin(prompt);
        self.add(&prompt[shared..]);
        self.current.remember();
        answer.iter().for_each(|&id| self.add(&[id]));
        shared
    }

    fn begin(&mut self, prompt: &[u32]) -> usize {
        let current = std::mem::replace(&mut self.current, Sequence::new(&SHAPES, Store::F32));
        let best = self.others.change(current, &slots(prompt));
        let Some((sequence, shared)) = best else { return 0 };
        self.current = sequence;
        self.current.truncate(shared).unwrap();
        shared
    }
}

/// What two clients say, after the same beginning.
fn prompt(client: u32, tokens: u32) -> Vec<u32> {
    (0..100).chain((0..tokens).map(|token| 1_000 * (client + 1) + token)).collect()
}

#[test]
fn two_clients_take_turns_and_find_what_they_left() {
    let mut model = Model::new(1 << 20);
    let mut longest = [0; 2];
    for turn in 1..6 {
        for client in 0..2 {
            let new = prompt(client, turn * 50);
            let answer = vec![7; 40];
            let shared = model.ask(&new, &answer);
            let before = longest[client as usize];
            match (turn, client) {
                (1, 0) => assert_eq!(shared, 0),
                (1, _) => assert_eq!(shared, 100),
                // The answer is left out of the next prompt, as thoughts are.
                _ => assert_eq!(shared, before),
            }
            longest[client as usize] = new.len();
        }
    }
    assert_eq!(model.others.kept.len(), 1, "a conversation is kept once");
}

#[test]
fn an_answer_that_is_repeated_is_kept_too() {
    let mut model = Model::new(1 << 20);
    model.ask(&prompt(0, 10), &[5, 6]);
    let next = [&prompt(0, 10)[..], &[5, 6, 8]].concat();
    assert_eq!(model.ask(&next, &[]), 112);
}

#[test]
fn a_short_prompt_does_not_take_another_ones_conversation() {
    let mut model = Model::new(1 << 20);
    let hello = |word: u32| [&prompt(0, 0)[..], &[word, 1, 2, 3, 4]].concat();
    model.ask(&hello(50), &[60; 30]);
    assert_eq!(model.ask(&hello(51), &[61; 30]), 100);
    let next = [&hello(50)[..], &[60; 30], &[9]].concat();
    assert_eq!(model.ask(&next, &[]), 135);
}

#[test]
fn who_was_used_longest_ago_leaves_first() {
    let mut model = Model::new(2 * BLOCKS);
    let alone = |client: u32| (0..20).map(|token| 1_000 * client + token).collect::<Vec<u32>>();
    for client in [1, 2, 1, 3, 4] {
        model.ask(&alone(client), &[]);
    }
    assert_eq!(model.begin(&alone(2)), 0);
    let mut model = Model::new(2 * BLOCKS);
    for client in [1, 2, 1, 3] {
        model.ask(&alone(client), &[]);
    }
    assert_eq!(model.begin(&alone(1)), 19);
}

#[test]
fn a_prefix_stays_and_is_not_used_up() {
    let mut model = Model::new(0);
    model.ask(&prompt(0, 0), &[]);
    model.others.pin(model.current.branch());
    for client in 0..4 {
        assert_eq!(model.ask(&prompt(client, 200), &[3; 100]), 100);
    }
    assert!(model.others.kept.is_empty());
    assert!(model.others.pinned(&slots(&prompt(0, 0))).is_some());
    for other in 0..PINNED_MAX {
        model.ask(&[9_000 + other as u32; 3], &[]);
        model.others.pin(model.current.branch());
    }
    assert!(model.others.pinned(&slots(&prompt(0, 0))).is_none());
}

#[test]
fn a_reply_that_is_cancelled_leaves_what_was_there() {
    let mut model = Model::new(1 << 20);
    model.ask(&prompt(0, 300), &[7; 20]);
    let shared = model.begin(&prompt(0, 700));
    assert_eq!(shared, 400);
    let rest = prompt(0, 700);
    model.add(&rest[400..600]);
    let other = [&prompt(0, 300)[..], &[8; 10]].concat();
    assert_eq!(model.begin(&other), 400);
}

proptest! {
    #[test]
    fn what_is_shared_is_what_was_computed(
        turns in prop::collection::vec((prop::collection::vec(0..3u32, 1..60), 0..40usize), 1..30),
        bytes_max in prop_oneof![Just(0), Just(4 * BLOCKS), Just(1 << 20)],
    ) {
        let mut model = Model::new(bytes_max);
        for (prompt, answer) in turns {
            let shared = model.begin(&prompt);
            prop_assert!(shared < prompt.len());
            prop_assert_eq!(model.current.slots(), slots(&prompt[..shared]));
            model.add(&prompt[shared..]);
            model.current.remember();
            model.add(&vec![1; answer]);
            prop_assert!(model.others.kept_bytes() <= bytes_max);
            prop_assert!(model.others.kept.len() <= KEPT_MAX);
        }
    }
}
