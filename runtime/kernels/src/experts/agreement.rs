//! Random mixtures, held against sums that are written out in double precision.
#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

use half::f16;
use proptest::prelude::*;

use super::{Bend, Experts, Order, Stack, mix};
use crate::{Activations, Choice, Elements, Scales, Threads, Weights, noise::Noise};

/// How the weights of a case are stored.
#[derive(Debug, Clone, Copy)]
enum Form {
    Blocks { bits: u8, block: usize, zeros: bool, halves: bool },
    Rows { bits: u8, zeros: bool },
    F32,
    F16,
    Columns,
}

#[derive(Debug, Clone)]
struct Case {
    count: usize,
    chosen: usize,
    rows: usize,
    /// In sixteens.
    hidden: usize,
    inner: usize,
    form: Form,
    order: Order,
    bend: Bend,
    threads: usize,
    seed: u64,
}

fn forms() -> impl Strategy<Value = Form> {
    let bits = || prop_oneof![Just(4_u8), Just(8)];
    prop_oneof![
        (bits(), prop_oneof![Just(16_usize), Just(32)], any::<bool>(), any::<bool>())
            .prop_map(|(bits, block, zeros, halves)| Form::Blocks { bits, block, zeros, halves }),
        (bits(), any::<bool>()).prop_map(|(bits, zeros)| Form::Rows { bits, zeros }),
        Just(Form::F32),
        Just(Form::F16),
        Just(Form::Columns),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let swish = Bend::Swish { alpha: 1.5, beta: 0.5, limit: 2.0 };
    let order = prop_oneof![Just(Order::GateFirst), Just(Order::Interleaved)];
    let bend = prop_oneof![Just(Bend::Gelu), Just(swish)];
    let sizes = (1..9_usize, 1..9_usize, 0..40_usize, 1..6_usize, 1..6_usize);
    (sizes, forms(), order, bend, 1..4_usize, any::<u64>()).prop_map(
        |((count, chosen, rows, hidden, inner), form, order, bend, threads, seed)| Case {
            count,
            chosen: chosen.min(count),
            rows,
            hidden: hidden * 16,
            inner: inner * 16,
            form,
            order,
            bend,
            threads,
            seed,
        },
    )
}

/// The stored numbers of a stack `[count, outputs, inputs]`, and what they mean.
#[derive(Default)]
struct Stored {
    data: Vec<u8>,
    zeros: Option<Vec<u8>>,
    scales: Vec<f32>,
    half_scales: Vec<f16>,
    floats: Vec<f32>,
    halves: Vec<f16>,
    /// `[count, outputs, inputs]`.
    meant: Vec<f64>,
}

fn code(bytes: &[u8], at: usize, bits: u8) -> f64 {
    match bits {
        4 => f64::from(bytes[at / 2] >> (4 * (at % 2)) & 15),
        _ => f64::from(bytes[at]),
    }
}

impl Stored {
    fn new(form: Form, [count, outputs, inputs]: [usize; 3], noise: &mut Noise) -> Self {
        let all = count * outputs * inputs;
        match form {
            Form::Blocks { bits, block, zeros, .. } => {
                Self::levels(bits, block, zeros, true, [count, outputs, inputs], noise)
            }
            Form::Rows { bits, zeros } => {
                Self::levels(bits, inputs, zeros, false, [count, outputs, inputs], noise)
            }
            Form::F32 | Form::F16 => {
                let halves: Vec<f16> = noise.floats(all).into_iter().map(f16::from_f32).collect();
                let floats: Vec<f32> = halves.iter().map(|half| half.to_f32()).collect();
                let meant = floats.iter().copied().map(f64::from).collect();
                Self { floats, halves, meant, ..Self::default() }
            }
            Form::Columns => {
                let floats = noise.floats(all);
                let at = |place: usize| {
                    let (matrix, row, column) =
                        (place / (outputs * inputs), place / inputs % outputs, place % inputs);
                    f64::from(floats[matrix * outputs * inputs + column * outputs + row])
                };
                Self { meant: (0..all).map(at).collect(), floats, ..Self::default() }
            }
        }
    }

    /// Levels with zero points in rows that begin with a byte: one for each block of a row, or one
    /// for each row of an expert.
    fn levels(
        bits: u8,
        block: usize,
        has_zeros: bool,
        per_row: bool,
        [count, outputs, inputs]: [usize; 3],
        noise: &mut Noise,
    ) -> Self {
        let (blocks, all) = (inputs.div_ceil(block), count * outputs * inputs);
        let stored = blocks * block * usize::from(bits) / 8;
        let data = noise.bytes(count * outputs * stored);
        let half_scales: Vec<f16> = noise
            .floats(count * outputs * blocks)
            .iter()
            .map(|scale| f16::from_f32(scale / f32::from(1_u8 << (bits - 1))))
            .collect();
        let scales: Vec<f32> = half_scales.iter().map(|scale| scale.to_f32()).collect();
        let in_row = if per_row { blocks } else { outputs };
        let zero_row = (in_row * usize::from(bits)).div_ceil(8);
        let zeros = noise.bytes(zero_row * count * if per_row { outputs } else { 1 });
        let meant = |place: usize| {
            let (row, column) = (place / inputs, place % inputs);
            let (zero_at, zero_of) =
                if per_row { (row, column / block) } else { (row / outputs, row % outputs) };
            let zero = match has_zeros {
                true => code(&zeros[zero_at * zero_row..], zero_of, bits),
                false => f64::from(1_u8 << (bits - 1)),
            };
            let level = code(&data[row * stored..], column, bits);
            (level - zero) * f64::from(scales[row * blocks + column / block])
        };
        let meant = (0..all).map(meant).collect();
        let zeros = has_zeros.then_some(zeros);
        Self { data, zeros, scales, half_scales, meant, ..Self::default() }
    }

    fn stack(&self, form: Form, [count, outputs, inputs]: [usize; 3]) -> Stack<'_> {
        match form {
            Form::Blocks { bits, block, halves, .. } => Stack::Blocks(Weights {
                rows: count * outputs,
                columns: inputs,
                bits,
                block,
                data: &self.data,
                scales: match halves {
                    true => Scales::F16(&self.half_scales),
                    false => Scales::F32(&self.scales),
                },
                zero_points: self.zeros.as_deref(),
            }),
            Form::Rows { bits, .. } => Stack::Rows {
                bits,
                data: &self.data,
                scales: Scales::F32(&self.scales),
                zero_points: self.zeros.as_deref(),
            },
            Form::F32 => Stack::F32(&self.floats),
            Form::F16 => Stack::F16(&self.halves),
            Form::Columns => Stack::Columns(Elements::F32(&self.floats)),
        }
    }
}

