//! What went wrong with a hub: whether it may pass by itself, and what to tell.

use std::time::Duration;

use ureq::Body;
use ureq::http::Response;

use super::Address;

/// Times that the same thing may fail without any progress.
const TRIES_MAX: u32 = 5;
/// Pause after the first failure; each following one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a request failed.
#[derive(Debug)]
pub(in super::super) enum Failure {
    /// Another try may do: a broken connection, a busy server.
    Passing(anyhow::Error),
    /// The hub refuses: status, and its own word for the reason.
    Refused(u16, String),
    /// Nothing will change it.
    Last(anyhow::Error),
}

impl Failure {
    /// A response that is no success.
    pub(super) fn refused(response: &Response<Body>) -> Self {
        let status = response.status();
        let reason = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
        match status.as_u16() {
            408 | 425 | 429 | 500.. => {
                Self::Passing(anyhow::anyhow!("the server answers {status}"))
            }
            code => Self::Refused(code, reason.unwrap_or_default().to_owned()),
        }
    }
}

/// What a refusal means, and what would help.
pub(super) fn explain(
    code: u16,
    reason: &str,
    hub: &Address,
    repository: &str,
    with_token: bool,
) -> String {
    let mend = match with_token {
        true => "the token in HF_TOKEN does not open it",
        false => "set HF_TOKEN to a token of yours",
    };
    match (code, reason) {
        (_, "RevisionNotFound") => format!("{hub} has no such revision of {repository}"),
        (_, "GatedRepo") | (403, _) => format!(
            "{repository} is gated: accept its terms at {hub}/{repository}, and {mend} (status \
             {code})"
        ),
        (404, _) => {
            format!("{hub} has no {repository} (status 404); is the name complete, with its owner?")
        }
        (401, _) => format!("{repository} is not there or not public: {mend} (status 401)"),
        (416, _) => format!("it is shorter on {hub} than the list of {repository} says"),
        (code, "") => format!("{hub} refuses {repository} with status {code}"),
        (code, reason) => format!("{hub} refuses {repository} with status {code}: {reason}"),
    }
}

/// Tries something until it is done, or fails for good.
pub(super) fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut patience = Patience::default();
    loop {
        match attempt() {
            Err(Failure::Passing(error)) => patience.wait(error)?,
            done => return done,
        }
    }
}

/// How much longer to try.
#[derive(Debug, Default)]
pub(in super::super) struct Patience {
    failures: u32,
}

impl Patience {
    /// Forgets the failures so far: something came.
    pub(in super::super) fn restore(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next try; the first one after something came is at once.
    ///
    /// # Errors
    /// The last failure, when there were enough.
    pub(in super::super) fn wait(&mut self, error: anyhow::Error) -> Result<(), Failure> {
        self.failures += 1;
        if self.failures >= TRIES_MAX {
            return Err(Failure::Last(error));
        }
        std::thread::sleep(PAUSE * (1 << (self.failures - 1)));
        Ok(())
    }
}
