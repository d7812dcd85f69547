//! Tests of replayed files: they sound and look like devices.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use hound::{SampleFormat, WavSpec, WavWriter};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

/// Writes a tone of `milliseconds`.
fn write_tone(file: &Path, rate_hz: u32, channels: u16, milliseconds: u32) {
    let (bits_per_sample, sample_format) = (16, SampleFormat::Int);
    let spec = WavSpec { channels, sample_rate: rate_hz, bits_per_sample, sample_format };
    let mut writer = WavWriter::create(file, spec).unwrap();
    for index in 0..rate_hz * milliseconds / 1_000 {
        let at = index as f32 / rate_hz as f32;
        for _ in 0..channels {
            writer.write_sample((8_000.0 * (2_764.6 * at).sin()) as i16).unwrap();
        }
    }
    writer.finalize().unwrap();
}

fn wanted() -> (Wanted, CancellationToken) {
    let stop = CancellationToken::new();
    (Wanted::new(stop.clone(), None), stop)
}

fn is_silent(chunk: &AudioChunk) -> bool {
    chunk.samples.iter().all(|sample| sample.abs() < 100)
}

#[test]
fn a_folder_of_files_is_played_once_at_the_speed_of_sound_then_there_is_silence() {
    let folder = TempDir::new().unwrap();
    write_tone(&folder.path().join("a.wav"), 48_000, 2, 100);
    write_tone(&folder.path().join("b.WAV"), 8_000, 1, 60);
    std::fs::write(folder.path().join("a.txt"), "light on\n").unwrap();
    let (wanted, _stop) = wanted();
    let started = FilesStarted::default();
    let sound = open_sound(folder.path(), started, Clock::start(), wanted).unwrap();
    let begin = Instant::now();
    let chunks: Vec<AudioChunk> =
        sound.items.take(GAP_CHUNKS * 3 + 5 + 3).collect::<anyhow::Result<_>>().unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    assert!((3.0..4.5).contains(&seconds), "3.2 s of sound took {seconds} s");
    let loud: Vec<usize> = (0..chunks.len()).filter(|index| !is_silent(&chunks[*index])).collect();
    let (first, second) = (GAP_CHUNKS, GAP_CHUNKS * 2 + 5);
    assert_eq!(
        loud,
        [first, first + 1, first + 2, first + 3, first + 4, second, second + 1, second + 2]
    );
    let captions: Vec<_> = chunks.iter().filter_map(|chunk| chunk.caption.as_deref()).collect();
    assert_eq!(captions, ["light on"]);
    assert_eq!(chunks[first].caption.as_deref(), Some("light on"));
    let step = chunks[9].captured_at - chunks[8].captured_at;
    assert_eq!(step, CHUNK);
}

#[test]
fn a_source_that_is_opened_again_goes_on_with_the_next_file() {
    let folder = TempDir::new().unwrap();
    for name in ["a", "b"] {
        write_tone(&folder.path().join(name).with_extension("wav"), 16_000, 1, 40);
        std::fs::write(folder.path().join(name).with_extension("txt"), name).unwrap();
    }
    let started = FilesStarted::default();
    let first_caption = || {
        let (wanted, _stop) = wanted();
        let sound = open_sound(folder.path(), started.clone(), Clock::start(), wanted).unwrap();
        sound.items.take(GAP_CHUNKS + 1).find_map(|chunk| chunk.unwrap().caption)
    };
    assert_eq!(first_caption().as_deref(), Some("a"));
    assert_eq!(first_caption().as_deref(), Some("b"));
    assert_eq!(first_caption(), None);
}

#[test]
fn a_stopped_source_ends_within_its_patience() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.wav");
    write_tone(&file, 16_000, 1, 40);
    let (wanted, stop) = wanted();
    let started = FilesStarted::default();
    let mut sound = open_sound(&file, started, Clock::start(), wanted).unwrap();
    assert!(sound.items.next().is_some());
    stop.cancel();
    assert!(sound.items.next().is_none());
}

#[test]
fn what_cannot_be_played_is_named() {
    let folder = TempDir::new().unwrap();
    let check = |path: &Path, expected: &str| {
        let (wanted, _stop) = wanted();
        let sound = open_sound(path, FilesStarted::default(), Clock::start(), wanted);
        let error = match sound {
            Err(error) => error,
            Ok(sound) => sound.items.take(GAP_CHUNKS + 1).find_map(Result::err).unwrap(),
        };
        let message = format!("{error:#}");
        assert!(message.contains(&path.display().to_string()), "{message}");
        assert!(message.contains(expected), "{message}");
    };
    check(&folder.path().join("missing.wav"), "is not there");
    check(folder.path(), "holds no file that ends in wav");
    let broken = folder.path().join("broken.wav");
    std::fs::write(&broken, "RIFF but no sound").unwrap();
    check(&broken, "is not a sound file");
}

#[test]
fn pictures_are_shown_in_turn_again_and_again() {
    let folder = TempDir::new().unwrap();
    for (name, width) in [("a.png", 4), ("b.png", 8)] {
        let picture = image::RgbImage::from_pixel(width, 2, image::Rgb([200, 10, 10]));
        picture.save(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
    let (wanted, _stop) = wanted();
    let interval = Duration::from_millis(1);
    let shown = open_pictures(folder.path(), interval, Clock::start(), wanted).unwrap();
    let frames: Vec<Frame> = shown.items.take(5).collect::<anyhow::Result<_>>().unwrap();
    let widths: Vec<u32> = frames.iter().map(|frame| frame.width).collect();
    assert_eq!(widths, [4, 8, 4, 8, 4]);
    assert_eq!(&frames[0].rgb[..3], [200, 10, 10]);
    assert!(frames.is_sorted_by(|earlier, later| earlier.captured_at < later.captured_at));
}
