//! The conversations: what was said, by id, until nobody goes on with it or it grows too long.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use gemma_types::Message;

use super::media_bytes;

/// Conversations that are kept at most.
const CONVERSATIONS_MAX: usize = 64;
/// Memory of the pictures, films and sound in all conversations, in bytes.
const MEDIA_BYTES_MAX: usize = 256 << 20;
/// Exchanges of one conversation that are kept at most, whatever their length.
const EXCHANGES_MAX: usize = 32;

/// All conversations.
#[derive(Debug)]
pub struct Conversations {
    idle_max: Duration,
    by_id: HashMap<String, Conversation>,
}

#[derive(Debug)]
struct Conversation {
    exchanges: VecDeque<Exchange>,
    used_at: Instant,
}

/// One question with everything up to its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The person's message, then those of the model.
    pub messages: Vec<Message>,
    /// About how many tokens they have.
    pub tokens: usize,
}

impl Conversations {
    /// Keeps conversations until `idle_max` after their last exchange.
    #[must_use]
    pub fn new(idle_max: Duration) -> Self {
        Self { idle_max, by_id: HashMap::new() }
    }

    /// What was said before in conversation `id`, oldest first: as many of its last exchanges as
    /// fit into `tokens_max`, whole ones only. What does not fit is forgotten for good.
    pub fn history(&mut self, id: &str, tokens_max: usize, now: Instant) -> Vec<Message> {
        self.forget_idle(now);
        let Some(conversation) = self.by_id.get_mut(id) else { return Vec::new() };
        while conversation.tokens() > tokens_max {
            conversation.exchanges.pop_front();
        }
        let messages = conversation.exchanges.iter().flat_map(|exchange| &exchange.messages);
        messages.cloned().collect()
    }

    /// Forgets the oldest exchange of conversation `id`; says whether there was one.
    pub fn forget_oldest(&mut self, id: &str) -> bool {
        self.by_id.get_mut(id).is_some_and(|found| found.exchanges.pop_front().is_some())
    }

    /// Adds an exchange to conversation `id`.
    pub fn add(&mut self, id: &str, exchange: Exchange, now: Instant) {
        if !self.by_id.contains_key(id) && self.by_id.len() >= CONVERSATIONS_MAX {
            let oldest = self.by_id.iter().min_by_key(|(_, conversation)| conversation.used_at);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.by_id.remove(&oldest);
            }
        }
        let conversation = self
            .by_id
            .entry(id.to_owned())
            .or_insert_with(|| Conversation { exchanges: VecDeque::new(), used_at: now });
        conversation.used_at = now;
        conversation.exchanges.push_back(exchange);
        if conversation.exchanges.len() > EXCHANGES_MAX {
            conversation.exchanges.pop_front();
        }
        self.forget_media();
    }

    /// Forgets the oldest exchanges of the conversation that was left alone longest, until the media
    /// of all are few enough.
    fn forget_media(&mut self) {
        while self.by_id.values().map(Conversation::media_bytes).sum::<usize>() > MEDIA_BYTES_MAX {
            let with_media = self.by_id.values_mut().filter(|of| of.media_bytes() > 0);
            let Some(oldest) = with_media.min_by_key(|of| of.used_at) else { return };
            oldest.exchanges.pop_front();
        }
    }

    /// Conversations that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Forgets the conversations that nobody went on with.
    pub fn forget_idle(&mut self, now: Instant) {
        let idle_max = self.idle_max;
        self.by_id.retain(|_, conversation| {
            now.saturating_duration_since(conversation.used_at) <= idle_max
        });
    }
}

impl Conversation {
    fn media_bytes(&self) -> usize {
        let messages = self.exchanges.iter().flat_map(|exchange| &exchange.messages);
        messages.map(|message| media_bytes(&message.parts)).sum()
    }

