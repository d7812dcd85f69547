//! The image front end: a picture to the patches that the vision encoder reads.
//!
//! A picture is scaled, its shape kept, so that it fills a budget of soft tokens, and cut into patches
//! of 16 by 16 pixels; nine patches make one soft token. A model without a vision tower takes the
//! pixels of a whole soft token at once.

mod resize;

use std::path::{Path, PathBuf};

use gemma_types::Frame;
use ndarray::Array3;
use serde_json::Value;

/// Side of a patch in pixels.
const PATCH: usize = 16;

/// Patches along one side of a soft token.
const POOL: usize = 3;

/// Side of a soft token in pixels.
const CELL: usize = PATCH * POOL;

/// Values of one patch: red, green and blue of every pixel.
pub const PATCH_VALUES: usize = PATCH * PATCH * 3;

/// Values of one soft token of a model without a vision tower.
pub const CELL_VALUES: usize = CELL * CELL * 3;

/// What turns a value of 8 bits into one from 0 to 1. The reference multiplies in single precision;
/// to divide by 255 instead would change the last bit of some values.
const UNIT: f32 = 1.0 / 255.0;

/// Budgets of soft tokens that the model was trained with.
pub const BUDGETS: [usize; 5] = [70, 140, 280, 560, 1120];

/// Budget of a folder that names none.
pub const BUDGET_DEFAULT: usize = 280;

/// Longest side of a picture in pixels.
const SIDE_MAX: u32 = 32_768;

/// Pixels of the largest picture: 64 million, 192 MiB as RGB.
const PIXELS_MAX: u64 = 1 << 26;

/// Why a picture cannot be prepared for the model.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A picture that would take too much memory.
    #[error(
        "a picture of {width} x {height} pixels is too large; at most {SIDE_MAX} pixels a side and \
         {PIXELS_MAX} in all"
    )]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A picture without pixels.
    #[error("a picture of {width} x {height} pixels is empty")]
    Empty {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The pixels are not those of the size.
    #[error("a picture of {width} x {height} pixels has {bytes} bytes; expected 3 for each pixel")]
    Bytes {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes given.
        bytes: usize,
    },
    /// A budget that the model was not trained with.
    #[error("image budget {0}; expected 70, 140, 280, 560 or 1120 soft tokens")]
    Budget(usize),
    /// A processor configuration cannot be read.
    #[error("{path}: {reason}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A picture as an encoder takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedImage {
    /// Patches `[1, patches, 768] f32`, or soft tokens `[1, soft_tokens, 6912] f32` for a model without
    /// a vision tower: row by row, values 0 to 1 in the order y, x, channel.
    ///
    /// Not padded to the budget: the encoder takes any number of patches, drops the padding of those
    /// that bring some, and its time grows with every one of them.
    pub pixels: Array3<f32>,
    /// Column and row of each patch or soft token, `[1, patches or soft_tokens, 2] i64`.
    pub positions: Array3<i64>,
    /// Rows that the encoder makes of it: one for nine patches.
    pub soft_tokens: usize,
}

/// Prepares a picture for a vision tower, within a budget of soft tokens, one of [`BUDGETS`].
///
/// # Errors
/// An unknown budget, an empty picture, and pixels that do not fit the size.
pub fn prepare(frame: &Frame, budget: usize) -> Result<PreparedImage, ImageError> {
    cut(frame, budget, PATCH)
}

/// Prepares a picture for a model without a vision tower, which takes soft tokens of 48 by 48 pixels.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_unified(frame: &Frame, budget: usize) -> Result<PreparedImage, ImageError> {
    cut(frame, budget, CELL)
}

