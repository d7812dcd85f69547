//! What can be typed about a ready-made task of the running daemon.

use clap::Args;
use gemma_runtime::tasks::{Order, TaskName};

/// A ready-made task and its options.
#[derive(Args, Clone, Debug, Default)]
pub struct Task {
    /// Do a ready-made task: transcribe, translate, caption, ocr, detect, video or ask
    #[arg(long = "task", value_name = "TASK")]
    pub name: Option<TaskName>,
    /// English name of the language that is spoken (transcribe) or wanted (caption)
    #[arg(long, value_name = "LANGUAGE", requires = "name")]
    pub language: Option<String>,
    /// English name of the language that is spoken (translate)
    #[arg(long, value_name = "LANGUAGE", requires = "name")]
    pub from: Option<String>,
    /// English name of the language that is wanted (translate)
    #[arg(long, value_name = "LANGUAGE", requires = "name")]
    pub to: Option<String>,
    /// What to look for (detect); several times
    #[arg(long = "label", value_name = "NAME", requires = "name")]
    pub labels: Vec<String>,
    /// Refuse an answer that is not exactly in the form that was asked for (detect)
    #[arg(long, requires = "name")]
    pub strict: bool,
    /// Most soft tokens of a picture: 70, 140, 280, 560 or 1120 [default: the task's]
    #[arg(long, value_name = "TOKENS", requires = "name")]
    pub image_budget: Option<usize>,
    /// Most tokens of a reply [default: the task's]
    #[arg(long, value_name = "TOKENS", requires = "name")]
    pub max_tokens: Option<usize>,
    /// Always take the likeliest token
    #[arg(long, requires = "name")]
    pub greedy: bool,
}

impl Task {
    /// The order for the daemon, if a task was typed.
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        Some(Order {
            language: self.language.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            labels: self.labels.clone(),
            strict: self.strict,
            image_budget: self.image_budget,
            max_tokens: self.max_tokens,
            greedy: self.greedy,
            ..Order::new(self.name?)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use crate::cli::{Arguments, Command};

    use super::*;

    fn parse(typed: &[&str]) -> Result<Option<Order>, clap::Error> {
        let arguments = Arguments::try_parse_from([&["gemmad", "ask"], typed].concat())?;
        let Command::Ask(ask) = arguments.command else { panic!("ask") };
        Ok(ask.task.order())
    }

    #[test]
    fn a_task_is_typed_with_its_options() {
        let typed =
            ["--task", "detect", "--image", "a.png", "--label", "cup", "--label", "red pen"];
        let labels = vec!["cup".to_owned(), "red pen".to_owned()];
        let expected = Order { labels, ..Order::new(TaskName::Detect) };
        assert_eq!(parse(&typed).unwrap(), Some(expected));
        assert_eq!(parse(&["hello"]).unwrap(), None);
    }

    #[test]
    fn options_of_a_task_need_one() {
        for typed in [
            &["hello", "--label", "cup"][..],
            &["hello", "--task", "dance"],
            &["hello", "--fps", "2"],
            &["--task", "ocr"],
        ] {
            assert!(parse(typed).is_err(), "{typed:?}");
        }
    }
}
