//! THE loop: a turn becomes a reply, the reply's tool calls become results, the results another
//! reply, until the model answers in words. The desk takes what comes in meanwhile.
//!
//! Every accepted turn ends with exactly one of `Answered`, `Failed` and `Cancelled`, and an answer
//! carries the receipts of the calls that were really made, whatever the model says about them.

mod budget; // how many tokens things take
mod desk; // what comes in: accepted, refused, cancelled, muted
mod inbox; // everything that can come in, in one place
mod record; // what happened in a turn so far
mod task; // ready-made tasks

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use gemma_plugins::Host;
use gemma_runtime::{Error, ModelInfo, ReplyOptions};
use gemma_types::{Finish, Message, Part, Piece, Role, ToolCall, ToolResult, ToolSpec, Usage};
use tracing::Instrument as _;

use crate::config;
use crate::event::{Event, FinishReason};
use crate::inference::{Inference, ModelState, reply_options};
use crate::sessions::{Asked, Conversations, Exchange, Turn};
use crate::status::StatusBoard;
use crate::systemd::Progress;

pub use desk::Desk;
pub use inbox::Inbox;

use record::{End, Record};

/// The loop and what it works with.
pub struct Assistant {
    /// Takes what comes in.
    pub desk: Desk,
    /// Answers turns.
    pub worker: Worker,
}

/// Answers turns, one at a time.
pub struct Worker {
    config: config::Assistant,
    inference: Inference,
    host: Arc<Host>,
    tools: Arc<[ToolSpec]>,
    conversations: Conversations,
    board: StatusBoard,
    progress: Progress,
}

impl Assistant {
    /// Takes turns until the stop, then ends those that wait as cancelled.
    ///
    /// # Errors
    /// None; the signature is that of every task.
    pub async fn run(self, mut inbox: Inbox) -> anyhow::Result<()> {
        let Self { mut desk, mut worker } = self;
        desk.open();
        while let Some(turn) = next_turn(&mut desk, &mut inbox, &worker.progress).await {
            desk.begin(&turn);
            let end = {
                let mut answer = pin!(worker.answer(&turn));
                loop {
                    tokio::select! {
                        biased;
                        end = &mut answer => break end,
                        letter = inbox.next(&mut desk.hand_calls) => {
                            desk.take(letter);
                        }
                    }
                }
            };
            desk.end(turn.id, end);
        }
        desk.close();
        Ok(())
    }
}

/// Waits for the next turn and takes what comes in; `None` at the stop.
async fn next_turn(desk: &mut Desk, inbox: &mut Inbox, progress: &Progress) -> Option<Turn> {
    loop {
        if desk.is_closing() {
            return None;
        }
        progress.mark();
        if let Some(turn) = desk.next_turn() {
            return Some(turn);
        }
        let letter = inbox.next(&mut desk.hand_calls).await;
        desk.take(letter);
    }
}

/// What is said to the model in one go.
struct Prompt {
    messages: Vec<Message>,
    tools: Arc<[ToolSpec]>,
    options: ReplyOptions,
}

/// Why a reply that began has no end.
const STOPPED: &str = "the model stopped in the middle of a reply";

/// What the model said in one go, up to its calls or its end.
struct Round {
    thought: String,
    text: String,
    calls: Vec<ToolCall>,
    finish: Finish,
    usage: Usage,
}

impl Worker {
    /// Makes a worker that has not answered anything yet.
    #[must_use]
    pub fn new(
        config: config::Assistant,
        inference: Inference,
        host: Arc<Host>,
        board: StatusBoard,
        progress: Progress,
    ) -> Self {
        let tools = host.tools().into();
        let conversations = Conversations::new(config.session_idle);
        Self { config, inference, host, tools, conversations, board, progress }
    }

