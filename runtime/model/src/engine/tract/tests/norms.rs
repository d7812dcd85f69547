//! Norms and rotary positions.

use proptest::prelude::*;

use super::model::Attribute::{Float, Int};
use super::model::Model;
use super::{Numbers, agree};
use crate::engine::{Data, Dim};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_norm_agrees_with_onnxruntime(
        rows in 1_usize..6, width in 1_usize..70, half: bool, deviations: bool, seed in 0_u64..1000,
    ) {
        let mut numbers = Numbers(seed);
        let outputs: &[&str] = if deviations { &["y", "inverse"] } else { &["y"] };
        let model = Model::new()
            .floats("x", &[1, rows, width], &numbers.floats(rows * width), half)
            .weights("scale", &[width], &numbers.floats(width), half)
            .node("SimplifiedLayerNormalization", &["x", "scale"], outputs, &[
                ("axis", Int(-1)), ("epsilon", Float(1e-6)), ("stash_type", Int(1)),
            ])
            .output("y", half);
        let model = if deviations { model.output("inverse", false) } else { model };
        let step: (&str, &[Dim]) = ("x", &[Dim::Fixed(1), Dim::Step, Dim::Fixed(width)]);
        agree(&model, &[step], if half { 2e-3 } else { 1e-5 });
    }

    #[test]
    fn a_norm_of_onnx_agrees_with_onnxruntime(
        rows in 1_usize..6, width in 1_usize..70, seed in 0_u64..1000,
    ) {
        let mut numbers = Numbers(seed);
        let model = Model::new()
            .opset(23)
            .floats("x", &[1, rows, width], &numbers.floats(rows * width), false)
            .weights("scale", &[width], &numbers.floats(width), false)
            .node("RMSNormalization", &["x", "scale"], &["y"], &[("epsilon", Float(1e-6))])
            .output("y", false);
        agree(&model, &[], 1e-5);
    }

    #[test]
    fn a_norm_of_a_sum_agrees_with_onnxruntime(
        rows in 1_usize..6, width in 1_usize..70, half: bool, sum: bool, seed in 0_u64..1000,
    ) {
        let mut numbers = Numbers(seed);
        let outputs: &[&str] = if sum { &["y", "", "", "sum"] } else { &["y"] };
        let model = Model::new()
            .floats("x", &[1, rows, width], &numbers.floats(rows * width), half)
            .floats("skip", &[1, rows, width], &numbers.floats(rows * width), half)
            .weights("scale", &[width], &numbers.floats(width), half)
            .node(
                "com.microsoft::SkipSimplifiedLayerNormalization",
                &["x", "skip", "scale"],
                outputs,
                &[("epsilon", Float(1e-6))],
            )
            .output("y", half);
        let model = if sum { model.output("sum", half) } else { model };
        agree(&model, &[], if half { 2e-3 } else { 1e-5 });
    }

    #[test]
    fn rotary_positions_agree_with_onnxruntime(
        heads in 1_usize..4, quarter in 1_usize..9, steps in 1_usize..6, start in 0_i64..9,
        interleaved: bool, offset: bool, half: bool, seed in 0_u64..1000,
    ) {
        let (mut numbers, width) = (Numbers(seed), quarter * 4);
        let row = heads * width;
        let table = |numbers: &mut Numbers| numbers.floats(16 * width / 2);
        let (shape, positions) = match offset {
            true => (vec![1], vec![start]),
            false => (vec![1, steps], (0..steps as i64).map(|step| start + step).collect()),
        };
        let model = Model::new()
            .floats("x", &[1, steps, row], &numbers.floats(steps * row), half)
            .input("positions", &shape, Data::I64(positions))
            .weights("cos", &[16, width / 2], &table(&mut numbers), half)
            .weights("sin", &[16, width / 2], &table(&mut numbers), half)
            .node(
                "com.microsoft::RotaryEmbedding",
                &["x", "positions", "cos", "sin"],
                &["y"],
                &[("num_heads", Int(heads as i64)), ("interleaved", Int(interleaved.into()))],
            )
            .output("y", half);
        agree(&model, &[], if half { 3e-3 } else { 1e-5 });
    }

    #[test]
    fn rotary_positions_of_onnx_agree_with_onnxruntime(
        heads in 1_usize..4, quarter in 1_usize..9, steps in 1_usize..6, partial: bool, wide: bool,
        seed in 0_u64..1000,
    ) {
        let (mut numbers, width) = (Numbers(seed), quarter * 4);
        let turned = if partial { width / 2 } else { width };
        let shape = if wide { vec![1, heads, steps, width] } else { vec![1, steps, heads * width] };
        let positions = (0..steps as i64).rev().collect();
        let model = Model::new()
            .opset(23)
            .floats("x", &shape, &numbers.floats(steps * heads * width), false)
            .weights("cos", &[16, turned / 2], &numbers.floats(8 * turned), false)
            .weights("sin", &[16, turned / 2], &numbers.floats(8 * turned), false)
            .input("positions", &[1, steps], Data::I64(positions))
            .node("RotaryEmbedding", &["x", "cos", "sin", "positions"], &["y"], &[
                ("num_heads", Int(heads as i64)),
                ("rotary_embedding_dim", Int(if partial { turned as i64 } else { 0 })),
            ])
            .output("y", false);
        agree(&model, &[], 1e-5);
    }
}
