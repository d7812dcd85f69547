//! Mixtures of experts: in the published forms against the published operators, else written out.

use super::*;
use crate::engine::own::EXPERTS;

const COUNT: usize = 5;
const CHOSEN: usize = 2;
const HIDDEN: usize = 32;
const INNER: usize = 64;
const ROWS: usize = 7;

/// How the weights of published operators are stored.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    /// Levels of so many bits, in blocks or with one scale for each row.
    Levels {
        bits: usize,
        block: Option<usize>,
        has_zeros: bool,
    },
}

/// Data, scales and zero points of one matrix for each expert, `[experts, outputs, inputs]`.
fn stored(
    noise: &mut Noise,
    prefix: &str,
    form: Form,
    [outputs, inputs]: [usize; 2],
) -> Vec<Tensor> {
    let name = |part: &str| format!("{prefix}.{part}");
    let all = COUNT * outputs * inputs;
    let Form::Levels { bits, block, has_zeros } = form else {
        let data: Vec<f32> = noise.row(all).iter().map(|weight| weight / 4.0).collect();
        return vec![floats(&name("data"), &[COUNT, outputs, inputs], &data)];
    };
    let data = noise.bytes(all * bits / 8);
    let blocks = block.map(|block| inputs / block);
    let count = COUNT * outputs * blocks.unwrap_or(1);
    let steps = (1 << bits) as f32;
    let scales: Vec<f32> = noise.row(count).iter().map(|scale| scale / steps).collect();
    let (scale_dims, zero_dims) = match blocks {
        Some(blocks) => {
            (vec![COUNT, outputs, blocks], vec![COUNT, outputs, (blocks * bits).div_ceil(8)])
        }
        None => (vec![COUNT, outputs], vec![COUNT, (outputs * bits).div_ceil(8)]),
    };
    let mut tensors = vec![
        constant(&name("data"), element::U8, &[COUNT, outputs, inputs * bits / 8], data),
        floats(&name("scales"), &scale_dims, &scales),
    ];
    if has_zeros {
        let zeros = noise.bytes(zero_dims.iter().product());
        tensors.push(constant(&name("zeros"), element::U8, &zero_dims, zeros));
    }
    tensors
}

fn scores(data: Vec<f32>) -> Input {
    rows("scores", COUNT, data)
}

fn sizes() -> Vec<Attribute> {
    [("experts", COUNT), ("k", CHOSEN), ("hidden", HIDDEN), ("inner", INNER)]
        .map(|(name, size)| Attribute::size(name, size))
        .into()
}

/// What the gate goes through.
const SWISH: [f32; 3] = [1.25, 0.5, 1.5];

fn given(name: &str, is_given: bool) -> &str {
    if is_given { name } else { "" }
}

/// The published operator.
fn published(form: Form, adds_up: bool) -> Node {
    let [alpha, beta, limit] = SWISH;
    let mut attributes = vec![
        Attribute::size("k", CHOSEN),
        Attribute::word("activation_type", "swiglu"),
        Attribute::int("swiglu_fusion", 1),
        Attribute::int("normalize_routing_weights", i64::from(adds_up)),
        Attribute::float("activation_alpha", alpha),
        Attribute::float("activation_beta", beta),
        Attribute::float("swiglu_limit", limit),
    ];
    let (op_type, inputs) = match form {
        Form::Plain => ("MoE", vec!["x", "scores", "f.data", "", "s.data"]),
        Form::Levels { bits, block, has_zeros } => {
            attributes.push(Attribute::size("expert_weight_bits", bits));
            attributes.extend(block.map(|block| Attribute::size("block_size", block)));
            let mut inputs = vec!["x", "scores", "f.data", "f.scales", "", "s.data", "s.scales"];
            inputs.extend([""; 4]);
            inputs.extend(["f.zeros", "s.zeros"].map(|name| given(name, has_zeros)));
            ("QMoE", inputs)
        }
    };
    let mut node = node(op_type, &inputs, &attributes);
    node.domain = "com.microsoft".into();
    node
}

