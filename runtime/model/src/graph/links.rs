//! Weights that lie elsewhere: a folder from a cache of downloads holds links, and both engines refuse
//! those that lead out of it. They are given the graph with the places to which the links lead.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use prost::Message as _;

use super::tensor::Tensor;
use super::whole::Whole;

/// Where the weights of a graph lie, if not all of them in its folder.
pub(crate) struct Elsewhere {
    /// The folder that all of them lie below.
    pub(crate) folder: PathBuf,
    /// Places in it, by the names that the graph has for them.
    places: BTreeMap<String, String>,
}

impl Elsewhere {
    /// Follows the links behind the names that a graph has for files of weights; `None` where all of
    /// them lie in its folder.
    ///
    /// # Errors
    /// When a name leads out of the folder without being a link, or to nothing.
    pub(crate) fn of<'l>(
        graph: &Path,
        names: impl Iterator<Item = &'l str>,
    ) -> Result<Option<Self>, String> {
        let unread = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        let folder = graph.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let home = folder.canonicalize().map_err(|error| unread(folder, error))?;
        let mut files = BTreeMap::new();
        for name in names {
            if !files.contains_key(name) {
                let file = folder.join(inside(name)?);
                let real = file.canonicalize().map_err(|error| unread(&file, error))?;
                files.insert(name.to_owned(), real);
            }
        }
        if files.values().all(|file| file.starts_with(&home)) {
            return Ok(None);
        }
        let folder = common(files.values()).ok_or("its weights lie on several drives")?;
        let place = |(name, file): (String, PathBuf)| {
            let place = file.strip_prefix(&folder).ok().and_then(Path::to_str);
            let place = place.ok_or_else(|| format!("{name} lies in no path of text"))?;
            Ok((name, place.to_owned()))
        };
        let places = files.into_iter().map(place).collect::<Result<_, String>>()?;
        Ok(Some(Self { folder, places }))
    }

    /// Where the file of this name lies in the folder.
    pub(crate) fn place(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(String::as_str)
    }
}

/// A graph of ours with the places to which its links lead, and the folder of these; `None` where
/// all of its weights lie in its own folder.
///
/// # Errors
/// When the file cannot be read, or as [`Elsewhere::of`].
pub(crate) fn follow(path: &Path) -> Result<Option<(PathBuf, Vec<u8>)>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut whole = Whole::read(bytes.into())?;
    let Some(body) = whole.graph.as_mut() else { return Ok(None) };
    let external = body.initializer.iter().filter(|tensor| tensor.is_external());
    let names = external.filter_map(Tensor::place).map(|(name, ..)| name);
    let Some(elsewhere) = Elsewhere::of(path, names)? else { return Ok(None) };
    body.relocate(|name| elsewhere.place(name));
    Ok(Some((elsewhere.folder, whole.encode_to_vec())))
}

/// Whether a name leads to nothing but what lies below the folder that it is used in.
pub(super) fn is_inside(name: &Path) -> bool {
    name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// A name in the graph's folder. Links may lead out of it, names may not.
pub(crate) fn inside(name: &str) -> Result<&Path, String> {
    let path = Path::new(name);
    match is_inside(path) {
        true => Ok(path),
        false => Err(format!("its weights lie in {name}, which is not in the graph's folder")),
    }
}

/// The longest folder that all files lie below.
fn common<'p>(files: impl Iterator<Item = &'p PathBuf>) -> Option<PathBuf> {
    let folders = files.map(|file| file.parent().map(Path::to_owned));
    let shared = |one: PathBuf, other: PathBuf| {
        one.ancestors().find(|folder| other.starts_with(folder)).map(Path::to_owned)
    };
    folders.reduce(|one, other| shared(one?, other?)).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::graph::whole::Body;

    /// A graph `home/graph.onnx` with a tensor in each of these files.
    fn write(folder: &Path, locations: &[&str]) -> PathBuf {
        let home = folder.join("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut body = Body::named("test");
        for location in locations {
            body.initializer.push(Tensor::floats("w", &[1], &[1.0]).beside(location, 4, 4));
        }
        let path = home.join("graph.onnx");
        let whole = Whole { graph: Some(body), ..Whole::default() };
        std::fs::write(&path, whole.encode_to_vec()).unwrap();
        path
    }

    fn file(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, [0; 8]).unwrap();
    }

    fn locations(bytes: Vec<u8>) -> Vec<String> {
        let whole = Whole::read(bytes.into()).unwrap();
        let tensors = whole.graph.unwrap().initializer.into_iter();
        tensors.map(|tensor| tensor.place().unwrap().0.to_owned()).collect()
    }

    #[test]
    fn links_are_followed_to_where_they_lead() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let path = write(&root, &["a", "b"]);
        for (name, blob) in [("a", "cache/1"), ("b", "cache/2")] {
            file(&root.join(blob));
            symlink(root.join(blob), root.join("home").join(name)).unwrap();
        }
        let (found, bytes) = follow(&path).unwrap().unwrap();
        assert_eq!(found, root.join("cache"));
        assert_eq!(locations(bytes), ["1", "2"]);
        // One of them is no link.
        std::fs::remove_file(root.join("home/b")).unwrap();
        file(&root.join("home/b"));
        let (found, bytes) = follow(&path).unwrap().unwrap();
        assert_eq!(found, root);
        assert_eq!(locations(bytes), ["cache/1", "home/b"]);
    }

    #[test]
    fn what_lies_in_the_folder_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &["a", "b"]);
        file(&folder.path().join("home/a"));
        symlink("a", folder.path().join("home/b")).unwrap();
        assert!(follow(&path).unwrap().is_none());
        assert!(follow(&write(folder.path(), &[])).unwrap().is_none());
    }

    #[test]
    fn names_that_lead_out_of_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        file(&folder.path().join("secret"));
        for location in ["../secret", "/etc/passwd", "missing"] {
            let path = write(folder.path(), &[location]);
            let error = follow(&path).err().unwrap();
            let expected = ["not in the graph's folder", "No such file"];
            assert!(expected.iter().any(|words| error.contains(words)), "{error}");
        }
    }
}
