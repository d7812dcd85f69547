//! Files instead of devices: sound files at the speed of sound, pictures at their interval. What
//! comes out is the same as from a device, so everything behind it is the real thing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use gemma_media::CHUNK_SAMPLES;
use gemma_types::{AudioChunk, Frame};

use super::{Clock, Opened, Wanted};

/// Duration of a chunk.
const CHUNK: Duration = Duration::from_millis(20);
/// Silence before each file, in chunks: longer than the pause that ends an utterance by default.
const GAP_CHUNKS: usize = 50;
/// How the names of sound files end.
const SOUND_ENDINGS: [&str; 5] = ["wav", "flac", "mp3", "ogg", "oga"];

/// How many files have been started, also by sources that were closed since: a muted microphone
/// goes on with the next file.
#[derive(Clone, Debug, Default)]
pub struct FilesStarted(Arc<AtomicUsize>);

/// Opens a WAV, FLAC, MP3 or Ogg Vorbis file, or all of a folder in the order of their names. They are
/// played once; then there is silence.
///
/// # Errors
/// If there is no such file at `path`.
pub fn open_sound(
    path: &Path,
    started: FilesStarted,
    clock: Clock,
    wanted: Wanted,
) -> anyhow::Result<Opened<AudioChunk>> {
    let files = files(path, &SOUND_ENDINGS)?;
    let detail = format!("replay:{}, {} files", path.display(), files.len());
    let items = Sound {
        files,
        started,
        playing: None,
        gap: GAP_CHUNKS,
        begin: clock.now(),
        played: 0,
        clock,
        wanted,
    };
    Ok(Opened { detail, items: Box::new(items) })
}

struct Sound {
    files: Vec<PathBuf>,
    started: FilesStarted,
    playing: Option<Playing>,
    /// Chunks of silence that come before the next file.
    gap: usize,
    begin: Duration,
    played: u32,
    clock: Clock,
    wanted: Wanted,
}

impl Iterator for Sound {
    type Item = anyhow::Result<AudioChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        // A chunk is there when its last sample would have been spoken.
        let captured_at = self.begin + CHUNK * self.played;
        let wait = (captured_at + CHUNK).saturating_sub(self.clock.now());
        if !self.wanted.wait(wait) {
            return None;
        }
        self.played += 1;
        let chunk = self.chunk();
        Some(chunk.map(|(samples, caption)| AudioChunk { samples, captured_at, caption }))
    }
}

impl Sound {
    fn chunk(&mut self) -> anyhow::Result<(Vec<i16>, Option<Arc<str>>)> {
        if let Some(playing) = &mut self.playing {
            if let Some(samples) = playing.chunk()? {
                return Ok((samples, playing.caption.take()));
            }
            self.playing = None;
            self.gap = GAP_CHUNKS;
        }
        if self.gap > 0 {
            self.gap -= 1;
        } else if let Some(file) = self.files.get(self.started.0.load(Ordering::Relaxed)) {
            let mut playing = Playing::open(file)?;
            self.started.0.fetch_add(1, Ordering::Relaxed);
            let first = playing.chunk()?.unwrap_or_else(silence);
            let caption = playing.caption.take();
            self.playing = Some(playing);
            return Ok((first, caption));
        }
        Ok((silence(), None))
    }
}

fn silence() -> Vec<i16> {
    vec![0; CHUNK_SAMPLES]
}

/// A sound file that is being played.
struct Playing {
    file: PathBuf,
    sound: gemma_media::Sound,
    caption: Option<Arc<str>>,
}

impl Playing {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let sound = gemma_media::Sound::open(file)
            .with_context(|| format!("{} is not a sound file that we read", path.display()))?;
        Ok(Self { file: path.to_path_buf(), sound, caption: caption_of(path) })
    }

    /// The next 20 ms; none at the end of the file.
    fn chunk(&mut self) -> anyhow::Result<Option<Vec<i16>>> {
        let chunk = self.sound.chunk();
        chunk.with_context(|| format!("{} cannot be read on", self.file.display()))
    }
}

/// The text beside a sound file: what is said in it.
fn caption_of(file: &Path) -> Option<Arc<str>> {
    let text = std::fs::read_to_string(file.with_extension("txt")).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}

/// Opens a picture, or all of a folder in the order of their names, shown again and again.
///
/// # Errors
/// If there is no picture at `path`.
pub fn open_pictures(
    path: &Path,
    interval: Duration,
    clock: Clock,
    wanted: Wanted,
) -> anyhow::Result<Opened<Frame>> {
    let files = files(path, &["jpg", "jpeg", "png", "webp", "bmp", "gif"])?;
    let detail = format!("replay:{}, {} pictures", path.display(), files.len());
    let items = Pictures { files, shown: 0, last: None, interval, clock, wanted };
    Ok(Opened { detail, items: Box::new(items) })
}

struct Pictures {
    files: Vec<PathBuf>,
    shown: usize,
    /// The only picture, where there is one: it need not be decoded again and again.
    last: Option<Frame>,
    interval: Duration,
    clock: Clock,
    wanted: Wanted,
}

impl Iterator for Pictures {
    type Item = anyhow::Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        let pause = if self.shown == 0 { Duration::ZERO } else { self.interval };
        if !self.wanted.wait(pause) {
            return None;
        }
        let captured_at = self.clock.now();
        let file = self.files.get(self.shown % self.files.len())?;
        let frame = match self.last.take() {
            Some(frame) => Ok(Frame { captured_at, ..frame }),
            None => read_picture(file, captured_at),
        };
        self.shown += 1;
        if self.files.len() == 1 {
            self.last = frame.as_ref().ok().cloned();
        }
        Some(frame)
    }
}

fn read_picture(file: &Path, captured_at: Duration) -> anyhow::Result<Frame> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let picture = gemma_media::picture(&bytes)
        .with_context(|| format!("{} is not a picture that we read", file.display()))?;
    Ok(Frame { captured_at, ..picture })
}

/// The file at `path`, or the files with one of the `endings` in the folder at `path`, by name.
fn files(path: &Path, endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let about = std::fs::metadata(path)
        .with_context(|| format!("replay:{} is not there", path.display()))?;
    if !about.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let fitting = |file: &PathBuf| {
        file.extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| endings.contains(&ending.to_ascii_lowercase().as_str()))
    };
    let mut files = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>())
        .map(|files: Vec<PathBuf>| files.into_iter().filter(fitting).collect::<Vec<_>>())
        .with_context(|| format!("replay:{} cannot be listed", path.display()))?;
    files.sort();
    if files.is_empty() {
        bail!("replay:{} holds no file that ends in {}", path.display(), endings.join(", "));
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
