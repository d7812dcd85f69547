//! The daemon on MQTT 5: a last will, the retained state, events, questions from the network with
//! answers to where they want them, and what plugins publish. It goes on without a broker: what was
//! accepted waits in the outbox.

mod answer; // what is said to an asker
mod link; // one connection
mod options; // how we connect
mod outbox; // what waits for the broker
mod question; // what comes in
mod questioner; // from a question to the answer of its turn
mod sender; // outbox and store, from acceptance to arrival
mod store; // the outbox on disk
mod topics; // names of topics

use std::time::Duration;

use anyhow::Context as _;
use gemma_plugins::Publication;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::link::{Link, News, Sent};
use self::outbox::{Message, Weight};
use self::questioner::{Questioner, Settled};
use self::sender::Sender;
use self::topics::{Incoming, Topics};
use super::backoff::Backoff;
use crate::channels::{CommandSender, EventReceiver, StatusReceiver};
use crate::config::{Broker, Server};
use crate::event::{Command, Event, PartName};
use crate::status::StatusBoard;

/// Longest time that is spent on what is left to send when the daemon stops.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// A connection that lasted so long was a good one: the next attempt comes soon.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);

/// Serves the broker until `stop`, whatever happens to the broker; then sends what is left, says
/// `offline` and returns.
///
/// # Errors
/// If the configuration makes no topics, or the outbox folder cannot be used.
///
/// # Cancel safety
/// Dropping it leaves the broker to send the last will; what is in the outbox folder stays there.
pub async fn run(
    config: Broker,
    board: StatusBoard,
    events: EventReceiver,
    commands: CommandSender,
    mut publications: mpsc::Receiver<Publication>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(server) = config.server.clone() else {
        refuse_all(&mut publications, &stop).await;
        return Ok(());
    };
    let topics = Topics::new(&config.prefix, &config.node).map_err(anyhow::Error::msg)?;
    let sender = Sender::open(config.outbox_folder.as_deref(), config.outbox_messages_max)
        .await
        .context("the outbox folder cannot be used ([broker] outbox_folder)")?;
    let questioner = Questioner::new(commands.clone(), topics.clone());
    let status = board.subscribe();
    let work = Work { events, status, publications };
    let publisher = Publisher { board, topics, sender, questioner, commands, work, stale: true };
    publisher.run(&config, &server, &stop).await;
    Ok(())
}

/// Looks whether the broker takes us, as somebody else than the daemon; gives its place, or `None`
/// if none is configured.
///
/// # Errors
/// If it cannot be reached or refuses us.
pub async fn probe(config: &Broker) -> anyhow::Result<Option<String>> {
    let Some(server) = &config.server else { return Ok(None) };
    let place = describe(server);
    let client = format!("gemmad-probe-{}", std::process::id());
    let options = options::of_client(client, config, server).with_context(|| place.clone())?;
    let mut link = Link::open(options);
    loop {
        match link.next().await {
            Ok(News::Connected { .. }) => return Ok(Some(place)),
            Ok(_) => {}
            Err(lost) => anyhow::bail!("{place}: {lost}"),
        }
    }
}

/// The broker's place in words.
fn describe(server: &Server) -> String {
    let scheme = if server.tls { "mqtts" } else { "mqtt" };
    format!("{scheme}://{}:{}", server.host, server.port)
}

/// Without a broker a plugin learns at once that nobody listens.
async fn refuse_all(publications: &mut mpsc::Receiver<Publication>, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(publication) = publications.recv() => {
                let reason = "no broker is configured ([broker] url)".to_owned();
                let _ = publication.receipt.send(Err(reason));
            }
            else => return stop.cancelled().await,
        }
    }
}

/// Where work comes from, with or without a connection.
struct Work {
    events: EventReceiver,
    status: StatusReceiver,
    publications: mpsc::Receiver<Publication>,
}

/// Something to do, with or without a connection.
enum Job {
    Publish(Publication),
    Tell(Event),
    CatchUp(u64),
    ShowState,
    Settle(Settled),
    Expire,
}

