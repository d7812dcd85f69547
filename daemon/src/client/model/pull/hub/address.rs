//! Where something is on a hub, and where its redirections lead.

use std::fmt;

use anyhow::{Context as _, bail, ensure};
use ureq::http::{HeaderMap, header};

/// An address: scheme, host, and the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Address {
    /// `http://host:port` or `https://host:port`.
    origin: String,
    /// What follows, with its leading slash; empty for the host itself.
    place: String,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.origin, self.place)
    }
}

impl Address {
    /// Takes an address apart.
    ///
    /// # Errors
    /// When it is none of HTTP or HTTPS, or holds a password.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            bail!("{text:?} is no address; expected one such as https://huggingface.co");
        };
        let scheme = scheme.to_ascii_lowercase();
        ensure!(matches!(&*scheme, "http" | "https"), "{text:?} is neither https:// nor http://");
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, place) = rest.split_at(end);
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "-._:[]".contains(letter);
        ensure!(!host.is_empty() && host.chars().all(fits), "{host:?} is no name of a host");
        let place = place.split('#').next().unwrap_or(place);
        let printable = place.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(printable, "{text:?} holds letters that no address holds");
        let origin = format!("{scheme}://{}", host.to_ascii_lowercase());
        Ok(Self { origin, place: place.to_owned() })
    }

    /// The address of something below this one.
    pub(super) fn join(&self, place: &str) -> Self {
        Self { origin: self.origin.clone(), place: format!("{}{place}", self.place) }
    }

    /// Whether nobody can listen.
    pub(super) fn is_secure(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// Whether the same server answers.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        self.origin == other.origin
    }

    /// Where a response sends us.
    ///
    /// # Errors
    /// When it does not say, or sends us from a secure address to one that is not.
    pub(super) fn redirected(&self, headers: &HeaderMap) -> anyhow::Result<Self> {
        let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.context("redirected to nowhere")?;
        let next = if let Some(rest) = location.strip_prefix("//") {
            let scheme = if self.is_secure() { "https" } else { "http" };
            Self::parse(&format!("{scheme}://{rest}"))?
        } else if location.starts_with('/') {
            Self::parse(&format!("{}{location}", self.origin))?
        } else {
            Self::parse(location)?
        };
        ensure!(
            next.is_secure() || !self.is_secure(),
            "redirected from https to {}, which is not secure",
            next.origin
        );
        Ok(next)
    }
}

/// Whether a path has only names of letters, digits, `.`, `_` and `-`, none of which leads upwards.
pub(super) fn is_plain(path: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    path.split('/').all(|name| !matches!(name, "" | "." | "..") && name.chars().all(fits))
}

/// The name of a revision as one part of an address.
pub(super) fn encoded(revision: &str) -> Option<String> {
    is_plain(revision).then(|| revision.replace('/', "%2F"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check_redirection(from: &str, to: &str, expected: Option<&str>) {
        let headers = HeaderMap::from_iter([(header::LOCATION, to.parse().unwrap())]);
        let found = Address::parse(from).unwrap().redirected(&headers).ok();
        assert_eq!(found.map(|address| address.to_string()).as_deref(), expected, "{from} {to}");
    }

    #[test]
    fn redirections_lead_where_they_say_and_never_from_secure_to_open() {
        check_redirection("https://hub/a/b", "/c?d=e", Some("https://hub/c?d=e"));
        check_redirection("https://hub/a", "https://CDN/x", Some("https://cdn/x"));
        check_redirection("https://hub/a", "//cdn/x", Some("https://cdn/x"));
        check_redirection("http://hub:80/a", "//cdn/x", Some("http://cdn/x"));
        check_redirection("http://hub/a", "https://cdn/x#y", Some("https://cdn/x"));
        check_redirection("https://hub/a", "http://cdn/x", None);
        check_redirection("https://hub/a", "file:///etc/passwd", None);
        check_redirection("https://hub/a", "x/y", None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["hub", "ftp://hub", "https://", "https://me:word@hub", "https://hub/a b"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        assert_eq!(Address::parse("http://[::1]:8080").unwrap().origin, "http://[::1]:8080");
    }

    #[test]
    fn no_path_leads_out_of_its_folder() {
        for path in ["onnx/decoder_model_merged_q4.onnx_data", "config.json", "a-b.c"] {
            assert!(is_plain(path), "{path}");
        }
        for path in ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\\b", "a b", "a?b", "é"] {
            assert!(!is_plain(path), "{path}");
        }
        assert_eq!(encoded("refs/pr/1").as_deref(), Some("refs%2Fpr%2F1"));
    }
}
