//! Does a ready-made task: asks the model its questions, one after the other, and reads the answers.

use std::sync::Arc;

use gemma_runtime::Sampling;
use gemma_runtime::tasks::{AnyTask, Ask, Said, Task as _};
use gemma_types::Finish;

use super::record::{End, Failure, Record};
use super::{Prompt, Round, STOPPED, Worker};
use crate::event::Event;
use crate::inference::reply_options;
use crate::sessions::Turn;

impl Worker {
    /// Does a task. The model is told of no tools and of no conversation.
    pub(super) async fn do_task(&self, turn: &Turn, task: &AnyTask) -> Result<End, Failure> {
        let mut record = Record::new(turn.accepted_at);
        let mut said = Vec::new();
        for ask in task.asks()? {
            if !said.is_empty() {
                // What was heard in one window ends before the next begins.
                self.board.tell(Event::Text { turn: turn.id, text: "\n".to_owned() });
            }
            said.push(self.put(turn, &ask, &mut record).await?);
        }
        Ok(End::Answered(record.task_answer(task.read(&said)?)))
    }

    /// Puts one question of a task.
    async fn put(&self, turn: &Turn, ask: &Ask, record: &mut Record) -> Result<Said, Failure> {
        let info = self.model()?;
        let mut options = ask.options.clone();
        options.reply_tokens_max = options.reply_tokens_max.min(self.config.task_tokens_max);
        if options.sampling == Sampling::default() {
            options.sampling = reply_options(&self.config, &info, options.thinking).sampling;
        }
        let prompt = Prompt { messages: ask.messages.clone(), tools: Arc::from([]), options };
        let Round { thought, text, finish, usage, .. } =
            self.hear_reply(turn, prompt, record).await.map_err(|error| match error {
                Some(error) => Failure::from(ask.explain(error, &info)),
                None => Failure::from(STOPPED.to_owned()),
            })?;
        record.add_usage(&usage);
        let (tokens, whole) = (usage.reply_tokens, finish != Finish::Length);
        Ok(Said { thought, text, tokens, whole })
    }
}
