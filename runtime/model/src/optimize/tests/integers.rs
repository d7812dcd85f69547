//! Products in integers, in the spellings of several tools.

use super::*;
use crate::optimize::reading::Weights;

/// A graph of these operators, with bytes `[4, 2]` for weights.
fn integers(list: Vec<Node>) -> Source {
    let mut body = Body::named("test");
    body.take("x", element::F32, &[Side::Fixed(1), Side::Open("rows"), Side::Fixed(4)]);
    let bytes = |name: &str, dims: &[i64], length| {
        let mut tensor = Tensor::floats(name, &[], &[]);
        tensor.data_type = element::U8;
        tensor.dims = dims.to_vec();
        tensor.raw_data = vec![7; length].into();
        tensor
    };
    body.initializer = vec![
        bytes("data", &[4, 2], 8),
        bytes("zero", &[], 1),
        Tensor::floats("scale", &[], &[0.5]),
        Tensor::floats("bias", &[2], &[0.5, 0.5]),
    ];
    body.node = list;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let whole = Whole { graph: Some(body), ..Whole::default() };
    std::fs::write(&path, whole.encode_to_vec()).unwrap();
    Source::open(&path).unwrap()
}

fn rounded() -> Node {
    let mut node = Node::standard("DynamicQuantizeLinear", &["x"], "levels", &[]);
    node.output = ["levels", "step", "middle"].map(str::to_owned).into();
    node
}

fn spelled(list: &[(&str, &[&str], &str)]) -> Vec<Node> {
    [vec![rounded()], nodes(list)].concat()
}

#[test]
fn products_in_integers_are_read_however_they_are_spelled() {
    let sum: (&str, &[&str], &str) =
        ("MatMulInteger", &["levels", "data", "middle", "zero"], "sum");
    let float: (&str, &[&str], &str) = ("Cast", &["sum"], "float");
    let both: (&str, &[&str], &str) = ("Mul", &["step", "scale"], "both");
    for list in [
        &[sum, float, both, ("Mul", &["float", "both"], "y")][..],
        &[sum, float, ("Mul", &["scale", "step"], "both"), ("Mul", &["both", "float"], "y")],
        &[("MatMulIntegerToFloat", &["levels", "data", "step", "scale", "middle", "zero"], "y")],
        &[("DynamicQuantizeMatMul", &["x", "data", "scale", "zero"], "y")],
    ] {
        let source = integers(spelled(list));
        let product = source.product("y").unwrap_or_else(|| panic!("no product in {list:?}"));
        assert_eq!((product.of, product.columns), ("x", 2), "{list:?}");
        let Weights::Bytes([data, scale], Some(zero)) = product.weights else {
            panic!("{:?} in {list:?}", product.weights);
        };
        assert_eq!([&data.name, &scale.name, &zero.name], ["data", "scale", "zero"]);
    }
}

#[test]
fn what_is_nearly_a_product_in_integers_is_none() {
    let inputs: &[&str] = &["levels", "data", "middle", "zero"];
    for list in [
        &[("MatMulInteger", inputs, "sum"), ("Mul", &["sum", "step"], "y")][..],
        &[
            ("MatMulInteger", inputs, "sum"),
            ("Mul", &["x", "scale"], "both"),
            ("Mul", &["sum", "both"], "y"),
        ],
        &[
            ("MatMulInteger", &["levels", "data", "zero", "zero"], "sum"),
            ("Mul", &["step", "scale"], "both"),
            ("Mul", &["sum", "both"], "y"),
        ],
        &[("DynamicQuantizeMatMul", &["x", "data", "scale", "zero", "bias"], "y")],
        &[("DynamicQuantizeMatMul", &["x", "bias", "scale", "zero"], "y")],
    ] {
        assert!(integers(spelled(list)).product("y").is_none(), "{list:?}");
    }
}
