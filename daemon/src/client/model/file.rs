//! A picture, sound or film in a file, decoded; a folder of pictures is a film.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use gemma_media::Kind;
use gemma_runtime::video;
use gemma_types::{Clip, Frame, Part, Utterance};

/// Bytes of a file at most.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Seconds of sound at most.
const SECONDS_MAX: u32 = 4 * 60 * 60;
/// Pictures of a folder that is a film, at most.
const PICTURES_MAX: usize = 100_000;
/// Pictures a second of a folder that does not say.
pub(in crate::client) const FOLDER_RATE_HZ: f64 = 1.0;

/// What a file holds.
#[derive(Clone, Debug)]
pub(super) enum Medium {
    Picture(Frame),
    /// Mono i16, 16 kHz.
    Sound(Arc<[i16]>),
    Film(Clip),
}

impl Medium {
    /// What it is, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Picture(_) => "picture",
            Self::Sound(_) => "sound",
            Self::Film(_) => "film",
        }
    }

    /// The same as a part of a message.
    pub(super) fn part(self) -> Part {
        match self {
            Self::Picture(frame) => Part::Image(frame),
            Self::Sound(samples) => Part::Audio(utterance(samples)),
            Self::Film(clip) => Part::Video(clip),
        }
    }
}

/// Sound as it is said to the model.
pub(super) fn utterance(samples: Arc<[i16]>) -> Utterance {
    Utterance { samples, started_at: std::time::Duration::ZERO, caption: None }
}

/// Reads and decodes a file; `rate_hz` says how many pictures a film has a second, where it does not
/// say so itself.
///
/// # Errors
/// When it cannot be read, or holds nothing that the model could take.
pub(super) fn read(path: &Path, rate_hz: Option<f64>) -> anyhow::Result<Medium> {
    let named = || format!("{}", path.display());
    let found = fs::metadata(path).with_context(named)?;
    if found.is_dir() {
        let rate_hz = rate_hz.unwrap_or(FOLDER_RATE_HZ);
        return film_of_pictures(path, rate_hz).map(Medium::Film).with_context(named);
    }
    decode(&content(path)?, rate_hz).with_context(named)
}

/// Decodes what a file held.
///
/// # Errors
/// When it is nothing that the model could take.
pub(super) fn decode(bytes: &[u8], rate_hz: Option<f64>) -> anyhow::Result<Medium> {
    Ok(match Kind::of(bytes)? {
        // Pictures that follow each other without a word are a film.
        Kind::Picture if rate_hz.is_some() && bytes.starts_with(b"\xFF\xD8\xFF") => {
            Medium::Film(gemma_media::clip(bytes, rate_hz, video::sampled)?)
        }
        Kind::Picture => Medium::Picture(gemma_media::picture(bytes)?),
        Kind::Sound => Medium::Sound(gemma_media::sound(bytes, SECONDS_MAX)?.into()),
        Kind::Clip => Medium::Film(gemma_media::clip(bytes, rate_hz, video::sampled)?),
    })
}

/// Reads a picture.
///
/// # Errors
/// When it is none.
pub(super) fn picture(path: &Path) -> anyhow::Result<Frame> {
    match read(path, None)? {
        Medium::Picture(frame) => Ok(frame),
        other @ (Medium::Sound(_) | Medium::Film(_)) => Err(another(path, &other, "a picture")),
    }
}

/// Reads sound.
///
/// # Errors
/// When it is none.
pub(super) fn samples(path: &Path) -> anyhow::Result<Arc<[i16]>> {
    match read(path, None)? {
        Medium::Sound(samples) => Ok(samples),
        other @ (Medium::Picture(_) | Medium::Film(_)) => Err(another(path, &other, "sound")),
    }
}

/// Reads a film.
///
/// # Errors
/// When it is none.
pub(super) fn clip(path: &Path, rate_hz: Option<f64>) -> anyhow::Result<Clip> {
    match read(path, rate_hz)? {
        Medium::Film(clip) => Ok(clip),
        other @ (Medium::Picture(_) | Medium::Sound(_)) => Err(another(path, &other, "a film")),
    }
}

fn another(path: &Path, found: &Medium, expected: &str) -> anyhow::Error {
    anyhow::anyhow!("{}: {} where {expected} is expected", path.display(), found.kind())
}

fn content(path: &Path) -> anyhow::Result<Vec<u8>> {
    let named = || format!("{}", path.display());
    let length = fs::metadata(path).with_context(named)?.len();
    ensure!(length <= FILE_BYTES_MAX, "{}: more than 1 GiB", path.display());
    fs::read(path).with_context(named)
}

fn film_of_pictures(folder: &Path, rate_hz: f64) -> anyhow::Result<Clip> {
    let paths = pictures_of(folder)?;
    gemma_media::clip_of(paths.len(), rate_hz, video::sampled, |at| {
        let path = &paths[at];
        gemma_media::picture(&content(path)?).with_context(|| format!("{}", path.display()))
    })
}

/// The files of a folder that is a film, in the order of their names.
///
/// # Errors
/// When it cannot be read, or holds too many.
pub(in crate::client) fn pictures_of(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path.is_file() {
            paths.push(path);
        }
        ensure!(paths.len() <= PICTURES_MAX, "more than {PICTURES_MAX} pictures");
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn png(shade: u8) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_pixel(2, 2, image::Rgb([shade; 3]));
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_folder_of_pictures_is_a_film_in_the_order_of_names() {
        let folder = tempfile::tempdir().unwrap();
        for (name, shade) in [("b.png", 2), ("a.png", 1), ("c.png", 3)] {
            fs::write(folder.path().join(name), png(shade)).unwrap();
        }
        let film = clip(folder.path(), Some(2.0)).unwrap();
        let shades: Vec<u8> = film.frames.iter().map(|frame| frame.rgb[0]).collect();
        assert_eq!(shades, [1, 2, 3]);
        assert_eq!(film.seconds, [0.0, 0.5, 1.0]);
        assert_eq!(clip(folder.path(), None).unwrap().seconds, [0.0, 1.0, 2.0]);
        fs::write(folder.path().join("d.txt"), "no picture").unwrap();
        let error = format!("{:#}", clip(folder.path(), None).unwrap_err());
        assert!(error.contains("d.txt"), "{error}");
    }

    #[test]
    fn another_medium_than_expected_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::write(&path, png(1)).unwrap();
        assert_eq!(picture(&path).unwrap().width, 2);
        let error = samples(&path).unwrap_err().to_string();
        assert!(error.ends_with("a.png: picture where sound is expected"), "{error}");
    }
}
