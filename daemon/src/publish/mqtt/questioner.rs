//! From a question to its answer: has it decoded and accepted, remembers where the answer goes, and
//! cancels it when its message expires.

use std::future::Future;
use std::pin::Pin;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rumqttc::v5::mqttbytes::v5::Publish;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answer;
use super::outbox::{Message, Weight};
use super::question::{Question, ReplyTo};
use super::topics::Topics;
use crate::channels::CommandSender;
use crate::event::{Command, Event, Origin, Refusal, TurnId};
use crate::publish::turns::Turns;

/// Questions of the network that wait to be accepted at most.
const ASKING_MAX: usize = 16;

/// A question that was accepted as a turn, or refused.
pub(super) struct Settled {
    reply: ReplyTo,
    turn: Result<TurnId, Refusal>,
}

/// The open questions of the network.
pub(super) struct Questioner {
    commands: CommandSender,
    topics: Topics,
    asking: FuturesUnordered<Pin<Box<dyn Future<Output = Settled> + Send>>>,
    turns: Turns<ReplyTo>,
}

impl Questioner {
    /// No question is open yet.
    pub(super) fn new(commands: CommandSender, topics: Topics) -> Self {
        let turns = Turns::new(Origin::Broker);
        Self { commands, topics, asking: FuturesUnordered::new(), turns }
    }

    /// Takes a question.
    ///
    /// # Errors
    /// If it cannot be asked: the answer that says so.
    pub(super) fn ask(&mut self, message: &Publish) -> Result<(), Message> {
        let (reply, problem) = ReplyTo::of(message, &self.topics);
        let question = match problem {
            Some(problem) => Err(problem),
            None => Question::parse(&message.payload),
        };
        let question = question.map_err(Refusal::Invalid).and_then(|question| {
            let waiting = self.asking.len();
            let busy = Refusal::Busy { waiting, retry_after_s: 1 };
            if waiting < ASKING_MAX { Ok(question) } else { Err(busy) }
        });
        match question {
            Ok(question) => {
                self.asking.push(Box::pin(settle(question, reply, self.commands.clone())));
                Ok(())
            }
            Err(refusal) => Err(say(reply, answer::refusal(&refusal))),
        }
    }

    /// Waits for a question to be accepted or refused; `None` if there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self) -> Option<Settled> {
        self.asking.next().await
    }

    /// Remembers where the answer to an accepted question goes; gives answers that are due.
    pub(super) fn settle(&mut self, settled: Settled) -> Vec<Message> {
        let Settled { reply, turn } = settled;
        match turn {
            Ok(turn) => {
                let early = self.turns.claim(turn, reply);
                early.iter().filter_map(|event| self.hear(event)).collect()
            }
            Err(refusal) => vec![say(reply, answer::refusal(&refusal))],
        }
    }

    /// Hears an event; gives the answer to the question that it ends.
    pub(super) fn hear(&mut self, event: &Event) -> Option<Message> {
        let reply = self.turns.hear(event)?;
        if let Event::Accepted { session, .. } = event {
            reply.session.clone_from(session);
        }
        let payload = answer::last(event, &reply.session, reply.expired)?;
        Some(say(self.turns.close(event.turn()?)?, payload))
    }

    /// When the next question expires, if one can.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.turns.askers().filter_map(|reply| reply.expires).min()
    }

    /// Cancels the questions that expired; their answers follow.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        for turn in self.turns.find(|reply| reply.expires.is_some_and(|expires| expires <= now)) {
            if let Some(reply) = self.turns.asker(turn) {
                (reply.expires, reply.expired) = (None, true);
            }
            if self.commands.try_send(Command::Cancel(turn)).is_err() {
                tracing::warn!(turn, "an expired question cannot be cancelled");
            }
        }
    }

    /// Ends all questions whose answers may have been missed; gives the answers that say so.
    pub(super) fn give_up(&mut self) -> Vec<Message> {
        let mut answers = Vec::new();
        for turn in self.turns.find(|_| true) {
            let _ = self.commands.try_send(Command::Cancel(turn));
            let error = "the answer was lost, ask again".to_owned();
            answers.extend(self.hear(&Event::Failed { turn, error }));
        }
        answers
    }
}

/// Decodes a question and has it accepted.
async fn settle(question: Question, reply: ReplyTo, commands: CommandSender) -> Settled {
    let turn = match question.decode().await {
        Ok(ask) => {
            let (answer, accepted) = oneshot::channel();
            let _ = commands.send(Command::Ask(ask, answer)).await;
            let stopping = || Refusal::NoModel("the daemon is going down".to_owned());
            accepted.await.unwrap_or_else(|_| Err(stopping()))
        }
        Err(refusal) => Err(refusal),
    };
    Settled { reply, turn }
}

/// An answer on its way.
fn say(reply: ReplyTo, payload: Vec<u8>) -> Message {
    let ReplyTo { topic, correlation, .. } = reply;
    Message { topic, payload, retain: false, correlation, weight: Weight::Result }
}
