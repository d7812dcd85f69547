//! Our own operators, whichever engine runs the graph that uses them: what a node says of itself,
//! what it is given, and what it computes. The heavy work is done by `gemma-kernels`.

pub(crate) mod angles;
pub(crate) mod attention;
pub(crate) mod columns;
pub(crate) mod experts;
pub(crate) mod matrix;
pub(crate) mod shared;

/// The domain of our operators in a graph.
pub(crate) const DOMAIN: &str = "gemmad";

/// Their names, as graphs write them.
pub(crate) const PRODUCT: &str = "Product";
pub(crate) const GATED_PRODUCT: &str = "GatedProduct";
pub(crate) const COLUMN_PRODUCT: &str = "ColumnProduct";
pub(crate) const EXPERTS: &str = "Experts";
pub(crate) const ATTENTION: &str = "Attention";

/// What a node says of itself in its attributes.
pub(crate) trait Attributes {
    /// An integer.
    fn integer(&self, name: &str) -> Option<i64>;

    /// A fraction.
    fn fraction(&self, name: &str) -> Option<f32>;

    /// A size that must be there.
    ///
    /// # Errors
    /// When it is not, or is no size.
    fn size(&self, name: &str) -> Result<usize, String> {
        let value = self.integer(name).ok_or_else(|| format!("its attribute {name} is missing"))?;
        let size = usize::try_from(value).ok().filter(|&size| size <= SIZE_MAX);
        size.ok_or_else(|| format!("its attribute {name} is {value}; 0 to {SIZE_MAX} is accepted"))
    }
}

/// Sizes beyond this are a damaged file.
const SIZE_MAX: usize = 1 << 31;

#[cfg(test)]
mod tests;
