//! Operators that stay tract's own: they are used as they are, so they must be right.

use proptest::prelude::*;
use tract_onnx::pb::tensor_proto::DataType;

use super::model::Attribute::{Float, Int, Text};
use super::model::Model;
use super::{Numbers, agree};
use crate::engine::{Data, Dim};

/// One operator of one input that spans what activations span.
fn check_unary(operator: &str, attributes: &[(&str, super::model::Attribute)], half: bool) {
    let values: Vec<f32> = (-800..800).map(|at| at as f32 / 80.0).collect();
    let model = Model::new()
        .floats("x", &[1, 4, 400], &values, half)
        .node(operator, &["x"], &["y"], attributes)
        .output("y", half);
    agree(&model, &[], if half { 2e-3 } else { 2e-6 });
}

#[test]
fn activations_agree_with_onnxruntime() {
    for half in [false, true] {
        check_unary("com.microsoft::FastGelu", &[], half);
        check_unary("com.microsoft::QuickGelu", &[], half);
        check_unary("com.microsoft::Gelu", &[], half);
        check_unary("Gelu", &[("approximate", Text("tanh"))], half);
        check_unary("Gelu", &[("approximate", Text("none"))], half);
        check_unary("Tanh", &[], half);
        check_unary("Sigmoid", &[], half);
        check_unary("Erf", &[], half);
        check_unary("Softmax", &[("axis", Int(-1))], half);
        check_unary("Cos", &[], half);
        check_unary("Sin", &[], half);
    }
}

#[test]
fn a_bound_of_logits_agrees_with_onnxruntime() {
    let model = Model::new()
        .floats("x", &[1, 2, 300], &(-300..300).map(|at| at as f32).collect::<Vec<_>>(), false)
        .weights("cap", &[], &[30.0], false)
        .node("Div", &["x", "cap"], &["a"], &[])
        .node("Tanh", &["a"], &["b"], &[])
        .node("Mul", &["b", "cap"], &["y"], &[])
        .output("y", false);
    agree(&model, &[], 1e-6);
}

#[test]
fn limits_agree_with_onnxruntime() {
    for half in [false, true] {
        let model = Model::new()
            .floats("x", &[1, 4, 50], &Numbers(3).floats(200), half)
            .weights("low", &[], &[-0.25], half)
            .weights("high", &[], &[0.5], half)
            .node("Clip", &["x", "low", "high"], &["both"], &[])
            .node("Clip", &["both", "", "low"], &["upper"], &[])
            .node("Clip", &["x", "low"], &["lower"], &[])
            .output("both", half)
            .output("upper", half)
            .output("lower", half);
        agree(&model, &[], 0.0);
    }
}

#[test]
fn a_selection_agrees_with_onnxruntime() {
    let seen = vec![true, false, true, true, false, true];
    let model = Model::new()
        .floats("x", &[6, 3], &Numbers(4).floats(18), false)
        .input("seen", &[6], Data::Bool(seen))
        .weights("hidden", &[], &[-1e4], false)
        .node("Compress", &["x", "seen"], &["kept"], &[("axis", Int(0))])
        .node("Compress", &["x", "seen"], &["first"], &[])
        .constant("axes", DataType::Int64, &[1], 1_i64.to_le_bytes().to_vec())
        .node("Unsqueeze", &["seen", "axes"], &["column"], &[])
        .node("Where", &["column", "x", "hidden"], &["masked"], &[])
        .node("Not", &["seen"], &["unseen"], &[])
        .node("Cast", &["unseen"], &["number"], &[("to", Int(1))])
        .output("kept", false)
        .output("first", false)
        .output("masked", false)
        .output("number", false);
    agree(&model, &[], 0.0);
}

#[test]
fn counting_agrees_with_onnxruntime() {
    let seen = vec![true, false, true, true, false, true];
    let step: (&str, &[Dim]) = ("seen", &[Dim::Fixed(1), Dim::Step]);
    let model = Model::new()
        .input("seen", &[1, 6], Data::Bool(seen))
        .constant("axis", DataType::Int64, &[], 1_i64.to_le_bytes().to_vec())
        .node("Cast", &["seen"], &["whole"], &[("to", Int(7))])
        .node("CumSum", &["whole", "axis"], &["sum"], &[])
        .node("Cast", &["sum"], &["y"], &[("to", Int(1))])
        .output("y", false);
    agree(&model, &[step], 0.0);
}

