#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use hound::{SampleFormat, WavSpec, WavWriter};
use proptest::prelude::*;

use super::*;

/// A WAV of a tone of 440 Hz, half as loud as can be.
fn wav(rate_hz: u32, channels: u16, seconds: f32, format: SampleFormat, bits: u16) -> Vec<u8> {
    let spec =
        WavSpec { channels, sample_rate: rate_hz, bits_per_sample: bits, sample_format: format };
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, spec).unwrap();
    for index in 0..(rate_hz as f32 * seconds) as u32 {
        let turn = std::f64::consts::TAU * 440.0 * f64::from(index) / f64::from(rate_hz);
        let value = (0.5 * turn.sin()) as f32;
        for _ in 0..channels {
            match format {
                SampleFormat::Float => writer.write_sample(value).unwrap(),
                SampleFormat::Int => {
                    let full = 2_f32.powi(i32::from(bits) - 1);
                    writer.write_sample((value * full) as i32).unwrap();
                }
            }
        }
    }
    writer.finalize().unwrap();
    file.into_inner()
}

fn plain(seconds: f32) -> Vec<u8> {
    wav(16_000, 1, seconds, SampleFormat::Int, 16)
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// How far samples are from the tone, at most, apart from the edges.
fn off_tone(samples: &[i16]) -> f64 {
    let step = std::f64::consts::TAU * 440.0 / 16_000.0;
    let away = |(index, sample): (usize, &i16)| {
        (f64::from(*sample) - 16_384.0 * (step * index as f64).sin()).abs()
    };
    let edge = samples.len() / 10;
    let inner = samples.iter().enumerate().take(samples.len() - edge).skip(edge);
    inner.map(away).fold(0.0, f64::max)
}

#[test]
fn any_wav_becomes_mono_at_16_khz() {
    let check = |rate_hz: u32, channels: u16, format: SampleFormat, bits: u16, within: f64| {
        let samples = sound(&wav(rate_hz, channels, 1.0, format, bits), 30).unwrap();
        assert_eq!(samples.len(), 16_000, "{rate_hz} Hz");
        let off = off_tone(&samples);
        assert!(off < within, "{rate_hz} Hz x {channels}, {bits} bits: {off} off");
    };
    check(16_000, 1, SampleFormat::Int, 16, 2.0);
    check(16_000, 2, SampleFormat::Int, 24, 2.0);
    check(16_000, 1, SampleFormat::Int, 8, 260.0);
    check(16_000, 1, SampleFormat::Float, 32, 2.0);
    check(48_000, 2, SampleFormat::Int, 16, 20.0);
    check(44_100, 1, SampleFormat::Int, 16, 20.0);
    check(8_000, 6, SampleFormat::Float, 32, 20.0);
}

#[test]
fn compressed_files_sound_like_what_went_in() {
    for (name, within) in [("tone.flac", 2.0), ("tone.mp3", 1_700.0), ("tone.ogg", 1_700.0)] {
        let samples = sound(&fixture(name), 30).unwrap();
        assert!(samples.len().abs_diff(8_000) <= 1, "{name}: {} samples", samples.len());
        let off = off_tone(&samples);
        assert!(off < within, "{name}: {off} off");
    }
}

#[test]
fn a_file_comes_in_chunks_of_20_ms_whose_last_is_filled_up() {
    let mut open = Sound::open(Cursor::new(plain(0.05))).unwrap();
    let chunks: Vec<Vec<i16>> = std::iter::from_fn(|| open.chunk().unwrap()).collect();
    assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [320, 320, 320]);
    let whole = sound(&plain(0.05), 30).unwrap();
    assert_eq!(chunks.concat()[..800], whole[..]);
    assert!(chunks[2][160..].iter().all(|sample| *sample == 0));
}

#[test]
fn sound_that_is_too_long_empty_cut_or_no_sound_is_refused() {
    let check = |file: &[u8], expected: &str| {
        let error = sound(file, 1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&plain(1.1), "longer than 1 seconds");
    check(&plain(0.0), "no sound in it");
    check(&plain(0.5)[..1_000], "breaks off");
    check(b"no wav", "it is no sound; expected WAV");
    check(b"", "it is no sound");
    check(b"\0\0\0\x20ftypM4A ", "M4A is not read here");
    check(b"RIFF\0\0\0\0WAVE", "cannot decode");
    check(b"\x89PNG\r\n", "it is no sound");
    check(&fixture("tone.flac")[..300], "breaks off after 0.0 seconds");
    check(&fixture("tone.flac")[..3_000], "breaks off after 0.");
}

#[test]
fn exactly_the_limit_is_not_too_long() {
    for rate_hz in [16_000, 44_100, 48_000, 11_025] {
        let file = wav(rate_hz, 1, 1.0, SampleFormat::Int, 16);
        assert_eq!(sound(&file, 1).unwrap().len(), 16_000, "{rate_hz} Hz");
    }
}

#[test]
fn what_is_no_number_is_silence() {
    let mut file = wav(16_000, 1, 0.1, SampleFormat::Float, 32);
    let end = file.len();
    file[end - 400..end - 396].copy_from_slice(&f32::NAN.to_le_bytes());
    file[end - 396..end - 392].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let samples = sound(&file, 1).unwrap();
    assert_eq!(samples[samples.len() - 100..samples.len() - 98], [0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_are_decoded_or_refused(
        kind in 0_usize..4,
        changes in prop::collection::vec((0_usize..6_000, any::<u8>()), 0..12),
        header in prop::collection::vec((0_usize..200, any::<u8>()), 0..4),
        length in 8_usize..9_000,
    ) {
        let mut file = match kind {
            0 => wav(44_100, 2, 0.03, SampleFormat::Int, 16),
            1 => fixture("tone.flac"),
            2 => fixture("tone.mp3"),
            _ => fixture("tone.ogg"),
        };
        for (place, byte) in changes.into_iter().chain(header) {
            if let Some(changed) = file.get_mut(place) { *changed = byte }
        }
        file.truncate(length);
        // Either outcome will do; a panic will not.
        if let Ok(samples) = sound(&file, 30) {
            prop_assert!(samples.len() <= 30 * 16_000);
        }
    }
}
