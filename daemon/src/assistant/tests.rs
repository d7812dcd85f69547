//! Tests of the loop. The test speaks the model's lines on the thread's end of the handle; desk,
//! queue, conversations and plugin host are the real ones.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use gemma_runtime::{
    Device, EngineKind, Family, FolderLayout, KvInfo, ModelInfo, Sampling, Variant,
};
use gemma_types::{Outcome, Usage};
use serde_json::json;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::capture::Clock;
use crate::channels::{TURNS, UTTERANCES};
use crate::config::Config;
use crate::event::{Ask, Command, Origin, OutcomeName, Refusal, State, TurnId};
use crate::inference::{Request, Wish};

/// An assistant that runs, with all that is around it.
struct Room {
    commands: mpsc::Sender<Command>,
    utterances: mpsc::Sender<gemma_types::Utterance>,
    events: broadcast::Receiver<Event>,
    wishes: mpsc::Receiver<Wish>,
    model: watch::Sender<ModelState>,
    board: StatusBoard,
    muted: watch::Receiver<bool>,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

fn model() -> ModelState {
    ModelState::Ready(Arc::new(ModelInfo {
        name: "script".to_owned(),
        folder: "/nonexistent".into(),
        engine: EngineKind::Ort,
        device: Device::Processor,
        variant: Variant { family: Family::E2B, layers: 1, hidden: 1 },
        layout: FolderLayout::Merged,
        graphs: Vec::new(),
        context_tokens: 4_096,
        vocabulary: 10,
        layers: 1,
        kv: KvInfo { local_bytes: 1, global_bytes: 1, window_tokens: 1, keeps_window: true },
        has_vision: true,
        has_audio: true,
        refusals: Vec::new(),
        bytes: 0,
        sampling: Sampling::greedy(),
    }))
}

impl Room {
    /// Opens a room whose model is still loading.
    fn loading() -> Self {
        let events = broadcast::Sender::new(256);
        let told = events.subscribe();
        let board = StatusBoard::new(events);
        let (inference, worker) = Inference::new();
        let (wishes, model) = worker.into_parts();
        let (commands, commands_in) = mpsc::channel(32);
        let (utterances, utterances_in) = mpsc::channel(UTTERANCES);
        let (publications, _) = mpsc::channel(1);
        let host = Arc::new(Host::open(&gemma_plugins::Options::default(), publications).unwrap());
        let (clock, stop) = (Clock::start(), CancellationToken::new());
        let mute = watch::Sender::new(false);
        let (muted, camera) = (mute.subscribe(), watch::Sender::new(None).subscribe());
        let desk = Desk::new(board.clone(), clock, host.clone(), camera, mute);
        let status = board.subscribe();
        let inbox = Inbox::new(commands_in, utterances_in, &inference, status, stop.clone());
        let config = Config::default().assistant;
        let worker = Worker::new(config, inference, host, board.clone(), Progress::new(clock));
        let running = tokio::spawn(Assistant { desk, worker }.run(inbox));
        Self { commands, utterances, events: told, wishes, model, board, muted, stop, running }
    }

    /// Opens a room whose model is ready.
    fn open() -> Self {
        let room = Self::loading();
        room.model.send_replace(model());
        room
    }

    async fn ask(&self, text: &str, session: &str) -> Result<TurnId, Refusal> {
        self.put(question(text, session)).await
    }

