//! GroupQueryAttention: as ONNX Runtime computes it, and from a past that lacks what nobody sees.

use proptest::prelude::*;

use super::model::Attribute::{Float, Int};
use super::model::Model;
use super::{Numbers, agree, answer, close};
use crate::engine::tract::Tract;
use crate::engine::{Data, Dim};

/// Positions of the rotary tables.
const POSITIONS: usize = 64;

/// A step of a grouped attention.
#[derive(Clone, Debug)]
struct Step {
    kv_heads: usize,
    group: usize,
    width: usize,
    queries: usize,
    past: usize,
    window: i64,
    softcap: f32,
    rotary: bool,
    interleaved: bool,
    /// Keys and values of another layer's present, and none of its own.
    shared: bool,
    bias: bool,
    half: bool,
    seed: u64,
}

impl Step {
    fn total(&self) -> usize {
        self.past + self.queries
    }

    /// The graph with the last `kept` rows of its past.
    fn model(&self, kept: usize) -> Model {
        let mut numbers = Numbers(self.seed);
        let heads = self.kv_heads * self.group;
        let (row, kv_row) = (heads * self.width, self.kv_heads * self.width);
        let mut floats = |count: usize| numbers.floats(count);
        let query = floats(self.queries * row);
        let steps = if self.shared { 0 } else { self.queries };
        let rows = if self.shared { self.total() } else { self.past };
        let kept = if self.shared { kept + self.queries } else { kept };
        let past: [Vec<f32>; 2] = [0, 1].map(|_| {
            let all = floats(self.kv_heads * rows * self.width);
            let heads = all.chunks_exact((rows * self.width).max(1));
            heads.flat_map(|head| &head[(rows - kept) * self.width..]).copied().collect()
        });
        let fresh = [0, 1].map(|_| floats(steps * kv_row));
        let angles: Vec<f32> = floats(POSITIONS * self.width / 2);
        let table = |of: fn(f32) -> f32| angles.iter().map(|&angle| of(angle * 3.0)).collect();
        let (cosines, sines): (Vec<f32>, Vec<f32>) = (table(f32::cos), table(f32::sin));
        let total = i32::try_from(self.total()).unwrap();
        let past_shape = [1, self.kv_heads, kept, self.width];
        let mut model = Model::new()
            .floats("q", &[1, self.queries, row], &query, self.half)
            .floats("k", &[1, steps, kv_row], &fresh[0], self.half)
            .floats("v", &[1, steps, kv_row], &fresh[1], self.half)
            .floats("past_k", &past_shape, &past[0], self.half)
            .floats("past_v", &past_shape, &past[1], self.half)
            .input("seqlens", &[1], Data::I32(vec![total - 1]))
            .input("total", &[1], Data::I32(vec![total]));
        let mut inputs = vec!["q", "k", "v", "past_k", "past_v", "seqlens", "total"];
        if self.rotary || self.bias {
            inputs.extend(if self.rotary { ["cos", "sin"] } else { ["", ""] });
        }
        if self.rotary {
            let shape = [POSITIONS, self.width / 2];
            model = model
                .weights("cos", &shape, &cosines, self.half)
                .weights("sin", &shape, &sines, self.half);
        }
        if self.bias {
            inputs.extend(["", "bias"]);
            let bias = floats(self.queries * self.total());
            model = model.floats("bias", &[1, 1, self.queries, self.total()], &bias, self.half);
        }
        model
            .node(
                "com.microsoft::GroupQueryAttention",
                &inputs,
                &["y", "key", "value"],
                &[
                    ("num_heads", Int(heads as i64)),
                    ("kv_num_heads", Int(self.kv_heads as i64)),
                    ("scale", Float(1.0)),
                    ("softcap", Float(self.softcap)),
                    ("local_window_size", Int(self.window)),
                    ("do_rotary", Int(self.rotary.into())),
                    ("rotary_interleaved", Int(self.interleaved.into())),
                ],
            )
            .output("y", self.half)
            .output("key", self.half)
            .output("value", self.half)
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let sizes = (1_usize..3, 1_usize..4, 1_usize..5, 1_usize..8, 0_usize..20);
    let form = (prop_oneof![Just(-1_i64), 1_i64..12], prop_oneof![Just(0.0_f32), Just(2.5)]);
    let switches = any::<(bool, bool, bool, bool, bool)>();
    (sizes, form, switches, 0_u64..1000).prop_map(
        |((kv_heads, group, eighth, queries, past), (window, softcap), switches, seed)| {
            let (rotary, interleaved, shared, bias, half) = switches;
            Step {
                kv_heads,
                group,
                width: eighth * 16,
                queries,
                past,
                window,
                softcap,
                rotary,
                interleaved: rotary && interleaved,
                shared,
                bias,
                half,
                seed,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn grouped_attention_agrees_with_onnxruntime(step in steps()) {
        agree(&step.model(step.past), &[], if step.half { 6e-3 } else { 2e-5 });
    }

    #[test]
    fn a_past_without_what_the_window_left_behind_gives_the_same(step in steps()) {
        let kept = match usize::try_from(step.window) {
            Ok(window) => step.past.min(window - 1),
            Err(_) => step.past,
        };
        let tract = Tract::open(1);
        let whole = answer(&tract, &step.model(step.past), &[]);
        let short = answer(&tract, &step.model(kept), &[]);
        close(&short[..1], &whole[..1], 1e-6);
    }
}

#[test]
fn lengths_may_be_open() {
    let step = Step {
        kv_heads: 2,
        group: 2,
        width: 16,
        queries: 3,
        past: 5,
        window: 4,
        softcap: 0.0,
        rotary: true,
        interleaved: false,
        shared: false,
        bias: false,
        half: false,
        seed: 3,
    };
    let fixed = Dim::Fixed;
    let past: &[Dim] = &[fixed(1), fixed(2), Dim::Recent, fixed(16)];
    let (query, key) = ([fixed(1), Dim::Step, fixed(64)], [fixed(1), Dim::Step, fixed(32)]);
    let dims: [(&str, &[Dim]); 5] =
        [("q", &query), ("k", &key), ("v", &key), ("past_k", past), ("past_v", past)];
    agree(&step.model(5), &dims, 2e-5);
}
