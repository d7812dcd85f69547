//! What cannot be run is refused when it is loaded, with the operator and the reason.

use super::model::Attribute::Int;
use super::model::Model;
use super::refusal;

fn check(model: &Model, reason: &str) {
    let said = refusal(model);
    assert!(said.starts_with("tract: cannot load "), "{said}");
    assert!(said.contains(reason), "{said}");
}

fn unary(operator: &str) -> Model {
    Model::new()
        .floats("x", &[1, 2, 8], &[0.5; 16], false)
        .node(operator, &["x"], &["y"], &[])
        .output("y", false)
}

#[test]
fn an_unknown_operator_is_named() {
    check(&unary("Levitate"), "it uses Levitate, which tract does not run");
}

#[test]
fn an_operator_of_another_domain_is_not_taken_for_a_namesake() {
    check(&unary("com.example::Tanh"), "it uses com.example::Tanh, which tract does not run");
    check(&unary("com.microsoft::Attention"), "it uses com.microsoft::Attention,");
}

#[test]
fn packed_queries_are_refused() {
    let model = Model::new()
        .floats("qkv", &[1, 2, 48], &[0.5; 96], false)
        .floats("past", &[1, 1, 0, 16], &[], false)
        .input("seqlens", &[1], crate::engine::Data::I32(vec![1]))
        .input("total", &[1], crate::engine::Data::I32(vec![2]))
        .node(
            "com.microsoft::GroupQueryAttention",
            &["qkv", "", "", "past", "past", "seqlens", "total"],
            &["y", "key", "value"],
            &[("num_heads", Int(1)), ("kv_num_heads", Int(1))],
        )
        .output("y", false);
    check(&model, "packed queries, keys and values is not supported");
}

#[test]
fn a_matrix_of_another_size_than_told_is_refused() {
    let model = Model::new()
        .floats("a", &[1, 2, 64], &[0.5; 128], false)
        .bytes("b", &[3, 2, 16], vec![0; 96])
        .weights("scales", &[6], &[1.0; 6], false)
        .node(
            "com.microsoft::MatMulNBits",
            &["a", "b", "scales"],
            &["y"],
            &[("K", Int(64)), ("N", Int(4)), ("bits", Int(4)), ("block_size", Int(32))],
        )
        .output("y", false);
    check(&model, "has 96 elements where 4 x 2 x 16 are expected");
}

#[test]
fn a_graph_that_makes_tract_panic_is_refused_in_words() {
    // tract panics on an element type that it reads but cannot hold in a constant.
    let model = Model::new()
        .floats("x", &[1, 2], &[0.5; 2], false)
        .constant("c", tract_onnx::pb::tensor_proto::DataType::String, &[1], b"words".to_vec())
        .node("Cast", &["c"], &["z"], &[("to", Int(1))])
        .node("Add", &["x", "z"], &["y"], &[])
        .output("y", false);
    check(&model, "it panicked: ");
}