/// The publisher and all that outlives a connection.
struct Publisher {
    board: StatusBoard,
    topics: Topics,
    sender: Sender,
    questioner: Questioner,
    commands: CommandSender,
    work: Work,
    /// Whether the broker's retained state is older than ours.
    stale: bool,
}

impl Publisher {
    async fn run(mut self, config: &Broker, server: &Server, stop: &CancellationToken) {
        let place = describe(server);
        let mut backoff = Backoff::new();
        loop {
            let lost = match options::of_daemon(config, server, &self.topics) {
                Ok(options) => {
                    let (mut link, opened) = (Link::open(options), Instant::now());
                    let lost = tokio::select! {
                        biased;
                        lost = self.serve(&mut link, &place) => lost,
                        () = stop.cancelled() => return self.close(Some(link)).await,
                    };
                    if opened.elapsed() > GOOD_CONNECTION {
                        backoff.reset();
                    }
                    lost.to_string()
                }
                Err(error) => format!("{error:#}"),
            };
            let detail = format!("{place}: {lost}; tried again and again, results wait");
            self.board.set_part(PartName::Broker, false, detail);
            tokio::select! {
                () = stop.cancelled() => return self.close(None).await,
                () = self.wait(backoff.wait()) => {}
            }
        }
    }

    /// Works with a connection until it is lost.
    async fn serve(&mut self, link: &mut Link, place: &str) -> link::Lost {
        let mut connected = false;
        loop {
            tokio::select! {
                news = link.next() => match news {
                    Ok(News::Connected { packet_bytes_max }) => {
                        connected = true;
                        self.greet(link, packet_bytes_max, place).await;
                    }
                    Ok(news) => self.hear(news).await,
                    Err(lost) => return lost,
                },
                job = self.work.next(&mut self.questioner) => self.work_on(job).await,
            }
            if connected {
                self.send(link);
            }
        }
    }

