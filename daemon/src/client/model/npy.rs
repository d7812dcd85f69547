//! Tensors as NumPy reads them from files, format version 1.0.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, ensure};

/// Bytes to which the header is filled up, as the format asks for.
const ALIGNMENT: usize = 64;
/// Bytes before the header's text: magic, version, length.
const PREAMBLE: usize = 10;

/// Elements of a tensor, row-major.
#[derive(Clone, Copy, Debug)]
pub(super) enum Elements<'a> {
    F32(&'a [f32]),
    I64(&'a [i64]),
    Bool(&'a [bool]),
}

impl Elements<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::I64(elements) => elements.len(),
            Self::Bool(elements) => elements.len(),
        }
    }

    /// The element type as NumPy writes it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::F32(_) => "<f4",
            Self::I64(_) => "<i8",
            Self::Bool(_) => "|b1",
        }
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::F32(all) => all.iter().try_for_each(|one| out.write_all(&one.to_le_bytes())),
            Self::I64(all) => all.iter().try_for_each(|one| out.write_all(&one.to_le_bytes())),
            Self::Bool(all) => all.iter().try_for_each(|one| out.write_all(&[u8::from(*one)])),
        }
    }
}

/// Writes a tensor to a file.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(path: &Path, shape: &[usize], elements: Elements<'_>) -> anyhow::Result<()> {
    let named = || format!("{} cannot be written", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(named)?);
    put(&mut out, shape, elements).with_context(named)?;
    out.flush().with_context(named)
}

fn put(out: &mut impl Write, shape: &[usize], elements: Elements<'_>) -> anyhow::Result<()> {
    let wanted: usize = shape.iter().product();
    ensure!(wanted == elements.len(), "{} elements for the shape {shape:?}", elements.len());
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let mut header = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
        elements.kind(),
        if shape.len() == 1 { sides.trim_end() } else { sides.trim_end_matches(", ") }
    );
    let filled = (PREAMBLE + header.len() + 1).next_multiple_of(ALIGNMENT) - PREAMBLE - 1;
    header = format!("{header:filled$}\n");
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    Ok(elements.write(out)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(shape: &[usize], elements: Elements<'_>, header: &str, bytes: &[u8]) {
        let mut file = Vec::new();
        put(&mut file, shape, elements).unwrap();
        assert_eq!(&file[..8], b"\x93NUMPY\x01\x00");
        let length = usize::from(u16::from_le_bytes([file[8], file[9]]));
        assert_eq!((PREAMBLE + length) % ALIGNMENT, 0);
        let text = std::str::from_utf8(&file[PREAMBLE..PREAMBLE + length]).unwrap();
        assert_eq!(text.trim_end(), header);
        assert!(text.ends_with('\n'));
        assert_eq!(&file[PREAMBLE + length..], bytes);
    }

    #[test]
    fn files_are_as_numpy_writes_them() {
        check(
            &[1, 2],
            Elements::F32(&[1.0, -2.0]),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }",
            &[0, 0, 128, 63, 0, 0, 0, 192],
        );
        check(
            &[1],
            Elements::I64(&[-1]),
            "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }",
            &[255; 8],
        );
        check(
            &[],
            Elements::Bool(&[true]),
            "{'descr': '|b1', 'fortran_order': False, 'shape': (), }",
            &[1],
        );
    }

    #[test]
    fn a_shape_of_another_size_is_refused() {
        assert!(put(&mut Vec::new(), &[2, 2], Elements::F32(&[0.0; 3])).is_err());
    }
}
