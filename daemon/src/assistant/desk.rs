//! What comes in while the assistant waits or works: questions are accepted or refused, turns are
//! cancelled, the microphone is muted, tools are called by hand. Owns the queue and the state.

use std::sync::Arc;
use std::time::Instant;

use gemma_plugins::Host;
use gemma_runtime::tasks::{Order, Subject, Task as _, TaskError};
use gemma_types::{
    Cost, Frame, Message, Outcome, Part, Role, SAMPLE_RATE_HZ, ToolCall, ToolResult, Utterance,
};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::inbox::{HandCalls, Letter};
use super::record::{End, Failure};
use crate::capture::Clock;
use crate::channels::TURNS;
use crate::event::{Ask, Command, Event, Origin, PartName, Refusal, State, TurnId};
use crate::inference::ModelState;
use crate::sessions::{Asked, Push, Queue, Turn, media_bytes};
use crate::status::StatusBoard;

/// The conversation of everything that is said in the room.
const SPEECH_SESSION: &str = "speech";
/// Tools called by hand at a time.
const HAND_CALLS_MAX: usize = 4;
/// Memory of the media of all questions that wait, in bytes; one alone may have more.
const MEDIA_BYTES_MAX: usize = 512 << 20;
/// Limits of a question.
const TEXT_BYTES_MAX: usize = 256 * 1024;
const SESSION_BYTES_MAX: usize = 128;
const IMAGES_MAX: usize = 16;
const AUDIO_SECONDS_MAX: usize = 30;
/// A task that hears sound in windows hears more.
const TASK_AUDIO_SECONDS_MAX: usize = 600;

/// Takes what comes in.
pub struct Desk {
    board: StatusBoard,
    clock: Clock,
    host: Arc<Host>,
    camera: watch::Receiver<Option<Frame>>,
    mute: watch::Sender<bool>,
    look_on_speech: bool,
    model: ModelState,
    queue: Queue,
    current: Option<(TurnId, CancellationToken)>,
    last_turn: TurnId,
    pub(super) hand_calls: HandCalls,
    closing: bool,
}

impl Desk {
    /// Makes a desk where nothing has come in yet.
    #[must_use]
    pub fn new(
        board: StatusBoard,
        clock: Clock,
        host: Arc<Host>,
        camera: watch::Receiver<Option<Frame>>,
        mute: watch::Sender<bool>,
    ) -> Self {
        Self {
            board,
            clock,
            host,
            camera,
            mute,
            look_on_speech: false,
            model: ModelState::Loading,
            queue: Queue::new(TURNS),
            current: None,
            last_turn: 0,
            hand_calls: HandCalls::new(),
            closing: false,
        }
    }

    /// Lets what is said take the camera's newest picture along, where `look` says so.
    #[must_use]
    pub const fn look_on_speech(mut self, look: bool) -> Self {
        self.look_on_speech = look;
        self
    }

    /// Opens the desk: from now on there is a state to look up.
    pub(super) fn open(&self) {
        self.show_state();
    }

    /// The turn that the model answers next, if it can.
    pub(super) fn next_turn(&mut self) -> Option<Turn> {
        match self.model {
            ModelState::Ready(_) => self.queue.pop(),
            ModelState::Loading | ModelState::Broken(_) => None,
        }
    }

    /// Whether the daemon stops.
    pub(super) const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Takes a letter.
    pub(super) fn take(&mut self, letter: Letter) {
        match letter {
            Letter::Command(Command::Ask(ask, reply)) => {
                let accepted = self.accept(ask);
                if let Err(refusal) = &accepted {
                    tracing::info!(%refusal, "question refused");
                }
                let _ = reply.send(accepted);
            }
            Letter::Command(Command::Cancel(turn)) => self.cancel(turn),
            Letter::Command(Command::Mute(muted)) => self.mute(muted),
            Letter::Command(Command::CallTool(call, reply)) => self.call_tool(call, reply),
            Letter::Utterance(utterance) => self.hear(utterance),
            Letter::Model(model) => self.model_changed(model),
            Letter::Parts => self.show_state(),
            Letter::Tick => {}
            Letter::Stop => {
                self.closing = true;
                self.show_state();
                if let Some((_, cancel)) = &self.current {
                    cancel.cancel();
                }
            }
        }
    }

