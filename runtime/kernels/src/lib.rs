//! The few computations that take nearly all of the time of a Gemma 4 model, written for each kind
//! of processor: products with quantised weights, and attention. Every one has a portable version
//! that the others are held against; which one runs is decided by what the processor can do.
