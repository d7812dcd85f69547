//! The MQTT capability: messages to granted topics. A message goes to the daemon, and the guest
//! waits for the daemon's receipt, so that a tool can only claim what was accepted.

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::contract::gemmad::plugin::mqtt::Host;
use crate::contract::gemmad::plugin::types::Error;
use crate::grants::Topic;
use crate::instance::Call;
use crate::limits::Reached;

/// A message that a plugin publishes. Whoever takes it answers with a receipt.
#[derive(Debug)]
pub struct Publication {
    /// Name of the plugin.
    pub plugin: String,
    /// Topic, granted by the plugin's manifest, without wildcards.
    pub topic: String,
    /// Payload, as the plugin made it.
    pub payload: Vec<u8>,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// Where it is said that the message was accepted for delivery, or why not. A receipt that
    /// nobody waits for any more belongs to a call that was stopped.
    pub receipt: oneshot::Sender<Result<(), String>>,
}

impl Host for Call {
    async fn publish(
        &mut self,
        topic: String,
        payload: Vec<u8>,
        retain: bool,
    ) -> wasmtime::Result<Result<(), Error>> {
        self.enter().await?;
        let receipt = match self.send(&topic, payload, retain) {
            Ok(receipt) => receipt,
            Err(error) => return Ok(Err(error)),
        };
        self.awaiting_receipt = Some(topic);
        let answer = receipt.await;
        self.awaiting_receipt = None;
        Ok(match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(text)) => Err(Error::Unavailable(text)),
            Err(_) => Err(Error::Unavailable("the message was dropped unsent".into())),
        })
    }
}

impl Call {
    /// Checks a message and hands it to the daemon.
    fn send(
        &mut self,
        topic: &str,
        payload: Vec<u8>,
        retain: bool,
    ) -> Result<oneshot::Receiver<Result<(), String>>, Error> {
        self.check(topic, payload.len())?;
        let (receipt, answer) = oneshot::channel();
        let plugin = self.plugin.to_string();
        let publication = Publication { plugin, topic: topic.into(), payload, retain, receipt };
        self.publications.try_send(publication).map_err(|error| {
            Error::Unavailable(match error {
                TrySendError::Full(_) => "too many messages wait to be sent; try later".into(),
                TrySendError::Closed(_) => "no MQTT connection takes messages".into(),
            })
        })?;
        self.used.publications += 1;
        Ok(answer)
    }

    fn check(&mut self, text: &str, payload_bytes: usize) -> Result<(), Error> {
        let topic = Topic::parse(text)
            .map_err(|cause| Error::Invalid(format!("the topic {:?} {cause}", shown(text))))?;
        if !self.grants.may_publish(&topic) {
            let plugin = &self.plugin;
            let text = format!("plugin {plugin} is not granted the topic {}", shown(text));
            return Err(self.refuse(text));
        }
        let over = |key, limit| Err(Error::OverLimit(Reached { key, limit }.to_string()));
        if u64::try_from(payload_bytes).unwrap_or(u64::MAX) > self.limits.publication_bytes {
            return over("publication_bytes", self.limits.publication_bytes);
        }
        if self.used.publications >= self.limits.publications {
            return over("publications", self.limits.publications);
        }
        Ok(())
    }
}

/// The beginning of a topic; the model reads it.
fn shown(topic: &str) -> String {
    topic.chars().take(80).collect()
}
