//! What the model gets of a medium: shapes, numbers of tokens and, on request, the tensors.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use gemma_runtime::image::{ImageError, PreparedImage};
use gemma_runtime::{audio, image, video};
use gemma_types::{Clip, Frame};
use serde_json::{Value, json};

use super::file::{self, Medium};
use super::npy::{self, Elements};
use super::render;
use crate::cli::model::Media;

/// A prepared medium.
struct Prepared {
    kind: &'static str,
    /// What it was before.
    given: String,
    soft_tokens: usize,
    tensors: Vec<Tensor>,
}

/// One input of an encoder, under the name that the reference's processor gives it.
struct Tensor {
    name: &'static str,
    shape: Vec<usize>,
    data: Data,
}

enum Data {
    F32(Vec<f32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

/// Prepares and prints.
pub(super) fn run(media: &Media) -> anyhow::Result<()> {
    let unified = render::is_unified(&media.folder);
    let prepared = match file::read(&media.file, media.fps)? {
        Medium::Picture(frame) => {
            let budget = render::budget(&media.folder, media.image_budget)?;
            picture(&frame, budget, unified)?
        }
        Medium::Sound(samples) => sound(&samples, unified)?,
        Medium::Film(clip) => film(&clip, unified)?,
    };
    let written = match &media.npy {
        Some(folder) => prepared.write(folder)?,
        None => Vec::new(),
    };
    let mut out = std::io::stdout();
    match media.output.json {
        true => writeln!(out, "{}", prepared.as_json(&written))?,
        false => out.write_all(prepared.as_text(&written).as_bytes())?,
    }
    Ok(())
}

fn picture(frame: &Frame, budget: usize, unified: bool) -> anyhow::Result<Prepared> {
    let prepared = cut(frame, budget, unified)?;
    Ok(Prepared {
        kind: "picture",
        given: format!("{} x {} pixels, at most {budget} soft tokens", frame.width, frame.height),
        soft_tokens: prepared.soft_tokens,
        tensors: vec![
            Tensor {
                name: "pixel_values",
                shape: prepared.pixels.shape().to_vec(),
                data: Data::F32(prepared.pixels.into_iter().collect()),
            },
            Tensor {
                name: "image_position_ids",
                shape: prepared.positions.shape().to_vec(),
                data: Data::I64(prepared.positions.into_iter().collect()),
            },
        ],
    })
}

fn cut(frame: &Frame, budget: usize, unified: bool) -> Result<PreparedImage, ImageError> {
    if unified { image::prepare_unified(frame, budget) } else { image::prepare(frame, budget) }
}

/// The frames of a film, one upon the other.
fn film(clip: &Clip, unified: bool) -> anyhow::Result<Prepared> {
    let frames = clip.frames.iter().map(|frame| cut(frame, video::FRAME_BUDGET, unified));
    let frames = frames.collect::<Result<Vec<_>, ImageError>>()?;
    let first = frames.first().context("a film without frames")?;
    let shape = |one: &[usize]| [&[frames.len()][..], one.get(1..).unwrap_or_default()].concat();
    let same = frames.iter().all(|frame| frame.pixels.shape() == first.pixels.shape());
    ensure!(same, "the frames are not of one size");
    let (pixels, positions) = (shape(first.pixels.shape()), shape(first.positions.shape()));
    let seconds: Vec<f32> = clip.seconds.iter().map(|seconds| *seconds as f32).collect();
    let values = |frame: &PreparedImage| frame.pixels.iter().copied().collect::<Vec<f32>>();
    let places = |frame: &PreparedImage| frame.positions.iter().copied().collect::<Vec<i64>>();
    Ok(Prepared {
        kind: "film",
        given: format!(
            "{} frames, the last at {:.2} s",
            frames.len(),
            clip.seconds.last().unwrap_or(&0.0)
        ),
        soft_tokens: frames.iter().map(|frame| frame.soft_tokens).sum(),
        tensors: vec![
            Tensor {
                name: "pixel_values_videos",
                shape: pixels,
                data: Data::F32(frames.iter().flat_map(values).collect()),
            },
            Tensor {
                name: "video_position_ids",
                shape: positions,
                data: Data::I64(frames.iter().flat_map(places).collect()),
            },
            Tensor { name: "seconds", shape: vec![seconds.len()], data: Data::F32(seconds) },
        ],
    })
}

fn sound(samples: &[i16], unified: bool) -> anyhow::Result<Prepared> {
    let prepared = if unified { audio::prepare_frames(samples) } else { audio::prepare(samples) }?;
    Ok(Prepared {
        kind: "sound",
        given: format!("{} samples, 16 kHz", samples.len()),
        soft_tokens: prepared.soft_tokens,
        tensors: vec![
            Tensor {
                name: "input_features",
                shape: prepared.features.shape().to_vec(),
                data: Data::F32(prepared.features.into_iter().collect()),
            },
            Tensor {
                name: "input_features_mask",
                shape: prepared.mask.shape().to_vec(),
                data: Data::Bool(prepared.mask.into_iter().collect()),
            },
        ],
    })
}

impl Prepared {
    /// Writes every tensor to a file named after it.
    fn write(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        let write = |tensor: &Tensor| {
            let path = folder.join(format!("{}.npy", tensor.name));
            npy::write(&path, &tensor.shape, tensor.data.elements()).map(|()| path)
        };
        self.tensors.iter().map(write).collect()
    }

    fn as_json(&self, written: &[PathBuf]) -> Value {
        let tensor = |tensor: &Tensor| {
            json!({
                "name": tensor.name,
                "shape": tensor.shape,
                "dtype": tensor.data.elements().kind(),
            })
        };
        json!({
            "kind": self.kind,
            "given": self.given,
            "soft_tokens": self.soft_tokens,
            "tensors": self.tensors.iter().map(tensor).collect::<Value>(),
            "files": written,
        })
    }

    fn as_text(&self, written: &[PathBuf]) -> String {
        let mut text = format!("{:<12} {}\n", self.kind, self.given);
        text.push_str(&format!("{:<12} {}\n", "soft tokens", self.soft_tokens));
        for tensor in &self.tensors {
            let (shape, kind) = (&tensor.shape, tensor.data.elements().kind());
            text.push_str(&format!("{:<12} {} {shape:?} {kind}\n", "tensor", tensor.name));
        }
        for path in written {
            text.push_str(&format!("{:<12} {}\n", "written", path.display()));
        }
        text
    }
}

impl Data {
    fn elements(&self) -> Elements<'_> {
        match self {
            Self::F32(elements) => Elements::F32(elements),
            Self::I64(elements) => Elements::I64(elements),
            Self::Bool(elements) => Elements::Bool(elements),
        }
    }
}