#[test]
fn a_padding_agrees_with_onnxruntime() {
    let step: (&str, &[Dim]) = ("x", &[Dim::Fixed(1), Dim::Step]);
    let pads = |pads: [i64; 4]| pads.iter().flat_map(|pad| pad.to_le_bytes()).collect();
    for (given, open) in [([0, 2, 0, 1], false), ([0, 1, 0, -1], true), ([0, -2, 0, 3], true)] {
        let model = Model::new()
            .floats("x", &[1, 7], &Numbers(4).floats(7), false)
            .constant("pads", DataType::Int64, &[4], pads(given))
            .node("Pad", &["x", "pads"], &["y"], &[])
            .output("y", false);
        agree(&model, &[step][..usize::from(open)], 0.0);
    }
}

#[test]
fn every_second_row_agrees_with_onnxruntime() {
    let one = |value: i64| value.to_le_bytes().to_vec();
    let step: (&str, &[Dim]) = ("x", &[Dim::Fixed(1), Dim::Step, Dim::Fixed(3)]);
    for rows in [1, 6, 7] {
        let model = Model::new()
            .floats("x", &[1, rows, 3], &Numbers(4).floats(3 * rows), false)
            .constant("start", DataType::Int64, &[1], one(0))
            .constant("end", DataType::Int64, &[1], one(i64::MAX))
            .constant("axis", DataType::Int64, &[1], one(1))
            .constant("step", DataType::Int64, &[1], one(2))
            .node("Slice", &["x", "start", "end", "axis", "step"], &["y"], &[])
            .output("y", false);
        agree(&model, &[step], 0.0);
    }
}

#[test]
fn a_fused_product_agrees_with_onnxruntime() {
    for half in [false, true] {
        let mut numbers = Numbers(5);
        let attributes = [("transA", Int(1)), ("transB", Int(1)), ("alpha", Float(0.25))];
        let model = Model::new()
            .floats("a", &[2, 6, 3], &numbers.floats(36), half)
            .floats("b", &[2, 4, 6], &numbers.floats(48), half)
            .node("com.microsoft::FusedMatMul", &["a", "b"], &["y"], &attributes)
            .output("y", half);
        agree(&model, &[], if half { 2e-3 } else { 1e-5 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_product_of_bytes_agrees_with_onnxruntime(
        rows in 1_usize..7, columns in 1_usize..60, matrix_columns in 1_usize..40, signed: bool,
        channels: bool, open: bool, seed in 0_u64..1000,
    ) {
        let mut numbers = Numbers(seed);
        let kind = if signed { DataType::Int8 } else { DataType::Uint8 };
        let count = if channels { matrix_columns } else { 1 };
        let shape: &[usize] = if channels { &[matrix_columns] } else { &[] };
        let zeros = if signed { vec![0; count] } else { numbers.bytes(count) };
        // Without instructions for it, ONNX Runtime adds pairs of signed products in 16 bits and cuts
        // them off there; exporters leave a bit unused for that reason, and so does this.
        let codes = numbers.bytes(columns * matrix_columns).into_iter();
        let codes = codes.map(|code| if signed { (code as i8 / 2) as u8 } else { code }).collect();
        let model = Model::new()
            .floats("x", &[1, rows, columns], &numbers.floats(rows * columns), false)
            .constant("w", kind, &[columns, matrix_columns], codes)
            .constant("zero", kind, shape, zeros)
            .weights("scale", shape, &numbers.floats(count), false)
            .node("DynamicQuantizeLinear", &["x"], &["q", "x_scale", "x_zero"], &[])
            .node("MatMulInteger", &["q", "w", "x_zero", "zero"], &["p"], &[])
            .node("Cast", &["p"], &["f"], &[("to", Int(1))])
            .node("Mul", &["x_scale", "scale"], &["s"], &[])
            .node("Mul", &["f", "s"], &["y"], &[])
            .output("y", false);
        let dims = [Dim::Fixed(1), Dim::Step, Dim::Fixed(columns)];
        let step: [(&str, &[Dim]); 1] = [("x", &dims)];
        agree(&model, &step[..usize::from(open)], 1e-5);
    }

    #[test]
    fn a_product_of_halves_agrees_with_onnxruntime(
        rows in 1_usize..7, columns in 1_usize..200, matrix_columns in 1_usize..40, fixed: bool,
        open: bool, seed in 0_u64..1000,
    ) {
        let mut numbers = Numbers(seed);
        let left = numbers.floats(rows * columns);
        let right = numbers.floats(columns * matrix_columns);
        let shape = [columns, matrix_columns];
        let model = Model::new().floats("x", &[1, rows, columns], &left, true);
        let model = match fixed {
            true => model.weights("w", &shape, &right, true),
            false => model.floats("w", &shape, &right, true),
        };
        let model = model.node("MatMul", &["x", "w"], &["y"], &[]).output("y", true);
        let dims = [Dim::Fixed(1), Dim::Step, Dim::Fixed(columns)];
        let step: [(&str, &[Dim]); 1] = [("x", &dims)];
        agree(&model, &step[..usize::from(open)], 2e-3);
    }
}
