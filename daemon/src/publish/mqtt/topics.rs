//! The topics of this daemon, and what a topic from a stranger may look like.

/// Longest topic in bytes that we publish to.
const TOPIC_BYTES_MAX: usize = 1024;

/// The topics of one node.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    base: String,
}

/// What a message to us is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A question.
    Ask,
    /// The microphone's switch.
    Mute,
}

impl Topics {
    /// The topics below `<prefix>/<node>`.
    ///
    /// # Errors
    /// If prefix and node do not make a topic.
    pub(super) fn new(prefix: &str, node: &str) -> Result<Self, String> {
        let topics = Self { base: format!("{prefix}/{node}") };
        check(&topics.ask())?;
        Ok(topics)
    }

    /// `online` or `offline`, retained.
    pub(super) fn status(&self) -> String {
        self.below("status")
    }

    /// The whole state as JSON, retained.
    pub(super) fn state(&self) -> String {
        self.below("state")
    }

    /// Events of one kind.
    pub(super) fn event(&self, kind: &str) -> String {
        format!("{}/event/{kind}", self.base)
    }

    /// Questions to us.
    pub(super) fn ask(&self) -> String {
        self.below("ask")
    }

    /// Answers to questions that name no response topic.
    pub(super) fn answer(&self) -> String {
        self.below("answer")
    }

    /// The microphone's switch: `ON` mutes it, `OFF` opens it.
    pub(super) fn mute(&self) -> String {
        self.below("mute/set")
    }

    /// What a message on this topic is about.
    pub(super) fn incoming(&self, topic: &str) -> Option<Incoming> {
        match topic.strip_prefix(&self.base)?.strip_prefix('/')? {
            "ask" => Some(Incoming::Ask),
            "mute/set" => Some(Incoming::Mute),
            _ => None,
        }
    }

    /// Checks the topic on which a stranger wants its answer.
    ///
    /// # Errors
    /// If it is no topic, or one of ours: an answer there could be taken for a question.
    pub(super) fn check_response(&self, topic: &str) -> Result<(), String> {
        check(topic)?;
        let ours = topic.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with('/'));
        if ours && topic != self.answer() {
            return Err(format!("topic {topic:?} is one of this daemon's own"));
        }
        Ok(())
    }

    fn below(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }
}

impl std::fmt::Display for Topics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.base)
    }
}

/// Checks a topic to publish to.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(topic: &str) -> Result<(), String> {
    let problem = if topic.is_empty() {
        "is empty"
    } else if topic.len() > TOPIC_BYTES_MAX {
        return Err(format!(
            "a topic of {} bytes; at most {TOPIC_BYTES_MAX} are taken",
            topic.len()
        ));
    } else if topic.contains(['+', '#']) {
        "has a wildcard"
    } else if topic.starts_with('$') {
        "belongs to the broker"
    } else if topic.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(format!("topic {topic:?} {problem}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn topics_stand_below_prefix_and_node() {
        let topics = Topics::new("gemmad", "kitchen").unwrap();
        assert_eq!(topics.status(), "gemmad/kitchen/status");
        assert_eq!(topics.event("heard"), "gemmad/kitchen/event/heard");
        assert_eq!(topics.incoming("gemmad/kitchen/ask"), Some(Incoming::Ask));
        assert_eq!(topics.incoming("gemmad/kitchen/mute/set"), Some(Incoming::Mute));
        assert_eq!(topics.incoming("gemmad/kitchen2/ask"), None);
        assert_eq!(topics.incoming("gemmad/kitchen/ask/more"), None);
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        for topic in ["", "a/+/b", "a/#", "$SYS/x", "a\0b", "a\nb", &"x".repeat(2000)] {
            assert!(check(topic).is_err(), "{topic:?}");
        }
        for topic in ["a", "home/living room/light/set", "ä/ö"] {
            assert_eq!(check(topic), Ok(()));
        }
        assert!(Topics::new("gemmad", "a+b").is_err());
    }

    #[test]
    fn an_answer_never_goes_where_questions_come_in() {
        let topics = Topics::new("gemmad", "kitchen").unwrap();
        for topic in ["gemmad/kitchen/ask", "gemmad/kitchen/mute/set", "gemmad/kitchen/status"] {
            assert!(topics.check_response(topic).is_err(), "{topic}");
        }
        for topic in ["gemmad/kitchen/answer", "gemmad/kitchen2/ask", "answers/7"] {
            assert_eq!(topics.check_response(topic), Ok(()));
        }
    }
}
