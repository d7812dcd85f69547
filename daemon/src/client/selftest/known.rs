//! A picture and a spoken sentence that gemmad brings along, with what the reference's processors make
//! of them: they show whether media are garbled on this machine, whatever the model is.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use gemma_runtime::{audio, image};
use gemma_types::{Frame, Utterance};
use serde::Deserialize;

const PICTURE: &[u8] = include_bytes!("known/room.png");
const SPEECH: &[u8] = include_bytes!("known/speech.flac");
const EXPECTED: &str = include_str!("known/expected.json");
/// Seconds of the sentence at most.
const SECONDS_MAX: u32 = 30;
/// Largest difference of a prepared pixel: none, but for the digits in which numbers are written.
pub(super) const PIXEL_TOLERANCE: f64 = 1e-6;
/// Largest difference of a value of the spectrogram, which two transforms explain.
pub(super) const MEL_TOLERANCE: f64 = 2e-3;

/// What the reference makes of both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    budget: usize,
    sentence: String,
    patches: Probes,
    cells: Probes,
    spectrogram: Probes,
    frames: Probes,
}

/// Some values of a tensor `[rows, columns] f32`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Probes {
    shape: [usize; 2],
    mean: f64,
    places: Vec<usize>,
    values: Vec<f64>,
}

impl Probes {
    /// The largest difference of a value, or of the mean.
    fn difference(&self, found: &[f32]) -> anyhow::Result<f64> {
        let [rows, columns] = self.shape;
        let wanted = rows * columns;
        ensure!(found.len() == wanted, "{} values where {wanted} are right", found.len());
        let sum: f64 = found.iter().map(|value| f64::from(*value)).sum();
        let mean = (sum / wanted as f64 - self.mean).abs();
        let pairs = self.places.iter().zip(&self.values);
        let apart = pairs.map(|(place, value)| match found.get(*place) {
            Some(found) => (f64::from(*found) - value).abs(),
            None => f64::INFINITY,
        });
        let worse =
            |worst: f64, one: f64| if one.is_nan() { f64::INFINITY } else { worst.max(one) };
        Ok(apart.fold(mean, worse))
    }
}

/// Prepares the picture in both forms; gives the largest difference from the reference.
///
/// # Errors
/// When it cannot be decoded, or becomes something of another size.
pub(super) fn picture_difference() -> anyhow::Result<f64> {
    let (expected, frame) = (expected()?, picture()?);
    let patches: Vec<f32> = image::prepare(&frame, expected.budget)?.pixels.into_iter().collect();
    let cells = image::prepare_unified(&frame, expected.budget)?.pixels;
    let cells: Vec<f32> = cells.into_iter().collect();
    let patches = expected.patches.difference(&patches).context("patches")?;
    let cells = expected.cells.difference(&cells).context("soft tokens")?;
    Ok(patches.max(cells))
}

/// Prepares the sentence in both forms; gives the largest difference from the reference.
///
/// # Errors
/// When it cannot be decoded, or becomes something of another size.
pub(super) fn sound_difference() -> anyhow::Result<f64> {
    let (expected, speech) = (expected()?, speech()?);
    let prepared = audio::prepare(&speech.samples)?;
    let real = prepared.mask.iter().filter(|is_real| **is_real).count() * audio::MEL_BINS;
    let spectrogram: Vec<f32> = prepared.features.into_iter().take(real).collect();
    let frames = audio::prepare_frames(&speech.samples)?.features;
    let frames: Vec<f32> = frames.into_iter().collect();
    let spectrogram = expected.spectrogram.difference(&spectrogram).context("spectrogram")?;
    let frames = expected.frames.difference(&frames).context("frames of samples")?;
    Ok(spectrogram.max(frames))
}

/// The picture: a room.
///
/// # Errors
/// When it cannot be decoded here.
pub(super) fn picture() -> anyhow::Result<Frame> {
    Ok(gemma_media::picture(PICTURE)?)
}

/// The spoken sentence.
///
/// # Errors
/// When it cannot be decoded here.
pub(super) fn speech() -> anyhow::Result<Utterance> {
    let samples = gemma_media::sound(SPEECH, SECONDS_MAX)?.into();
    Ok(Utterance { samples, started_at: Duration::ZERO, caption: None })
}

/// What is said in it.
///
/// # Errors
/// When what gemmad brought along is damaged.
pub(super) fn sentence() -> anyhow::Result<String> {
    Ok(expected()?.sentence)
}

fn expected() -> anyhow::Result<Expected> {
    serde_json::from_str(EXPECTED).context("what gemmad brings along is damaged")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_known_picture_and_sentence_are_prepared_as_the_reference_does() {
        assert!(picture_difference().unwrap() <= PIXEL_TOLERANCE);
        assert!(sound_difference().unwrap() <= MEL_TOLERANCE);
    }

    #[test]
    fn a_single_other_value_or_another_size_is_noticed() {
        let probes =
            || Probes { shape: [2, 2], mean: 2.5, places: vec![0, 3], values: vec![1.0, 4.0] };
        assert!(probes().difference(&[1.0, 2.0, 3.0, 4.0]).unwrap() < 1e-9);
        assert_eq!(probes().difference(&[1.5, 1.5, 3.0, 4.0]).unwrap(), 0.5);
        assert_eq!(probes().difference(&[1.0, 3.0, 3.0, 4.0]).unwrap(), 0.25);
        assert_eq!(probes().difference(&[1.0, 2.0, 3.0, f32::NAN]).unwrap(), f64::INFINITY);
        assert!(probes().difference(&[1.0, 2.0, 3.0]).is_err());
    }
}
