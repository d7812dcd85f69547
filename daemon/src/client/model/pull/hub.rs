//! The hub's protocol, as Hugging Face speaks it: what a repository holds, and a file from any byte
//! on. `HF_ENDPOINT` names another hub, `HF_TOKEN` opens what is not public.

mod address;
mod refusal;

use std::env;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustls::crypto::ring;
use serde::Deserialize;
use ureq::http::{HeaderMap, Response, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::checksum::Checksum;
use address::Address;
pub(super) use refusal::{Failure, Patience};

/// The hub where none is named.
const ENDPOINT: &str = "https://huggingface.co";
/// Longest time to reach a server, and to wait for its next byte.
const PATIENCE: Duration = Duration::from_secs(60);
/// Redirections of one request at most.
const REDIRECTS_MAX: usize = 10;
/// Bytes of a list of files at most.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// Files of a repository at most.
const FILES_MAX: usize = 100_000;

/// A hub.
pub(super) struct Hub {
    agent: Agent,
    endpoint: Address,
    /// `OWNER/NAME`.
    repository: String,
    token: Option<String>,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// Its path in the repository: letters, digits, `.`, `_`, `-`, and `/` between folders.
    pub(super) path: String,
    /// Its length.
    pub(super) bytes: Option<u64>,
    /// What its content comes to.
    pub(super) checksum: Option<Checksum>,
    /// Where it is.
    pub(super) address: Address,
}

/// The content of a file, from some byte on.
pub(super) struct Content {
    /// The byte that it begins with.
    pub(super) start: u64,
    /// Length of the whole file, where the server says so.
    pub(super) bytes: Option<u64>,
    /// The content.
    pub(super) reader: Box<dyn Read>,
}

#[derive(Deserialize)]
struct RawRepository {
    sha: Option<String>,
    siblings: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<RawLarge>,
}

#[derive(Deserialize)]
struct RawLarge {
    #[serde(alias = "oid")]
    sha256: Option<String>,
    size: Option<u64>,
}

/// What a server says about a file before it gives it.
#[derive(Debug, Default)]
struct Described {
    bytes: Option<u64>,
    checksum: Option<Checksum>,
}

impl Hub {
    /// A repository on the hub that the environment names.
    ///
    /// # Errors
    /// When either is named wrongly, or the system's certificates cannot be read.
    pub(super) fn with(repository: &str) -> anyhow::Result<Self> {
        check_repository(repository)?;
        let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let named = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = Address::parse(named.trim().trim_end_matches('/'))
            .with_context(|| format!("HF_ENDPOINT {named:?}"))?;
        let token = set("HF_TOKEN").map(|token| token.trim().to_owned());
        let printable = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(token.as_ref().is_none_or(printable), "HF_TOKEN has letters that no token has");
        let agent = agent(endpoint.is_secure())?;
        Ok(Self { agent, endpoint, repository: repository.to_owned(), token })
    }

    /// Lists the files of a revision of the repository; their names have been checked.
    ///
    /// # Errors
    /// When there is no such repository or revision, or it is not open to us.
    pub(super) fn list(&self, revision: &str) -> anyhow::Result<Vec<RemoteFile>> {
        let repository = &self.repository;
        let revision = address::encoded(revision)
            .with_context(|| format!("--revision {revision:?} is no name of a revision"))?;
        let place = format!("/api/models/{repository}/revision/{revision}?blobs=true");
        let asked = || {
            let (response, _) = self.get(&self.endpoint.join(&place), None)?;
            let body = response.into_body().into_with_config().limit(LIST_BYTES_MAX);
            body.read_to_vec().map_err(|error| Failure::Passing(error.into()))
        };
        let list =
            refusal::patiently(asked).map_err(|failure| self.explain(failure, repository))?;
        let raw: RawRepository = serde_json::from_slice(&list).with_context(|| {
            format!("{} lists {repository} in a form that is not known", self.endpoint)
        })?;
        ensure!(raw.siblings.len() <= FILES_MAX, "{repository} has more than {FILES_MAX} files");
        // Every file comes from the commit that was listed, whatever is published in between.
        let commit = raw.sha.as_deref().and_then(address::encoded).unwrap_or(revision);
        let files = raw.siblings.into_iter().filter(|file| address::is_plain(&file.rfilename));
        let file = |raw: RawFile| {
            let place = format!("/{repository}/resolve/{commit}/{}", raw.rfilename);
            RemoteFile::from_list(raw, self.endpoint.join(&place))
        };
        Ok(files.map(file).collect())
    }

    /// A file with its length and, where the hub names one, its checksum; the list may lack both.
    ///
    /// # Errors
    /// When the hub cannot be asked, or does not tell the length.
    pub(super) fn described(&self, file: &RemoteFile) -> anyhow::Result<RemoteFile> {
        if file.bytes.is_some() && file.checksum.is_some() {
            return Ok(file.clone());
        }
        let (_, said) = refusal::patiently(|| self.get(&file.address, Some((0, Some(0)))))
            .map_err(|failure| self.explain(failure, &file.path))?;
        let bytes = file.bytes.or(said.bytes);
        let checksum = file.checksum.or(said.checksum);
        ensure!(bytes.is_some(), "{} does not say how long {} is", self.endpoint, file.path);
        Ok(RemoteFile { bytes, checksum, ..file.clone() })
    }

    /// Opens a file at a byte. The server may begin earlier.
    ///
    /// # Errors
    /// When the file is not given.
    pub(super) fn open(&self, file: &RemoteFile, from: u64) -> Result<Content, Failure> {
        let (response, said) = self.get(&file.address, (from > 0).then_some((from, None)))?;
        let start = match response.status().as_u16() {
            206 => range(response.headers()).map_or(from, |(start, _)| start),
            _ => 0,
        };
        Ok(Content {
            start,
            bytes: said.bytes,
            reader: Box::new(response.into_body().into_reader()),
        })
    }

    /// What to tell about a failure to get something.
    pub(super) fn explain(&self, failure: Failure, what: &str) -> anyhow::Error {
        let hub = &self.endpoint;
        match failure {
            Failure::Passing(error) | Failure::Last(error) => {
                error.context(format!("{what} cannot be fetched from {hub}"))
            }
            Failure::Refused(code, reason) => {
                let because =
                    refusal::explain(code, &reason, hub, &self.repository, self.token.is_some());
                match what == self.repository {
                    true => anyhow::Error::msg(because),
                    false => anyhow::anyhow!("{what} cannot be fetched: {because}"),
                }
            }
        }
    }

    /// Asks for something, from a byte on, and follows redirections.
    fn get(
        &self,
        address: &Address,
        bytes: Option<(u64, Option<u64>)>,
    ) -> Result<(Response<Body>, Described), Failure> {
        let mut address = address.clone();
        let mut said = Described::default();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.agent.get(address.to_string());
            if let Some((from, to)) = bytes {
                let to = to.map(|to| to.to_string()).unwrap_or_default();
                request = request.header(header::RANGE, format!("bytes={from}-{to}"));
            }
            // The token is for the hub alone, not for where it sends us.
            if let Some(token) = self.token.as_ref().filter(|_| address.same_origin(&self.endpoint))
            {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| Failure::Passing(error.into()))?;
            said.add(&response);
            match response.status().as_u16() {
                200 | 206 => return Ok((response, said)),
                301 | 302 | 303 | 307 | 308 => {
                    address = address.redirected(response.headers()).map_err(Failure::Last)?;
                }
                _ => return Err(Failure::refused(&response)),
            }
        }
        Err(Failure::Last(anyhow::anyhow!("redirected more than {REDIRECTS_MAX} times")))
    }
}