fn bent(bend: Bend, gate: f64, other: f64) -> f64 {
    match bend {
        Bend::Gelu => {
            let inner = 0.797_884_560_8 * (gate + 0.044_715 * gate * gate * gate);
            0.5 * gate * (1.0 + inner.tanh()) * other
        }
        Bend::Swish { alpha, beta, limit } => {
            let (alpha, beta, limit) = (f64::from(alpha), f64::from(beta), f64::from(limit));
            let (gate, other) = (gate.min(limit), other.clamp(-limit, limit));
            gate / (1.0 + (-alpha * gate).exp()) * (other + beta)
        }
    }
}

/// What the mixture is, one product after the other.
fn expected(
    case: &Case,
    [first, second]: [&Stored; 2],
    input: &[f32],
    choices: &[Choice],
) -> Vec<f64> {
    let Case { hidden, inner, .. } = *case;
    let mut output = vec![0.0; case.rows * hidden];
    for (place, choice) in choices.iter().enumerate() {
        let row = place / case.chosen;
        let x = &input[row * hidden..][..hidden];
        let weights = &first.meant[choice.expert * 2 * inner * hidden..];
        let dot = |n: usize| -> f64 {
            x.iter().zip(&weights[n * hidden..]).map(|(x, w)| f64::from(*x) * w).sum()
        };
        let gated = |n: usize| match case.order {
            Order::GateFirst => bent(case.bend, dot(n), dot(inner + n)),
            Order::Interleaved => bent(case.bend, dot(2 * n), dot(2 * n + 1)),
        };
        let gated: Vec<f64> = (0..inner).map(gated).collect();
        let weights = &second.meant[choice.expert * hidden * inner..];
        for n in 0..hidden {
            let dot: f64 = gated.iter().zip(&weights[n * inner..]).map(|(x, w)| x * w).sum();
            output[row * hidden + n] += f64::from(choice.share) * dot;
        }
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn mixtures_are_the_sums_of_their_experts(case in cases()) {
        let Case { count, chosen, rows, hidden, inner, form, .. } = case;
        let mut noise = Noise(case.seed);
        let shapes = [[count, 2 * inner, hidden], [count, hidden, inner]];
        let [first, second] = shapes.map(|shape| Stored::new(form, shape, &mut noise));
        let experts = Experts {
            count,
            hidden,
            inner,
            first: first.stack(form, shapes[0]),
            second: second.stack(form, shapes[1]),
            order: case.order,
            bend: case.bend,
            activations: Activations::Exact,
        };
        let input = noise.floats(rows * hidden);
        let mut choose = || Choice {
            expert: noise.next() as usize % count,
            share: (noise.next() % 100) as f32 / 100.0,
        };
        let choices: Vec<Choice> = (0..rows * chosen).map(|_| choose()).collect();
        let mut output = vec![f32::NAN; rows * hidden];
        let threads = Threads::new(case.threads);
        mix(&experts, &input, rows, &choices, &mut output, &threads).unwrap();
        let expected = expected(&case, [&first, &second], &input, &choices);
        let size = expected.iter().fold(1.0_f64, |size, value| size.max(value.abs()));
        for (at, (found, expected)) in output.iter().zip(&expected).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            prop_assert!(error <= 3e-5 * size, "{at}: {found} is not {expected}, size {size}");
        }
    }
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_written() {
    let (first, second) = (vec![0.0; 2 * 32 * 16], vec![0.0; 2 * 16 * 16]);
    let experts = Experts {
        count: 2,
        hidden: 16,
        inner: 16,
        first: Stack::F32(&first),
        second: Stack::F32(&second),
        order: Order::GateFirst,
        bend: Bend::Gelu,
        activations: Activations::Exact,
    };
    let good = Choice { expert: 1, share: 0.5 };
    let check = |experts: Experts<'_>, input: usize, choices: &[Choice], expected: &str| {
        let mut output = [7.0; 16];
        let threads = Threads::new(2);
        let error =
            mix(&experts, &vec![0.0; input], 1, choices, &mut output, &threads).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(output, [7.0; 16]);
    };
    check(experts, 15, &[good], "the input has 15 elements where 1 x 16");
    check(experts, 16, &[Choice { expert: 2, ..good }], "expert 2 of 2 with a share of 0.5");
    check(experts, 16, &[Choice { share: f32::NAN, ..good }], "expert 1 of 2 with a share of NaN");
    let short = Stack::F32(&first[1..]);
    check(Experts { first: short, ..experts }, 16, &[good], "has 1023 elements where 2 x 32 x 16");
    check(Experts { inner: usize::MAX, ..experts }, 16, &[good], "columns");
    let scales = Scales::F32(&[1.0; 64]);
    let rows = Stack::Rows { bits: 3, data: &[0; 512], scales, zero_points: None };
    check(Experts { first: rows, ..experts }, 16, &[good], "weights of 3 bits, not 4 or 8");
    let rows = Stack::Rows { bits: 4, data: &[0; 511], scales, zero_points: None };
    check(Experts { first: rows, ..experts }, 16, &[good], "has 511 elements where 2 x 32 x 8");
    let rows = Stack::Rows { bits: 4, data: &[0; 512], scales, zero_points: Some(&[0; 3]) };
    check(
        Experts { first: rows, ..experts },
        16,
        &[good],
        "zero points has 3 elements where 2 x 16",
    );
    let mut nothing = [];
    mix(&experts, &[], 0, &[], &mut nothing, &Threads::new(2)).unwrap();
}
