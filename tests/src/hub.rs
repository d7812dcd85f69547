//! A private hub of models: one repository, served as Hugging Face serves them, with large files on
//! a second server, and with bad habits on request.

mod wire;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use wire::{Asked, Reply};

/// Name of the only repository.
pub const REPOSITORY: &str = "house/model";

/// The commit that is published.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files from this length on lie on the second server.
const LARGE_BYTES: usize = 100_000;

/// What the hub does wrong, or asks for.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// Connections end after this many bytes of a file.
    pub breaks_after: Option<usize>,
    /// After this many broken connections, no more are taken.
    pub leaves_after: Option<usize>,
    /// A file that is given with one letter changed.
    pub damages: Option<String>,
    /// Parts of files are not given, only whole files.
    pub knows_no_ranges: bool,
    /// Who does not bring this token is refused.
    pub token: Option<String>,
    /// Who is let in is refused all the same, with this status and word.
    pub refuses: Option<(u16, &'static str)>,
    /// Everybody sees the list, but who asks for a file is refused, with this status and word.
    pub refuses_files: Option<(u16, &'static str)>,
    /// The list tells no lengths and no checksums.
    pub lists_names_only: bool,
    /// The list says that every file is longer than any disk.
    pub lists_giants: bool,
}

/// A request for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its path in the repository.
    pub path: String,
    /// The first byte that was asked for.
    pub from: usize,
}

/// A running hub; it goes when it is dropped.
#[derive(Debug)]
pub struct Hub {
    front: SocketAddr,
    back: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    habits: Habits,
    back: SocketAddr,
    fetched: Mutex<Vec<Fetched>>,
    broken: Mutex<usize>,
    gone: AtomicBool,
    /// Whether the second server was shown a token.
    leaked: AtomicBool,
}

impl Hub {
    /// Serves the files of a folder, and `more` files beside them.
    ///
    /// # Errors
    /// When the folder cannot be read, or no port is free.
    pub fn serve(folder: &Path, more: &[(&str, &[u8])], habits: Habits) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        gather(folder, "", &mut files)?;
        files.extend(more.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())));
        let (front, back) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let addresses = (front.local_addr()?, back.local_addr()?);
        let state = Arc::new(State {
            files,
            habits,
            back: addresses.1,
            fetched: Mutex::default(),
            broken: Mutex::default(),
            gone: AtomicBool::new(false),
            leaked: AtomicBool::new(false),
        });
        listen(front, &state, State::front);
        listen(back, &state, State::back);
        Ok(Self { front: addresses.0, back: addresses.1, state })
    }

    /// What `HF_ENDPOINT` has to be.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.front)
    }

    /// The requests for files so far.
    #[must_use]
    pub fn fetched(&self) -> Vec<Fetched> {
        self.state.fetched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the second server was shown the token that is for the first.
    #[must_use]
    pub fn leaked_token(&self) -> bool {
        self.state.leaked.load(Ordering::SeqCst)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.state.gone.store(true, Ordering::SeqCst);
        // Wakes the listeners, so that they see it.
        for address in [self.front, self.back] {
            drop(std::net::TcpStream::connect(address));
        }
    }
}

fn gather(
    folder: &Path,
    inside: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{inside}{}", entry.file_name().to_string_lossy());
        match entry.file_type()?.is_dir() {
            true => gather(&entry.path(), &format!("{name}/"), files)?,
            false => drop(files.insert(name, std::fs::read(entry.path())?)),
        }
    }
    Ok(())
}

fn listen(listener: TcpListener, state: &Arc<State>, answer: fn(&State, &Asked) -> Reply) {
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming() {
            if state.gone.load(Ordering::SeqCst) {
                return;
            }
            let Ok(mut stream) = stream else { continue };
            let state = Arc::clone(&state);
            thread::spawn(move || {
                if let Some(asked) = wire::read(&mut stream) {
                    let reply = answer(&state, &asked);
                    // A client that has gone is none of the hub's concern.
                    let _ = wire::write(&mut stream, &reply);
                }
            });
        }
    });
}

