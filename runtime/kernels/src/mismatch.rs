//! The one error of this crate: lengths or shapes that do not agree.

use std::{error::Error, fmt};

/// What does not agree, and what would: the calculation was not begun, the output is untouched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(String);

impl Mismatch {
    pub(crate) fn new(what: String) -> Self {
        Self(what)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for Mismatch {}

/// Whether `name` has the `wanted` number of elements, the product of the factors.
pub(crate) fn check_length(name: &str, length: usize, factors: &[usize]) -> Result<(), Mismatch> {
    let wanted = factors.iter().try_fold(1usize, |whole, &factor| whole.checked_mul(factor));
    if wanted == Some(length) {
        return Ok(());
    }
    let shape: Vec<String> = factors.iter().map(ToString::to_string).collect();
    let shape = shape.join(" x ");
    Err(Mismatch(format!("{name} has {length} elements where {shape} are expected")))
}