/// Scales a picture and cuts it into squares of `side` pixels.
fn cut(frame: &Frame, budget: usize, side: usize) -> Result<PreparedImage, ImageError> {
    let (width, height) = size(frame)?;
    let (new_width, new_height) = scaled_size(width, height, budget)?;
    let scaled = resize::bicubic(&frame.rgb, (width, height), (new_width, new_height));
    let (columns, rows) = (new_width / side, new_height / side);
    let shape = (1, rows * columns, side * side * 3);
    let pixels = Array3::from_shape_fn(shape, |(_, square, value)| {
        let (row, column) = (square / columns, square % columns);
        let (y, rest) = (value / (side * 3), value % (side * 3));
        let line = (row * side + y) * new_width + column * side;
        f32::from(scaled[line * 3 + rest]) * UNIT
    });
    let positions = Array3::from_shape_fn((1, rows * columns, 2), |(_, square, axis)| {
        let place = if axis == 0 { square % columns } else { square / columns };
        i64::try_from(place).unwrap_or(i64::MAX)
    });
    let soft_tokens = (new_width / CELL) * (new_height / CELL);
    Ok(PreparedImage { pixels, positions, soft_tokens })
}

/// Rows that the encoder makes of a picture of this size, without preparing it.
///
/// # Errors
/// As [`prepare`].
pub fn soft_tokens(width: u32, height: u32, budget: usize) -> Result<usize, ImageError> {
    let (wide, high) = sides(width, height)?;
    let (wide, high) = scaled_size(wide, high, budget)?;
    Ok((wide / CELL) * (high / CELL))
}

/// The budget that a model folder names in `processor_config.json` or `preprocessor_config.json`.
///
/// # Errors
/// A file that is there but is malformed, and a budget that the model was not trained with.
pub fn folder_budget(folder: &Path) -> Result<usize, ImageError> {
    for name in ["processor_config.json", "preprocessor_config.json"] {
        let path = folder.join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ImageError::Config { path, reason: error.to_string() }),
        };
        let config: Value = match serde_json::from_str(&text) {
            Ok(config) => config,
            Err(error) => return Err(ImageError::Config { path, reason: error.to_string() }),
        };
        let budget = [&config["image_processor"], &config]
            .into_iter()
            .find_map(|section| section["max_soft_tokens"].as_u64());
        if let Some(budget) = budget {
            let budget = usize::try_from(budget).unwrap_or(usize::MAX);
            return check_budget(budget).map(|()| budget);
        }
    }
    Ok(BUDGET_DEFAULT)
}

fn check_budget(budget: usize) -> Result<(), ImageError> {
    if BUDGETS.contains(&budget) { Ok(()) } else { Err(ImageError::Budget(budget)) }
}

/// Width and height of a frame whose pixels fit them.
fn size(frame: &Frame) -> Result<(usize, usize), ImageError> {
    let Frame { width, height, .. } = *frame;
    let (wide, high) = sides(width, height)?;
    if wide * high * 3 != frame.rgb.len() {
        return Err(ImageError::Bytes { width, height, bytes: frame.rgb.len() });
    }
    Ok((wide, high))
}

/// Width and height, if a picture of this size can be scaled.
fn sides(width: u32, height: u32) -> Result<(usize, usize), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if width > SIDE_MAX || height > SIDE_MAX || pixels > PIXELS_MAX {
        return Err(ImageError::TooLarge { width, height });
    }
    // Both fit: they are at most SIDE_MAX.
    Ok((width as usize, height as usize))
}

/// Width and height, multiples of 48, that fill the budget and keep the shape. A picture so long that
/// one side would vanish gets one cell there, and a whole number of cells along the other.
fn scaled_size(width: usize, height: usize, budget: usize) -> Result<(usize, usize), ImageError> {
    check_budget(budget)?;
    let pixels = (budget * CELL * CELL) as f64;
    let factor = (pixels / (height as f64 * width as f64)).sqrt();
    let cells = |side: usize| (factor * side as f64 / CELL as f64).floor() as usize;
    let (wide, high) = match (cells(width), cells(height)) {
        (wide, 0) if wide > 0 => ((width / height).min(budget), 1),
        (0, high) if high > 0 => (1, (height / width).min(budget)),
        (wide, high) => (wide.max(1), high.max(1)),
    };
    Ok((wide * CELL, high * CELL))
}

#[cfg(test)]
mod tests;
