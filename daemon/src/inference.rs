//! The model on its own thread behind a handle. The thread opens the model, so that everybody else
//! answers in the meantime, and then advances one reply at a time, step by step.

use std::sync::Arc;

use gemma_runtime::{
    Constraint, Error, Guesses, Model, ModelInfo, PrefixOrigin, ReplyOptions, Sampling, ToolChoice,
};
use gemma_types::{Message, Piece, ToolSpec};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::channels::{PIECES, REQUESTS};
use crate::config;
use crate::event::PartName;
use crate::status::StatusBoard;

/// How far the model is.
#[derive(Clone, Debug)]
pub enum ModelState {
    /// It is being opened.
    Loading,
    /// It answers.
    Ready(Arc<ModelInfo>),
    /// It cannot be opened, and why.
    Broken(String),
}

/// The way to the model.
#[derive(Clone, Debug)]
pub struct Inference {
    wishes: mpsc::Sender<Wish>,
    state: watch::Receiver<ModelState>,
}

/// What the thread is to do.
#[derive(Debug)]
pub enum Wish {
    /// To make a reply.
    Reply(Request),
    /// To keep ready what every conversation begins with, whenever there is nothing else to do.
    Prefix(Prefix),
}

/// What every conversation begins with.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// The first messages.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Arc<[ToolSpec]>,
}

/// What the model is asked.
#[derive(Debug)]
pub struct Request {
    /// The conversation, the question last.
    pub messages: Vec<Message>,
    /// The tools that it may call.
    pub tools: Arc<[ToolSpec]>,
    /// How it replies.
    pub options: ReplyOptions,
    /// Looked at before every step; the reply ends when it is cancelled.
    pub cancel: CancellationToken,
    /// Where the pieces go.
    pub pieces: mpsc::Sender<Result<Piece, Error>>,
}

impl Inference {
    /// Makes the handle and what belongs on the thread.
    #[must_use]
    pub fn new() -> (Self, Worker) {
        let (wishes, inbox) = mpsc::channel(REQUESTS);
        let (state_sender, state) = watch::channel(ModelState::Loading);
        (Self { wishes, state }, Worker { inbox, state: state_sender })
    }

    /// How far the model is, and a way to wait for a change.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ModelState> {
        self.state.clone()
    }

    /// Has a prefix kept ready from the time when the model is. Nothing happens if the thread is gone.
    ///
    /// # Cancel safety
    /// The wish is not sent if the future is dropped.
    pub async fn keep_ready(&self, prefix: Prefix) {
        let _ = self.wishes.send(Wish::Prefix(prefix)).await;
    }

    /// Asks the model. Its pieces come one by one; dropping the receiver stops it at its next step.
    /// `None` if the thread is gone.
    ///
    /// # Cancel safety
    /// The request is not sent if the future is dropped.
    pub async fn reply(
        &self,
        messages: Vec<Message>,
        tools: Arc<[ToolSpec]>,
        options: ReplyOptions,
        cancel: CancellationToken,
    ) -> Option<mpsc::Receiver<Result<Piece, Error>>> {
        let (pieces, receiver) = mpsc::channel(PIECES);
        let request = Request { messages, tools, options, cancel, pieces };
        self.wishes.send(Wish::Reply(request)).await.ok().map(|()| receiver)
    }
}

/// The thread's end of the handle.
#[derive(Debug)]
pub struct Worker {
    inbox: mpsc::Receiver<Wish>,
    state: watch::Sender<ModelState>,
}

impl Worker {
    /// Opens the model and serves requests until every handle is dropped. A model that cannot be
    /// opened leaves requests unanswered; nobody sends any. Blocks its thread.
    pub fn run(mut self, config: &config::Model, board: &StatusBoard) {
        let folder = config.folder.display();
        tracing::info!(%folder, engine = %config.engine, "opening the model");
        match Model::open(&config.folder, &model_options(config)) {
            Ok(model) => self.serve(model, config.image_budget, board),
            Err(error) => {
                let reason = error.to_string();
                board.set_part(PartName::Model, false, &reason);
                self.state.send_replace(ModelState::Broken(reason));
                while self.inbox.blocking_recv().is_some() {}
            }
        }
    }

    /// Both ends of the thread, for tests that speak the model's lines.
    #[cfg(test)]
    pub(crate) fn into_parts(self) -> (mpsc::Receiver<Wish>, watch::Sender<ModelState>) {
        (self.inbox, self.state)
    }

