//! Attention of ONNX with its masks, its past, and its bound of the scores.

use proptest::prelude::*;

use super::model::Attribute::{Float, Int};
use super::model::Model;
use super::{Numbers, agree};
use crate::engine::Data;

/// An attention.
#[derive(Clone, Debug)]
struct Case {
    kv_heads: usize,
    group: usize,
    width: usize,
    queries: usize,
    past: Option<usize>,
    /// Keys of the step, where there is no past.
    keys: usize,
    causal: bool,
    softcap: f32,
    mask: Mask,
    flat: bool,
    half: bool,
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Mask {
    None,
    Floats,
    Bools,
}

impl Case {
    fn model(&self) -> Model {
        let mut numbers = Numbers(self.seed);
        let heads = self.kv_heads * self.group;
        let keys = if self.past.is_some() || self.causal { self.queries } else { self.keys };
        let shape = |heads: usize, steps: usize| match self.flat {
            true => vec![1, steps, heads * self.width],
            false => vec![1, heads, steps, self.width],
        };
        let mut floats = |count: usize| numbers.floats(count);
        let kv_count = self.kv_heads * keys * self.width;
        let mut model = Model::new()
            .opset(23)
            .floats(
                "q",
                &shape(heads, self.queries),
                &floats(heads * self.queries * self.width),
                self.half,
            )
            .floats("k", &shape(self.kv_heads, keys), &floats(kv_count), self.half)
            .floats("v", &shape(self.kv_heads, keys), &floats(kv_count), self.half);
        let total = keys + self.past.unwrap_or(0);
        let count = self.queries * total;
        let mut inputs = vec!["q", "k", "v"];
        match self.mask {
            Mask::None if self.past.is_some() => inputs.push(""),
            Mask::None => {}
            Mask::Floats => {
                inputs.push("mask");
                model = model.floats("mask", &[self.queries, total], &floats(count), self.half);
            }
            Mask::Bools => {
                inputs.push("mask");
                // Every query sees the first key, so that none sees nothing.
                let seen = floats(count).into_iter().enumerate();
                let seen = seen.map(|(at, value)| at % total == 0 || value > 0.0).collect();
                model = model.input("mask", &[self.queries, total], Data::Bool(seen));
            }
        }
        let mut outputs = vec!["y"];
        if let Some(past) = self.past {
            let shape = [1, self.kv_heads, past, self.width];
            let count = self.kv_heads * past * self.width;
            model = model.floats("past_k", &shape, &floats(count), self.half).floats(
                "past_v",
                &shape,
                &floats(count),
                self.half,
            );
            inputs.extend(["past_k", "past_v"]);
            outputs.extend(["key", "value"]);
        }
        let mut attributes = vec![
            ("is_causal", Int(self.causal.into())),
            ("scale", Float(1.0)),
            ("softcap", Float(self.softcap)),
        ];
        if self.flat {
            attributes.push(("q_num_heads", Int(heads as i64)));
            attributes.push(("kv_num_heads", Int(self.kv_heads as i64)));
        }
        model = model.node("Attention", &inputs, &outputs, &attributes);
        outputs.iter().fold(model, |model, output| model.output(output, self.half))
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..3, 1_usize..4, 1_usize..5, 1_usize..8, 1_usize..8);
    let mask = prop_oneof![Just(Mask::None), Just(Mask::Floats), Just(Mask::Bools)];
    let form = (proptest::option::of(0_usize..9), prop_oneof![Just(0.0_f32), Just(2.5)], mask);
    (sizes, form, any::<(bool, bool, bool)>(), 0_u64..1000).prop_map(
        |((kv_heads, group, quarter, queries, keys), (past, softcap, mask), switches, seed)| {
            let (causal, flat, half) = switches;
            let width = quarter * 8;
            Case {
                kv_heads,
                group,
                width,
                queries,
                past,
                keys,
                causal,
                softcap,
                mask,
                flat,
                half,
                seed,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn attention_of_onnx_agrees_with_onnxruntime(case in cases()) {
        agree(&case.model(), &[], if case.half { 5e-3 } else { 2e-5 });
    }
}

#[test]
fn attention_of_onnxruntime_agrees_with_it() {
    for masked in [false, true] {
        let mut numbers = Numbers(5);
        let mut model = Model::new()
            .floats("q", &[1, 5, 32], &numbers.floats(160), false)
            .floats("k", &[1, 7, 32], &numbers.floats(224), false)
            .floats("v", &[1, 7, 32], &numbers.floats(224), false);
        let mut inputs = vec!["q", "k", "v"];
        if masked {
            model = model.floats("mask", &[1, 2, 5, 7], &numbers.floats(70), false);
            inputs.extend(["", "", "mask"]);
        }
        let attributes = [("num_heads", Int(2)), ("scale", Float(0.5))];
        let name = "com.microsoft::MultiHeadAttention";
        let model = model.node(name, &inputs, &["y"], &attributes).output("y", false);
        agree(&model, &[], 2e-5);
    }
}
