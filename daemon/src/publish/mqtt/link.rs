//! One connection to the broker: what is sent is numbered, what is acknowledged is reported, and
//! all of it is gone with the connection. What must survive is in the outbox.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt as _};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, PubAckReason, Publish, PublishProperties, RetainForwardRule,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, MqttOptions};

use super::outbox::{Message, MessageId};

/// Messages sent and not yet acknowledged at most.
const WINDOW: usize = 16;
/// Requests that wait inside the client library: the window, the state, the status and the rest.
const REQUESTS: usize = 32;

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// A message of the outbox.
    Message(MessageId),
    /// The retained state.
    State,
    /// The retained `online` or `offline`.
    Status,
}

/// What happened on the connection.
pub(super) enum News {
    /// The broker took us; it takes packets of at most so many bytes.
    Connected { packet_bytes_max: Option<u32> },
    /// The broker has it.
    Arrived(Sent),
    /// The broker will not have it, ever.
    Refused(Sent, PubAckReason),
    /// Somebody sent us something.
    Received(Publish),
    /// The broker does not let us listen.
    Deaf(String),
    /// Nothing of interest.
    Nothing,
}

/// Why the connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// It broke, or never was.
    #[error("{}", in_words(.0))]
    Connection(#[from] Box<ConnectionError>),
    /// The broker cannot take a message now; it stays in the outbox.
    #[error("the broker cannot take a message now: {0:?}")]
    Overloaded(PubAckReason),
}

/// One connection to the broker.
pub(super) struct Link {
    client: AsyncClient,
    events: Pin<Box<dyn Stream<Item = Result<Event, ConnectionError>> + Send>>,
    /// Sent, but without a number yet; numbers are given in this order.
    unnumbered: VecDeque<Sent>,
    numbered: HashMap<u16, Sent>,
    /// The last message of the outbox that was sent.
    pub(super) sent: MessageId,
}

impl Link {
    /// Starts to connect; [`Link::next`] does the work.
    pub(super) fn open(options: MqttOptions) -> Self {
        let (client, events) = AsyncClient::new(options, REQUESTS);
        let events = stream::unfold(events, |mut events| async move {
            let event = events.poll().await;
            Some((event, events))
        });
        let (unnumbered, numbered) = (VecDeque::new(), HashMap::new());
        Self { client, events: Box::pin(events), unnumbered, numbered, sent: 0 }
    }

    /// Waits for the next thing that happens.
    ///
    /// # Errors
    /// If the connection is lost; it must not be used any more.
    ///
    /// # Cancel safety
    /// Nothing is lost: an unfinished step goes on at the next call.
    pub(super) async fn next(&mut self) -> Result<News, Lost> {
        match self.events.next().await {
            Some(Ok(Event::Incoming(packet))) => self.incoming(packet),
            Some(Ok(Event::Outgoing(Outgoing::Publish(number)))) => {
                if let Some(sent) = self.unnumbered.pop_front() {
                    self.numbered.insert(number, sent);
                }
                Ok(News::Nothing)
            }
            Some(Ok(Event::Outgoing(_))) => Ok(News::Nothing),
            Some(Err(error)) => Err(Box::new(error).into()),
            None => Err(Box::new(ConnectionError::RequestsDone).into()),
        }
    }

    /// Whether the window has room for another message of the outbox.
    pub(super) fn has_room(&self) -> bool {
        self.unnumbered.len() + self.numbered.len() < WINDOW
    }

    /// Whether this was sent and is not acknowledged.
    pub(super) fn is_under_way(&self, sent: Sent) -> bool {
        self.unnumbered.contains(&sent) || self.numbered.values().any(|other| *other == sent)
    }

    /// Sends a message; false if it has to be tried again later.
    pub(super) fn send(&mut self, what: Sent, message: &Message) -> bool {
        let properties = PublishProperties {
            correlation_data: message.correlation.clone().map(Into::into),
            ..PublishProperties::default()
        };
        let sent = self.client.try_publish_with_properties(
            &message.topic,
            QoS::AtLeastOnce,
            message.retain,
            message.payload.clone(),
            properties,
        );
        if sent.is_ok() {
            self.unnumbered.push_back(what);
        }
        sent.is_ok()
    }

    /// Subscribes to topics; what is retained there is not sent to us.
    pub(super) fn subscribe(&self, topics: [String; 2]) -> bool {
        let filters = topics.map(|topic| Filter {
            nolocal: true,
            retain_forward_rule: RetainForwardRule::Never,
            ..Filter::new(topic, QoS::AtLeastOnce)
        });
        self.client.try_subscribe_many(filters).is_ok()
    }

    /// Says goodbye; the connection ends soon after.
    pub(super) fn disconnect(&self) {
        let _ = self.client.try_disconnect();
    }

    fn incoming(&mut self, packet: Packet) -> Result<News, Lost> {
        match packet {
            Packet::ConnAck(answer) => {
                let packet_bytes_max = answer.properties.and_then(|found| found.max_packet_size);
                Ok(News::Connected { packet_bytes_max })
            }
            Packet::Publish(publish) => Ok(News::Received(publish)),
            Packet::PubAck(answer) => {
                let Some(sent) = self.numbered.remove(&answer.pkid) else {
                    return Ok(News::Nothing);
                };
                match answer.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                        Ok(News::Arrived(sent))
                    }
                    PubAckReason::NotAuthorized
                    | PubAckReason::TopicNameInvalid
                    | PubAckReason::PayloadFormatInvalid => Ok(News::Refused(sent, answer.reason)),
                    PubAckReason::UnspecifiedError
                    | PubAckReason::ImplementationSpecificError
                    | PubAckReason::PacketIdentifierInUse
                    | PubAckReason::QuotaExceeded => Err(Lost::Overloaded(answer.reason)),
                }
            }
            Packet::SubAck(answer) => {
                let granted =
                    |code: &&SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                Ok(answer.return_codes.iter().find(granted).map_or(News::Nothing, |code| {
                    News::Deaf(format!("the broker does not let us subscribe: {code:?}"))
                }))
            }
            Packet::Auth(_)
            | Packet::Connect(..)
            | Packet::PingReq(_)
            | Packet::PingResp(_)
            | Packet::Subscribe(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::Disconnect(_) => Ok(News::Nothing),
        }
    }
}

/// Why there is no connection, and what the owner of the machine can do about it.
fn in_words(error: &ConnectionError) -> String {
    use rumqttc::v5::StateError;
    use rumqttc::v5::mqttbytes::v5::ConnectReturnCode as Code;
    match error {
        ConnectionError::ConnectionRefused(Code::BadUserNamePassword | Code::NotAuthorized) => {
            "the broker does not let us in: check [broker] user and password_file".to_owned()
        }
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses us: {code:?}"),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the broker closed the connection".to_owned()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "the broker does not answer".to_owned()
        }
        ConnectionError::Timeout(_) => "no answer".to_owned(),
        ConnectionError::Io(error) => error.to_string(),
        ConnectionError::Tls(rumqttc::TlsError::Io(error)) => format!("TLS: {error}"),
        ConnectionError::MqttState(_)
        | ConnectionError::Tls(_)
        | ConnectionError::NotConnAck(_)
        | ConnectionError::RequestsDone => error.to_string(),
    }
}
