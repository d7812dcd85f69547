//! The folder where accepted results wait over a restart: one file for each, named by its number,
//! complete on the disk before anybody is told that the result is accepted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::outbox::{Message, MessageId, Weight};

/// Ending of a complete file.
const ENDING: &str = "message";

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

/// First line of a file; the payload is the rest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    topic: String,
    retain: bool,
    correlation: Option<Vec<u8>>,
    payload_bytes: usize,
}

impl Store {
    /// Opens the folder and reads what waits there, in order. A file that cannot be read as one of
    /// ours is reported and set aside under another ending.
    ///
    /// # Errors
    /// If the folder cannot be made or listed.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<(MessageId, Message)>)> {
        fs::create_dir_all(folder)?;
        let mut waiting = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(id) = number(&path) else { continue };
            match fs::read(&path).and_then(|bytes| decode(&bytes)) {
                Ok(message) => waiting.push((id, message)),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "a kept result cannot be read");
                    fs::rename(&path, path.with_extension("damaged"))?;
                }
            }
        }
        waiting.sort_by_key(|(id, _)| *id);
        Ok((Self { folder: folder.to_path_buf() }, waiting))
    }

    /// Keeps a message; it is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn keep(&self, id: MessageId, message: &Message) -> io::Result<()> {
        let (path, unfinished) = (self.path(id), self.path(id).with_extension("new"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&encode(message)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Forgets a message. A file that survives a loss of power is sent a second time.
    ///
    /// # Errors
    /// If the file cannot be removed; one that is not there is fine.
    pub(super) fn forget(&self, id: MessageId) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, id: MessageId) -> PathBuf {
        self.folder.join(format!("{id:020}.{ENDING}"))
    }
}

/// The number in the name of a complete file.
fn number(path: &Path) -> Option<MessageId> {
    let ours = path.extension().is_some_and(|ending| ending == ENDING);
    path.file_stem().filter(|_| ours)?.to_str()?.parse().ok()
}

fn encode(message: &Message) -> io::Result<Vec<u8>> {
    let head = Head {
        topic: message.topic.clone(),
        retain: message.retain,
        correlation: message.correlation.clone(),
        payload_bytes: message.payload.len(),
    };
    let mut bytes = serde_json::to_vec(&head)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&message.payload);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> io::Result<Message> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| wrong("no first line"))?;
    let Head { topic, retain, correlation, payload_bytes } = serde_json::from_slice(&bytes[..end])?;
    let payload = bytes[end + 1..].to_vec();
    if payload.len() != payload_bytes {
        return Err(wrong("the payload is cut"));
    }
    super::topics::check(&topic).map_err(|error| wrong(&error))?;
    Ok(Message { topic, payload, retain, correlation, weight: Weight::Result })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn message(payload: &[u8], correlation: Option<Vec<u8>>) -> Message {
        let topic = "home/kitchen/light/set".to_owned();
        let weight = Weight::Result;
        Message { topic, payload: payload.to_vec(), retain: true, correlation, weight }
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_in_order_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (store, waiting) = Store::open(folder.path()).unwrap();
        assert!(waiting.is_empty());
        for id in [2, 10, 1] {
            store.keep(id, &message(id.to_string().as_bytes(), None)).unwrap();
        }
        store.forget(2).unwrap();
        store.forget(99).unwrap();
        let (_, waiting) = Store::open(folder.path()).unwrap();
        assert_eq!(waiting, [(1, message(b"1", None)), (10, message(b"10", None))]);
    }

    #[test]
    fn a_file_that_was_cut_is_set_aside_and_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let whole = encode(&message(b"payload", None)).unwrap();
        for (name, bytes) in [
            ("00000000000000000001.message", &whole[..whole.len() - 1]),
            ("00000000000000000002.message", b"nonsense"),
            ("00000000000000000003.new", &whole),
            ("notes.txt", b"mine"),
        ] {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let (_, waiting) = Store::open(folder.path()).unwrap();
        assert!(waiting.is_empty());
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let damaged = ["00000000000000000001.damaged", "00000000000000000002.damaged"];
        assert_eq!(names[..2], damaged);
        assert_eq!(names[2..], ["00000000000000000003.new", "notes.txt"]);
    }

    proptest! {
        #[test]
        fn a_message_survives_its_file(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            correlation in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        ) {
            let message = message(&payload, correlation);
            prop_assert_eq!(decode(&encode(&message).unwrap()).unwrap(), message);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