impl RemoteFile {
    /// A file of which nothing but its path matters.
    #[cfg(test)]
    pub(super) fn named(path: &str) -> Self {
        let address = Address::default();
        Self { path: path.to_owned(), bytes: None, checksum: None, address }
    }

    fn from_list(raw: RawFile, address: Address) -> Self {
        let large = raw.lfs.as_ref();
        let sha256 = large.and_then(|large| Checksum::parse(large.sha256.as_deref()?));
        // Of a large file, the blob is only a note of where it lies.
        let blob = raw.blob.as_deref().filter(|_| large.is_none()).and_then(Checksum::parse);
        Self {
            path: raw.rfilename,
            bytes: large.and_then(|large| large.size).or(raw.size),
            checksum: sha256.or(blob),
            address,
        }
    }
}

impl Described {
    /// Takes what a response says; what an earlier one said about a large file stays.
    fn add(&mut self, response: &Response<Body>) {
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let linked = text("x-linked-size").and_then(|size| size.parse().ok());
        let total = match response.status().as_u16() {
            200 => text("content-length").and_then(|size| size.parse().ok()),
            206 => range(headers).and_then(|(_, total)| total),
            _ => None,
        };
        self.bytes = self.bytes.or(linked).or(total);
        let tag = text("x-linked-etag").or_else(|| text("etag"));
        self.checksum = self.checksum.or(tag.and_then(Checksum::parse));
    }
}

/// First byte and total length in `Content-Range: bytes 5-9/10`.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

fn check_repository(name: &str) -> anyhow::Result<()> {
    let parts: Vec<&str> = name.split('/').collect();
    if !(1..=2).contains(&parts.len()) || !address::is_plain(name) {
        bail!(
            "{name:?} is no repository; expected OWNER/NAME, as onnx-community/gemma-4-E2B-it-ONNX"
        );
    }
    Ok(())
}

/// A client that leaves redirections and refusals to us.
fn agent(secure: bool) -> anyhow::Result<Agent> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .https_only(secure)
        .user_agent(concat!("gemmad/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE));
    if secure {
        let native = rustls_native_certs::load_native_certs().certs;
        ensure!(!native.is_empty(), "this machine trusts no certificates; install ca-certificates");
        let native = native.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
        let native: Vec<Certificate<'static>> = native.collect();
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&native));
        config = config.tls_config(tls.build());
    }
    Ok(config.build().new_agent())
}