    /// Works without a connection for a while.
    async fn wait(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                job = self.work.next(&mut self.questioner) => self.work_on(job).await,
            }
        }
    }

    /// What is said first on every connection.
    async fn greet(&mut self, link: &mut Link, packet_bytes_max: Option<u32>, place: &str) {
        link.send(Sent::Status, &self.status("online"));
        link.subscribe([self.topics.ask(), self.topics.mute()]);
        self.stale = true;
        self.sender.limit(packet_bytes_max).await;
        let dropped = match self.sender.dropped() {
            0 => String::new(),
            count => format!("; {count} events were dropped while it was away"),
        };
        let detail = format!("{place}, topics below {}{dropped}", self.topics);
        self.board.set_part(PartName::Broker, true, detail);
    }

    async fn hear(&mut self, news: News) {
        match news {
            News::Arrived(Sent::Message(id)) => self.sender.arrived(id).await,
            News::Refused(Sent::Message(id), reason) => {
                self.sender.refused(id, &format!("{reason:?}")).await;
            }
            News::Refused(Sent::State | Sent::Status, reason) => {
                tracing::warn!(?reason, "the broker refuses our state");
            }
            News::Received(message) => match self.topics.incoming(&topic(&message.topic)) {
                Some(Incoming::Ask) => {
                    if let Err(answer) = self.questioner.ask(&message) {
                        self.sender.accept(answer).await;
                    }
                }
                Some(Incoming::Mute) => self.mute(&message.payload),
                None => {}
            },
            News::Deaf(reason) => tracing::warn!(reason, "questions do not reach us"),
            News::Arrived(Sent::State | Sent::Status) | News::Connected { .. } | News::Nothing => {}
        }
    }

    fn mute(&self, payload: &[u8]) {
        let wish = match payload.trim_ascii() {
            b"ON" | b"on" => true,
            b"OFF" | b"off" => false,
            _ => return tracing::warn!("mute/set: expected ON or OFF"),
        };
        if self.commands.try_send(Command::Mute(wish)).is_err() {
            tracing::warn!("mute/set: the daemon takes no commands now");
        }
    }

    async fn work_on(&mut self, job: Job) {
        match job {
            Job::Publish(publication) => self.sender.publish(publication).await,
            Job::Tell(event) => self.tell(&event).await,
            Job::CatchUp(count) => {
                tracing::warn!(
                    events = count,
                    "the broker's publisher was too slow, events were lost"
                );
                self.stale = true;
                for answer in self.questioner.give_up() {
                    self.sender.accept(answer).await;
                }
            }
            Job::ShowState => self.stale = true,
            Job::Settle(settled) => {
                for answer in self.questioner.settle(settled) {
                    self.sender.accept(answer).await;
                }
            }
            Job::Expire => self.questioner.expire(),
        }
    }

    /// Puts an event into the outbox, and the answer to the question that it ends.
    async fn tell(&mut self, event: &Event) {
        let piece = matches!(event, Event::Text { .. } | Event::Thought { .. });
        if !piece {
            let message = Message {
                topic: self.topics.event(event.name()),
                payload: answer::event(event),
                retain: false,
                correlation: None,
                weight: Weight::Event,
            };
            self.sender.accept(message).await;
        }
        if let Some(answer) = self.questioner.hear(event) {
            self.sender.accept(answer).await;
        }
    }

    /// Sends what there is room for: first the state, then the outbox in order.
    fn send(&mut self, link: &mut Link) {
        if self.stale && !link.is_under_way(Sent::State) {
            let payload = answer::state(&self.work.status.borrow(), self.sender.dropped());
            let message = self.retained(self.topics.state(), payload);
            self.stale = !link.send(Sent::State, &message);
        }
        while link.has_room() {
            let Some((id, message)) = self.sender.after(link.sent) else { return };
            if !link.send(Sent::Message(id), message) {
                return;
            }
            link.sent = id;
        }
    }

    /// Takes in what is left, sends it if the broker is there, and says goodbye.
    async fn close(mut self, link: Option<Link>) {
        self.work.publications.close();
        while let Some(publication) = self.work.publications.recv().await {
            self.sender.publish(publication).await;
        }
        loop {
            match self.work.events.try_recv() {
                Ok(event) => self.tell(&event).await,
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        for answer in self.questioner.give_up() {
            self.sender.accept(answer).await;
        }
        if let Some(link) = link {
            let _ = tokio::time::timeout(FLUSH_MAX, self.flush(link)).await;
        }
        self.sender.report_left();
    }

    async fn flush(&mut self, mut link: Link) {
        let mut said = false;
        loop {
            self.send(&mut link);
            let idle = self.sender.is_empty() && !self.stale && !link.is_under_way(Sent::State);
            if idle && !said {
                said = link.send(Sent::Status, &self.status("offline"));
            } else if idle && !link.is_under_way(Sent::Status) {
                link.disconnect();
                while link.next().await.is_ok() {}
                return;
            }
            match link.next().await {
                Ok(news) => self.hear(news).await,
                Err(_) => return,
            }
        }
    }

    fn status(&self, text: &str) -> Message {
        self.retained(self.topics.status(), text.as_bytes().to_vec())
    }

    fn retained(&self, topic: String, payload: Vec<u8>) -> Message {
        Message { topic, payload, retain: true, correlation: None, weight: Weight::Event }
    }
}

impl Work {
    /// Waits for something to do; nothing is lost when it is dropped.
    async fn next(&mut self, questioner: &mut Questioner) -> Job {
        let expiry = questioner.next_expiry();
        tokio::select! {
            event = self.events.recv() => match event {
                Ok(event) => Job::Tell(event),
                Err(RecvError::Lagged(count)) => Job::CatchUp(count),
                Err(RecvError::Closed) => std::future::pending().await,
            },
            Some(publication) = self.publications.recv() => Job::Publish(publication),
            Ok(()) = self.status.changed() => Job::ShowState,
            Some(settled) = questioner.next() => Job::Settle(settled),
            () = until(expiry) => Job::Expire,
        }
    }
}

/// Waits until a time; for ever if there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The topic of a message as text; one that is no text is none of ours.
fn topic(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
