//! The way of a message from acceptance to arrival: the outbox in memory, and under it the store
//! on disk where one is configured.

use std::io;
use std::path::Path;

use gemma_plugins::Publication;

use super::outbox::{Message, MessageId, Outbox, Weight};
use super::store::Store;
use super::topics;

/// Bytes that wait at most, over all messages.
const OUTBOX_BYTES_MAX: usize = 32 << 20;
/// Largest message of ours in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a packet beside topic, payload and correlation at most.
const PACKET_OVERHEAD_BYTES: usize = 64;

/// Outbox and store.
pub(super) struct Sender {
    outbox: Outbox,
    store: Option<Store>,
    message_bytes_max: usize,
}

impl Sender {
    /// Opens the outbox with what waits in the folder.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub(super) async fn open(folder: Option<&Path>, messages_max: usize) -> io::Result<Self> {
        let mut outbox = Outbox::new(messages_max, OUTBOX_BYTES_MAX);
        let mut store = None;
        if let Some(folder) = folder.map(Path::to_path_buf) {
            let (opened, waiting) = blocking(move || Store::open(&folder)).await?;
            if !waiting.is_empty() {
                tracing::info!(results = waiting.len(), "results from before wait for the broker");
            }
            for (id, message) in waiting {
                outbox.restore(id, message);
            }
            store = Some(opened);
        }
        Ok(Self { outbox, store, message_bytes_max: MESSAGE_BYTES_MAX })
    }

    /// Accepts what a plugin publishes; its receipt says whether.
    pub(super) async fn publish(&mut self, publication: Publication) {
        let Publication { plugin, topic, payload, retain, receipt } = publication;
        if receipt.is_closed() {
            // The call was stopped meanwhile; its result says that nothing was published.
            return tracing::debug!(plugin, topic, "a publication of a stopped call is dropped");
        }
        let message = Message { topic, payload, retain, correlation: None, weight: Weight::Result };
        let accepted = self.try_accept(message).await;
        if let Err(reason) = &accepted {
            tracing::warn!(plugin, reason, "a publication is refused");
        }
        let _ = receipt.send(accepted);
    }

    /// Accepts a message of ours, or counts it as dropped.
    pub(super) async fn accept(&mut self, message: Message) {
        let weight = message.weight;
        if let Err(reason) = self.try_accept(message).await {
            match weight {
                Weight::Event => tracing::debug!(reason, "an event is dropped"),
                Weight::Result => tracing::warn!(reason, "an answer is dropped"),
            }
        }
    }

    async fn try_accept(&mut self, message: Message) -> Result<(), String> {
        topics::check(&message.topic)?;
        let bytes = message.bytes();
        if bytes > self.message_bytes_max {
            let bytes_max = self.message_bytes_max;
            return Err(format!("a message of {bytes} bytes; at most {bytes_max} are taken"));
        }
        let kept = self.store.clone().filter(|_| message.weight == Weight::Result);
        let copy = kept.as_ref().map(|_| message.clone());
        let id = self.outbox.push(message).map_err(|full| full.to_string())?;
        if let (Some(store), Some(copy)) = (kept, copy)
            && let Err(error) = blocking(move || store.keep(id, &copy)).await
        {
            self.outbox.remove(id);
            return Err(format!("the outbox folder takes nothing: {error}"));
        }
        Ok(())
    }

    /// The broker takes packets of at most so many bytes: what is larger can never arrive.
    pub(super) async fn limit(&mut self, packet_bytes_max: Option<u32>) {
        let bytes_max = packet_bytes_max.map_or(usize::MAX, |bytes| bytes as usize);
        let bytes_max = bytes_max.saturating_sub(PACKET_OVERHEAD_BYTES);
        self.message_bytes_max = bytes_max.min(MESSAGE_BYTES_MAX);
        let mut last = 0;
        while let Some((id, message)) = self.outbox.after(last) {
            last = id;
            if message.bytes() > bytes_max {
                self.refused(id, "it is larger than the broker takes").await;
            }
        }
    }

    /// A message arrived.
    pub(super) async fn arrived(&mut self, id: MessageId) {
        let result = self.outbox.remove(id).filter(|message| message.weight == Weight::Result);
        if let (Some(_), Some(store)) = (result, self.store.clone())
            && let Err(error) = blocking(move || store.forget(id)).await
        {
            tracing::warn!(%error, "a result stays in the outbox folder and will be sent again");
        }
    }

    /// A message can never arrive.
    pub(super) async fn refused(&mut self, id: MessageId, reason: &str) {
        if let Some((_, message)) = self.outbox.after(id.saturating_sub(1)) {
            tracing::warn!(topic = message.topic, reason, "the broker refuses a message");
        }
        self.arrived(id).await;
    }

    /// The first message after `id`.
    pub(super) fn after(&self, id: MessageId) -> Option<(MessageId, &Message)> {
        self.outbox.after(id)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Events that were dropped since the start.
    pub(super) const fn dropped(&self) -> u64 {
        self.outbox.dropped()
    }

    /// Says what is left at the end.
    pub(super) fn report_left(&self) {
        let left = self.outbox.len();
        match &self.store {
            _ if left == 0 => {}
            Some(_) => tracing::info!(messages = left, "results wait on disk for the next start"),
            None => {
                tracing::warn!(messages = left, "lost: no broker, and no [broker] outbox_folder");
            }
        }
    }
}

/// Does file work off the asynchronous threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