    async fn put(&self, ask: Ask) -> Result<TurnId, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Ask(ask, reply)).await.unwrap();
        answer.await.unwrap()
    }

    /// The next event that belongs to a turn.
    async fn event(&mut self) -> Event {
        loop {
            let event = self.events.recv().await.unwrap();
            if event.turn().is_some() {
                return event;
            }
        }
    }

    /// The next event that ends a turn.
    async fn end(&mut self) -> Event {
        loop {
            let event = self.event().await;
            if event.ends_turn() {
                return event;
            }
        }
    }

    /// Takes the next request.
    async fn request(&mut self) -> Request {
        match self.wishes.recv().await.unwrap() {
            Wish::Reply(request) => request,
            Wish::Prefix(prefix) => panic!("only the daemon wishes for {prefix:?}"),
        }
    }

    /// Takes the next request and says `pieces` and the end.
    async fn say(&mut self, pieces: Vec<Piece>, finish: Finish) -> Request {
        let request = self.request().await;
        let end = Piece::End { finish, usage: Usage { reply_tokens: 5, ..Usage::default() } };
        for piece in pieces.into_iter().chain([end]) {
            request.pieces.send(Ok(piece)).await.unwrap();
        }
        request
    }

    async fn close(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

fn question(text: &str, session: &str) -> Ask {
    Ask {
        task: None,
        text: text.to_owned(),
        images: Vec::new(),
        film: None,
        audio: Vec::new(),
        look: false,
        session: session.to_owned(),
        thinking: false,
        origin: Origin::Bus,
    }
}

fn text(text: &str) -> Vec<Piece> {
    vec![Piece::Text(text.to_owned())]
}

fn call(name: &str) -> Piece {
    Piece::ToolCall(ToolCall { name: name.to_owned(), arguments: gemma_types::Arguments::new() })
}

#[tokio::test]
async fn a_question_is_answered_and_remembered() {
    let mut room = Room::open();
    let turn = room.ask("hello", "kitchen").await.unwrap();
    let request = room.say(text("Hello!"), Finish::Stop).await;
    assert_eq!(request.messages.len(), 2);
    let session = "kitchen".to_owned();
    assert_eq!(room.event().await, Event::Accepted { turn, origin: Origin::Bus, session });
    assert_eq!(room.event().await, Event::Text { turn, text: "Hello!".to_owned() });
    let Event::Answered { text: answer, finish, .. } = room.event().await else { panic!() };
    assert_eq!((answer.as_str(), finish), ("Hello!", FinishReason::Stop));
    assert_eq!(room.board.now().last_answer, "Hello!");

    room.ask("and now?", "kitchen").await.unwrap();
    let request = room.say(text("Still here."), Finish::Stop).await;
    let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);

    room.ask("who are you?", "elsewhere").await.unwrap();
    assert_eq!(room.say(text("Me."), Finish::Stop).await.messages.len(), 2);
    room.close().await;
}

#[tokio::test]
async fn every_request_begins_with_what_is_kept_ready() {
    let mut room = Room::open();
    let opening = opening(&Config::default().assistant);
    let mut tools = Vec::new();
    for (words, session) in [("hello", "a"), ("and now?", "a"), ("what time is it?", "b")] {
        room.ask(words, session).await.unwrap();
        let request = room.say(text("Well."), Finish::Stop).await;
        assert_eq!(&request.messages[..opening.len()], &opening[..]);
        tools.push(request.tools);
    }
    assert!(tools.iter().all(|others| others == &tools[0]));
    room.close().await;
}

