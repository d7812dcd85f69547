#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn message(text: &str, weight: Weight) -> Message {
    let (topic, payload) = ("t".to_owned(), text.as_bytes().to_vec());
    Message { topic, payload, retain: false, correlation: None, weight }
}

fn texts(outbox: &Outbox) -> Vec<String> {
    let text = |message: &Message| String::from_utf8(message.payload.clone()).unwrap();
    outbox.waiting.values().map(text).collect()
}

#[test]
fn the_oldest_event_makes_room_and_is_counted() {
    let mut outbox = Outbox::new(3, 1000);
    outbox.push(message("result 1", Weight::Result)).unwrap();
    outbox.push(message("event 1", Weight::Event)).unwrap();
    outbox.push(message("event 2", Weight::Event)).unwrap();
    outbox.push(message("result 2", Weight::Result)).unwrap();
    assert_eq!(texts(&outbox), ["result 1", "event 2", "result 2"]);
    assert_eq!(outbox.dropped(), 1);
}

#[test]
fn an_outbox_full_of_results_refuses() {
    let mut outbox = Outbox::new(1, 1000);
    outbox.push(message("result", Weight::Result)).unwrap();
    assert!(outbox.push(message("late", Weight::Result)).is_err());
    assert!(outbox.push(message("event", Weight::Event)).is_err());
    assert_eq!(texts(&outbox), ["result"]);
    assert_eq!(outbox.dropped(), 1);
}

#[test]
fn bytes_are_bounded_too() {
    let mut outbox = Outbox::new(100, 10);
    outbox.push(message("1234", Weight::Event)).unwrap();
    outbox.push(message("5678", Weight::Event)).unwrap();
    outbox.push(message("90ab", Weight::Event)).unwrap();
    assert_eq!(texts(&outbox), ["5678", "90ab"]);
    assert!(outbox.push(message("longer than the whole", Weight::Result)).is_err());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(Weight),
    Arrive,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Push(Weight::Result)),
        3 => Just(Step::Push(Weight::Event)),
        2 => Just(Step::Arrive),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// Whatever happens, every accepted result arrives once, in the order of acceptance.
    #[test]
    fn nothing_accepted_is_lost_and_the_order_is_kept(steps in steps(), room in 1_usize..20) {
        let mut outbox = Outbox::new(room, 10_000);
        let (mut accepted, mut arrived) = (Vec::new(), Vec::new());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(weight) => {
                    let pushed = outbox.push(message(&number.to_string(), weight));
                    if pushed.is_ok() && weight == Weight::Result {
                        accepted.push(number.to_string());
                    }
                }
                Step::Arrive => arrived.extend(arrive(&mut outbox)),
                Step::Restart => {
                    let mut next = Outbox::new(room, 10_000);
                    for (id, kept) in &outbox.waiting {
                        if kept.weight == Weight::Result {
                            next.restore(*id, kept.clone());
                        }
                    }
                    outbox = next;
                }
            }
            prop_assert!(outbox.len() <= room);
            let bytes: usize = outbox.waiting.values().map(Message::bytes).sum();
            prop_assert_eq!(outbox.bytes, bytes);
        }
        while !outbox.is_empty() {
            arrived.extend(arrive(&mut outbox));
        }
        prop_assert_eq!(arrived, accepted);
    }
}

/// Sends the first message; gives its text if it is a result.
fn arrive(outbox: &mut Outbox) -> Option<String> {
    let id = outbox.after(0)?.0;
    let message = outbox.remove(id)?;
    (message.weight == Weight::Result).then(|| String::from_utf8(message.payload).unwrap())
}