impl State {
    /// The server that people know.
    fn front(&self, asked: &Asked) -> Reply {
        let token = self.habits.token.as_ref().map(|token| format!("Bearer {token}"));
        if token.is_some() && token.as_deref() != asked.header("authorization") {
            return Reply::status(401);
        }
        if let Some((status, word)) = self.habits.refuses {
            return Reply::status(status).with("X-Error-Code", word);
        }
        if asked.place == format!("/api/models/{REPOSITORY}/revision/main?blobs=true") {
            return Reply::of(self.list().to_string().into_bytes());
        }
        if let Some((status, word)) = self.habits.refuses_files {
            return Reply::status(status).with("X-Error-Code", word);
        }
        let files = format!("/{REPOSITORY}/resolve/{COMMIT}/");
        let file = asked.place.strip_prefix(&files);
        match file.and_then(|path| Some((path, self.files.get(path)?))) {
            None => Reply::status(404),
            Some((path, content)) if content.len() >= LARGE_BYTES => Reply::status(302)
                .with("Location", &format!("http://{}/{path}", self.back))
                .with("X-Linked-Etag", &format!("\"{}\"", sha256(content)))
                .with("X-Linked-Size", &content.len().to_string()),
            Some((path, content)) => {
                self.file(path, content, asked).with("ETag", &format!("\"{}\"", blob(content)))
            }
        }
    }

    /// The server that keeps the large files.
    fn back(&self, asked: &Asked) -> Reply {
        if asked.header("authorization").is_some() {
            self.leaked.store(true, Ordering::SeqCst);
        }
        let path = asked.place.trim_start_matches('/');
        match self.files.get(path) {
            Some(content) => self.file(path, content, asked),
            None => Reply::status(404),
        }
    }

    fn list(&self) -> Value {
        let habits = &self.habits;
        let file = |(path, content): (&String, &Vec<u8>)| {
            let mut file = json!({"rfilename": path});
            if habits.lists_names_only {
                return file;
            }
            let giant = habits.lists_giants.then_some(1 << 60);
            let size = giant.unwrap_or(content.len());
            file["size"] = json!(size);
            file["blobId"] = json!(blob(content));
            if content.len() >= LARGE_BYTES {
                // What git keeps of a large file is a note.
                file["blobId"] = json!(blob(b"a note"));
                file["lfs"] = json!({"sha256": sha256(content), "size": size, "pointerSize": 132});
            }
            file
        };
        let files: Value = self.files.iter().map(file).collect();
        json!({"id": REPOSITORY, "sha": COMMIT, "siblings": files})
    }

    /// A file, or the part that was asked for, with the hub's habits.
    fn file(&self, path: &str, content: &[u8], asked: &Asked) -> Reply {
        let range = asked.range().filter(|_| !self.habits.knows_no_ranges);
        let from = range.map_or(0, |(from, _)| from.min(content.len()));
        let fetched = Fetched { path: path.to_owned(), from };
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner).push(fetched);
        let mut given = content.to_vec();
        if self.habits.damages.as_deref() == Some(path) {
            given.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        }
        let to = range.and_then(|(_, to)| to).map_or(content.len(), |to| content.len().min(to + 1));
        let mut reply = Reply::of(given[from..to.max(from)].to_vec());
        if range.is_some() {
            let range = format!("bytes {from}-{}/{}", to.saturating_sub(1), content.len());
            reply = reply.part(&range);
        }
        if let Some(bytes) = self.habits.breaks_after.filter(|bytes| *bytes < to - from) {
            self.break_off(&mut reply, bytes);
        }
        reply
    }

    fn break_off(&self, reply: &mut Reply, bytes: usize) {
        reply.ends_after = Some(bytes);
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        *broken += 1;
        if self.habits.leaves_after.is_some_and(|most| *broken >= most) {
            self.gone.store(true, Ordering::SeqCst);
        }
    }
}

fn sha256(content: &[u8]) -> String {
    hexadecimal(&Sha256::digest(content))
}

fn blob(content: &[u8]) -> String {
    let header = format!("blob {}\0", content.len());
    hexadecimal(&Sha1::new_with_prefix(header).chain_update(content).finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
