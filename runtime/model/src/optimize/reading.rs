//! What the operators of a published decoder mean, however an exporter has spelled it: norms, products,
//! gates and sums are found behind one operator or behind a dozen.

mod experts;
mod integers;

use super::source::Source;
use crate::graph::edit::Node;
use crate::graph::tensor::Tensor;
pub(super) use experts::{Mixture, Stored};

/// Operators that leave the numbers as they are but for their precision.
const CASTS: [&str; 2] = ["Cast", "Identity"];

/// Operators that leave the numbers as they are but for their order.
pub(super) const VIEWS: [&str; 7] =
    ["Cast", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"];

/// Factors of one product beyond this are no formula of a Gemma.
const FACTORS_MAX: usize = 8;

/// A division by the root of the mean square, then a factor for each column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm<'s> {
    /// What is divided.
    pub(super) of: &'s str,
    /// The factors; `None` where there are none.
    pub(super) weight: Option<&'s Tensor>,
    /// What is added to the mean square.
    pub(super) epsilon: f32,
}

/// A product with a matrix of weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product<'s> {
    /// What is multiplied.
    pub(super) of: &'s str,
    /// The operator.
    pub(super) node: &'s Node,
    /// The matrix.
    pub(super) weights: Weights<'s>,
    /// Columns of the result.
    pub(super) columns: usize,
}

/// How a matrix of weights is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weights<'s> {
    /// In blocks of few bits, as `MatMulNBits` takes them: data, scales and zero points.
    Blocks([&'s Tensor; 2], Option<&'s Tensor>),
    /// In bytes, columns of the result side by side: data, scales and zero points.
    Bytes([&'s Tensor; 2], Option<&'s Tensor>),
    /// In floats; `true` where the rows of the matrix are the columns of the result.
    Plain(&'s Tensor, bool),
}

/// A norm times numbers and factors for each column.
#[derive(Debug)]
pub(super) struct ScaledNorm<'s> {
    pub(super) norm: Norm<'s>,
    pub(super) factors: Vec<&'s Tensor>,
    pub(super) factor: f32,
}

/// `gelu(gate) * other`, with the GELU of a hyperbolic tangent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gated<'s> {
    pub(super) gate: &'s str,
    pub(super) other: &'s str,
}

/// A number times values.
struct Factors<'s> {
    number: f64,
    values: Vec<&'s str>,
}

impl Source {
    /// The value behind changes of precision.
    pub(super) fn value<'s>(&'s self, name: &'s str) -> &'s str {
        self.behind(name, &CASTS)
    }

    /// The value behind the first inputs of these operators.
    pub(super) fn behind<'s>(&'s self, name: &'s str, operators: &[&str]) -> &'s str {
        let mut name = name;
        while let Some((node, 0)) = self.producer(name)
            && operators.contains(&node.op_type.as_str())
            && let Some(input) = node.input.first()
        {
            name = input;
        }
        name
    }

    /// A tensor that is stored, perhaps in another precision.
    pub(super) fn stored<'s>(&'s self, name: &'s str) -> Option<&'s Tensor> {
        self.tensor(self.value(name))
    }

