//! Whose turn is whose. A publisher learns the number of the turn that it asked for on one way and
//! the turn's events on another, in any order: [`Turns`] brings them together and loses none.

use std::collections::BTreeMap;

use crate::event::{Event, Origin, TurnId};

/// Events kept for a turn until its asker is known; the asker is a few milliseconds behind.
const EARLY_EVENTS_MAX: usize = 256;

/// The open turns of one publisher, each with the asker `A` who waits for it.
#[derive(Debug)]
pub(super) struct Turns<A> {
    origin: Origin,
    open: BTreeMap<TurnId, Turn<A>>,
}

#[derive(Debug)]
enum Turn<A> {
    Unclaimed(Vec<Event>),
    Claimed(A),
}

impl<A> Turns<A> {
    /// No turns yet; those accepted from `origin` belong here.
    pub(super) const fn new(origin: Origin) -> Self {
        Self { origin, open: BTreeMap::new() }
    }

    /// Hears an event: gives the asker who waits for it, or keeps it for the asker to come.
    pub(super) fn hear(&mut self, event: &Event) -> Option<&mut A> {
        let turn = event.turn()?;
        let ours = matches!(event, Event::Accepted { origin, .. } if *origin == self.origin);
        if ours && !self.open.contains_key(&turn) {
            self.open.insert(turn, Turn::Unclaimed(Vec::new()));
        }
        match self.open.get_mut(&turn)? {
            Turn::Claimed(asker) => Some(asker),
            Turn::Unclaimed(early) => {
                if early.len() < EARLY_EVENTS_MAX || event.ends_turn() {
                    early.push(event.clone());
                }
                None
            }
        }
    }

    /// Names the asker of a turn and gives the events that came before.
    pub(super) fn claim(&mut self, turn: TurnId, asker: A) -> Vec<Event> {
        match self.open.insert(turn, Turn::Claimed(asker)) {
            Some(Turn::Unclaimed(early)) => early,
            Some(Turn::Claimed(_)) | None => Vec::new(),
        }
    }

    /// Looks up the asker of a turn.
    pub(super) fn asker(&mut self, turn: TurnId) -> Option<&mut A> {
        match self.open.get_mut(&turn) {
            Some(Turn::Claimed(asker)) => Some(asker),
            Some(Turn::Unclaimed(_)) | None => None,
        }
    }

    /// Closes a turn and gives its asker.
    pub(super) fn close(&mut self, turn: TurnId) -> Option<A> {
        match self.open.remove(&turn) {
            Some(Turn::Claimed(asker)) => Some(asker),
            Some(Turn::Unclaimed(_)) | None => None,
        }
    }

    /// All known askers.
    pub(super) fn askers(&self) -> impl Iterator<Item = &A> {
        self.open.values().filter_map(|turn| match turn {
            Turn::Claimed(asker) => Some(asker),
            Turn::Unclaimed(_) => None,
        })
    }

    /// The turns whose asker is known and meets a condition, in order.
    pub(super) fn find(&self, wanted: impl Fn(&A) -> bool) -> Vec<TurnId> {
        let matches = |turn: &Turn<A>| matches!(turn, Turn::Claimed(asker) if wanted(asker));
        self.open.iter().filter(|(_, turn)| matches(turn)).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn accepted(turn: TurnId, origin: Origin) -> Event {
        Event::Accepted { turn, origin, session: String::new() }
    }

    fn text(turn: TurnId, text: &str) -> Event {
        Event::Text { turn, text: text.to_owned() }
    }

    #[test]
    fn events_before_the_claim_come_with_the_claim() {
        let mut turns = Turns::new(Origin::Bus);
        let early = [accepted(1, Origin::Bus), text(1, "a"), Event::Cancelled { turn: 1 }];
        for event in &early {
            assert_eq!(turns.hear(event), None);
        }
        assert_eq!(turns.claim(1, "me"), early);
        assert_eq!(turns.close(1), Some("me"));
        assert_eq!(turns.hear(&text(1, "late")), None);
    }

    #[test]
    fn events_after_the_claim_find_their_asker() {
        let mut turns = Turns::new(Origin::Bus);
        assert_eq!(turns.claim(7, "me"), []);
        assert_eq!(turns.hear(&accepted(7, Origin::Bus)), Some(&mut "me"));
        assert_eq!(turns.hear(&text(7, "a")), Some(&mut "me"));
        assert_eq!(turns.find(|asker| *asker == "me"), [7]);
        assert_eq!(turns.find(|asker| *asker == "you"), [0; 0]);
    }

    #[test]
    fn turns_of_another_origin_are_not_kept() {
        let mut turns: Turns<()> = Turns::new(Origin::Broker);
        for event in [accepted(1, Origin::Speech), text(1, "a"), accepted(2, Origin::Bus)] {
            assert_eq!(turns.hear(&event), None);
        }
        assert!(turns.open.is_empty());
    }

    #[test]
    fn a_turn_that_nobody_claims_keeps_a_bounded_number_of_events_and_its_end() {
        let mut turns = Turns::new(Origin::Bus);
        turns.hear(&accepted(1, Origin::Bus));
        for _ in 0..10 * EARLY_EVENTS_MAX {
            turns.hear(&text(1, "a"));
        }
        turns.hear(&Event::Cancelled { turn: 1 });
        let early = turns.claim(1, ());
        assert_eq!(early.len(), EARLY_EVENTS_MAX + 1);
        assert!(early.last().unwrap().ends_turn());
    }
}
