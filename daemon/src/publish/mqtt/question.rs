//! A question from the network: how its payload is read, and where its answer goes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gemma_runtime::tasks::Order;
use rumqttc::v5::mqttbytes::v5::Publish;
use serde::Deserialize;
use tokio::time::{Duration, Instant};

use super::topics::Topics;
use crate::event::{Ask, Origin, Refusal};
use crate::publish::media::{self, Files, Media};

/// Longest question in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Longest name of a session in bytes.
const SESSION_BYTES_MAX: usize = 128;
/// Longest mark of a question in bytes.
const CORRELATION_BYTES_MAX: usize = 1024;

/// A question as it stands in the payload: plain text, or a JSON object with these fields.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Question {
    text: String,
    /// A ready-made task: its name, or an object with its name and options.
    task: Option<Order>,
    session: String,
    look: bool,
    thinking: bool,
    /// An encoded picture file, in base64.
    image: Option<String>,
    /// Encoded picture files, in base64.
    images: Vec<String>,
    /// Sound files, in base64.
    audio: Vec<String>,
    /// A film file, in base64.
    film: Option<String>,
    /// Pictures a second of a film that does not say.
    fps: Option<f64>,
    /// The pictures of a film.
    frames: Vec<FilmFrame>,
}

/// A picture of a film.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct FilmFrame {
    /// When it is to be seen, in seconds since the film began.
    seconds: f64,
    /// An encoded picture file, in base64.
    image: String,
}

impl Question {
    /// Reads a payload: JSON if it starts with a brace, else plain text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(payload).map_err(|error| format!("no UTF-8: {error}"))?;
        let text = text.trim();
        let question = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|error| format!("wrong JSON: {error}"))?
        } else {
            Self { text: text.to_owned(), ..Self::default() }
        };
        question.check()
    }

    fn check(self) -> Result<Self, String> {
        let too_long = |what: &str, bytes: usize, bytes_max: usize| {
            Err(format!("{what}: {bytes} bytes; at most {bytes_max} are taken"))
        };
        let pictures = self.images.len() + usize::from(self.image.is_some());
        if self.text.len() > TEXT_BYTES_MAX {
            return too_long("text", self.text.len(), TEXT_BYTES_MAX);
        }
        if self.session.len() > SESSION_BYTES_MAX {
            return too_long("session", self.session.len(), SESSION_BYTES_MAX);
        }
        if pictures > media::PICTURES_MAX {
            return Err(format!("{pictures} images; at most {} are taken", media::PICTURES_MAX));
        }
        if self.audio.len() > media::SOUNDS_MAX {
            let count = self.audio.len();
            return Err(format!("{count} audio files; at most {} are taken", media::SOUNDS_MAX));
        }
        if self.frames.len() > media::FRAMES_MAX {
            let count = self.frames.len();
            return Err(format!("{count} frames; at most {} are taken", media::FRAMES_MAX));
        }
        let unseen = pictures == 0 && self.film.is_none() && self.frames.is_empty();
        if self.text.trim().is_empty() && unseen && self.audio.is_empty() && !self.look {
            let known = "text, image, audio, film, frames or look";
            return Err(format!("nothing is asked: give {known}"));
        }
        Ok(self)
    }

    /// Decodes what came along.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(super) async fn decode(self) -> Result<Ask, Refusal> {
        let files = self.files().map_err(Refusal::Invalid)?;
        let Self { text, task, session, look, thinking, .. } = self;
        let media = files.decode(task.as_ref()).await.map_err(Refusal::Invalid)?;
        let Media { images, audio, film } = media;
        let (origin, task) = (Origin::Broker, task.map(Box::new));
        Ok(Ask { task, text, images, film, audio, look, session, thinking, origin })
    }

    /// What came along, out of its base64.
    fn files(&self) -> Result<Files, String> {
        let images = self.image.iter().chain(&self.images).map(|file| bytes("image", file));
        let audio = self.audio.iter().map(|file| bytes("audio", file));
        let film = self.film.iter().map(|file| bytes("film", file)).next();
        let frames = self.frames.iter();
        let frames = frames.map(|frame| Ok((frame.seconds, bytes("frames", &frame.image)?)));
        Ok(Files {
            images: images.collect::<Result<_, _>>()?,
            audio: audio.collect::<Result<_, _>>()?,
            film: film.transpose()?,
            fps: self.fps,
            frames: frames.collect::<Result<_, String>>()?,
        })
    }
}

fn bytes(kind: &str, file: &str) -> Result<Vec<u8>, String> {
    if file.len() / 4 * 3 > media::FILE_BYTES_MAX {
        return Err(format!("{kind}: more than {} bytes", media::FILE_BYTES_MAX));
    }
    STANDARD.decode(file).map_err(|error| format!("{kind}: no base64: {error}"))
}

