//! Prepares media as the model takes them, for `runtime/export/check_media.py`.
//!
//! `prepare FOLDER` reads `jobs.json` there, a list of `{"name", "kind", "file", "budget"}`, and writes
//! what becomes of each file to `NAME.npy`, or why it was refused to `NAME.txt`.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use gemma_runtime::{audio, image, video};
use gemma_types::Frame;
use serde_json::Value;

/// Sound of the longest file, in seconds.
const SECONDS_MAX: u32 = 600;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("expected the folder that holds jobs.json")?;
    let folder = Path::new(&folder);
    let jobs: Vec<Value> = serde_json::from_reader(File::open(folder.join("jobs.json"))?)?;
    for job in &jobs {
        let name = job["name"].as_str().ok_or("a job has no name")?;
        match prepare(folder, job) {
            Ok(array) => array.write(&folder.join(format!("{name}.npy")))?,
            Err(error) => std::fs::write(folder.join(format!("{name}.txt")), error.to_string())?,
        }
    }
    Ok(())
}

/// Does one job.
fn prepare(folder: &Path, job: &Value) -> Result<Array, Box<dyn Error>> {
    let bytes = std::fs::read(folder.join(job["file"].as_str().ok_or("a job has no file")?))?;
    let budget = job["budget"].as_u64().map_or(image::BUDGET_DEFAULT, |budget| budget as usize);
    let frame = || gemma_media::picture(&bytes);
    let samples = || gemma_media::sound(&bytes, SECONDS_MAX);
    let speech = || {
        samples().map(|mut all| {
            all.truncate(audio::SAMPLES_MAX);
            all
        })
    };
    Ok(match job["kind"].as_str() {
        Some("rgb") => Array::rgb(&frame()?),
        Some("image") => image::prepare(&frame()?, budget)?.pixels.into(),
        Some("image_unified") => image::prepare_unified(&frame()?, budget)?.pixels.into(),
        Some("samples") => Array::samples(&samples()?),
        Some("audio") => audio::prepare(&speech()?)?.features.into(),
        Some("audio_mask") => {
            let mask = audio::prepare(&speech()?)?.mask;
            Array {
                dtype: "|b1",
                shape: vec![mask.len()],
                bytes: mask.iter().map(|one| u8::from(*one)).collect(),
            }
        }
        Some("audio_frames") => audio::prepare_frames(&speech()?)?.features.into(),
        Some("clip_times") => {
            let seconds = gemma_media::clip(&bytes, None, video::sampled)?.seconds;
            let bytes = seconds.iter().flat_map(|at| at.to_le_bytes()).collect();
            Array { dtype: "<f8", shape: vec![seconds.len()], bytes }
        }
        Some("clip") => {
            let clip = gemma_media::clip(&bytes, None, video::sampled)?;
            let prepare = |frame: &Frame| image::prepare(frame, video::FRAME_BUDGET);
            let frames = clip.frames.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
            let views: Vec<_> = frames.iter().map(|frame| frame.pixels.view()).collect();
            ndarray::concatenate(ndarray::Axis(0), &views)?.into()
        }
        Some(_) | None => return Err("a job is of no kind that is known".into()),
    })
}

/// Numbers as NumPy stores them.
struct Array {
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    /// `[height, width, 3] u8`.
    fn rgb(frame: &Frame) -> Self {
        let shape = vec![frame.height as usize, frame.width as usize, 3];
        Self { dtype: "|u1", shape, bytes: frame.rgb.to_vec() }
    }

    /// `[samples] i16`.
    fn samples(samples: &[i16]) -> Self {
        let bytes = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        Self { dtype: "<i2", shape: vec![samples.len()], bytes }
    }

    /// Writes a version 1 file, whose header is filled up to 64 bytes.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let shape: String = self.shape.iter().map(|side| format!("{side},")).collect();
        let dtype = self.dtype;
        let mut header =
            format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape}), }}");
        let length = (header.len() + 11).next_multiple_of(64) - 10;
        header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
        header.push('\n');
        let mut file = File::create(path)?;
        file.write_all(b"\x93NUMPY\x01\x00")?;
        file.write_all(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        file.write_all(&self.bytes)
    }
}

impl From<ndarray::Array3<f32>> for Array {
    fn from(array: ndarray::Array3<f32>) -> Self {
        let bytes = array.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: "<f4", shape: array.shape().to_vec(), bytes }
    }
}
