//! Mixtures of experts, as one operator of ONNX Runtime or spelled out: every expert computed for
//! every row, and multiplied by its share, which is zero for those that were not chosen.

use super::{Factors, VIEWS, pair};
use crate::graph::edit::Node;
use crate::graph::tensor::Tensor;
use crate::optimize::source::Source;
use crate::optimize::write::EIGHT_BITS;

/// A mixture of experts.
#[derive(Clone, Copy, Debug)]
pub(in crate::optimize) struct Mixture<'s> {
    /// What goes into the experts.
    pub(in crate::optimize) of: &'s str,
    /// What the router says, before any softmax.
    pub(in crate::optimize) scores: &'s str,
    /// Whether a softmax is taken of what the router says before the one of the operator.
    pub(in crate::optimize) is_softmax: bool,
    /// Experts that a row goes to.
    pub(in crate::optimize) chosen: usize,
    /// Whether their shares are made to add up to one.
    pub(in crate::optimize) adds_up: bool,
    /// What the share of each expert is multiplied by then.
    pub(in crate::optimize) factors: Option<&'s Tensor>,
    /// Data, scales and zero points of gate and up product.
    pub(in crate::optimize) first: Stored<'s>,
    /// The same of the down product.
    pub(in crate::optimize) second: Stored<'s>,
    /// Whether gate and up product lie in turn, not one behind the other.
    pub(in crate::optimize) is_interleaved: bool,
    /// What the gate goes through, if it is no GELU: `alpha`, `beta` and a limit.
    pub(in crate::optimize) swish: Option<[f32; 3]>,
    /// Bits of a level of the two products; 0 for plain numbers.
    pub(in crate::optimize) bits: [i64; 2],
    /// Levels with one scale; 0 where a row has one.
    pub(in crate::optimize) block: i64,
    /// Whether the outputs of a matrix lie side by side.
    pub(in crate::optimize) is_turned: bool,
    /// As the published operator says it.
    pub(in crate::optimize) accuracy: i64,
}

/// The stored numbers of a product: data, scales and zero points.
#[derive(Clone, Copy, Debug)]
pub(in crate::optimize) struct Stored<'s> {
    pub(in crate::optimize) data: &'s Tensor,
    pub(in crate::optimize) scales: Option<&'s Tensor>,
    pub(in crate::optimize) zeros: Option<&'s Tensor>,
}

/// What the shares of a mixture are made of.
struct Shares<'s> {
    scores: &'s str,
    chosen: usize,
    adds_up: bool,
    factors: Option<&'s Tensor>,
}