    fn serve(&mut self, mut model: Model, image_budget: Option<usize>, board: &StatusBoard) {
        let info = Arc::new(model.info().clone());
        board.update(|status| {
            status.model.clone_from(&info.name);
            status.engine = info.engine.to_string();
        });
        board.set_part(PartName::Model, true, describe(&info));
        self.state.send_replace(ModelState::Ready(info));
        // Whoever asks at once waits for it; whoever asks later does not.
        model.prepare_grammars();
        let mut due = None;
        loop {
            due = due.filter(|prefix| !self.keep_ready(&mut model, prefix, board));
            match self.inbox.blocking_recv() {
                Some(Wish::Reply(mut request)) => {
                    let wanted = &mut request.options.image_budget;
                    // What the owner of the machine allows goes before what a task would like.
                    *wanted =
                        wanted.map(|wanted| image_budget.map_or(wanted, |most| wanted.min(most)));
                    advance(&mut model, &request);
                }
                Some(Wish::Prefix(prefix)) => due = Some(prefix),
                None => return,
            }
        }
    }

    /// Keeps a prefix ready, unless there is something else to do; whether that was all.
    fn keep_ready(&self, model: &mut Model, prefix: &Prefix, board: &StatusBoard) -> bool {
        let mut is_idle = || self.inbox.is_empty() && !self.inbox.is_closed();
        if !is_idle() {
            return false;
        }
        let Prefix { messages, tools } = prefix;
        let report = match model.keep_prefix(messages, tools, false, &mut is_idle) {
            Ok(report) => report,
            Err(error) => {
                tracing::warn!(%error, "what every conversation begins with is not kept ready");
                return true;
            }
        };
        if report.origin != PrefixOrigin::Stopped {
            let model = describe(model.info());
            let detail = format!("{model}, {} tokens kept ready", report.tokens);
            board.set_part(PartName::Model, true, detail);
        }
        if !report.again {
            let (tokens, origin) = (report.tokens, report.origin);
            let unsaved = report.unsaved.unwrap_or_default();
            tracing::info!(
                tokens,
                ?origin,
                unsaved,
                "what every conversation begins with is ready"
            );
        }
        !report.again
    }
}

/// How the model is to be opened.
#[must_use]
pub fn model_options(config: &config::Model) -> gemma_runtime::Options {
    gemma_runtime::Options {
        engine: config.engine,
        device: config.device,
        library: config.library.clone(),
        threads: config.threads,
        image_budget: config.image_budget,
        dtype: config.dtype.clone(),
        context_tokens: config.context_tokens,
        prefill_block_tokens: config.prefill_block_tokens,
        all_logits: false,
        guesses: Guesses::Measured,
        fast: config.graph,
        kv_bytes_max: config.kept_bytes_max,
        prefix_folder: config.prefix_folder.clone(),
    }
}

/// Makes one reply, a step at a time, for as long as somebody wants it.
fn advance(model: &mut Model, request: &Request) {
    let reply = match model.reply(&request.messages, &request.tools, &request.options) {
        Ok(reply) => reply,
        Err(error) => {
            let _ = request.pieces.blocking_send(Err(error));
            return;
        }
    };
    for piece in reply {
        if request.cancel.is_cancelled() || request.pieces.blocking_send(piece).is_err() {
            return;
        }
    }
}

/// The options of a reply: what the configuration leaves open is as the model's publisher says. A
/// call that the model begins fits the schema of a tool.
#[must_use]
pub fn reply_options(config: &config::Assistant, info: &ModelInfo, thinking: bool) -> ReplyOptions {
    let published = &info.sampling;
    let sampling = Sampling {
        temperature: config.temperature.unwrap_or(published.temperature),
        top_p: config.top_p.unwrap_or(published.top_p),
        top_k: config.top_k.unwrap_or(published.top_k),
        seed: config.seed.or(published.seed),
    };
    ReplyOptions {
        sampling,
        reply_tokens_max: config.reply_tokens_max,
        thinking,
        constraint: Constraint::Tools(ToolChoice::Auto),
        ..ReplyOptions::default()
    }
}

/// The model in words, for the status.
#[must_use]
pub fn describe(info: &ModelInfo) -> String {
    let senses = match (info.has_vision, info.has_audio) {
        (true, true) => "text, pictures, speech",
        (true, false) => "text, pictures",
        (false, true) => "text, speech",
        (false, false) => "text",
    };
    let megabytes = info.bytes / 1_000_000;
    format!(
        "{} on {} ({}): {senses}, {} tokens, {megabytes} MB",
        info.name, info.engine, info.device, info.context_tokens
    )
}
