//! What kind of medium some bytes are, by how they begin.

use crate::MediaError;
use crate::clip;

/// What kind of medium some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A picture that stands still.
    Picture,
    /// Sound.
    Sound,
    /// A film.
    Clip,
}

/// Containers of films, which need a decoder that is no good fit for a daemon.
const FRAMES_INSTEAD: &str = "take frames out of it (`ffmpeg -i FILM -vf fps=1 FOLDER/%04d.png`) \
                              and give the folder, or make a small film of it (`ffmpeg -i FILM -vf \
                              fps=1,scale=640:-2 -pix_fmt yuv420p FILM.y4m`)";

/// What to do with sound in a codec that nobody decodes well without C.
const WAV_INSTEAD: &str = "make a WAV of it (`ffmpeg -i SOUND -ac 1 -ar 16000 SOUND.wav`)";

impl Kind {
    /// Looks at the first bytes, and for animations at their headers.
    ///
    /// # Errors
    /// When they are those of no format that we read; common formats that we do not read are named.
    pub fn of(bytes: &[u8]) -> Result<Self, MediaError> {
        let unsupported = |format, instead| Err(MediaError::Unsupported { format, instead });
        let begins = |magic: &[u8]| bytes.starts_with(magic);
        let inside =
            |magic: &[u8], at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(magic));
        if begins(b"YUV4MPEG2 ") || clip::is_animated(bytes) {
            return Ok(Self::Clip);
        }
        if begins(b"\xFF\xD8\xFF") || begins(b"\x89PNG") || begins(b"BM") || begins(b"GIF8") {
            return Ok(Self::Picture);
        }
        if begins(b"RIFF") && inside(b"WEBP", 8) {
            return Ok(Self::Picture);
        }
        if begins(b"OggS") && holds_opus(bytes) {
            return unsupported("Opus in Ogg", WAV_INSTEAD);
        }
        let wave = (begins(b"RIFF") || begins(b"RF64")) && inside(b"WAVE", 8);
        if wave || begins(b"fLaC") || begins(b"OggS") || begins(b"ID3") || is_mpeg_audio(bytes) {
            return Ok(Self::Sound);
        }
        if inside(b"ftypM4A", 4) {
            return unsupported("M4A", WAV_INSTEAD);
        }
        if inside(b"ftyphei", 4) || inside(b"ftypmif1", 4) || inside(b"ftypavif", 4) {
            return unsupported("HEIF", "save the picture as JPEG or PNG");
        }
        if inside(b"ftyp", 4) {
            return unsupported("MP4", FRAMES_INSTEAD);
        }
        if begins(b"\x1A\x45\xDF\xA3") {
            return unsupported("Matroska or WebM", FRAMES_INSTEAD);
        }
        if begins(b"RIFF") && inside(b"AVI ", 8) {
            return unsupported("AVI", FRAMES_INSTEAD);
        }
        if begins(b"FORM") || is_adts(bytes) || begins(b"caff") || begins(b"#!AMR") {
            return unsupported("sound in AIFF, AAC, CAF or AMR", WAV_INSTEAD);
        }
        if begins(b"II*\0") || begins(b"MM\0*") {
            return unsupported("TIFF", "save the picture as PNG");
        }
        Err(MediaError::Unknown { bytes: bytes.len() })
    }
}

/// Whether the first page of an Ogg file opens a stream of Opus.
fn holds_opus(bytes: &[u8]) -> bool {
    let head = bytes.get(..bytes.len().min(512)).unwrap_or_default();
    head.windows(8).any(|eight| eight == b"OpusHead")
}

/// An MPEG audio frame: eleven set bits, then a layer that is not zero.
fn is_mpeg_audio(bytes: &[u8]) -> bool {
    matches!(bytes, [0xFF, second, ..] if second & 0xE0 == 0xE0 && second & 0x06 != 0)
}

/// An AAC frame by itself: twelve set bits, then layer zero.
fn is_adts(bytes: &[u8]) -> bool {
    matches!(bytes, [0xFF, second, ..] if second & 0xF6 == 0xF0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<Kind, &str>) {
        match (Kind::of(bytes), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.to_string().contains(expected), "{found}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn media_are_told_by_their_first_bytes() {
        check(b"\xFF\xD8\xFF\xE0", Ok(Kind::Picture));
        check(b"BM", Ok(Kind::Picture));
        check(b"RIFF\0\0\0\0WEBPVP8 ", Ok(Kind::Picture));
        check(b"RIFF\0\0\0\0WAVEfmt ", Ok(Kind::Sound));
        check(b"\xFF\xFB\x90\x00", Ok(Kind::Sound));
        check(b"YUV4MPEG2 W2 H2\n", Ok(Kind::Clip));
    }

    #[test]
    fn what_is_not_read_is_named_with_what_works() {
        check(b"\0\0\0\x20ftypisom", Err("MP4 is not read here; take frames"));
        check(b"\x1A\x45\xDF\xA3", Err("ffmpeg"));
        check(b"OggS\0\x02\0\0\0\0\0\0\0\0OpusHead", Err("Opus in Ogg is not read here"));
        check(b"\xFF\xF1\x50\x80", Err("AAC"));
        check(b"", Err("0 bytes"));
        check(b"some text", Err("expected JPEG"));
    }
}
