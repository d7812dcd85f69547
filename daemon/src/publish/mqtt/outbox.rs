//! What waits for the broker, in order and bounded. Events make room for results: when the outbox
//! is full the oldest event leaves and is counted; a result that was accepted never leaves unsent.

use std::collections::BTreeMap;

/// Number of a message in the outbox; a later message has a higher one.
pub(super) type MessageId = u64;

/// A message for the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) retain: bool,
    /// What the asker marked its question with.
    pub(super) correlation: Option<Vec<u8>>,
    pub(super) weight: Weight,
}

/// Whether a message may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// It may, when there is no room.
    Event,
    /// Somebody was told that it is accepted: it may not.
    Result,
}

impl Message {
    /// Bytes that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.correlation.as_ref().map_or(0, Vec::len)
    }
}

/// The outbox is full of results.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is full: {messages} results of {bytes} bytes wait for the broker")]
pub(super) struct Full {
    messages: usize,
    bytes: usize,
}

/// What waits for the broker.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: BTreeMap<MessageId, Message>,
    events: usize,
    bytes: usize,
    next: MessageId,
    messages_max: usize,
    bytes_max: usize,
    dropped: u64,
}

impl Outbox {
    /// An outbox with room for so many messages and bytes.
    pub(super) const fn new(messages_max: usize, bytes_max: usize) -> Self {
        let waiting = BTreeMap::new();
        Self { waiting, events: 0, bytes: 0, next: 1, messages_max, bytes_max, dropped: 0 }
    }

    /// Puts a message back that was kept over a restart, before any new one.
    pub(super) fn restore(&mut self, id: MessageId, message: Message) {
        self.next = self.next.max(id.saturating_add(1));
        self.insert(id, message);
    }

    /// Accepts a message as the last one, and drops events where that makes the room.
    ///
    /// # Errors
    /// If there is no room: the message is dropped.
    pub(super) fn push(&mut self, message: Message) -> Result<MessageId, Full> {
        while !self.has_room(message.bytes()) {
            if !self.drop_oldest_event() {
                self.dropped += u64::from(message.weight == Weight::Event);
                return Err(Full { messages: self.waiting.len(), bytes: self.bytes });
            }
        }
        let id = self.next;
        self.next += 1;
        self.insert(id, message);
        Ok(id)
    }

    /// Takes a message out: it has arrived, or it never can.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<Message> {
        let message = self.waiting.remove(&id)?;
        self.bytes -= message.bytes();
        self.events -= usize::from(message.weight == Weight::Event);
        Some(message)
    }

    /// The first message after `id`.
    pub(super) fn after(&self, id: MessageId) -> Option<(MessageId, &Message)> {
        self.waiting.range(id.saturating_add(1)..).next().map(|(id, message)| (*id, message))
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Messages that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Events that were dropped since the start.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < self.messages_max && self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    fn insert(&mut self, id: MessageId, message: Message) {
        self.bytes += message.bytes();
        self.events += usize::from(message.weight == Weight::Event);
        self.waiting.insert(id, message);
    }

    fn drop_oldest_event(&mut self) -> bool {
        if self.events == 0 {
            return false;
        }
        let oldest = self.waiting.iter().find(|(_, message)| message.weight == Weight::Event);
        let Some(id) = oldest.map(|(id, _)| *id) else { return false };
        self.dropped += 1;
        self.remove(id).is_some()
    }
}

#[cfg(test)]
mod tests;
