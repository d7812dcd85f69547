//! Names and paths on the bus, and how a request's path follows from its caller and its token.

use zbus::ObjectPath;
use zbus::names::UniqueName;

use super::options::TOKEN_BYTES_MAX;

/// The daemon's name on the bus.
pub const NAME: &str = "org.gemmad.Gemmad1";
/// The main object.
pub const PATH: &str = "/org/gemmad/Gemmad1";
/// Interface of a request object.
pub const REQUEST_INTERFACE: &str = "org.gemmad.Gemmad1.Request";

/// The path of a request: a caller that picks its own token knows the path beforehand and can
/// listen to it before it asks.
///
/// # Errors
/// If the token is not 1 to 64 letters, digits and underscores.
pub fn request_path(caller: &UniqueName<'_>, token: &str) -> Result<ObjectPath<'static>, String> {
    let of_a_path = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(of_a_path) {
        return Err(format!(
            "handle_token {token:?}: expected 1 to {TOKEN_BYTES_MAX} letters, digits or underscores"
        ));
    }
    let caller: String = caller
        .trim_start_matches(':')
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' })
        .collect();
    ObjectPath::try_from(format!("{PATH}/request/{caller}/{token}"))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(caller: &str, token: &str, expected: Option<&str>) {
        let path = request_path(&UniqueName::try_from(caller).unwrap(), token);
        assert_eq!(path.as_ref().map(ObjectPath::as_str).ok(), expected);
    }

    #[test]
    fn a_request_is_named_after_its_caller_and_token() {
        check(":1.42", "t7", Some("/org/gemmad/Gemmad1/request/1_42/t7"));
        check(":a-b.0", "A_1", Some("/org/gemmad/Gemmad1/request/a_b_0/A_1"));
    }

    #[test]
    fn a_token_that_would_break_the_path_is_refused() {
        for token in ["", "a/b", "..", "a-b", "ä", "a b", "a\0", &"x".repeat(65)] {
            check(":1.42", token, None);
        }
    }
}
