//! A mixture of experts: every row of activations goes through a few of many gated layers. Only the
//! weights of those are read, and each of them once for all rows that go there.

#[cfg(test)]
mod agreement;
mod stack;

use std::ops::Range;

use crate::{Activations, Choice, Mismatch, Threads, mismatch::check_length, output::Output};
use stack::Shape;
pub use stack::Stack;

/// Places of rows up to which experts are shared between the threads, instead of the rows of each
/// expert's weights: what all experts answer is then kept until the last has.
const PLACES_MAX: usize = 64;

/// The gated layers: expert(x) = second * (bend(first_gate * x) * (first_up * x)).
#[derive(Debug, Clone, Copy)]
pub struct Experts<'a> {
    /// How many there are.
    pub count: usize,
    /// Columns of what goes in and comes out.
    pub hidden: usize,
    /// Columns between the two products.
    pub inner: usize,
    /// `[count, 2 * inner, hidden]`: gate and up product.
    pub first: Stack<'a>,
    /// `[count, hidden, inner]`.
    pub second: Stack<'a>,
    /// How gate and up product lie.
    pub order: Order,
    /// What the gate goes through.
    pub bend: Bend,
    /// How exactly activations enter products with blocks of levels.
    pub activations: Activations,
}

/// How the outputs of gate and up product lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All of the gate, then all of the other.
    GateFirst,
    /// One of the gate, one of the other.
    Interleaved,
}

/// What the gate goes through before the other product is multiplied by it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bend {
    /// gelu(gate) * up, in the approximation by tanh.
    Gelu,
    /// gate * sigmoid(alpha * gate) * (up + beta), both first held below `limit`, and `up` above its
    /// negative.
    Swish {
        /// Steepness.
        alpha: f32,
        /// What is added to the other product.
        beta: f32,
        /// Infinite where there is none.
        limit: f32,
    },
}

/// output[row] = sum over the choices of the row of share * expert(input[row]).
///
/// `input` and `output` are `[rows, hidden]` f32, `choices` is `[rows, chosen]`; `rows` may be zero.
///
/// # Errors
/// Where lengths do not agree, an expert is chosen that there is not, or a share is no number;
/// nothing is written then.
pub fn mix(
    experts: &Experts<'_>,
    input: &[f32],
    rows: usize,
    choices: &[Choice],
    output: &mut [f32],
    threads: &Threads,
) -> Result<(), Mismatch> {
    let Experts { hidden, inner, count, .. } = *experts;
    let whole = inner.checked_mul(2);
    let whole = whole.ok_or_else(|| Mismatch::new(format!("experts of {inner} columns")))?;
    experts.first.check(Shape { count, outputs: whole, inputs: hidden })?;
    experts.second.check(Shape { count, outputs: hidden, inputs: inner })?;
    check_length("the input", input.len(), &[rows, hidden])?;
    check_length("the output", output.len(), &[rows, hidden])?;
    let chosen = choices.len() / rows.max(1);
    check_length("the choices", choices.len(), &[rows, chosen])?;
    for &Choice { expert, share } in choices {
        if expert >= count || !share.is_finite() {
            let reason = format!("expert {expert} of {count} with a share of {share} is chosen");
            return Err(Mismatch::new(reason));
        }
    }
    let mut places: Vec<usize> = (0..choices.len()).collect();
    places.sort_by_key(|&place| choices[place].expert);
    let mix = Mix { experts, input, choices, chosen, places: &places };
    let groups = mix.groups();
    output.fill(0.0);
    match places.len() <= PLACES_MAX && groups.len().is_multiple_of(threads.count()) {
        true => mix.experts_at_once(&groups, output, threads),
        false => mix.one_by_one(&groups, output, threads),
    }
}

/// The mixture of a step; the lengths agree.
struct Mix<'a> {
    experts: &'a Experts<'a>,
    input: &'a [f32],
    choices: &'a [Choice],
    /// Choices of a row.
    chosen: usize,
    /// Places among the choices, in the order of the experts.
    places: &'a [usize],
}