impl Source {
    /// The mixture of experts that makes a value, if one does.
    ///
    /// # Errors
    /// When one does, in a form that there is no operator for.
    pub(in crate::optimize) fn mixture<'s>(
        &'s self,
        name: &'s str,
    ) -> Result<Option<Mixture<'s>>, String> {
        let found = self.producer(self.behind(name, &VIEWS));
        match found.map(|(node, _)| (node, node.op_type.as_str())) {
            Some((node, "MoE")) => self.of_operator(node, false).map(Some),
            Some((node, "QMoE")) => self.of_operator(node, true).map(Some),
            Some((node, "ReduceSum")) => Ok(self.spelled_out(node)),
            Some(_) | None => Ok(None),
        }
    }

    /// A mixture that is one operator, with levels for weights or with plain numbers.
    fn of_operator<'s>(&'s self, node: &'s Node, has_levels: bool) -> Result<Mixture<'s>, String> {
        let refused = |what: &str| format!("its {} {what}", node.op_type);
        let fraction = |name: &str, other| node.find(name).map_or(other, |found| found.f);
        let fusion = node.int("swiglu_fusion").unwrap_or(0);
        if word(node, "activation_type") != b"swiglu" || !matches!(fusion, 1 | 2) {
            return Err(refused("is not gated by a fused swiglu"));
        }
        if has_more(node, has_levels) {
            return Err(refused("has biases, a third product or levels of a kind unknown here"));
        }
        let places = if has_levels {
            [[Some(2), Some(3), Some(11)], [Some(5), Some(6), Some(12)]]
        } else {
            [[Some(2), None, None], [Some(4), None, None]]
        };
        let [Some(first), Some(second)] = places.map(|places| self.stored_at(node, places)) else {
            return Err(refused("has weights that are computed"));
        };
        let scores = input(node, 1).map(|name| self.behind(name, &VIEWS));
        let (Some(of), Some(scores)) = (input(node, 0), scores) else {
            return Err(refused("lacks inputs"));
        };
        let softmax = self.softmax(scores);
        let (bits, block) = if has_levels { levels(node) } else { ([0; 2], 0) };
        // Without a graphics card, blocks of bytes are multiplied with rounded activations, whatever
        // the operator says.
        let rounds = block > 0 && bits.contains(&8);
        let accuracy = if rounds { EIGHT_BITS } else { node.int("accuracy_level").unwrap_or(0) };
        Ok(Mixture {
            of: self.behind(of, &VIEWS),
            scores: softmax.unwrap_or(scores),
            is_softmax: softmax.is_some(),
            chosen: usize::try_from(node.int("k").unwrap_or(1)).unwrap_or(0),
            adds_up: node.int("normalize_routing_weights").unwrap_or(0) != 0,
            factors: None,
            first,
            second,
            is_interleaved: fusion == 1,
            swish: Some([
                fraction("activation_alpha", 1.0),
                fraction("activation_beta", 0.0),
                fraction("swiglu_limit", f32::INFINITY),
            ]),
            bits,
            block,
            is_turned: false,
            accuracy,
        })
    }

    /// Data, scales and zero points at these inputs; `None` where one is computed.
    fn stored_at<'s>(&'s self, node: &'s Node, places: [Option<usize>; 3]) -> Option<Stored<'s>> {
        let [data, scales, zeros] = places.map(|place| input(node, place?));
        let held = |name: Option<&'s str>| match name {
            Some(name) => self.stored(name).map(Some),
            None => Some(None),
        };
        Some(Stored { data: held(data)??, scales: held(scales)?, zeros: held(zeros)? })
    }

    /// A mixture whose last operator adds up what all experts say.
    fn spelled_out<'s>(&'s self, node: &'s Node) -> Option<Mixture<'s>> {
        let (node, _) = self.producer(self.value(node.input.first()?))?;
        let [a, b] = pair(node).filter(|_| node.op_type == "Mul")?;
        let parts = |answers: &'s str, shares: &'s str| {
            let (gated, second) = self.stack(answers)?;
            Some((gated, second, self.shares(shares)?))
        };
        let (gated, second, shares) = parts(a, b).or_else(|| parts(b, a))?;
        let gated = self.gated(self.behind(gated, &VIEWS))?;
        let (gate, other) = (self.producer(gated.gate)?, self.producer(self.value(gated.other))?);
        let is_split = std::ptr::eq(gate.0, other.0) && (gate.1, other.1) == (0, 1);
        let split = Some(gate.0).filter(|split| is_split && split.op_type == "Split")?;
        let (of, first) = self.stack(split.input.first()?)?;
        let plain = |data| Stored { data, scales: None, zeros: None };
        let Shares { scores, chosen, adds_up, factors } = shares;
        Some(Mixture {
            of: self.behind(of, &VIEWS),
            scores,
            is_softmax: false,
            chosen,
            adds_up,
            factors,
            first: plain(first),
            second: plain(second),
            is_interleaved: false,
            swish: None,
            bits: [0; 2],
            block: 0,
            is_turned: true,
            accuracy: 0,
        })
    }

    /// What is multiplied with one matrix for each expert, and these.
    fn stack<'s>(&'s self, name: &'s str) -> Option<(&'s str, &'s Tensor)> {
        let (node, _) = self.producer(self.value(name))?;
        let [of, by] = pair(node).filter(|_| node.op_type == "MatMul")?;
        let stack = self.stored(by).filter(|tensor| tensor.dims.len() == 3)?;
        Some((of, stack))
    }

    /// The share of each expert: the best scores, put among zeros, and perhaps multiplied.
    fn shares<'s>(&'s self, name: &'s str) -> Option<Shares<'s>> {
        let name = self.behind(name, &VIEWS);
        let (node, _) = self.producer(name)?;
        let (scattered, factors) = match pair(node).filter(|_| node.op_type == "Mul") {
            Some([a, b]) => match (self.stored(a), self.stored(b)) {
                (None, factors) => (a, factors),
                (factors, None) => (b, factors),
                _ => return None,
            },
            None => (name, None),
        };
        let (node, _) = self.producer(self.value(scattered))?;
        let [zeros, places, shares] = node.input.get(..3)? else { return None };
        let is_scattered = node.op_type == "ScatterElements" && self.is_zero(zeros);
        let (best, place) = self.producer(self.value(places)).filter(|_| is_scattered)?;
        let shares = self.value(shares);
        let is_of_best = |name: &str| {
            let found = self.producer(self.value(name));
            found.is_some_and(|(node, place)| std::ptr::eq(node, best) && place == 0)
        };
        let adds_up = match self.producer(shares)? {
            (node, 0) if node.op_type == "Div" => {
                let [above, below] = pair(node)?;
                let (sum, _) = self.producer(self.value(below))?;
                let is_sum = sum.op_type == "ReduceSum" && is_of_best(sum.input.first()?);
                (is_sum && is_of_best(above)).then_some(true)?
            }
            _ => is_of_best(shares).then_some(false)?,
        };
        let [of, count] = pair(best).filter(|_| best.op_type == "TopK" && place == 1)?;
        let count = self.stored(count)?.to_integers(&self.folder)?;
        let [chosen] = count[..] else { return None };
        let scores = self.softmax(of)?;
        Some(Shares { scores, chosen: usize::try_from(chosen).ok()?, adds_up, factors })
    }

    /// What a softmax over the columns is taken of.
    fn softmax<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        let (node, _) = self.producer(self.value(name)).filter(|(node, _)| {
            node.op_type == "Softmax" && matches!(node.int("axis"), None | Some(-1 | 2))
        })?;
        node.input.first().map(|name| self.behind(name, &VIEWS))
    }

    fn is_zero(&self, name: &str) -> bool {
        let is_filled = |(node, _): (&Node, usize)| node.op_type == "ConstantOfShape";
        self.producer(self.value(name)).is_some_and(is_filled)
            || matches!(self.factors(name), Some(Factors { number: 0.0, .. }))
    }
}

