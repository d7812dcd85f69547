//! A program that asks over MQTT: it writes down every message that the broker delivers, and can
//! publish and ask.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::record::Record;

/// Largest packet taken from the broker, in bytes.
const PACKET_BYTES_MAX: u32 = 8 << 20;

/// A message as the broker delivered it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it from before.
    pub retained: bool,
    /// The correlation data that came along.
    pub correlation: Vec<u8>,
}

impl Message {
    /// The payload as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The payload as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.text().chars().take(400).collect();
        write!(formatter, "{} {text}", self.topic)
    }
}

/// A client of the broker that hears everything. It comes back by itself when the broker does.
#[derive(Debug)]
pub struct MqttClient {
    client: AsyncClient,
    messages: Record<Message>,
    connections: Record<String>,
    task: JoinHandle<()>,
}

impl MqttClient {
    /// Connects and subscribes to everything.
    ///
    /// # Errors
    /// When the broker does not let it.
    pub async fn connect(host: &str, port: u16) -> anyhow::Result<Self> {
        let name = format!("listener-{}", std::process::id());
        let mut options = MqttOptions::new(name, host, port);
        options.set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(Some(PACKET_BYTES_MAX));
        let (client, event_loop) = AsyncClient::new(options, 64);
        let (messages, connections) = (Record::default(), Record::default());
        let pump = pump(event_loop, client.clone(), messages.clone(), connections.clone());
        let this = Self { client, messages, connections, task: tokio::spawn(pump) };
        this.subscribed(0).await?;
        Ok(this)
    }

    /// Everything that was delivered.
    #[must_use]
    pub fn messages(&self) -> &Record<Message> {
        &self.messages
    }

    /// The number of messages and connections so far: a place to wait from.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.mark()
    }

    /// Waits until a subscription since `connections` is in force.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn subscribed(&self, connections: usize) -> anyhow::Result<()> {
        let granted = |line: &String| (line == "subscribed").then_some(());
        self.connections.wait(connections, "subscription", granted).await
    }

    /// Waits for a message on `topic` since `mark`.
    ///
    /// # Errors
    /// When none came in time.
    pub async fn message(&self, mark: usize, topic: &str) -> anyhow::Result<Message> {
        let fits = |message: &Message| (message.topic == topic).then(|| message.clone());
        self.messages.wait(mark, &format!("message on {topic}"), fits).await
    }

    /// Publishes `payload` on `topic`.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>) -> anyhow::Result<()> {
        let sent = self.client.publish(topic, QoS::AtLeastOnce, false, payload.into()).await;
        sent.context("cannot publish")
    }

    /// Publishes a request on `topic` and waits for the answer on a topic of its own.
    ///
    /// # Errors
    /// When no answer came, or one with other correlation data.
    pub async fn request(
        &self,
        topic: &str,
        payload: impl Into<Vec<u8>>,
    ) -> anyhow::Result<Message> {
        let mark = self.messages.mark();
        let answer_topic = format!("answers/{mark}");
        let correlation = format!("request {mark}").into_bytes();
        let properties = PublishProperties {
            response_topic: Some(answer_topic.clone()),
            correlation_data: Some(correlation.clone().into()),
            ..PublishProperties::default()
        };
        let payload = payload.into();
        let client = &self.client;
        client.publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties).await?;
        let answer = self.message(mark, &answer_topic).await?;
        if answer.correlation != correlation {
            bail!("the answer to {correlation:?} carries {:?}", answer.correlation);
        }
        Ok(answer)
    }
}

impl Drop for MqttClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pump(
    mut event_loop: EventLoop,
    client: AsyncClient,
    messages: Record<Message>,
    connections: Record<String>,
) {
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                let _ = client.try_subscribe("#", QoS::AtLeastOnce);
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => connections.push("subscribed".to_owned()),
            Ok(Event::Incoming(Packet::Publish(publish))) => messages.push(delivered(publish)),
            Ok(_) => {}
            Err(error) => {
                connections.push(error.to_string());
                // The broker is away: knock again soon.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn delivered(publish: Publish) -> Message {
    let correlation = publish.properties.and_then(|properties| properties.correlation_data);
    Message {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.to_vec(),
        retained: publish.retain,
        correlation: correlation.map(|data| data.to_vec()).unwrap_or_default(),
    }
}
