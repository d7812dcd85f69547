//! Tests of the pump: what it says about its part, and that a mute closes the device.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::bail;
use tokio::sync::broadcast;

use super::*;
use crate::event::Event;

/// A device that gives numbers for as long as it is wanted, and counts how often it is open.
struct Device {
    wanted: Wanted,
    open: Arc<AtomicUsize>,
}

impl Iterator for Device {
    type Item = anyhow::Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        self.wanted.wait(Duration::from_millis(1)).then_some(Ok(7))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn board() -> (StatusBoard, broadcast::Receiver<Event>) {
    let events = broadcast::Sender::new(64);
    let told = events.subscribe();
    (StatusBoard::new(events), told)
}

#[test]
fn a_mute_closes_the_device_and_the_end_of_it_opens_it_again() {
    let (board, mut told) = board();
    let (stop, mute) = (CancellationToken::new(), watch::Sender::new(false));
    let wanted = Wanted::new(stop.clone(), Some(mute.subscribe()));
    let open = Arc::new(AtomicUsize::new(0));
    let (count, board_of_pump) = (open.clone(), board.clone());
    let pump = std::thread::spawn(move || {
        let mut open: Open<u32> = Box::new(move |wanted| {
            count.fetch_add(1, Ordering::SeqCst);
            let items = Box::new(Device { wanted, open: count.clone() });
            Ok(Opened { detail: "a device".to_owned(), items })
        });
        let board = &board_of_pump;
        Pump { part: PartName::Microphone, board, wanted }.run(&mut open, |_| {}, || {});
    });
    let mut next = || match told.blocking_recv().unwrap() {
        Event::Part { working, detail, .. } => (working, detail),
        event => panic!("{event:?}"),
    };
    assert_eq!(next(), (true, "a device".to_owned()));
    mute.send_replace(true);
    assert_eq!(next(), (true, "muted: the device is closed".to_owned()));
    assert_eq!(open.load(Ordering::SeqCst), 0);
    mute.send_replace(false);
    assert_eq!(next(), (true, "a device".to_owned()));
    assert_eq!(open.load(Ordering::SeqCst), 1);
    stop.cancel();
    pump.join().unwrap();
    assert_eq!(open.load(Ordering::SeqCst), 0);
}

#[test]
fn a_missing_device_is_said_once_and_tried_again() {
    let (board, mut told) = board();
    let stop = CancellationToken::new();
    let (stop_of_device, mut tries) = (stop.clone(), 0);
    let mut open: Open<u32> = Box::new(move |_| {
        tries += 1;
        if tries == 2 {
            stop_of_device.cancel();
        }
        bail!("no such device")
    });
    let lost = AtomicUsize::new(0);
    let wanted = Wanted::new(stop, None);
    Pump { part: PartName::Camera, board: &board, wanted }.run(
        &mut open,
        |_| {},
        || {
            lost.fetch_add(1, Ordering::SeqCst);
        },
    );
    assert_eq!(lost.load(Ordering::SeqCst), 2);
    let part = board.now().parts[&PartName::Camera].clone();
    assert_eq!((part.working, part.detail.as_str()), (false, "no such device"));
    assert!(told.try_recv().is_ok());
    assert!(told.try_recv().is_err(), "it was said twice");
}

#[test]
fn dropped_sound_is_counted() {
    let (board, _told) = board();
    let mut drops = Drops::new(&board);
    (0..3).for_each(|_| drops.count());
    assert_eq!(board.now().audio_chunks_dropped, 1, "the others are reported a second later");
    assert_eq!(drops.unreported, 2);
}
