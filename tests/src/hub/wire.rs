//! As much of HTTP as a hub needs: one request and one reply for each connection.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    /// What comes after the host.
    pub(super) place: String,
    headers: Vec<(String, String)>,
}

/// A reply.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    content: Vec<u8>,
    /// The connection ends after so many bytes of the content.
    pub(super) ends_after: Option<usize>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// First and, where it is named, last byte of `Range: bytes=5-9`.
    pub(super) fn range(&self) -> Option<(usize, Option<usize>)> {
        let (from, to) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse().ok()?, to.parse().ok()))
    }
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), content: Vec::new(), ends_after: None }
    }

    pub(super) fn of(content: Vec<u8>) -> Self {
        Self { content, ..Self::status(200) }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn part(self, range: &str) -> Self {
        Self { status: 206, ..self.with("Content-Range", range) }
    }
}

/// Reads a request; none if it is no whole one.
pub(super) fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let place = first.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        if line.is_empty() {
            return Some(Asked { place, headers });
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    None
}

/// Writes a reply and ends the connection.
pub(super) fn write(stream: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.content.len()));
    stream.write_all(head.as_bytes())?;
    let end = reply.ends_after.unwrap_or(reply.content.len()).min(reply.content.len());
    stream.write_all(&reply.content[..end])?;
    stream.flush()
}
