//! Stories with the real daemon on a private bus and a private broker. Each is a dialogue, and its
//! name is the claim that it proves. They need what `make test` sets up, and nothing else.

mod bench; // a model's folder, measured
mod commands; // the command line
mod films; // a question about a film
mod guests; // what they are made of
mod hostile; // what strangers send
mod kept; // what is computed once
mod missing; // a house without this or that
mod mistakes; // what people write and copy wrongly
mod model; // a model's folder by itself
mod mute; // a microphone that is closed
mod outages; // the bus, the broker and the daemon go and come back
mod plugins; // tools that misbehave
mod pull; // a model from a hub
mod requests; // cancelled, left, refused, forged
mod seen; // a question about a picture
mod selftest; // a model, held to its marks
mod spoken; // a question in speech
mod starting;
mod stopping; // the end in the middle of something
mod tasks; // ready-made tasks
mod typed; // a question in words // how long it takes

/// Declares each story under both engines.
macro_rules! under_both_engines {
    ($($story:ident),+ $(,)?) => {
        mod ort {
            $(#[tokio::test] async fn $story() -> anyhow::Result<()> { super::$story("ort").await })+
        }
        mod tract {
            $(#[tokio::test] async fn $story() -> anyhow::Result<()> { super::$story("tract").await })+
        }
    };
}
use under_both_engines;
