//! The turns that wait for the model: speech before local programs, those before the network, and
//! within each the one that came first.

use std::collections::VecDeque;

use super::Turn;
use crate::event::{Origin, TurnId};

/// The turns that wait, at most a fixed number.
#[derive(Debug)]
pub struct Queue {
    turns_max: usize,
    /// By priority, the most urgent first.
    lanes: [VecDeque<Turn>; 3],
}

/// What became of a turn that was to wait.
#[derive(Debug)]
pub enum Push {
    /// It waits.
    Waits,
    /// It waits, and this less urgent one had to leave.
    Displaced(Turn),
    /// There is no room for it.
    Full(Turn),
}

impl Queue {
    /// Makes a queue for `turns_max` turns.
    #[must_use]
    pub fn new(turns_max: usize) -> Self {
        Self { turns_max, lanes: Default::default() }
    }

    /// Turns that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// Memory of the media that wait, in bytes.
    #[must_use]
    pub fn media_bytes(&self) -> usize {
        self.lanes.iter().flatten().map(|turn| turn.media_bytes).sum()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets a turn wait. In a full queue, speech takes the place of the last turn that is not
    /// speech: a person in the room does not ask again in 20 seconds, a program does.
    pub fn push(&mut self, turn: Turn) -> Push {
        let mut displaced = None;
        if self.len() >= self.turns_max {
            let [_, less_urgent @ ..] = &mut self.lanes;
            if turn.origin == Origin::Speech {
                displaced = less_urgent.iter_mut().rev().find_map(VecDeque::pop_back);
            }
            if displaced.is_none() {
                return Push::Full(turn);
            }
        }
        self.lanes[lane(turn.origin)].push_back(turn);
        displaced.map_or(Push::Waits, Push::Displaced)
    }

    /// Takes the turn that is next.
    pub fn pop(&mut self) -> Option<Turn> {
        self.lanes.iter_mut().find_map(VecDeque::pop_front)
    }

    /// Takes a turn out of the queue, wherever it waits.
    pub fn remove(&mut self, id: TurnId) -> Option<Turn> {
        self.lanes.iter_mut().find_map(|lane| {
            let at = lane.iter().position(|turn| turn.id == id)?;
            lane.remove(at)
        })
    }
}

const fn lane(origin: Origin) -> usize {
    match origin {
        Origin::Speech => 0,
        Origin::Bus => 1,
        Origin::Broker => 2,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use gemma_types::{Message, Role};
    use proptest::prelude::*;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::sessions::Asked;

    fn turn(id: TurnId, origin: Origin) -> Turn {
        let (parts, tool_calls, tool_results) = (Vec::new(), Vec::new(), Vec::new());
        let message = Message { role: Role::User, parts, tool_calls, tool_results };
        Turn {
            id,
            origin,
            session: String::new(),
            asked: Asked::Talk { message, thinking: false },
            media_bytes: 0,
            accepted_at: Instant::now(),
            cancel: CancellationToken::new(),
        }
    }

    /// Runs a line of operations: `s`, `b`, `n` push speech, bus, broker (network), numbered from
    /// 1; `-` pops. Gives what was popped, `x` and what left early for the others.
    fn run(turns_max: usize, line: &str) -> String {
        let mut queue = Queue::new(turns_max);
        let (mut id, mut said) = (0, Vec::new());
        for operation in line.chars() {
            let origin = match operation {
                's' => Origin::Speech,
                'b' => Origin::Bus,
                'n' => Origin::Broker,
                _ => {
                    said.push(queue.pop().map_or("none".to_owned(), |turn| turn.id.to_string()));
                    continue;
                }
            };
            id += 1;
            match queue.push(turn(id, origin)) {
                Push::Waits => {}
                Push::Displaced(turn) | Push::Full(turn) => said.push(format!("x{}", turn.id)),
            }
        }
        said.join(" ")
    }

    #[test]
    fn turns_leave_by_priority_then_by_age() {
        let check = |line: &str, expected: &str| assert_eq!(run(3, line), expected, "{line}");
        check("-", "none");
        check("nbs---", "3 2 1");
        check("bb-b--", "1 2 3");
        check("nnnn", "x4");
        check("bbnb", "x4");
        check("nbbs---", "x1 4 2 3");
        check("bbbs---", "x3 4 1 2");
        check("ssss---", "x4 1 2 3");
    }

    #[test]
    fn a_turn_can_be_taken_out() {
        let mut queue = Queue::new(4);
        for (id, origin) in [(1, Origin::Bus), (2, Origin::Broker), (3, Origin::Bus)] {
            assert!(matches!(queue.push(turn(id, origin)), Push::Waits));
        }
        assert_eq!(queue.remove(3).unwrap().id, 3);
        assert!(queue.remove(3).is_none());
        assert_eq!((queue.pop().unwrap().id, queue.pop().unwrap().id), (1, 2));
        assert!(queue.is_empty());
    }

    proptest! {
        #[test]
        fn every_turn_leaves_exactly_once(line in "[sbn-]{0,200}", turns_max in 1usize..20) {
            let drained = line.clone() + &"-".repeat(turns_max);
            let said = run(turns_max, &drained);
            let mut left: Vec<TurnId> = said
                .split(' ')
                .filter_map(|word| word.trim_start_matches('x').parse().ok())
                .collect();
            left.sort_unstable();
            let pushed = line.chars().filter(|operation| *operation != '-').count() as u64;
            prop_assert_eq!(left, (1..=pushed).collect::<Vec<_>>());
        }

        #[test]
        fn the_queue_is_bounded_and_speech_goes_first(
            line in "[sbn-]{0,200}", turns_max in 1usize..20
        ) {
            let mut queue = Queue::new(turns_max);
            let mut speech = 0;
            for (id, operation) in line.chars().enumerate() {
                if operation == '-' {
                    let popped = queue.pop();
                    let is_speech = popped.is_some_and(|turn| turn.origin == Origin::Speech);
                    prop_assert_eq!(is_speech, speech > 0);
                    speech -= usize::from(is_speech);
                    continue;
                }
                let origin = match operation {
                    's' => Origin::Speech,
                    'b' => Origin::Bus,
                    _ => Origin::Broker,
                };
                let pushed = queue.push(turn(id as u64, origin));
                let waits = !matches!(pushed, Push::Full(_));
                speech += usize::from(waits && origin == Origin::Speech);
                prop_assert!(queue.len() <= turns_max);
            }
        }
    }
}