    fn tokens(&self) -> usize {
        self.exchanges.iter().map(|exchange| exchange.tokens).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gemma_types::{Frame, Part, Role};
    use proptest::prelude::*;

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn exchange(text: &str, tokens: usize) -> Exchange {
        let parts = vec![Part::Text(text.to_owned())];
        let (tool_calls, tool_results) = (Vec::new(), Vec::new());
        let messages = vec![Message { role: Role::User, parts, tool_calls, tool_results }];
        Exchange { messages, tokens }
    }

    fn texts(messages: &[Message]) -> Vec<&str> {
        messages
            .iter()
            .flat_map(|message| &message.parts)
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Image(_) | Part::Audio(_) | Part::Video(_) => "media",
            })
            .collect()
    }

    #[test]
    fn a_conversation_keeps_its_own_words() {
        let (mut kept, now) = (Conversations::new(IDLE), Instant::now());
        kept.add("a", exchange("one", 10), now);
        kept.add("b", exchange("two", 10), now);
        kept.add("a", exchange("three", 10), now);
        assert_eq!(texts(&kept.history("a", 100, now)), ["one", "three"]);
        assert_eq!(texts(&kept.history("b", 100, now)), ["two"]);
        assert!(kept.history("c", 100, now).is_empty());
    }

    #[test]
    fn the_oldest_exchanges_leave_whole() {
        let now = Instant::now();
        let check = |tokens_max: usize, expected: &[&str]| {
            let mut kept = Conversations::new(IDLE);
            for (text, tokens) in [("one", 10), ("two", 20), ("three", 30)] {
                kept.add("a", exchange(text, tokens), now);
            }
            assert_eq!(texts(&kept.history("a", tokens_max, now)), expected, "{tokens_max}");
        };
        check(60, &["one", "two", "three"]);
        check(59, &["two", "three"]);
        check(49, &["three"]);
        check(29, &[]);
    }

    #[test]
    fn an_idle_conversation_is_forgotten() {
        let (mut kept, now) = (Conversations::new(IDLE), Instant::now());
        kept.add("a", exchange("one", 10), now);
        assert_eq!(kept.history("a", 100, now + IDLE).len(), 1);
        assert!(kept.history("a", 100, now + IDLE * 2).is_empty());
        assert!(kept.is_empty());
    }

    #[test]
    fn pictures_leave_with_the_oldest_words_of_whoever_was_silent_longest() {
        let (mut kept, now) = (Conversations::new(IDLE), Instant::now());
        // Eight of these are half of what is kept.
        let rgb: Arc<[u8]> = vec![0; MEDIA_BYTES_MAX / 16].into();
        let seen = |text: &str| {
            let rgb = Arc::clone(&rgb);
            let frame = Frame { width: 1, height: 1, rgb, captured_at: Duration::ZERO };
            let mut exchange = exchange(text, 1);
            exchange.messages[0].parts.extend(vec![Part::Image(frame); 8]);
            exchange
        };
        let later = |seconds: u64| now + Duration::from_secs(seconds);
        kept.add("a", seen("one"), now);
        kept.add("a", seen("two"), later(1));
        kept.add("b", exchange("three", 1), later(2));
        kept.add("b", seen("four"), later(3));
        let mut words = |id: &str| {
            let messages = kept.history(id, 100, later(3));
            let texts = texts(&messages).into_iter().filter(|text| *text != "media");
            texts.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            (words("a"), words("b")),
            (vec!["two".into()], vec!["three".into(), "four".into()])
        );
    }

    #[test]
    fn an_exchange_can_be_forgotten_by_hand() {
        let (mut kept, now) = (Conversations::new(IDLE), Instant::now());
        kept.add("a", exchange("one", 10), now);
        assert!(kept.forget_oldest("a"));
        assert!(!kept.forget_oldest("a"));
        assert!(!kept.forget_oldest("b"));
    }

    proptest! {
        #[test]
        fn a_history_is_the_newest_part_and_fits(
            sizes in proptest::collection::vec(0usize..50, 0..60), tokens_max in 0usize..500
        ) {
            let (mut kept, now) = (Conversations::new(IDLE), Instant::now());
            for (index, tokens) in sizes.iter().enumerate() {
                kept.add("a", exchange(&index.to_string(), *tokens), now);
            }
            let history = kept.history("a", tokens_max, now);
            let first = sizes.len() - history.len();
            prop_assert!(sizes[first..].iter().sum::<usize>() <= tokens_max);
            prop_assert!(history.len() <= EXCHANGES_MAX);
            let expected: Vec<String> = (first..sizes.len()).map(|at| at.to_string()).collect();
            prop_assert_eq!(texts(&history), expected);
        }

        #[test]
        fn the_number_of_conversations_is_bounded(
            ids in proptest::collection::vec(0u8..200, 0..300)
        ) {
            let (mut kept, start) = (Conversations::new(IDLE), Instant::now());
            for (index, id) in ids.iter().enumerate() {
                let now = start + Duration::from_millis(index as u64);
                kept.add(&id.to_string(), exchange("words", 1), now);
                prop_assert!(kept.len() <= CONVERSATIONS_MAX);
                prop_assert!(!kept.history(&id.to_string(), 100, now).is_empty());
            }
        }
    }
}