#[tokio::test]
async fn a_call_has_a_result_that_the_model_reads_and_a_receipt_that_everybody_reads() {
    let mut room = Room::open();
    let turn = room.ask("open the door", "").await.unwrap();
    let pieces = vec![Piece::Text("Let me see. ".to_owned()), call("open_door")];
    room.say(pieces, Finish::ToolCalls).await;
    let request = room.say(text("I cannot."), Finish::Stop).await;
    let message = request.messages.last().unwrap();
    assert_eq!((message.role, message.tool_calls.len()), (Role::Assistant, 1));
    assert!(matches!(message.tool_results[0].outcome, Outcome::Refused(_)));
    let mut told = Vec::new();
    loop {
        match room.event().await {
            Event::ToolCalled { call, name, .. } => told.push(format!("{call} {name}")),
            Event::ToolAnswered { call, receipt, .. } => {
                told.push(format!("{call} {:?}", receipt.outcome));
            }
            Event::Answered { turn: ended, text, receipts, .. } => {
                assert_eq!((ended, text.as_str()), (turn, "Let me see. I cannot."));
                assert_eq!(receipts.len(), 1);
                assert_eq!(receipts[0].outcome, OutcomeName::Refused);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(told, ["1 open_door", "1 Refused"]);
    room.close().await;
}

#[tokio::test]
async fn a_model_that_only_calls_is_stopped_at_the_limit_of_steps() {
    let mut room = Room::open();
    room.ask("go on", "").await.unwrap();
    let steps_max = Config::default().assistant.steps_max;
    for _ in 0..=steps_max {
        room.say(vec![call("again")], Finish::ToolCalls).await;
    }
    let Event::Answered { finish, receipts, .. } = room.end().await else { panic!() };
    assert_eq!((finish, receipts.len()), (FinishReason::Steps, steps_max as usize));
    room.close().await;
}

#[tokio::test]
async fn a_cancelled_turn_ends_in_the_middle_of_its_reply() {
    let mut room = Room::open();
    let turn = room.ask("tell me everything", "").await.unwrap();
    let request = room.request().await;
    request.pieces.send(Ok(Piece::Text("First".to_owned()))).await.unwrap();
    while !matches!(room.event().await, Event::Text { .. }) {}
    room.commands.send(Command::Cancel(turn)).await.unwrap();
    assert_eq!(room.end().await, Event::Cancelled { turn });
    request.pieces.closed().await;
    assert!(request.cancel.is_cancelled());
    room.ask("hello", "").await.unwrap();
    room.say(text("Hello!"), Finish::Stop).await;
    assert!(matches!(room.end().await, Event::Answered { .. }));
    room.close().await;
}

#[tokio::test]
async fn a_stop_cancels_what_runs_and_what_waits_once_each() {
    let mut room = Room::open();
    let mut turns = Vec::new();
    for _ in 0..3 {
        turns.push(room.ask("hello", "").await.unwrap());
    }
    let _request = room.request().await;
    room.stop.cancel();
    let mut ended = Vec::new();
    while ended.len() < 3 {
        match room.end().await {
            Event::Cancelled { turn } => ended.push(turn),
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(ended, turns);
    assert_eq!(room.board.now().state, State::Stopping);
    room.running.await.unwrap().unwrap();
    assert!(room.events.try_recv().is_err());
}

#[tokio::test]
async fn questions_wait_for_a_loading_model_and_fail_if_it_is_broken() {
    let mut room = Room::loading();
    let turn = room.ask("hello", "").await.unwrap();
    assert_eq!(room.board.now().state, State::Loading);
    room.model.send_replace(ModelState::Broken("no such folder".to_owned()));
    let error = "no model: no such folder".to_owned();
    assert_eq!(room.end().await, Event::Failed { turn, error });
    let refusal = room.ask("hello", "").await.unwrap_err();
    assert_eq!(refusal, Refusal::NoModel("no such folder".to_owned()));
    assert_eq!(room.board.now().state, State::Degraded);
    room.close().await;
}

#[tokio::test]
async fn a_full_queue_refuses_programs_and_makes_room_for_speech() {
    let mut room = Room::loading();
    for _ in 0..TURNS {
        room.ask("hello", "").await.unwrap();
    }
    let refusal = room.ask("hello", "").await.unwrap_err();
    assert!(matches!(refusal, Refusal::Busy { waiting: TURNS, .. }), "{refusal:?}");
    let samples = vec![0; 16_000].into();
    let started_at = Duration::ZERO;
    let caption = Some("light on".into());
    let utterance = gemma_types::Utterance { samples, started_at, caption };
    room.utterances.send(utterance).await.unwrap();
    let last = TURNS as TurnId;
    assert!(matches!(room.end().await, Event::Failed { turn, .. } if turn == last));
    room.model.send_replace(model());
    let request = room.say(text("On."), Finish::Stop).await;
    let [Part::Audio(_), Part::Text(caption)] = &request.messages[1].parts[..] else { panic!() };
    assert_eq!(caption, "light on");
    room.close().await;
}

#[tokio::test]
async fn a_conversation_that_is_too_long_loses_its_oldest_exchange() {
    let mut room = Room::open();
    room.ask("one", "a").await.unwrap();
    room.say(text("First."), Finish::Stop).await;
    room.ask("two", "a").await.unwrap();
    let request = room.request().await;
    assert_eq!(request.messages.len(), 4);
    let error = Error::PromptTooLong { tokens: 10, limit: 5 };
    request.pieces.send(Err(error)).await.unwrap();
    let request = room.say(text("Second."), Finish::Stop).await;
    assert_eq!(request.messages.len(), 2);
    let first = room.end().await;
    assert!(matches!(first, Event::Answered { .. }), "{first:?}");
    let second = room.end().await;
    assert!(matches!(second, Event::Answered { .. }), "{second:?}");

    room.ask("three", "fresh").await.unwrap();
    let request = room.request().await;
    let error = Error::PromptTooLong { tokens: 10, limit: 5 };
    request.pieces.send(Err(error)).await.unwrap();
    assert!(matches!(room.end().await, Event::Failed { .. }));
    room.close().await;
}

#[tokio::test]
async fn a_task_is_asked_by_itself_and_its_answer_is_read() {
    let mut room = Room::open();
    room.ask("hello", "").await.unwrap();
    room.say(text("Hello!"), Finish::Stop).await;
    let order = r#"{"name": "transcribe", "language": "German"}"#;
    let utterance = gemma_types::Utterance {
        samples: vec![0; 45 * 16_000].into(),
        started_at: Duration::ZERO,
        caption: None,
    };
    let task = Some(Box::new(order.parse().unwrap()));
    let turn = room.put(Ask { task, audio: vec![utterance], ..question("", "") }).await.unwrap();
    for words in ["Guten", " Tag.\n"] {
        let request = room.say(text(words), Finish::Stop).await;
        assert_eq!((request.messages.len(), request.tools.len()), (1, 0));
        assert_eq!(request.messages[0].role, Role::User);
        assert_eq!(request.options.sampling, Sampling::greedy());
    }
    let answered = loop {
        match room.end().await {
            Event::Answered { turn: ended, text, result, .. } if ended == turn => {
                break (text, serde_json::to_value(result).unwrap());
            }
            _ => {}
        }
    };
    assert_eq!(answered.0, "Guten Tag.");
    assert_eq!(
        (&answered.1["task"], &answered.1["text"]),
        (&json!("transcribe"), &json!("Guten Tag."))
    );
    assert_eq!(answered.1["segments"].as_array().map(Vec::len), Some(2));
    room.close().await;
}

#[tokio::test]
async fn what_waits_takes_a_bounded_memory() {
    let room = Room::loading();
    // Ten pictures that count 40 MiB each, and are the same.
    let rgb: Arc<[u8]> = vec![0; 40 << 20].into();
    let frame = gemma_types::Frame { width: 1, height: 1, rgb, captured_at: Duration::ZERO };
    let many = Ask { images: vec![frame; 10], ..question("What?", "") };
    room.put(many.clone()).await.unwrap();
    let refusal = room.put(many).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Busy { waiting: 1, .. }), "{refusal:?}");
    room.ask("hello", "").await.unwrap();
    room.close().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let room = Room::open();
    let refusal = room.ask("  ", "").await.unwrap_err();
    assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal:?}");
    let refusal = room.ask(&"a".repeat(300_000), "").await.unwrap_err();
    assert!(refusal.to_string().contains("300000 bytes"), "{refusal:?}");
    let refusal = room.ask("hello", &"a".repeat(200)).await.unwrap_err();
    assert!(refusal.to_string().contains("session"), "{refusal:?}");
    room.close().await;
}

#[tokio::test]
async fn a_mute_is_passed_on_and_shown() {
    let mut room = Room::open();
    room.commands.send(Command::Mute(true)).await.unwrap();
    room.muted.wait_for(|muted| *muted).await.unwrap();
    let mut status = room.board.subscribe();
    let status = status.wait_for(|status| status.state == State::Muted).await.unwrap().clone();
    assert!(status.muted);
    room.close().await;
}

#[tokio::test]
async fn a_tool_is_called_by_hand() {
    let room = Room::open();
    let (reply, answer) = oneshot::channel();
    let tool = ToolCall { name: "nothing".to_owned(), arguments: gemma_types::Arguments::new() };
    room.commands.send(Command::CallTool(tool, reply)).await.unwrap();
    let result = answer.await.unwrap();
    assert_eq!(result.name, "nothing");
    let Outcome::Refused(reason) = result.outcome else { panic!() };
    assert!(json!(reason).to_string().contains("no tool"), "{reason}");
    room.close().await;
}
