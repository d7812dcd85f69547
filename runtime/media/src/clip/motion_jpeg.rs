//! A Motion JPEG stream: whole JPEG files, one after the other.

/// Begins a picture.
const START: [u8; 2] = [0xFF, 0xD8];

/// The pictures in a stream, in order. What lies between them is skipped.
pub(super) fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(start) = find(bytes, at) {
        let Some(end) = end(bytes, start) else { break };
        frames.push(&bytes[start..end]);
        at = end;
    }
    frames
}

/// Where the next picture begins.
fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(2).position(|two| two == START).map(|offset| from + offset)
}

/// Where the picture that begins at `start` ends. Segments are skipped by their length: a preview
/// inside one is a whole JPEG file of its own.
fn end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + START.len();
    loop {
        let marker = match bytes.get(at..at + 2)? {
            [0xFF, marker] => *marker,
            _ => {
                at += 1;
                continue;
            }
        };
        match marker {
            0xD9 => return Some(at + 2),
            // A stuffed byte, filling, and marks without a length.
            0x00 | 0x01 | 0xD0..=0xD8 => at += 2,
            0xFF => at += 1,
            _ => {
                let length = bytes.get(at + 2..at + 4)?;
                at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
            }
        }
    }
}
