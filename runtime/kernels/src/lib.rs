//! The few computations that take nearly all of the time of a Gemma 4 model, written for each kind
//! of processor: products with quantised weights, mixtures of experts, and attention. Every one has
//! a portable version that the others are held against; which one runs is decided by what the
//! processor can do.
#![allow(
    clippy::needless_range_loop,
    reason = "loops over lanes and rows of several arrays at once"
)]

mod attention;
mod columns;
pub mod cpu;
mod experts;
mod gelu;
mod mismatch;
#[cfg(test)]
mod noise;
mod output;
mod product;
mod rounded;
mod router;
mod simd;
mod threads;
mod tile;
mod weights;

pub use attention::{Heads, Rows, Segment, attend};
pub use columns::{Columns, Elements, column_product};
pub use experts::{Bend, Experts, Order, Stack, mix};
pub use mismatch::Mismatch;
pub use product::{Activations, gated_product, matrix_product, product};
pub use router::{Choice, Router};
pub use threads::Threads;
pub use weights::{Matrix, Scales, Weights};