/// Our operator on the same weights.
fn ours(form: Form, adds_up: bool) -> Node {
    let (bits, block, has_scales, has_zeros) = match form {
        Form::Plain => (0, 0, false, false),
        Form::Levels { bits, block, has_zeros } => (bits, block.unwrap_or(0), true, has_zeros),
    };
    let mut attributes = sizes();
    let fractions = ["alpha", "beta", "limit"].into_iter().zip(SWISH);
    attributes.extend(fractions.map(|(name, fraction)| Attribute::float(name, fraction)));
    attributes.extend(["interleaved", "swish"].map(|name| Attribute::int(name, 1)));
    attributes.push(Attribute::int("adds_up", i64::from(adds_up)));
    attributes.extend(["bits", "second_bits"].map(|name| Attribute::size(name, bits)));
    attributes.push(Attribute::size("block_size", block));
    let mut inputs = vec!["x", "scores", ""];
    for [data, scales, zeros] in
        [["f.data", "f.scales", "f.zeros"], ["s.data", "s.scales", "s.zeros"]]
    {
        inputs.extend([data, given(scales, has_scales), given(zeros, has_zeros)]);
    }
    node(EXPERTS, &inputs, &attributes)
}

fn check_published(form: Form, adds_up: bool) {
    let mut noise = Noise(11);
    let first = stored(&mut noise, "f", form, [2 * INNER, HIDDEN]);
    let second = stored(&mut noise, "s", form, [HIDDEN, INNER]);
    let constants = [first, second].concat();
    let (x, says) = (noise.row(ROWS * HIDDEN), noise.row(ROWS * COUNT));
    // The published operator takes scores without a batch.
    let flat = HostTensor { shape: vec![ROWS, COUNT], data: Data::F32(says.clone()) };
    let flat = ("scores", flat, vec![Dim::Step, Dim::Fixed(COUNT)]);
    let inputs = vec![rows("x", HIDDEN, x.clone()), flat];
    let single = Single::write(published(form, adds_up), HIDDEN, &constants, inputs, true);
    let expected = single.run(&ort()).unwrap();
    let inputs = vec![rows("x", HIDDEN, x), scores(says)];
    let single = Single::write(ours(form, adds_up), HIDDEN, &constants, inputs, true);
    for (engine, found) in single.run_on_both() {
        check_close(&format!("{engine} {form:?}"), &found.unwrap(), &expected);
    }
}

#[test]
fn mixtures_are_those_of_the_published_operators() {
    check_published(Form::Plain, true);
    check_published(Form::Plain, false);
    for (bits, block) in [(4, Some(16)), (4, Some(32)), (4, None), (8, None)] {
        for has_zeros in [false, true] {
            check_published(Form::Levels { bits, block, has_zeros }, true);
        }
    }
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh())
}

/// Gated experts in halves or floats, `[experts, inputs, outputs]`, with a factor for each.
struct Turned {
    first: Vec<f32>,
    second: Vec<f32>,
    factors: Vec<f32>,
}

impl Turned {
    fn new(noise: &mut Noise) -> Self {
        let mut half = |length| -> Vec<f32> {
            noise.row(length).iter().map(|weight| f16::from_f32(weight / 4.0).to_f32()).collect()
        };
        let (first, second) = (half(COUNT * HIDDEN * 2 * INNER), half(COUNT * INNER * HIDDEN));
        Self { first, second, factors: half(COUNT) }
    }

    fn expert(&self, expert: usize, x: &[f32]) -> Vec<f32> {
        let first = &self.first[expert * HIDDEN * 2 * INNER..];
        let dot = |n: usize| -> f32 {
            x.iter().enumerate().map(|(k, x)| x * first[k * 2 * INNER + n]).sum()
        };
        let gated: Vec<f32> = (0..INNER).map(|n| gelu(dot(n)) * dot(INNER + n)).collect();
        let second = &self.second[expert * INNER * HIDDEN..];
        let out =
            |n: usize| gated.iter().enumerate().map(|(k, x)| x * second[k * HIDDEN + n]).sum();
        (0..HIDDEN).map(out).collect()
    }

    fn mixed(&self, x: &[f32], scores: &[f32]) -> Vec<f32> {
        let mut order: Vec<usize> = (0..COUNT).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let whole: f32 = order[..CHOSEN].iter().map(|&expert| scores[expert].exp()).sum();
        let mut sum = vec![0.0; HIDDEN];
        for &expert in &order[..CHOSEN] {
            let share = scores[expert].exp() / whole * self.factors[expert];
            for (sum, answer) in sum.iter_mut().zip(self.expert(expert, x)) {
                *sum += share * answer;
            }
        }
        sum
    }

