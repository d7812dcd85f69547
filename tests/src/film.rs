//! Films and long sound that stories make up as they need them.

/// An uncompressed film (`.y4m`) of so many frames of 64 by 48 pixels, two a second, each darker
/// than the one before.
#[must_use]
pub fn y4m(frames: u8) -> Vec<u8> {
    let mut film = b"YUV4MPEG2 W64 H48 F2:1 Ip A1:1 C420jpeg\n".to_vec();
    for frame in 0..frames {
        film.extend(b"FRAME\n");
        film.extend(vec![255 - frame; 64 * 48]);
        film.extend(vec![128; 2 * 32 * 24]);
    }
    film
}

/// An animated GIF of so many frames of 16 by 16 pixels, half a second each, each of another shade.
#[must_use]
pub fn gif(frames: u8) -> Vec<u8> {
    const SIDE: u16 = 16;
    /// Shades of grey in the palette, and the code that empties the table of codes.
    const SHADES: u8 = 128;
    let place = [SIDE.to_le_bytes(), SIDE.to_le_bytes()].concat();
    let mut film = b"GIF89a".to_vec();
    film.extend(&place);
    film.extend([0xF6, 0, 0]);
    film.extend((0..SHADES).flat_map(|shade| [2 * shade; 3]));
    for frame in 0..frames {
        // Shown for 50 hundredths of a second.
        film.extend([0x21, 0xF9, 4, 0, 50, 0, 0, 0]);
        film.push(0x2C);
        film.extend([0; 4]);
        film.extend(&place);
        film.extend([0, 7]);
        // The table is emptied before it grows, so that every code is one byte.
        let row = [vec![SHADES], vec![frame % SHADES; SIDE.into()]].concat();
        for _ in 0..SIDE {
            film.push(row.len() as u8);
            film.extend(&row);
        }
        film.extend([1, SHADES + 1, 0]);
    }
    film.push(0x3B);
    film
}

/// Samples of a second of sound.
const RATE_HZ: u32 = 16_000;

/// A recording (`.wav`) of so many seconds of a low hum: mono, 16 bits, 16 kHz.
#[must_use]
pub fn hum(seconds: u32) -> Vec<u8> {
    let wave = (0..RATE_HZ * seconds).map(|at| if at / 80 % 2 == 0 { 500_i16 } else { -500 });
    wav(&wave.flat_map(i16::to_le_bytes).collect::<Vec<u8>>())
}

/// A recording of the demo (`.wav`; mono, 16 bits, 16 kHz), so many times one after the other.
#[must_use]
pub fn repeated(recording: &[u8], times: usize) -> Vec<u8> {
    let data = recording.windows(4).position(|chunk| chunk == b"data");
    // Four letters and the length come before the samples.
    let samples = data.and_then(|at| recording.get(at + 8..)).unwrap_or_default();
    wav(&samples.repeat(times))
}

/// A file of mono samples, 16 bits, 16 kHz.
fn wav(samples: &[u8]) -> Vec<u8> {
    let bytes = samples.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    file.extend([1, 0, 1, 0]);
    file.extend(RATE_HZ.to_le_bytes());
    file.extend((2 * RATE_HZ).to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples);
    file
}