/// An input that is given.
fn input(node: &Node, place: usize) -> Option<&str> {
    node.input.get(place).filter(|name| !name.is_empty()).map(String::as_str)
}

fn word(node: &Node, name: &str) -> Vec<u8> {
    node.find(name).map(|attribute| attribute.s).unwrap_or_default()
}

/// Whether an operator has more than gate, up and down product in plain numbers or integers: biases,
/// a third product, scores for shares alone, scales of other kinds of levels.
fn has_more(node: &Node, has_levels: bool) -> bool {
    let more: &[usize] = match has_levels {
        true => &[4, 7, 8, 9, 10, 13, 14, 15, 16, 17, 18, 19, 20],
        false => &[3, 5, 6, 7],
    };
    more.iter().any(|&place| input(node, place).is_some())
        || !matches!(word(node, "quant_type").as_slice(), b"" | b"int")
        || node.int("weights_prepacked").unwrap_or(-1) > 0
        || node.int("use_sparse_mixer").unwrap_or(0) != 0
}

/// Bits of a level in the two products, and levels that share a scale.
fn levels(node: &Node) -> ([i64; 2], i64) {
    let bits = node.int("expert_weight_bits").unwrap_or(4);
    let bits = ["fc1_expert_weight_bits", "fc2_expert_weight_bits"]
        .map(|name| node.int(name).unwrap_or(bits));
    (bits, node.int("block_size").unwrap_or(0).max(0))
}