/// Where the answer to a question goes, and until when it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReplyTo {
    pub(super) topic: String,
    /// What the asker marked its question with.
    pub(super) correlation: Option<Vec<u8>>,
    /// The end of the question's message expiry.
    pub(super) expires: Option<Instant>,
    /// Whether it was cancelled because it expired.
    pub(super) expired: bool,
    /// The conversation, once the turn is accepted.
    pub(super) session: String,
}

impl ReplyTo {
    /// Reads the properties of a question's message. Beside the answer's place it gives what is
    /// wrong with them; then the place is the topic of answers.
    pub(super) fn of(message: &Publish, topics: &Topics) -> (Self, Option<String>) {
        let mut reply = Self {
            topic: topics.answer(),
            correlation: None,
            expires: None,
            expired: false,
            session: String::new(),
        };
        let Some(properties) = &message.properties else { return (reply, None) };
        let seconds = properties.message_expiry_interval.map(u64::from);
        reply.expires = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut problem = None;
        if let Some(topic) = &properties.response_topic {
            match topics.check_response(topic) {
                Ok(()) => reply.topic.clone_from(topic),
                Err(error) => problem = Some(format!("response topic: {error}")),
            }
        }
        match &properties.correlation_data {
            Some(data) if data.len() > CORRELATION_BYTES_MAX => {
                problem = Some(format!(
                    "correlation data of {} bytes; at most {CORRELATION_BYTES_MAX} are taken",
                    data.len()
                ));
            }
            data => reply.correlation = data.as_ref().map(|data| data.to_vec()),
        }
        (reply, problem)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::PublishProperties;

    use super::*;

    fn check(payload: &[u8], expected: Result<Question, &str>) {
        match (Question::parse(payload), expected) {
            (Ok(question), Ok(expected)) => assert_eq!(question, expected),
            (Err(error), Err(part)) => assert!(error.contains(part), "{error:?} lacks {part:?}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_payload_is_text_or_json() {
        let text = Question { text: "what time is it?".into(), ..Question::default() };
        check(b" what time is it?\n", Ok(text));
        let json = Question {
            text: "and now?".into(),
            session: "s".into(),
            look: true,
            ..Question::default()
        };
        check(br#"{"text":"and now?","session":"s","look":true}"#, Ok(json));
    }

    #[test]
    fn a_wrong_payload_is_refused_with_the_reason() {
        check(b"", Err("nothing is asked"));
        check(b"{}", Err("nothing is asked"));
        check(b"\xff\xfe", Err("no UTF-8"));
        check(b"{\"text\":", Err("wrong JSON"));
        check(br#"{"text":"a","txt":"b"}"#, Err("unknown field `txt`"));
        check(br#"{"text":7}"#, Err("invalid type"));
        check("x".repeat(TEXT_BYTES_MAX + 1).as_bytes(), Err("text: 65537 bytes"));
        check(br#"{"audio":["","","","",""]}"#, Err("5 audio files"));
        let frame = r#"{"seconds":0,"image":""},"#.repeat(32);
        let frames = format!(r#"{{"frames":[{frame}{{"seconds":1,"image":""}}]}}"#);
        check(frames.as_bytes(), Err("33 frames; at most 32"));
        check(br#"{"frames":[{"image":""}]}"#, Err("missing field `seconds`"));
        check(br#"{"task":"dance","text":"a"}"#, Err("\"dance\" is no task"));
        check(br#"{"task":{"name":"ocr","speed":1}}"#, Err("unknown field `speed`"));
        check(br#"{"task":7}"#, Err("expected the name of a task"));
    }

    #[tokio::test]
    async fn an_image_that_is_none_is_refused_with_the_reason() {
        for (image, expected) in [("?", "no base64"), ("aGVsbG8=", "image 1")] {
            let json = format!(r#"{{"text":"a","image":"{image}"}}"#);
            let error = Question::parse(json.as_bytes()).unwrap().decode().await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn the_answer_goes_where_the_question_says() {
        let topics = Topics::new("gemmad", "kitchen").unwrap();
        let place = |response_topic: Option<&str>| {
            let properties = PublishProperties {
                response_topic: response_topic.map(str::to_owned),
                correlation_data: Some("7".into()),
                ..PublishProperties::default()
            };
            let question = Publish::new("q", QoS::AtLeastOnce, "a", Some(properties));
            ReplyTo::of(&question, &topics)
        };
        assert_eq!(place(Some("me/answers")).0.topic, "me/answers");
        assert_eq!(place(Some("me/answers")).0.correlation, Some(b"7".to_vec()));
        assert_eq!(place(None).0.topic, "gemmad/kitchen/answer");
        let (reply, problem) = place(Some("me/#"));
        assert_eq!(reply.topic, "gemmad/kitchen/answer");
        assert!(problem.unwrap().contains("wildcard"));
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Question::parse(&payload);
        }
    }
}