    /// A turn is being answered from now on.
    pub(super) fn begin(&mut self, turn: &Turn) {
        self.current = Some((turn.id, turn.cancel.clone()));
        self.show_waiting();
        self.show_state();
    }

    /// A turn ended.
    pub(super) fn end(&mut self, turn: TurnId, end: End) {
        self.current = None;
        match end {
            End::Answered(answer) => {
                let figures = answer.figures;
                self.board.update(|status| {
                    status.answered += 1;
                    status.last = Some(figures);
                    status.last_answer.clone_from(&answer.text);
                });
                tracing::info!(
                    turn,
                    total_ms = figures.total_ms,
                    first_text_ms = figures.first_text_ms,
                    reply_tokens = figures.reply_tokens,
                    tokens_per_second = figures.tokens_per_second,
                    calls = answer.receipts.len(),
                    "turn answered"
                );
                self.board.tell(Event::Answered {
                    turn,
                    text: answer.text,
                    result: answer.result,
                    receipts: answer.receipts,
                    finish: answer.finish,
                    figures,
                });
            }
            End::Failed(failure) => self.fail(turn, failure),
            End::Cancelled => self.tell_cancelled(turn),
        }
        self.show_state();
    }

    /// Closes the desk: whoever still waits is told.
    pub(super) fn close(&mut self) {
        while let Some(turn) = self.queue.pop() {
            self.tell_cancelled(turn.id);
        }
        self.show_waiting();
    }

    /// Accepts a question, or says why not.
    fn accept(&mut self, ask: Ask) -> Result<TurnId, Refusal> {
        self.can_answer()?;
        check(&ask)?;
        let captured_at = self.clock.now();
        let came_along = ask.images.into_iter().map(|frame| Frame { captured_at, ..frame });
        let mut frames: Vec<Frame> = came_along.collect();
        if ask.look {
            let frame = self.camera.borrow().clone();
            let Some(frame) = frame else {
                let reason = "there is no picture to look at: no camera works";
                return Err(Refusal::Invalid(reason.to_owned()));
            };
            frames.push(frame);
        }
        let mut media: Vec<Part> = frames.into_iter().map(Part::Image).collect();
        media.extend(ask.film.map(Part::Video));
        media.extend(ask.audio.into_iter().map(Part::Audio));
        let asked = match ask.task {
            Some(order) => {
                let thinking = order.thinking || ask.thinking;
                let subject = Subject { words: ask.text, media: media.clone() };
                task(Order { thinking, ..*order }, subject)?
            }
            None => talk(media.clone(), ask.text, ask.thinking),
        };
        let turn = self.turn(ask.origin, ask.session, asked, &media);
        if self.queue.media_bytes() > 0
            && self.queue.media_bytes() + turn.media_bytes > MEDIA_BYTES_MAX
        {
            return Err(self.busy());
        }
        self.enqueue(turn, &media)
    }

    /// Makes a turn of what was said, if there is anybody to answer it.
    fn hear(&mut self, utterance: Utterance) {
        if *self.mute.borrow() {
            return;
        }
        let frame = if self.look_on_speech { self.camera.borrow().clone() } else { None };
        let caption = utterance.caption.as_deref().map(str::to_owned);
        let media: Vec<Part> =
            frame.map(Part::Image).into_iter().chain([Part::Audio(utterance)]).collect();
        let asked = talk(media.clone(), caption.unwrap_or_default(), false);
        let turn = self.turn(Origin::Speech, SPEECH_SESSION.to_owned(), asked, &media);
        if let Err(refusal) = self.can_answer().and_then(|()| self.enqueue(turn, &media)) {
            tracing::warn!(%refusal, "speech was heard, but cannot be answered");
        }
    }

    fn can_answer(&self) -> Result<(), Refusal> {
        if self.closing {
            return Err(Refusal::NoModel("the daemon is stopping".to_owned()));
        }
        match &self.model {
            ModelState::Broken(reason) => Err(Refusal::NoModel(reason.clone())),
            ModelState::Loading | ModelState::Ready(_) => Ok(()),
        }
    }

