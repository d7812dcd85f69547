//! SHA-256 of files and of samples of them, in hexadecimal digits.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Two digits for each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The SHA-256 of a file.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn of_file(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut BufReader::with_capacity(1 << 18, File::open(path)?), &mut hasher)?;
    Ok(hexadecimal(&hasher.finalize()))
}

/// Places of a file that a sample is taken of, and bytes at each.
const SAMPLES: (u64, u64) = (64, 4096);

/// Bytes of a file, and the SHA-256 of a sample of them: enough to tell the weights of one training
/// from those of another without reading all.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn of_sample(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut hasher = Sha256::new();
    let (places, length) = SAMPLES;
    let last = bytes.saturating_sub(length);
    for place in 0..places {
        file.seek(SeekFrom::Start(last / (places - 1) * place))?;
        io::copy(&mut Read::by_ref(&mut file).take(length), &mut hasher)?;
    }
    Ok((bytes, hexadecimal(&hasher.finalize())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_standard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_file(&path).unwrap(), expected);
        assert!(of_file(folder.path()).is_err());
    }

    #[test]
    fn a_sample_tells_files_apart_by_length_start_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let sample = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            of_sample(&path).unwrap()
        };
        let mut bytes = vec![7; 1 << 20];
        let one = sample(&bytes);
        assert_eq!((one.0, &one), (1 << 20, &sample(&bytes)));
        bytes[0] = 8;
        let start = sample(&bytes);
        bytes[0] = 7;
        bytes[(1 << 20) - 4000] = 8;
        let end = sample(&bytes);
        assert!(one.1 != start.1 && one.1 != end.1 && start.1 != end.1);
        assert_ne!(one.0, sample(&bytes[1..]).0);
    }
}
