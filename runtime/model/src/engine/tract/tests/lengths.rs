//! Encoders: one plan for all lengths of a medium, or one for each.

use tract_onnx::pb::tensor_proto::DataType;

use super::model::Attribute::Int;
use super::model::Model;
use super::{Numbers, answer, close, load, ort, run};
use crate::engine::tract::Tract;
use crate::engine::{Data, Dim};

/// Every second row of those that are real, from the given one on.
fn model(rows: usize, first: i64) -> Model {
    let one = |value: i64| value.to_le_bytes().to_vec();
    let whole =
        |model: Model, name: &str, value| model.constant(name, DataType::Int64, &[1], one(value));
    let model = Model::new()
        .floats("x", &[1, rows, 4], &Numbers(rows as u64).floats(4 * rows), false)
        .input("real", &[1, rows], Data::Bool((0..rows).map(|row| row + 20 < rows).collect()));
    let constants = [("first", first), ("end", i64::MAX), ("axis", 1), ("step", 2), ("row", -1)];
    let model = constants.into_iter().fold(model, |model, (name, value)| whole(model, name, value));
    model
        .node("Slice", &["x", "first", "end", "axis", "step"], &["halved"], &[])
        .node("Slice", &["real", "first", "end", "axis", "step"], &["halved_real"], &[])
        .node("Reshape", &["halved_real", "row"], &["seen"], &[])
        .node("Compress", &["halved", "seen"], &["y"], &[("axis", Int(1))])
        .output("y", false)
}

/// One loaded graph answers for all lengths as ONNX Runtime does.
fn check(first: i64, lengths: &[usize]) {
    let dims: [(&str, &[Dim]); 2] = [
        ("x", &[Dim::Fixed(1), Dim::Media, Dim::Fixed(4)]),
        ("real", &[Dim::Fixed(1), Dim::Media]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    model(100, first).save(&path);
    let tract = Tract::open(1);
    let mut graph = load(&tract, &path, &model(100, first).inputs, &dims).unwrap();
    for &rows in lengths {
        let model = model(rows, first);
        let found = run(&tract, &mut graph, &model.inputs).unwrap();
        close(&found, &answer(&ort(), &model, &[]), 0.0);
    }
}

#[test]
fn one_plan_serves_all_lengths() {
    check(0, &[100, 500, 1001, 100]);
}

#[test]
fn lengths_that_cannot_stay_open_get_plans_of_their_own() {
    check(1, &[100, 500, 1000, 480, 100]);
}