    fn turn(&self, origin: Origin, session: String, asked: Asked, media: &[Part]) -> Turn {
        let id = self.last_turn + 1;
        let session = if session.is_empty() { format!("turn-{id}") } else { session };
        Turn {
            id,
            origin,
            session,
            asked,
            media_bytes: media_bytes(media),
            accepted_at: Instant::now(),
            cancel: CancellationToken::new(),
        }
    }

    /// Lets a turn wait, and tells what belongs to it.
    fn enqueue(&mut self, turn: Turn, media: &[Part]) -> Result<TurnId, Refusal> {
        let id = turn.id;
        let mut events = self.introduce(&turn, media);
        match self.queue.push(turn) {
            Push::Waits => {}
            Push::Displaced(displaced) => {
                let error = "somebody spoke, and the queue was full: ask again".to_owned();
                events.insert(0, Event::Failed { turn: displaced.id, error });
            }
            Push::Full(_) => return Err(self.busy()),
        }
        self.last_turn = id;
        for event in events {
            self.board.tell(event);
        }
        self.show_waiting();
        Ok(id)
    }

    /// The events that say what belongs to a turn.
    fn introduce(&self, turn: &Turn, media: &[Part]) -> Vec<Event> {
        let (id, origin, session) = (turn.id, turn.origin, turn.session.clone());
        let about = media.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Video(clip) => Some(Event::Watched {
                turn: id,
                frames: clip.frames.len(),
                seconds: clip.seconds.last().copied().unwrap_or_default(),
            }),
            Part::Audio(utterance) => Some(Event::Heard {
                turn: id,
                seconds: utterance.samples.len() as f32 / SAMPLE_RATE_HZ as f32,
                caption: utterance.caption.as_deref().map(str::to_owned),
            }),
            Part::Image(frame) => {
                let age = self.clock.now().saturating_sub(frame.captured_at);
                Some(Event::Seen {
                    turn: id,
                    width: frame.width,
                    height: frame.height,
                    age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                })
            }
        });
        [Event::Accepted { turn: id, origin, session }].into_iter().chain(about).collect()
    }

    fn busy(&self) -> Refusal {
        Refusal::Busy { waiting: self.queue.len(), retry_after_s: self.retry_after_s() }
    }

    /// When there is room again, about: after half of those who wait.
    fn retry_after_s(&self) -> u32 {
        let turn_ms = self.board.now().last.map_or(2_000.0, |figures| figures.total_ms);
        let seconds = turn_ms / 1e3 * self.queue.len() as f64 / 2.0;
        seconds.clamp(1.0, 600.0) as u32
    }

    fn cancel(&mut self, turn: TurnId) {
        if let Some((current, cancel)) = &self.current
            && *current == turn
        {
            cancel.cancel();
        } else if self.queue.remove(turn).is_some() {
            self.tell_cancelled(turn);
            self.show_waiting();
        }
    }

    fn mute(&mut self, muted: bool) {
        if self.mute.send_replace(muted) != muted {
            tracing::info!(muted, "microphone");
            self.board.update(|status| status.muted = muted);
            self.show_state();
        }
    }

    /// Calls a tool without the model. It is stopped when nobody waits for it any more.
    fn call_tool(&mut self, call: ToolCall, mut reply: oneshot::Sender<ToolResult>) {
        if self.hand_calls.len() >= HAND_CALLS_MAX {
            let reason = format!("{HAND_CALLS_MAX} calls by hand are under way, try again");
            let (outcome, cost) = (Outcome::Refused(reason), Cost::default());
            let _ = reply.send(ToolResult { name: call.name, outcome, cost });
            return;
        }
        let host = self.host.clone();
        self.hand_calls.push(Box::pin(async move {
            let result = tokio::select! {
                result = host.call(&call) => result,
                () = reply.closed() => return,
            };
            let _ = reply.send(result);
        }));
    }

    fn model_changed(&mut self, model: ModelState) {
        self.model = model;
        if let ModelState::Broken(reason) = &self.model {
            tracing::error!(%reason, "there is no model");
            let reason = reason.clone();
            while let Some(turn) = self.queue.pop() {
                self.fail(turn.id, format!("no model: {reason}").into());
            }
            self.show_waiting();
        }
        self.show_state();
    }

    fn fail(&self, turn: TurnId, failure: Failure) {
        tracing::warn!(turn, error = failure.logged, "turn failed");
        self.board.tell(Event::Failed { turn, error: failure.told });
    }

    fn tell_cancelled(&self, turn: TurnId) {
        tracing::info!(turn, "turn cancelled");
        self.board.tell(Event::Cancelled { turn });
    }

    fn show_waiting(&self) {
        let waiting = self.queue.len();
        self.board.update(|status| status.waiting = waiting);
    }

    fn show_state(&self) {
        let (state, detail) = match &self.model {
            _ if self.closing => (State::Stopping, None),
            ModelState::Loading => (State::Loading, None),
            ModelState::Broken(reason) => (State::Degraded, Some(reason.clone())),
            ModelState::Ready(_) if self.current.is_some() => (State::Thinking, None),
            ModelState::Ready(_) if *self.mute.borrow() => (State::Muted, None),
            ModelState::Ready(_) if self.microphone_works() => (State::Listening, None),
            ModelState::Ready(_) => (State::Ready, None),
        };
        self.board.set_state(state, detail);
    }

    fn microphone_works(&self) -> bool {
        self.board.now().parts.get(&PartName::Microphone).is_some_and(|part| part.working)
    }
}