    /// The number that a tensor of one element is.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let tensor = self.stored(name).filter(|tensor| tensor.count() == Some(1))?;
        Some(f64::from(*tensor.to_floats(&self.folder)?.first()?))
    }

    /// The norm that makes a value.
    pub(super) fn norm<'s>(&'s self, name: &'s str) -> Option<Norm<'s>> {
        let (node, place) = self.producer(self.value(name))?;
        let weight = |at: usize| node.input.get(at).and_then(|name| self.stored(name));
        let epsilon = |other| node.find("epsilon").map_or(other, |attribute| attribute.f);
        let of = node.input.first()?;
        match (node.op_type.as_str(), place) {
            ("SimplifiedLayerNormalization" | "RMSNormalization", 0) => {
                Some(Norm { of, weight: Some(weight(1)?), epsilon: epsilon(1e-5) })
            }
            ("SkipSimplifiedLayerNormalization", 0) => {
                let of = node.output.get(3).filter(|sum| !sum.is_empty())?;
                Some(Norm { of, weight: Some(weight(2)?), epsilon: epsilon(1e-12) })
            }
            ("Mul", 0) => self.written_norm(node).or_else(|| self.quotient(node)),
            ("Div", 0) => self.quotient(node),
            _ => None,
        }
    }

    /// A norm whose last operator multiplies by the factors.
    fn written_norm<'s>(&'s self, node: &'s Node) -> Option<Norm<'s>> {
        let [a, b] = pair(node)?;
        let (of, weight) = match (self.stored(a), self.stored(b)) {
            (None, Some(weight)) => (a, weight),
            (Some(weight), None) => (b, weight),
            _ => return None,
        };
        let (quotient, _) = self.producer(self.value(of))?;
        Some(Norm { weight: Some(weight), ..self.quotient(quotient)? })
    }

    /// A division by the root of the mean square.
    fn quotient<'s>(&'s self, node: &'s Node) -> Option<Norm<'s>> {
        let [a, b] = pair(node)?;
        match node.op_type.as_str() {
            "Div" => self.root_mean_square(a, self.root(b)?),
            "Mul" => {
                let inverse = |of, by| self.root_mean_square(of, self.inverse_root(by)?);
                inverse(a, b).or_else(|| inverse(b, a))
            }
            _ => None,
        }
    }

    /// What a square root is taken of.
    fn root<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        let (node, _) = self.producer(self.value(name))?;
        let of = node.input.first()?;
        let is_root = match node.op_type.as_str() {
            "Sqrt" => true,
            "Pow" => self.number(node.input.get(1)?) == Some(0.5),
            _ => false,
        };
        is_root.then_some(of)
    }

    /// What the inverse of a square root is taken of.
    fn inverse_root<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        let (node, _) = self.producer(self.value(name))?;
        let of = node.input.first()?;
        match node.op_type.as_str() {
            "Reciprocal" => self.root(of),
            "Div" if self.number(of) == Some(1.0) => self.root(node.input.get(1)?),
            "Pow" if self.number(node.input.get(1)?) == Some(-0.5) => Some(of),
            _ => None,
        }
    }

    /// A norm of `of`, where `sum` is its mean square and an epsilon.
    fn root_mean_square<'s>(&'s self, of: &'s str, sum: &'s str) -> Option<Norm<'s>> {
        let (node, _) = self.producer(self.value(sum)).filter(|(node, _)| node.op_type == "Add")?;
        let [a, b] = pair(node)?;
        let (mean, epsilon) = match (self.number(a), self.number(b)) {
            (None, Some(epsilon)) => (a, epsilon),
            (Some(epsilon), None) => (b, epsilon),
            _ => return None,
        };
        let (mean, _) = self.producer(self.value(mean))?;
        let squares = mean.input.first().filter(|_| mean.op_type == "ReduceMean")?;
        let of = self.value(of);
        self.is_square(squares, of).then_some(Norm { of, weight: None, epsilon: epsilon as f32 })
    }

    fn is_square(&self, name: &str, of: &str) -> bool {
        let Some((node, _)) = self.producer(self.value(name)) else { return false };
        let Some([a, b]) = pair(node) else { return false };
        match node.op_type.as_str() {
            "Mul" => self.value(a) == of && self.value(b) == of,
            "Pow" => self.value(a) == of && self.number(b) == Some(2.0),
            _ => false,
        }
    }

    /// The product with weights that makes a value.
    pub(super) fn product<'s>(&'s self, name: &'s str) -> Option<Product<'s>> {
        let (node, _) = self.producer(self.value(name))?;
        let (of, by) = (node.input.first()?, node.input.get(1)?);
        match node.op_type.as_str() {
            "MatMulNBits" => {
                let stored = |at: usize| node.input.get(at).and_then(|name| self.stored(name));
                let columns = usize::try_from(node.int("N")?).ok()?;
                let weights = Weights::Blocks([stored(1)?, stored(2)?], stored(3));
                Some(Product { of, node, weights, columns })
            }
            "MatMul" => {
                let (weights, turned) = self.matrix(by)?;
                let weights = Weights::Plain(weights, turned);
                Some(Product { of, node, weights, columns: weights.columns()? })
            }
            "Gemm" => {
                let plain = ["alpha", "beta"]
                    .iter()
                    .all(|name| node.find(name).is_none_or(|attribute| attribute.f == 1.0));
                let (weights, turned) = self.matrix(by)?;
                let turned = turned != (node.int("transB") == Some(1));
                let weights = Weights::Plain(weights, turned);
                let is_plain =
                    plain && node.input.len() == 2 && node.int("transA").is_none_or(|a| a == 0);
                is_plain.then_some(Product { of, node, weights, columns: weights.columns()? })
            }
            _ => self.integer_product(node),
        }
    }

    /// A norm, and what it is multiplied by.
    pub(super) fn scaled_norm<'s>(&'s self, name: &'s str) -> Option<ScaledNorm<'s>> {
        if let Some(norm) = self.norm(name) {
            return Some(ScaledNorm { norm, factors: Vec::new(), factor: 1.0 });
        }
        let Factors { number, values } = self.factors(name)?;
        let (factors, others): (Vec<_>, Vec<_>) =
            values.into_iter().partition(|value| self.stored(value).is_some());
        let [norm] = others[..] else { return None };
        let factors = factors.into_iter().filter_map(|factor| self.stored(factor)).collect();
        Some(ScaledNorm { norm: self.norm(norm)?, factors, factor: number as f32 })
    }

    /// A stored matrix, and whether it is used with rows and columns exchanged.
    fn matrix<'s>(&'s self, name: &'s str) -> Option<(&'s Tensor, bool)> {
        let name = self.value(name);
        let turned = self.producer(name).filter(|(node, _)| node.op_type == "Transpose");
        let stored = match turned {
            Some((node, _)) => self.stored(node.input.first()?)?,
            None => self.tensor(name)?,
        };
        (stored.dims.len() == 2).then_some((stored, turned.is_some()))
    }

    /// The two values that a value is the sum of.
    pub(super) fn sum<'s>(&'s self, name: &'s str) -> Option<[&'s str; 2]> {
        match self.producer(self.value(name))? {
            (node, 0) if node.op_type == "Add" => pair(node),
            (node, 3) if node.op_type == "SkipSimplifiedLayerNormalization" => pair(node),
            _ => None,
        }
    }

    /// The number that a value is multiplied by, and the value.
    pub(super) fn scaled<'s>(&'s self, name: &'s str) -> (f32, &'s str) {
        match self.factors(name) {
            Some(Factors { number, values }) if values.len() == 1 => (number as f32, values[0]),
            _ => (1.0, self.value(name)),
        }
    }

    /// The gated product that makes a value.
    pub(super) fn gated<'s>(&'s self, name: &'s str) -> Option<Gated<'s>> {
        let Factors { number, values } = self.factors(name)?;
        for (at, &value) in values.iter().enumerate() {
            let rest = values.iter().enumerate().filter(|(other, _)| *other != at);
            let rest: Vec<&str> = rest.map(|(_, value)| *value).collect();
            let gelu = self.gelu(value).filter(|_| close(number, 1.0));
            // Half the gate times one and a tangent of it.
            let tangent = self.tangent(value).filter(|_| close(number, 0.5));
            match (gelu, tangent, &rest[..]) {
                (Some(gate), _, [other]) => return Some(Gated { gate, other }),
                (_, Some(gate), [other, one] | [one, other]) if *one == gate => {
                    return Some(Gated { gate, other });
                }
                _ => {}
            }
        }
        None
    }

    /// What an operator takes the tangent form of GELU of.
    fn gelu<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        let (node, _) = self.producer(self.value(name))?;
        let is_gelu = match node.op_type.as_str() {
            "Gelu" => node.find("approximate").is_some_and(|attribute| attribute.s == b"tanh"),
            "FastGelu" => node.input.len() == 1,
            _ => false,
        };
        node.input.first().filter(|_| is_gelu).map(|name| self.value(name))
    }

    /// The `x` of `1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))`.
    fn tangent<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        let (node, _) = self.producer(name).filter(|(node, _)| node.op_type == "Add")?;
        let [a, b] = pair(node)?;
        let tangent = match (self.number(a), self.number(b)) {
            (Some(1.0), None) => b,
            (None, Some(1.0)) => a,
            _ => return None,
        };
        let (node, _) = self.producer(self.value(tangent))?;
        let inner = node.input.first().filter(|_| node.op_type == "Tanh")?;
        let Factors { number, values } = self.factors(inner)?;
        if !close(number, (2.0 / std::f64::consts::PI).sqrt()) {
            return None;
        }
        match values[..] {
            [sum] => self.cubic(sum, None),
            [a, b] => self.cubic(a, Some(b)).or_else(|| self.cubic(b, Some(a))),
            _ => None,
        }
    }

    /// The `x` of `x + 0.044715 * x^3`, or of `1 + 0.044715 * x^2` where `x` stands before it.
    fn cubic<'s>(&'s self, name: &'s str, before: Option<&'s str>) -> Option<&'s str> {
        let [a, b] = self.sum(name)?;
        let check = |first: &'s str, power: &'s str| {
            let Factors { number, values } = self.factors(power)?;
            let (x, times) = match before {
                Some(x) => (self.number(first) == Some(1.0)).then_some((x, 2))?,
                None => (self.value(first), 3),
            };
            let right = close(number, 0.044_715) && values == vec![x; times];
            right.then_some(x)
        };
        check(a, b).or_else(|| check(b, a))
    }

    /// Takes a product apart; `None` where it has more factors than any formula here.
    fn factors<'s>(&'s self, name: &'s str) -> Option<Factors<'s>> {
        let mut factors = Factors { number: 1.0, values: Vec::new() };
        // Each with whether it divides.
        let mut open = vec![(name, false)];
        while let Some((name, divides)) = open.pop() {
            let name = self.value(name);
            if open.len() + factors.values.len() > FACTORS_MAX {
                return None;
            }
            if let Some(number) = self.number(name) {
                factors.number *= if divides { 1.0 / number } else { number };
                continue;
            }
            if divides {
                return None;
            }
            let is_whole =
                |node: &Node| self.norm(name).is_none() && self.integer_product(node).is_none();
            match self.producer(name).filter(|(node, _)| is_whole(node)) {
                Some((node, 0)) if node.op_type == "Mul" => {
                    open.extend(pair(node)?.map(|part| (part, false)));
                }
                Some((node, 0))
                    if node.op_type == "Div" && self.number(node.input.get(1)?).is_some() =>
                {
                    let [above, below] = pair(node)?;
                    open.extend([(above, false), (below, true)]);
                }
                Some((node, 0)) if node.op_type == "Pow" => {
                    let [base, power] = pair(node)?;
                    match self.number(power) {
                        Some(2.0) => open.extend([(base, false); 2]),
                        Some(3.0) => open.extend([(base, false); 3]),
                        _ => factors.values.push(name),
                    }
                }
                _ => factors.values.push(name),
            }
        }
        Some(factors)
    }
}

impl Weights<'_> {
    /// Columns of what a plain matrix makes.
    fn columns(&self) -> Option<usize> {
        match self {
            Self::Plain(tensor, turned) => {
                let at = if *turned { 0 } else { 1 };
                usize::try_from(*tensor.dims.get(at)?).ok()
            }
            Self::Blocks(..) | Self::Bytes(..) => None,
        }
    }
}

/// The two inputs of an operator.
fn pair(node: &Node) -> Option<[&str; 2]> {
    Some([node.input.first()?.as_str(), node.input.get(1)?.as_str()])
}

/// Whether a number is the one of a formula, as far as 16 bits tell.
fn close(number: f64, formula: f64) -> bool {
    (number - formula).abs() <= 1e-3 * formula.abs()
}