    fn constants(&self, has_halves: bool) -> [Tensor; 3] {
        let write = if has_halves { halves } else { floats };
        [
            write("f.data", &[COUNT, HIDDEN, 2 * INNER], &self.first),
            write("s.data", &[COUNT, INNER, HIDDEN], &self.second),
            floats("factors", &[COUNT], &self.factors),
        ]
    }
}

fn turned_node(k: usize) -> Node {
    let mut attributes = sizes();
    attributes[1] = Attribute::size("k", k);
    attributes.extend(["adds_up", "turned"].map(|name| Attribute::int(name, 1)));
    let plain = ["bits", "second_bits", "block_size"];
    attributes.extend(plain.map(|name| Attribute::int(name, 0)));
    node(EXPERTS, &["x", "scores", "factors", "f.data", "", "", "s.data"], &attributes)
}

#[test]
fn gated_experts_are_mixed_by_their_shares_and_factors() {
    let mut noise = Noise(5);
    let turned = Turned::new(&mut noise);
    let (x, says) = (noise.row(ROWS * HIDDEN), noise.row(ROWS * COUNT));
    let pairs = x.chunks(HIDDEN).zip(says.chunks(COUNT));
    let expected: Vec<f32> = pairs.flat_map(|(x, scores)| turned.mixed(x, scores)).collect();
    for (has_halves, is_beside) in [(false, true), (true, true), (false, false)] {
        let inputs = vec![rows("x", HIDDEN, x.clone()), scores(says.clone())];
        let constants = turned.constants(has_halves);
        let single = Single::write(turned_node(CHOSEN), HIDDEN, &constants, inputs, is_beside);
        for (engine, found) in single.run_on_both() {
            check_close(engine, &found.unwrap(), &expected);
        }
    }
}

#[test]
fn a_step_without_rows_gives_none() {
    let turned = Turned::new(&mut Noise(5));
    let inputs = vec![rows("x", HIDDEN, Vec::new()), scores(Vec::new())];
    let single = Single::write(turned_node(CHOSEN), HIDDEN, &turned.constants(false), inputs, true);
    for (engine, found) in single.run_on_both() {
        assert!(found.unwrap().is_empty(), "{engine}");
    }
}

#[test]
fn what_makes_no_mixture_is_refused_with_the_reason() {
    let turned = Turned::new(&mut Noise(5));
    let refused = |node: Node, constants: &[Tensor], says: Vec<f32>, expected: &str| {
        let inputs = vec![rows("x", HIDDEN, vec![0.5; ROWS * HIDDEN]), scores(says)];
        let single = Single::write(node, HIDDEN, constants, inputs, true);
        for (engine, found) in single.run_on_both() {
            let error = found.unwrap_err();
            // One engine looks at the rows of all inputs by itself.
            let is_refused = error.contains(expected) || error.contains("S=7 != 6");
            assert!(is_refused, "{engine}: {error}");
        }
    };
    let good = vec![0.0; ROWS * COUNT];
    let mut bad = good.clone();
    bad[3 * COUNT + 1] = f32::NAN;
    let whole = turned.constants(false);
    refused(turned_node(CHOSEN), &whole, bad, "row 3 of the scores has a router score that is no");
    let few = vec![0.0; (ROWS - 1) * COUNT];
    refused(turned_node(CHOSEN), &whole, few, "there are 30 scores for 7 rows of 5 experts");
    refused(turned_node(COUNT + 1), &whole, good.clone(), "make no mixture");
    let mut short = turned.constants(false);
    short[1] = floats(
        "s.data",
        &[COUNT, INNER, HIDDEN - 1],
        &turned.second[..COUNT * INNER * (HIDDEN - 1)],
    );
    refused(turned_node(CHOSEN), &short, good.clone(), "the experts' weights has 9920 elements");
    let mut levels = turned_node(CHOSEN);
    let bits = Attribute::int("bits", 3).encode_to_vec();
    levels.attribute.retain(|attribute| !attribute.windows(4).any(|part| part == b"bits"));
    levels.attribute.push(bits);
    refused(levels, &whole, good, "its attribute bits is none of 0, 4 and 8");
}