    /// Answers one turn, or fails, or stops as soon as it is cancelled.
    async fn answer(&mut self, turn: &Turn) -> End {
        let span = tracing::info_span!("turn", turn = turn.id, origin = turn.origin.name());
        let cancel = turn.cancel.clone();
        let answer = async {
            match &turn.asked {
                Asked::Talk { message, thinking } => {
                    Ok(self.talk(turn, message.clone(), *thinking).await?)
                }
                Asked::Task(task) => self.do_task(turn, task).await,
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => End::Cancelled,
            end = answer.instrument(span) => end.unwrap_or_else(End::Failed),
        }
    }

    /// Goes round: reply, tool calls, results, reply ... until there are no more calls.
    async fn talk(&mut self, turn: &Turn, message: Message, thinking: bool) -> Result<End, String> {
        let mut record = Record::new(turn.accepted_at);
        let mut exchange = vec![message];
        loop {
            let round = self.reply(turn, &exchange, thinking, &mut record).await?;
            record.add_usage(&round.usage);
            let finish = match round.finish {
                _ if !round.calls.is_empty() && record.rounds <= self.config.steps_max => None,
                _ if !round.calls.is_empty() => Some(FinishReason::Steps),
                Finish::Length => Some(FinishReason::Length),
                Finish::Stop | Finish::ToolCalls => Some(FinishReason::Stop),
            };
            if let Some(finish) = finish {
                exchange.push(assistant_message(round.text, Vec::new(), Vec::new()));
                let tokens = record.tokens_of_exchange(&exchange);
                let exchange = Exchange { messages: exchange, tokens };
                self.conversations.add(&key(turn), exchange, Instant::now());
                return Ok(End::Answered(record.answer(finish)));
            }
            let results = self.call_tools(turn, &round.calls, &mut record).await;
            // Words before a call stay out of the history: the model's own chat format puts the
            // words of a message behind its calls and results, and ends the turn after them.
            exchange.push(assistant_message(String::new(), round.calls, results));
        }
    }

    /// Has the model reply once, and tells its pieces as they come. A conversation that has grown
    /// too long loses its oldest exchange and is tried again.
    async fn reply(
        &mut self,
        turn: &Turn,
        exchange: &[Message],
        thinking: bool,
        record: &mut Record,
    ) -> Result<Round, String> {
        let info = self.model()?;
        let options = reply_options(&self.config, &info, thinking);
        let room = budget::history_room(&self.config, info.context_tokens, &self.tools, exchange);
        loop {
            let mut messages = opening(&self.config);
            messages.extend(self.conversations.history(&key(turn), room, Instant::now()));
            messages.extend_from_slice(exchange);
            let prompt = Prompt { messages, tools: self.tools.clone(), options: options.clone() };
            match self.hear_reply(turn, prompt, record).await {
                Ok(round) => return Ok(round),
                Err(Some(Error::PromptTooLong { .. }))
                    if self.conversations.forget_oldest(&key(turn)) => {}
                Err(Some(error)) => return Err(error.to_string()),
                Err(None) => return Err(STOPPED.to_owned()),
            }
        }
    }

    /// What is known about the model, if there is one to ask.
    fn model(&self) -> Result<Arc<ModelInfo>, String> {
        match &*self.inference.state().borrow() {
            ModelState::Ready(info) => Ok(info.clone()),
            ModelState::Loading => Err("the model is not loaded yet".to_owned()),
            ModelState::Broken(reason) => Err(reason.clone()),
        }
    }

    /// Sends one request and hears its pieces to the end.
    async fn hear_reply(
        &self,
        turn: &Turn,
        prompt: Prompt,
        record: &mut Record,
    ) -> Result<Round, Option<Error>> {
        let Prompt { messages, tools, options } = prompt;
        let thinking = options.thinking;
        let reply = self.inference.reply(messages, tools, options, turn.cancel.clone());
        let mut pieces = reply.await.ok_or(None)?;
        let (mut thought, mut text, mut calls) = (String::new(), String::new(), Vec::new());
        while let Some(piece) = pieces.recv().await {
            self.progress.mark();
            match piece.map_err(Some)? {
                Piece::Progress { .. } => {}
                Piece::Thought(piece) if thinking => {
                    thought.push_str(&piece);
                    self.board.tell(Event::Thought { turn: turn.id, text: piece });
                }
                Piece::Thought(_) => {}
                Piece::Text(piece) => {
                    record.hear_text(&piece);
                    text.push_str(&piece);
                    self.board.tell(Event::Text { turn: turn.id, text: piece });
                }
                Piece::ToolCall(call) => calls.push(call),
                Piece::End { finish, usage } => {
                    return Ok(Round { thought, text, calls, finish, usage });
                }
            }
        }
        Err(None)
    }

    /// Calls the tools in the order that the model wrote. Whatever happens is a result that the
    /// model reads, and a receipt that everybody else reads.
    async fn call_tools(
        &self,
        turn: &Turn,
        calls: &[ToolCall],
        record: &mut Record,
    ) -> Vec<ToolResult> {
        let mut results = Vec::with_capacity(calls.len());
        for call in calls {
            let number = record.next_call();
            let (name, arguments) = (call.name.clone(), call.arguments.clone());
            tracing::debug!(call = number, tool = %name, ?arguments, "tool called");
            self.board.tell(Event::ToolCalled { turn: turn.id, call: number, name, arguments });
            let result = self.host.call(call).await;
            self.progress.mark();
            let receipt = record.receive(&result);
            tracing::info!(
                call = number,
                tool = %receipt.name,
                outcome = ?receipt.outcome,
                wall_ms = receipt.wall_ms,
                "tool answered"
            );
            self.board.tell(Event::ToolAnswered { turn: turn.id, call: number, receipt });
            results.push(result);
        }
        results
    }
}

/// Conversations of different origins never meet, even if their ids are the same.
fn key(turn: &Turn) -> String {
    format!("{}/{}", turn.origin.name(), turn.session)
}

/// What every conversation begins with. It is computed once and kept, so it must not change from one
/// question to the next: what does, such as the time or the room, belongs into the question.
#[must_use]
pub fn opening(config: &config::Assistant) -> Vec<Message> {
    let parts = vec![Part::Text(config.system.clone())];
    let (tool_calls, tool_results) = (Vec::new(), Vec::new());
    vec![Message { role: Role::System, parts, tool_calls, tool_results }]
}

fn assistant_message(
    text: String,
    tool_calls: Vec<ToolCall>,
    tool_results: Vec<ToolResult>,
) -> Message {
    let parts = if text.is_empty() { Vec::new() } else { vec![Part::Text(text)] };
    Message { role: Role::Assistant, parts, tool_calls, tool_results }
}

#[cfg(test)]
mod tests;
