//! The fast graph of a folder: where it lies, what it says of itself, and whether it is still that of
//! the published decoder beside it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::digest;
use crate::error::Error;
use crate::graph::{Graph, links};
use crate::optimize::{Notes, candidate_path, fast_path};

/// Which decoder of a folder runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fast {
    /// The fast graph where the folder has one that fits, else the published decoder.
    #[default]
    Auto,
    /// The published decoder.
    Off,
    /// The fast graph and nothing else.
    Required,
    /// A fast graph that was just written, to be held against the published decoder before it is
    /// used.
    #[doc(hidden)]
    Candidate,
}

impl fmt::Display for Fast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "published",
            Self::Required => "fast",
            Self::Candidate => "candidate",
        })
    }
}

impl FromStr for Fast {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "auto" => Ok(Self::Auto),
            "published" => Ok(Self::Off),
            "fast" => Ok(Self::Required),
            _ => Err(Error::Option {
                name: "graph",
                reason: format!("{name:?} is none of auto, published and fast"),
            }),
        }
    }
}

/// The fast graph of a published decoder, if it is wanted and there.
///
/// # Errors
/// When it must be there, but is not or does not fit; else that is only logged.
pub(crate) fn find(decoder: &Path, wanted: Fast) -> Result<Option<(Graph, Notes)>, Error> {
    let path = match wanted {
        Fast::Off => return Ok(None),
        Fast::Auto | Fast::Required => fast_path(decoder),
        Fast::Candidate => candidate_path(decoder),
    };
    let there = path.is_file();
    let found = match there {
        true => read(decoder, &path),
        false => Err("it is missing".into()),
    };
    let found = found.and_then(|(graph, notes)| match notes.checked {
        None if wanted != Fast::Candidate => {
            Err("it was never held against the published graph".into())
        }
        Some(_) | None => Ok((graph, notes)),
    });
    match (found, wanted) {
        (Ok(found), _) => Ok(Some(found)),
        (Err(reason), Fast::Required | Fast::Candidate) => Err(refused(&path, &reason)),
        (Err(reason), Fast::Auto | Fast::Off) => {
            if there {
                let path = path.display();
                tracing::warn!(
                    "{path} is passed over: {reason}; run `gemmad model optimize` again"
                );
            }
            Ok(None)
        }
    }
}

/// Says that a fast graph that must be there cannot be used.
pub(crate) fn refused(path: &Path, reason: &str) -> Error {
    let path = path.display();
    let reason = format!("{path} cannot be used: {reason}; run `gemmad model optimize`");
    Error::Option { name: "graph", reason }
}

/// A fast graph, once it is known to be that of the decoder.
pub(crate) fn read(decoder: &Path, path: &Path) -> Result<(Graph, Notes), String> {
    let graph = Graph::read(path).map_err(|error| error.to_string())?;
    let notes = graph.metadata.get(Notes::KEY).ok_or("it does not say what it was made from")?;
    let notes = Notes::parse(notes)?;
    let name = decoder.file_name().map(|name| name.to_string_lossy());
    let bytes = std::fs::metadata(decoder).map_err(|error| error.to_string())?.len();
    let is_source = name.is_some_and(|name| name == notes.source.file);
    let is_same = is_source && bytes == notes.source.bytes;
    let unread = |path: &Path, error| format!("{}: {error}", path.display());
    let digest = || digest::of_file(decoder).map_err(|error| unread(decoder, error));
    if !is_same || digest()? != notes.source.sha256 {
        return Err(format!("it was made from another {}", notes.source.file));
    }
    let folder = decoder.parent().unwrap_or(Path::new("."));
    for read in &notes.made.read {
        let path = folder.join(links::inside(&read.file)?);
        let found = digest::of_sample(&path).map_err(|error| unread(&path, error))?;
        if (found.0, &found.1) != (read.bytes, &read.sample) {
            return Err(format!("it was made from another {}", read.file));
        }
    }
    Ok((graph, notes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn choices_are_named_as_they_are_written() {
        for fast in [Fast::Auto, Fast::Off, Fast::Required] {
            assert_eq!(fast.to_string().parse::<Fast>().unwrap(), fast);
        }
        let error = "slow".parse::<Fast>().unwrap_err().to_string();
        assert_eq!(error, "option graph: \"slow\" is none of auto, published and fast");
    }

    #[test]
    fn what_must_be_there_and_is_not_is_an_error() {
        let decoder = Path::new("/nowhere/decoder_model_merged.onnx");
        assert!(find(decoder, Fast::Auto).unwrap().is_none());
        assert!(find(decoder, Fast::Off).unwrap().is_none());
        let error = find(decoder, Fast::Required).unwrap_err().to_string();
        assert!(error.contains("merged.fast.onnx cannot be used: it is missing"), "{error}");
    }
}
