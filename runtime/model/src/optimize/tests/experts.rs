//! Mixtures of experts that are one published operator: the miniature of 26B-A4B with its experts
//! exchanged for such ones, made fast.

use prost::bytes::Bytes;

use super::*;
use crate::fixture::{Decoder, Fixture, Layout};
use crate::{Fast, Model, Options};

const EXPERTS: usize = 4;
const HIDDEN: usize = 32;
const INNER: usize = 16;

/// Which operator the experts become.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    /// Levels of so many bits, in blocks of 16 or with one scale for each row.
    Levels {
        bits: usize,
        in_blocks: bool,
        has_zeros: bool,
    },
}

/// Numbers between -1 and 1 that follow no pattern.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(self.0 >> 16).unwrap()) / 32768.0 - 1.0
    }

    /// Data, scales and zero points of one matrix for each expert.
    fn stored(&mut self, form: Form, name: &str, [outputs, inputs]: [usize; 2]) -> Vec<Tensor> {
        let all = EXPERTS * outputs * inputs;
        let spread = (inputs as f32).sqrt();
        let name = |part: &str| format!("{name}.{part}");
        let Form::Levels { bits, in_blocks, has_zeros } = form else {
            let data: Vec<f32> = (0..all).map(|_| self.next() / spread).collect();
            return vec![Tensor::floats(&name("data"), &[EXPERTS, outputs, inputs], &data)];
        };
        let mut bytes = |name: String, dims: &[usize]| {
            let length: usize = dims.iter().product();
            let raw: Vec<u8> = (0..length).map(|_| (self.next() * 127.0 + 128.0) as u8).collect();
            let mut tensor = Tensor::floats(&name, dims, &[]);
            tensor.data_type = element::U8;
            tensor.raw_data = Bytes::from(raw);
            tensor
        };
        let mut tensors = vec![bytes(name("data"), &[EXPERTS, outputs, inputs * bits / 8])];
        let blocks = if in_blocks { vec![inputs / 16] } else { Vec::new() };
        let zero_dims = match blocks[..] {
            [blocks] => vec![EXPERTS, outputs, (blocks * bits).div_ceil(8)],
            _ => vec![EXPERTS, (outputs * bits).div_ceil(8)],
        };
        let zeros = has_zeros.then(|| bytes(name("zeros"), &zero_dims));
        let dims = [vec![EXPERTS, outputs], blocks].concat();
        let steps = (2_u32 << bits) as f32 * spread;
        let count: usize = dims.iter().product();
        let scales: Vec<f32> = (0..count).map(|_| (1.0 + self.next() / 2.0) / steps).collect();
        tensors.push(Tensor::floats(&name("scales"), &dims, &scales));
        tensors.extend(zeros);
        tensors
    }
}

/// The folder of the miniature, with other experts in its decoder.
fn folder(form: Form) -> TempDir {
    let (variant, layout, dtype, decoder) = ("26b", Layout::B, "fp32", Decoder::Published);
    let folder = Fixture { variant, layout, dtype, decoder }.assemble();
    let path = folder.path().join("decoder/model.onnx");
    let source = Source::open(&path).unwrap();
    let mut whole = Whole::read(std::fs::read(&path).unwrap().into()).unwrap();
    let body = whole.graph.as_mut().unwrap();
    body.initializer.push(Tensor::integers("flat", &[-1, EXPERTS as i64]));
    let mut noise = Noise(7);
    let mut exchanged = 0;
    for node in std::mem::take(&mut body.node) {
        let output = node.output[0].clone();
        let found = (node.op_type == "ReduceSum").then(|| source.mixture(&output).unwrap());
        let Some(mixture) = found.flatten() else {
            body.node.push(node);
            continue;
        };
        let first = noise.stored(form, &format!("{output}.first"), [2 * INNER, HIDDEN]);
        let second = noise.stored(form, &format!("{output}.second"), [HIDDEN, INNER]);
        let scores = format!("{output}.scores");
        let mut says = mixture.scores.to_owned();
        // One exporter takes a softmax before the operator takes its own.
        if matches!(form, Form::Plain) {
            says = format!("{output}.likely");
            body.node.push(Node::standard("Softmax", &[mixture.scores], &says, &[]));
        }
        body.node.push(Node::standard("Reshape", &[&says, "flat"], &scores, &[]));
        let names = [mixture.of, &scores];
        body.node.push(operator(form, names, [&first, &second], &output));
        body.initializer.extend(first.into_iter().chain(second));
        exchanged += 1;
    }
    assert_eq!(exchanged, 12);
    std::fs::write(&path, whole.encode_to_vec()).unwrap();
    folder
}

