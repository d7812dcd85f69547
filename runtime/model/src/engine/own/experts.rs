//! A mixture of experts: each row goes through the few experts that its router likes best. Their
//! weights lie as the published operators have them, and are read where they lie.

use gemma_kernels::{
    Activations, Bend, Elements, Experts as View, Order, Router, Scales, Stack, Weights, mix,
};
use half::f16;

use super::Attributes;
use super::matrix::{ACCURACY_INT8, ScaleSlice};
use super::shared::Shared;

/// What the attributes of a node say about its experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Experts {
    count: usize,
    chosen: usize,
    /// Columns of what goes in and comes out.
    pub(crate) hidden: usize,
    inner: usize,
    adds_up: bool,
    order: Order,
    bend: Bend,
    /// Width of a level of the two products; 0 for plain numbers.
    bits: [u8; 2],
    /// Levels that share a scale; 0 where a row does.
    block: usize,
    /// Whether plain matrices have their outputs side by side.
    is_turned: bool,
    rounds: bool,
}

/// Fractions that were read are numbers, so that each equals itself.
impl Eq for Experts {}

/// The stored numbers of a product.
#[derive(Clone, Copy)]
pub(crate) enum DataSlice<'a> {
    /// Packed levels.
    Levels(&'a [u8]),
    F32(&'a [f32]),
    F16(&'a [f16]),
}

/// One matrix for each expert.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) data: DataSlice<'a>,
    pub(crate) scales: Option<ScaleSlice<'a>>,
    pub(crate) zero_points: Option<&'a [u8]>,
}

/// What a step gives the experts.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    /// `[rows, hidden]`.
    pub(crate) x: &'a [f32],
    /// What the router says, `[rows, experts]`.
    pub(crate) scores: &'a [f32],
    /// What the share of each expert is multiplied by.
    pub(crate) factors: Option<&'a [f32]>,
    /// Gate and up product.
    pub(crate) first: Parts<'a>,
    /// Down product.
    pub(crate) second: Parts<'a>,
}

impl Experts {
    /// Reads the attributes of a node.
    ///
    /// # Errors
    /// When one is missing or makes no sense.
    pub(crate) fn read(node: &impl Attributes) -> Result<Self, String> {
        let is_set = |name: &str| node.integer(name).is_some_and(|value| value != 0);
        let bend = match is_set("swish") {
            false => Bend::Gelu,
            true => Bend::Swish {
                alpha: number(node, "alpha", 1.0)?,
                beta: number(node, "beta", 0.0)?,
                limit: number(node, "limit", f32::INFINITY)?,
            },
        };
        let new = Self {
            count: node.size("experts")?,
            chosen: node.size("k")?,
            hidden: node.size("hidden")?,
            inner: node.size("inner")?,
            adds_up: is_set("adds_up"),
            order: if is_set("interleaved") { Order::Interleaved } else { Order::GateFirst },
            bend,
            bits: [bits(node, "bits")?, bits(node, "second_bits")?],
            block: node.size("block_size")?,
            is_turned: is_set("turned"),
            rounds: node.integer("accuracy_level") == Some(ACCURACY_INT8),
        };
        let sizes = [new.count, new.chosen, new.hidden, new.inner];
        match sizes.contains(&0) || new.chosen > new.count {
            true => Err(format!("{new:?} make no mixture")),
            false => Ok(new),
        }
    }

    /// Rows of what goes in.
    ///
    /// # Errors
    /// When it has another number of columns.
    pub(crate) fn input_rows(&self, shape: &[usize]) -> Result<usize, String> {
        match shape.split_last() {
            Some((&columns, rows)) if columns == self.hidden => Ok(rows.iter().product()),
            Some(_) | None => Err(format!("x is {shape:?}; {} columns are due", self.hidden)),
        }
    }

    /// Computes the mixture, `[rows, hidden]`.
    ///
    /// # Errors
    /// When lengths do not fit, or the router says what is no number.
    pub(crate) fn compute(
        &self,
        given: &Given<'_>,
        rows: usize,
        output: &mut [f32],
        shared: &Shared,
    ) -> Result<(), String> {
        let Self { count, chosen, hidden, inner, adds_up, order, bend, .. } = *self;
        let Given { x, scores, factors, first, second } = *given;
        if scores.len() != rows * count {
            let found = scores.len();
            return Err(format!("there are {found} scores for {rows} rows of {count} experts"));
        }
        let router = Router { experts: count, chosen, adds_up, factors };
        let choices = router.choose(scores).map_err(|mismatch| mismatch.to_string())?;
        let view = View {
            count,
            hidden,
            inner,
            first: self.stack(first, self.bits[0], 2 * inner, hidden)?,
            second: self.stack(second, self.bits[1], hidden, inner)?,
            order,
            bend,
            activations: if self.rounds { Activations::Int8 } else { Activations::Exact },
        };
        let mixed = mix(&view, x, rows, &choices, output, &shared.threads);
        mixed.map_err(|mismatch| mismatch.to_string())
    }

    fn stack<'a>(
        &self,
        parts: Parts<'a>,
        bits: u8,
        outputs: usize,
        inputs: usize,
    ) -> Result<Stack<'a>, String> {
        let Parts { data, scales, zero_points } = parts;
        let scales = scales.map(|scales| match scales {
            ScaleSlice::F32(scales) => Scales::F32(scales),
            ScaleSlice::F16(scales) => Scales::F16(scales),
        });
        match (data, bits, scales) {
            (DataSlice::F32(data), 0, None) if self.is_turned => {
                Ok(Stack::Columns(Elements::F32(data)))
            }
            (DataSlice::F16(data), 0, None) if self.is_turned => {
                Ok(Stack::Columns(Elements::F16(data)))
            }
            (DataSlice::F32(data), 0, None) => Ok(Stack::F32(data)),
            (DataSlice::F16(data), 0, None) => Ok(Stack::F16(data)),
            (DataSlice::Levels(data), 4 | 8, Some(scales)) if self.block == 0 => {
                Ok(Stack::Rows { bits, data, scales, zero_points })
            }
            (DataSlice::Levels(data), 4 | 8, Some(scales)) => {
                let rows = self.count.checked_mul(outputs).ok_or("more experts than any memory")?;
                let (columns, block) = (inputs, self.block);
                let weights = Weights { rows, columns, bits, block, data, scales, zero_points };
                Ok(Stack::Blocks(weights))
            }
            _ => Err(format!("weights of {bits} bits that are stored in another form")),
        }
    }
}

fn bits(node: &impl Attributes, name: &str) -> Result<u8, String> {
    let bits = node.integer(name).and_then(|bits| u8::try_from(bits).ok());
    let bits = bits.filter(|bits| matches!(bits, 0 | 4 | 8));
    bits.ok_or_else(|| format!("its attribute {name} is none of 0, 4 and 8"))
}

fn number(node: &impl Attributes, name: &str, otherwise: f32) -> Result<f32, String> {
    let number = node.fraction(name).unwrap_or(otherwise);
    match number.is_nan() {
        true => Err(format!("its attribute {name} is no number")),
        false => Ok(number),
    }
}