impl Mix<'_> {
    /// Stretches of the places, one for each expert that is chosen.
    fn groups(&self) -> Vec<Range<usize>> {
        let mut groups = Vec::new();
        let mut first = 0;
        let same = |a: &usize, b: &usize| self.choices[*a].expert == self.choices[*b].expert;
        for group in self.places.chunk_by(same) {
            groups.push(first..first + group.len());
            first += group.len();
        }
        groups
    }

    /// All threads work on one expert, then on the next.
    fn one_by_one(
        &self,
        groups: &[Range<usize>],
        output: &mut [f32],
        threads: &Threads,
    ) -> Result<(), Mismatch> {
        for group in groups {
            let answers = self.answers(group, threads)?;
            for (&place, answer) in self.places[group.clone()].iter().zip(self.rows(&answers)) {
                self.add(place, answer, output);
            }
        }
        Ok(())
    }

    /// Every thread works on an expert of its own.
    fn experts_at_once(
        &self,
        groups: &[Range<usize>],
        output: &mut [f32],
        threads: &Threads,
    ) -> Result<(), Mismatch> {
        let hidden = self.experts.hidden;
        let mut all = vec![f32::NAN; self.places.len() * hidden];
        let shared = Output::new(&mut all);
        threads.split(groups.len(), 1, &|range| {
            for group in &groups[range] {
                // Work inside of work is done by the thread that has it. What was checked fits.
                if let Ok(answers) = self.answers(group, threads) {
                    shared.set(group.start * hidden, &answers);
                }
            }
        });
        for (&place, answer) in self.places.iter().zip(self.rows(&all)) {
            self.add(place, answer, output);
        }
        Ok(())
    }

    /// What the expert of a group answers to its rows, `[places, hidden]`.
    fn answers(&self, group: &Range<usize>, threads: &Threads) -> Result<Vec<f32>, Mismatch> {
        let Experts { count, hidden, inner, first, second, activations, .. } = *self.experts;
        let places = &self.places[group.clone()];
        let row = |&place: &usize| &self.input[place / self.chosen * hidden..][..hidden];
        let input: Vec<f32> = places.iter().flat_map(row).copied().collect();
        let expert = places.first().map_or(0, |&place| self.choices[place].expert);
        let rows = places.len();
        let shape = Shape { count, outputs: 2 * inner, inputs: hidden };
        let both = first.product(shape, expert, &input, rows, activations, threads)?;
        let gated = self.experts.gated(&both);
        let shape = Shape { count, outputs: hidden, inputs: inner };
        second.product(shape, expert, &gated, rows, activations, threads)
    }

    fn rows<'r>(&self, answers: &'r [f32]) -> impl Iterator<Item = &'r [f32]> {
        answers.chunks_exact(self.experts.hidden.max(1))
    }

    fn add(&self, place: usize, answer: &[f32], output: &mut [f32]) {
        let hidden = self.experts.hidden;
        let share = self.choices[place].share;
        let row = &mut output[place / self.chosen * hidden..][..hidden];
        for (sum, answer) in row.iter_mut().zip(answer) {
            *sum += share * answer;
        }
    }
}

impl Experts<'_> {
    /// The gated product, `[rows, inner]`, of gate and up product, `[rows, 2 * inner]`.
    fn gated(&self, both: &[f32]) -> Vec<f32> {
        let rows = both.chunks_exact(2 * self.inner.max(1));
        let mut gated = Vec::with_capacity(both.len() / 2);
        for row in rows {
            match self.order {
                Order::GateFirst => {
                    let (gates, others) = row.split_at(self.inner);
                    let pairs = gates.iter().zip(others);
                    gated.extend(pairs.map(|(gate, other)| self.bend.of(*gate, *other)));
                }
                Order::Interleaved => {
                    let (pairs, _) = row.as_chunks::<2>();
                    gated.extend(pairs.iter().map(|[gate, other]| self.bend.of(*gate, *other)));
                }
            }
        }
        gated
    }
}

impl Bend {
    fn of(self, gate: f32, other: f32) -> f32 {
        match self {
            Self::Gelu => crate::gelu::gelu(gate) * other,
            Self::Swish { alpha, beta, limit } => {
                let (gate, other) = (gate.min(limit), other.max(-limit).min(limit));
                gate / (1.0 + (-alpha * gate).exp()) * (other + beta)
            }
        }
    }
}