fn operator(
    form: Form,
    [of, scores]: [&str; 2],
    [first, second]: [&[Tensor]; 2],
    output: &str,
) -> Node {
    let name = |stored: &'_ [Tensor], at: usize| {
        stored.get(at).map(|tensor| tensor.name.clone()).unwrap_or_default()
    };
    let mut attributes = vec![
        Attribute::size("k", 2),
        Attribute::word("activation_type", "swiglu"),
        Attribute::int("swiglu_fusion", 1),
        Attribute::int("normalize_routing_weights", 1),
    ];
    let (op_type, inputs) = match form {
        Form::Plain => ("MoE", vec![name(first, 0), String::new(), name(second, 0)]),
        Form::Levels { bits, in_blocks, .. } => {
            attributes.push(Attribute::size("expert_weight_bits", bits));
            attributes.extend(in_blocks.then(|| Attribute::size("block_size", 16)));
            let mut inputs = vec![name(first, 0), name(first, 1), String::new()];
            inputs.extend([name(second, 0), name(second, 1)]);
            inputs.extend(vec![String::new(); 4]);
            inputs.extend([name(first, 2), name(second, 2)]);
            ("QMoE", inputs)
        }
    };
    let inputs: Vec<&str> =
        [of, scores].into_iter().chain(inputs.iter().map(String::as_str)).collect();
    let mut node = Node::standard(op_type, &inputs, output, &attributes);
    node.domain = "com.microsoft".into();
    node
}

#[test]
fn experts_of_published_operators_are_made_fast_where_they_lie() {
    let levels = |bits, in_blocks, has_zeros| Form::Levels { bits, in_blocks, has_zeros };
    let forms = [
        Form::Plain,
        levels(4, true, true),
        levels(4, false, false),
        levels(8, true, false),
        levels(8, false, true),
    ];
    for form in forms {
        let folder = folder(form);
        let report =
            make_fast(&folder, EngineKind::Ort).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        let checked = report.checked;
        // In blocks of bytes the published operator rounds what goes in.
        let rounds = matches!(form, Form::Levels { bits: 8, in_blocks: true, .. });
        assert!(checked.difference < if rounds { 0.5 } else { 1e-3 }, "{form:?}: {checked:?}");
        assert!(rounds || checked.same == checked.tokens, "{form:?}: {checked:?}");
        let fast = Source::open(&report.file).unwrap();
        let experts = fast.nodes.iter().filter(|node| node.op_type == "Experts").count();
        assert_eq!(experts, 12, "{form:?}");
        assert!(report.copied < report.in_place, "{form:?}: {report:?}");
    }
}

#[test]
fn experts_of_other_kinds_are_refused_with_the_reason() {
    let refused = |change: &dyn Fn(&mut Node), expected: &str| {
        let folder = folder(Form::Levels { bits: 4, in_blocks: true, has_zeros: false });
        let path = folder.path().join("decoder/model.onnx");
        let mut whole = Whole::read(std::fs::read(&path).unwrap().into()).unwrap();
        for node in &mut whole.graph.as_mut().unwrap().node {
            if node.op_type == "QMoE" {
                change(node);
            }
        }
        std::fs::write(&path, whole.encode_to_vec()).unwrap();
        let error = make_fast(&folder, EngineKind::Ort).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    };
    let set = |node: &mut Node, attribute: Attribute| {
        // The name comes first, behind its mark and its length.
        let name = attribute.name.as_bytes();
        node.attribute.retain(|bytes| bytes.get(2..2 + name.len()) != Some(name));
        node.attribute.push(attribute.encode_to_vec());
    };
    refused(
        &|node| set(node, Attribute::word("activation_type", "gelu")),
        "layer 11: its QMoE is not gated by a fused swiglu",
    );
    refused(&|node| node.input[4] = node.input[3].clone(), "has biases, a third product");
    refused(&|node| set(node, Attribute::word("quant_type", "fp8")), "levels of a kind unknown");
    refused(&|node| set(node, Attribute::size("block_size", 48)), "has blocks of 48 in rows of 32");
    refused(&|node| set(node, Attribute::size("expert_weight_bits", 8)), "is [4, 32, 16], not");
    refused(&|node| set(node, Attribute::size("k", 9)), "it chooses 9 of 4 experts");
}

#[test]
fn what_one_engine_has_made_fast_the_other_opens() {
    let folder = folder(Form::Levels { bits: 4, in_blocks: true, has_zeros: true });
    make_fast(&folder, EngineKind::Ort).unwrap();
    let options = Options {
        engine: EngineKind::Tract,
        threads: 1,
        fast: Fast::Required,
        ..Options::default()
    };
    let error = Model::open(folder.path(), &options).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(error, Ok(()));
}
