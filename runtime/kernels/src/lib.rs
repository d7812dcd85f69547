//! The few computations that take nearly all of the time of a Gemma 4 model, written for each kind
//! of processor: products with quantised weights, and attention. Every one has a portable version
//! that the others are held against; which one runs is decided by what the processor can do.
#![allow(
    clippy::needless_range_loop,
    reason = "loops over lanes and rows of several arrays at once"
)]

mod attention;
pub mod cpu;
mod gelu;
mod mismatch;
mod output;
mod product;
mod rounded;
mod simd;
mod threads;
mod tile;
mod weights;

pub use attention::{Heads, Rows, Segment, attend};
pub use mismatch::Mismatch;
pub use product::{Activations, gated_product, matrix_product, product};
pub use threads::Threads;
pub use weights::{Matrix, Scales, Weights};
