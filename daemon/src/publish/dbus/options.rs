//! The options of `Ask`: a dictionary from a stranger, decoded straight into typed fields and
//! never into a tree of variants, which would take many times the memory of the message.

use std::fmt;

use gemma_runtime::tasks::Order;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use zbus::{Signature, Type, as_variant};

use crate::publish::media::{self, Files as Media};

/// Longest question in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 64 << 10;
/// Longest name of a session in bytes.
pub(super) const SESSION_BYTES_MAX: usize = 128;

/// Longest task in bytes.
pub(super) const TASK_BYTES_MAX: usize = 16 << 10;

/// What a client asks, checked.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) text: String,
    /// A ready-made task.
    pub(super) task: Option<Order>,
    /// Encoded files.
    pub(super) files: Media,
    pub(super) look: bool,
    pub(super) thinking: bool,
    pub(super) session: String,
    /// Last part of the request's path; we choose if it is empty.
    pub(super) handle_token: String,
    /// Whether the request goes on when its caller leaves the bus.
    pub(super) detach: bool,
}

/// [`Options`], or what is wrong with them. It decodes from any dictionary, so that the refusal
/// carries our error name and the option's name instead of a general one.
#[derive(Debug)]
pub(super) struct Checked(pub(super) Result<Options, String>);

impl Type for Checked {
    const SIGNATURE: &'static Signature =
        &Signature::static_dict(&Signature::Str, &Signature::Variant);
}

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let options = deserializer.deserialize_map(OptionsVisitor);
        Ok(Self(options.map_err(|error| error.to_string())))
    }
}

struct OptionsVisitor;

impl<'de> Visitor<'de> for OptionsVisitor {
    type Value = Options;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a dictionary of options")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Options, M::Error> {
        let mut options = Options::default();
        while let Some(name) = map.next_key::<&str>()? {
            read_option(&mut options, name, &mut map)
                .map_err(|error| M::Error::custom(format_args!("option {name:?}: {error}")))?;
        }
        Ok(options)
    }
}

fn read_option<'de, M: MapAccess<'de>>(
    options: &mut Options,
    name: &str,
    map: &mut M,
) -> Result<(), M::Error> {
    match name {
        "text" => options.text = limited(map, TEXT_BYTES_MAX)?,
        "session" => options.session = limited(map, SESSION_BYTES_MAX)?,
        "handle_token" => options.handle_token = limited(map, TOKEN_BYTES_MAX)?,
        "look" => options.look = value(map)?,
        "thinking" => options.thinking = value(map)?,
        "detach" => options.detach = value(map)?,
        "task" => {
            let task = limited(map, TASK_BYTES_MAX)?.parse();
            options.task = Some(task.map_err(M::Error::custom)?);
        }
        "images" => options.files.images = value::<_, Files<{ media::PICTURES_MAX }>>(map)?.0,
        "audio" => options.files.audio = value::<_, Files<{ media::SOUNDS_MAX }>>(map)?.0,
        "film" => options.files.film = Some(value::<_, File<'_>>(map)?.0.to_vec()),
        "fps" => options.files.fps = Some(value(map)?),
        "frames" => options.files.frames = value::<_, Frames>(map)?.0,
        _ => {
            return Err(M::Error::custom(
                "unknown; known are text, task, session, handle_token, look, thinking, detach, \
                 images, audio, film, fps and frames",
            ));
        }
    }
    Ok(())
}

/// Longest token of a request's path in bytes.
pub(super) const TOKEN_BYTES_MAX: usize = 64;

fn value<'de, M: MapAccess<'de>, T: Type + Deserialize<'de> + 'de>(
    map: &mut M,
) -> Result<T, M::Error> {
    Ok(map.next_value::<as_variant::Deserialize<'de, T>>()?.0)
}

fn limited<'de, M: MapAccess<'de>>(map: &mut M, bytes_max: usize) -> Result<String, M::Error> {
    let text: &str = value(map)?;
    if text.len() > bytes_max {
        return Err(M::Error::custom(format_args!(
            "{} bytes; at most {bytes_max} are taken",
            text.len()
        )));
    }
    Ok(text.to_owned())
}

/// At most `COUNT` files, `aay` on the wire.
struct Files<const COUNT: usize>(Vec<Vec<u8>>);

impl<const COUNT: usize> Type for Files<COUNT> {
    const SIGNATURE: &'static Signature = <Vec<Vec<u8>>>::SIGNATURE;
}

impl<'de, const COUNT: usize> Deserialize<'de> for Files<COUNT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FilesVisitor::<COUNT>)
    }
}

struct FilesVisitor<const COUNT: usize>;

impl<'de, const COUNT: usize> Visitor<'de> for FilesVisitor<COUNT> {
    type Value = Files<COUNT>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {COUNT} files")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut files: S) -> Result<Self::Value, S::Error> {
        let mut all = Vec::new();
        while let Some(File(file)) = files.next_element()? {
            if all.len() == COUNT {
                return Err(S::Error::custom(format_args!("more than {COUNT} files")));
            }
            all.push(file.to_vec());
        }
        Ok(Files(all))
    }
}

/// Pictures of a film with their times in seconds, `a(day)` on the wire.
struct Frames(Vec<(f64, Vec<u8>)>);

impl Type for Frames {
    const SIGNATURE: &'static Signature = <Vec<(f64, Vec<u8>)>>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Frames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FramesVisitor)
    }
}

struct FramesVisitor;

impl<'de> Visitor<'de> for FramesVisitor {
    type Value = Frames;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {} pictures with times", media::FRAMES_MAX)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut frames: S) -> Result<Frames, S::Error> {
        let mut all = Vec::new();
        while let Some((seconds, File(file))) = frames.next_element()? {
            if all.len() == media::FRAMES_MAX {
                let most = media::FRAMES_MAX;
                return Err(S::Error::custom(format_args!("more than {most} pictures")));
            }
            all.push((seconds, file.to_vec()));
        }
        Ok(Frames(all))
    }
}

struct File<'de>(&'de [u8]);

impl Type for File<'_> {
    const SIGNATURE: &'static Signature = <Vec<u8>>::SIGNATURE;
}

impl<'de> Deserialize<'de> for File<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = File<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a file of at most {} bytes", media::FILE_BYTES_MAX)
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<File<'de>, E> {
        if bytes.len() > media::FILE_BYTES_MAX {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(File(bytes))
    }
}
