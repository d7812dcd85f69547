//! What a manifest grants to a plugin, and whether a topic is among it. Filters and topics follow
//! MQTT 5.0, sections 4.7.1 to 4.7.3.

use std::fmt;

/// Bytes of a topic or a filter; MQTT allows 65,535.
const TOPIC_BYTES_MAX: usize = 1_024;

/// The capabilities that a plugin may use. The default grants none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// The wall clock may be read.
    pub(crate) clock: bool,
    /// Topics that match one of these may be published to.
    pub(crate) mqtt: Vec<Filter>,
}

impl Grants {
    /// Whether the plugin may publish to `topic`.
    pub(crate) fn may_publish(&self, topic: &Topic<'_>) -> bool {
        self.mqtt.iter().any(|filter| filter.matches(topic))
    }

    /// Each grant in words.
    pub(crate) fn in_words(&self) -> Vec<String> {
        let clock = self.clock.then(|| "clock".to_owned());
        clock.into_iter().chain(self.mqtt.iter().map(|filter| format!("mqtt {filter}"))).collect()
    }
}

/// A checked topic filter: `+` stands for one level, a last `#` for all that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter(String);

/// A checked topic, as it is published to: no wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic<'a>(&'a str);

/// What is wrong with a topic or a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It has no characters.
    #[error("is empty")]
    Empty,
    /// It is longer than a plugin may use.
    #[error("is longer than {TOPIC_BYTES_MAX} bytes")]
    Long,
    /// A character that brokers may refuse.
    #[error("has a control character")]
    Control,
    /// A wildcard where a topic is published to.
    #[error("has a wildcard; a message goes to one topic")]
    Wildcard,
    /// A `+` beside other characters.
    #[error("has a + that is not a whole level; accepted: home/+/light")]
    Plus,
    /// A `#` that is not the last level.
    #[error("has a # that is not the last level; accepted: home/#")]
    Hash,
    /// A subscription that is shared among clients.
    #[error("is a shared subscription; a grant names topics to publish to")]
    Shared,
}

impl Filter {
    /// Checks a filter of a manifest.
    pub(crate) fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        if levels.peek() == Some(&"$share") {
            return Err(TopicError::Shared);
        }
        while let Some(level) = levels.next() {
            if level.contains('+') && level != "+" {
                return Err(TopicError::Plus);
            }
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(TopicError::Hash);
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether the filter covers `topic`. A leading wildcard does not cover topics of the broker,
    /// which begin with `$`.
    pub(crate) fn matches(&self, topic: &Topic<'_>) -> bool {
        if topic.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.0.split('/');
        for wanted in self.0.split('/') {
            let level = match wanted {
                "#" => return true,
                _ => levels.next(),
            };
            match (wanted, level) {
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'a> Topic<'a> {
    /// Checks a topic that a guest asks for.
    pub(crate) fn parse(text: &'a str) -> Result<Self, TopicError> {
        check_text(text)?;
        if text.contains(['+', '#']) {
            return Err(TopicError::Wildcard);
        }
        Ok(Self(text))
    }
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::Long);
    }
    if text.contains(char::is_control) {
        return Err(TopicError::Control);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use proptest::prelude::*;

    use super::*;

    fn check(filter: &str, topic: &str, expected: bool) {
        let matches = Filter::parse(filter).unwrap().matches(&Topic::parse(topic).unwrap());
        assert_eq!(matches, expected, "{filter} covers {topic}");
    }

    #[test]
    fn a_filter_covers_exactly_what_it_says() {
        check("home/kitchen/light/set", "home/kitchen/light/set", true);
        check("home/+/light/set", "home/kitchen/light/set", true);
        check("home/+/light/set", "home//light/set", true);
        check("home/+/light/set", "home/a/b/light/set", false);
        check("home/+/light/set", "home/kitchen/lock/set", false);
        check("home/+/light/set", "home/kitchen/light", false);
        check("home/+/light/set", "home/kitchen/light/set/x", false);
        check("home/#", "home", true);
        check("home/#", "home/a/b", true);
        check("home/#", "homes/a", false);
        check("#", "home/a", true);
        check("+", "home", true);
        check("+", "/home", false);
        check("Home/+", "home/x", false);
    }

    #[test]
    fn a_leading_wildcard_does_not_reach_the_brokers_own_topics() {
        check("#", "$SYS/broker", false);
        check("+/broker", "$SYS/broker", false);
        check("$SYS/#", "$SYS/broker", true);
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        let check = |filter: &str, expected| assert_eq!(Filter::parse(filter), Err(expected));
        check("", TopicError::Empty);
        check("home/li+ght", TopicError::Plus);
        check("home/++", TopicError::Plus);
        check("home/#/set", TopicError::Hash);
        check("home/a#", TopicError::Hash);
        check("home/\0", TopicError::Control);
        check("$share/group/home", TopicError::Shared);
        check(&"a".repeat(TOPIC_BYTES_MAX + 1), TopicError::Long);
    }

    #[test]
    fn a_wildcard_is_no_topic() {
        assert_eq!(Topic::parse("home/+/light"), Err(TopicError::Wildcard));
        assert_eq!(Topic::parse("#"), Err(TopicError::Wildcard));
    }

    proptest! {
        #[test]
        fn a_topic_made_from_a_filter_is_covered(levels in prop::collection::vec("[a-z]{1,3}|\\+", 1..5)) {
            let filter = Filter::parse(&levels.join("/")).unwrap();
            let topic = levels.join("/").replace('+', "x");
            prop_assert!(filter.matches(&Topic::parse(&topic).unwrap()));
            let deeper = format!("{topic}/y");
            prop_assert!(!filter.matches(&Topic::parse(&deeper).unwrap()));
        }

        #[test]
        fn nothing_is_covered_but_by_a_grant(topic in "[a-z/$]{1,12}") {
            let topic = Topic::parse(&topic).unwrap();
            prop_assert!(!Grants::default().may_publish(&topic));
        }
    }
}
