//! Products with quantised matrices, and rows of quantised tables.

use proptest::prelude::*;

use super::model::Attribute::Int;
use super::model::Model;
use super::{Numbers, agree, answer, close};
use crate::engine::Data;
use crate::engine::tract::Tract;

/// A product with a quantised matrix.
#[derive(Clone, Debug)]
struct Product {
    rows: usize,
    matrix_rows: usize,
    columns: usize,
    bits: usize,
    block: usize,
    zeros: bool,
    bias: bool,
    half: bool,
    seed: u64,
}

impl Product {
    fn model(&self) -> Model {
        let mut numbers = Numbers(self.seed);
        let blocks = self.columns.div_ceil(self.block);
        let bytes = self.block * self.bits / 8;
        let scales: Vec<f32> =
            numbers.floats(self.matrix_rows * blocks).iter().map(|s| s * 0.05 + 0.06).collect();
        let codes = numbers.bytes(self.matrix_rows * blocks * bytes);
        let left = numbers.floats(self.rows * self.columns);
        let mut model = Model::new()
            .floats("a", &[1, self.rows, self.columns], &left, self.half)
            .bytes("b", &[self.matrix_rows, blocks, bytes], codes)
            .weights("scales", &[self.matrix_rows * blocks], &scales, self.half);
        let mut inputs = vec!["a", "b", "scales"];
        if self.zeros || self.bias {
            inputs.push(if self.zeros { "zeros" } else { "" });
        }
        if self.zeros {
            let length = self.matrix_rows * (blocks * self.bits).div_ceil(8);
            model = model.bytes("zeros", &[length], numbers.bytes(length));
        }
        if self.bias {
            inputs.extend(["", "bias"]);
            let bias = numbers.floats(self.matrix_rows);
            model = model.weights("bias", &[self.matrix_rows], &bias, self.half);
        }
        let size = |size: usize| Int(size as i64);
        let attributes = [
            ("K", size(self.columns)),
            ("N", size(self.matrix_rows)),
            ("bits", size(self.bits)),
            ("block_size", size(self.block)),
        ];
        model
            .node("com.microsoft::MatMulNBits", &inputs, &["y"], &attributes)
            .output("y", self.half)
    }
}

fn products() -> impl Strategy<Value = Product> {
    let sizes = (1_usize..9, 1_usize..40, 1_usize..150);
    let form = (prop_oneof![Just(4_usize), Just(8)], 4_u32..8);
    (sizes, form, any::<(bool, bool, bool)>(), 0_u64..1000).prop_map(
        |((rows, matrix_rows, columns), (bits, power), (zeros, bias, half), seed)| Product {
            rows,
            matrix_rows,
            columns,
            bits,
            block: 1 << power,
            zeros,
            bias,
            half,
            seed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_product_with_a_quantised_matrix_agrees_with_onnxruntime(product in products()) {
        let tolerance = if product.half { 2e-3 } else { 2e-5 };
        agree(&product.model(), &[], tolerance);
    }

    #[test]
    fn rows_of_a_quantised_table_agree_with_onnxruntime(
        entries in 1_usize..20, inner in 1_usize..3, blocks in 1_usize..5, bits in 2_u32..4,
        block in 4_u32..7, zeros: bool, half: bool, seed in 0_u64..1000,
    ) {
        let (bits, block) = (1_usize << bits, 1_usize << block);
        let mut numbers = Numbers(seed);
        let columns = blocks * block;
        let shape: &[usize] = if inner == 1 { &[entries] } else { &[entries, inner] };
        let with = |last: usize| [shape, &[last]].concat();
        let rows = entries * inner;
        let indices = (0..6).map(|_| numbers.below(entries) as i64).collect();
        let mut model = Model::new()
            .input("indices", &[2, 3], Data::I64(indices))
            .bytes("table", &with(columns * bits / 8), numbers.bytes(rows * columns * bits / 8))
            .weights("scales", &with(blocks), &numbers.floats(rows * blocks), half);
        let mut inputs = vec!["table", "indices", "scales"];
        if zeros {
            let length = (blocks * bits).div_ceil(8);
            model = model.bytes("zeros", &with(length), numbers.bytes(rows * length));
            inputs.push("zeros");
        }
        let attributes = [
            ("bits", Int(bits as i64)),
            ("block_size", Int(block as i64)),
            ("gather_axis", Int(0)),
            ("quantize_axis", Int(shape.len() as i64)),
        ];
        let model = model
            .node("com.microsoft::GatherBlockQuantized", &inputs, &["y"], &attributes)
            .output("y", half);
        agree(&model, &[], if half { 1e-3 } else { 1e-6 });
    }
}

#[test]
fn threads_change_nothing() {
    for rows in [1, 7] {
        let product = Product {
            rows,
            matrix_rows: 515,
            columns: 640,
            bits: 4,
            block: 32,
            zeros: true,
            bias: true,
            half: false,
            seed: 5,
        };
        let model = product.model();
        let alone = answer(&Tract::open(1), &model, &[]);
        close(&answer(&Tract::open(3), &model, &[]), &alone, 0.0);
    }
}