/// A turn that goes on with a conversation.
fn talk(media: Vec<Part>, text: String, thinking: bool) -> Asked {
    let mut parts = media;
    if !text.trim().is_empty() {
        parts.push(Part::Text(text));
    }
    let (tool_calls, tool_results) = (Vec::new(), Vec::new());
    let message = Message { role: Role::User, parts, tool_calls, tool_results };
    Asked::Talk { message, thinking }
}

/// A turn that does a task, if it can be asked for like that.
fn task(order: Order, subject: Subject) -> Result<Asked, Refusal> {
    let invalid = |error: TaskError| Refusal::Invalid(error.to_string());
    let task = order.about(subject).map_err(invalid)?;
    task.asks().map_err(invalid)?;
    Ok(Asked::Task(Box::new(task)))
}

/// Refuses a question that cannot be asked.
fn check(ask: &Ask) -> Result<(), Refusal> {
    let refuse = |reason: String| Err(Refusal::Invalid(reason));
    let silent = ask.images.is_empty() && ask.film.is_none() && ask.audio.is_empty() && !ask.look;
    if silent && ask.text.trim().is_empty() {
        return refuse("nothing is asked: expected words, a picture, a film or speech".to_owned());
    }
    if ask.task.is_some() && !ask.session.is_empty() {
        let reason = "a task belongs to no conversation: expected no session with it";
        return refuse(reason.to_owned());
    }
    if ask.text.len() > TEXT_BYTES_MAX {
        let found = ask.text.len();
        return refuse(format!(
            "a question of {found} bytes, at most {TEXT_BYTES_MAX} are accepted"
        ));
    }
    if ask.session.len() > SESSION_BYTES_MAX {
        let found = ask.session.len();
        return refuse(format!(
            "a session of {found} bytes, at most {SESSION_BYTES_MAX} are accepted"
        ));
    }
    if ask.images.len() > IMAGES_MAX {
        let found = ask.images.len();
        return refuse(format!("{found} pictures, at most {IMAGES_MAX} are accepted"));
    }
    let seconds_max = match &ask.task {
        Some(order) if order.name.hears_long_sound() => TASK_AUDIO_SECONDS_MAX,
        Some(_) | None => AUDIO_SECONDS_MAX,
    };
    let samples_max = seconds_max * SAMPLE_RATE_HZ as usize;
    let too_long = |utterance: &&Utterance| utterance.samples.len() > samples_max;
    if let Some(utterance) = ask.audio.iter().find(too_long) {
        let seconds = utterance.samples.len() as f64 / f64::from(SAMPLE_RATE_HZ);
        return refuse(format!("speech of {seconds:.1} s, at most {seconds_max} s are accepted"));
    }
    Ok(())
}
