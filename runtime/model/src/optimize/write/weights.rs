//! Products with weights, on the bytes that are published.

use super::{OURS, Writer};
use crate::graph::edit::Attribute;
use crate::graph::tensor::{Tensor, element};
use crate::optimize::levers::{Int8, Stored};
use crate::optimize::reading::{Product, Weights};

/// Accuracy level that stands for activations in eight bits.
pub(in crate::optimize) const EIGHT_BITS: i64 = 4;

/// Sizes of a block of weights that the kernels take.
const BLOCKS: std::ops::RangeInclusive<usize> = 16..=256;

/// A matrix of weights in blocks of few bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Block {
    rows: usize,
    columns: usize,
    bits: usize,
    block: usize,
    accuracy: i64,
}

impl Block {
    /// Reads what a product says about its weights, and holds it against their sizes.
    ///
    /// # Errors
    /// When the weights are in floats, or in a form that the kernels do not take.
    pub(super) fn of(product: &Product<'_>) -> Result<Self, String> {
        let Weights::Blocks([data, scales], zeros) = product.weights else {
            return Err("its weights are not in blocks".into());
        };
        let node = product.node;
        let named = |reason: &str| format!("{} {reason}", data.name);
        let size = |name: &str| node.int(name).and_then(|size| usize::try_from(size).ok());
        let (Some(columns), Some(block)) = (size("K"), size("block_size")) else {
            return Err(named("does not say its size"));
        };
        let (rows, bits) = (product.columns, size("bits").unwrap_or(4));
        if !matches!(bits, 4 | 8) || !block.is_power_of_two() || !BLOCKS.contains(&block) {
            return Err(named(&format!(
                "has {bits} bits in blocks of {block}; 4 or 8 in blocks of 16 to 256 are known"
            )));
        }
        if node.input.iter().skip(4).any(|input| !input.is_empty()) {
            return Err(named("has an order of its columns, or numbers to add"));
        }
        let per_row = columns.div_ceil(block);
        let row_bits = per_row.checked_mul(block).and_then(|weights| weights.checked_mul(bits));
        let row_bytes = row_bits.map(|row_bits| row_bits / 8);
        let count = |per_row: Option<usize>| per_row.and_then(|per_row| rows.checked_mul(per_row));
        let fits = data.count() == count(row_bytes) && scales.count() == count(Some(per_row));
        if !fits || rows * per_row == 0 || data.data_type != element::U8 {
            return Err(named(&format!("is not {rows} rows of {columns} in blocks of {block}")));
        }
        if !matches!(scales.data_type, element::F32 | element::F16) {
            return Err(named("has scales that are no 32-bit or 16-bit floats"));
        }
        let packed = (element::U8, count(Some((per_row * bits).div_ceil(8))));
        if zeros.is_some_and(|zeros| (zeros.data_type, zeros.count()) != packed) {
            return Err(named("has zero points that are not packed like its weights"));
        }
        let accuracy = node.int("accuracy_level").unwrap_or(0);
        Ok(Self { rows, columns, bits, block, accuracy })
    }

    /// Whether all zero points are in the middle of the levels; rows of an odd number of them in 4 bits
    /// have another 4 bits that nobody reads.
    fn are_middle(&self, zeros: &[u8]) -> bool {
        let per_row = self.columns.div_ceil(self.block) * self.bits;
        let middle = if self.bits == 4 { 0x88 } else { 0x80 };
        zeros.chunks(per_row.div_ceil(8)).all(|row| {
            let (whole, rest) = row.split_at(row.len().min(per_row / 8));
            whole.iter().all(|&byte| byte == middle) && rest.iter().all(|byte| byte & 0xf == 8)
        })
    }

    fn attributes(&self, int8: Int8) -> Vec<Attribute> {
        let accuracy = match int8 {
            Int8::Published => self.accuracy,
            Int8::On => EIGHT_BITS,
            Int8::Off => 0,
        };
        vec![
            Attribute::size("K", self.columns),
            Attribute::size("N", self.rows),
            Attribute::size("bits", self.bits),
            Attribute::size("block_size", self.block),
            Attribute::int("accuracy_level", accuracy),
        ]
    }
}

impl Writer<'_> {
    /// Writes a product.
    pub(super) fn product(
        &mut self,
        output: &str,
        of: &str,
        product: &Product<'_>,
    ) -> Result<(), String> {
        self.product_rows(output, of, product, (0, product.columns))
    }

    /// Writes a product of which only some columns are wanted.
    pub(super) fn product_rows(
        &mut self,
        output: &str,
        of: &str,
        product: &Product<'_>,
        (from, to): (usize, usize),
    ) -> Result<(), String> {
        let is_part = to - from != product.columns;
        let ([data, scales], zeros) = match product.weights {
            Weights::Plain(..) | Weights::Bytes(..) if is_part => {
                return Err("its weights cannot be cut".into());
            }
            Weights::Bytes(tensors, zeros) => {
                return self.byte_product(output, of, product.columns, tensors, zeros);
            }
            Weights::Plain(tensor, turned) => {
                let matrix = self.matrix(tensor, turned);
                self.op("", "MatMul", &[of, &matrix], output, &[]);
                return Ok(());
            }
            Weights::Blocks(tensors, zeros) => (tensors, zeros),
        };
        let mut block = Block::of(product)?;
        let zeros = self.zeros(zeros, block);
        let halves = self.halves([scales]);
        let scales = halves.as_ref().map_or(scales, |[halves]| halves);
        let mut inputs = vec![of.to_owned()];
        for tensor in [data, scales].into_iter().chain(zeros) {
            inputs.push(match is_part {
                true => self.rows(tensor, (from, to), block.rows)?,
                false => self.weight(tensor),
            });
        }
        block.rows = to - from;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.op(OURS, "Product", &inputs, output, &block.attributes(self.levers.int8));
        Ok(())
    }

    /// Writes a product with bytes that lie as the standard's integer products have them.
    fn byte_product(
        &mut self,
        output: &str,
        of: &str,
        columns: usize,
        [data, scales]: [&Tensor; 2],
        zeros: Option<&Tensor>,
    ) -> Result<(), String> {
        let named = |reason: &str| format!("{} {reason}", data.name);
        let inputs = match data.shape().unwrap_or_default()[..] {
            [inputs, outputs] if inputs > 0 && outputs == columns && columns > 0 => inputs,
            _ => return Err(named("is no matrix")),
        };
        let fits = |count: Option<usize>| count == Some(1) || count == Some(columns);
        if !matches!(data.data_type, element::U8 | element::I8) || !fits(scales.count()) {
            return Err(named("is no bytes with one scale for all or for each column"));
        }
        if zeros.is_some_and(|zeros| zeros.data_type != data.data_type || !fits(zeros.count())) {
            return Err(named("has zero points unlike its bytes"));
        }
        let names = [self.weight(data), self.factors(scales)?];
        let zeros = zeros.map_or_else(String::new, |zeros| self.weight(zeros));
        let accuracy = match self.levers.int8 {
            Int8::Published | Int8::On => EIGHT_BITS,
            Int8::Off => 0,
        };
        let attributes = [
            Attribute::size("K", inputs),
            Attribute::size("N", columns),
            Attribute::int("accuracy_level", accuracy),
        ];
        self.op(OURS, "ColumnProduct", &[of, &names[0], &names[1], &zeros], output, &attributes);
        Ok(())
    }

    /// Writes `gelu(gate) * up`: one operator where the weights fit together.
    pub(super) fn gated(
        &mut self,
        output: &str,
        of: &str,
        [gate, up]: &[Product<'_>; 2],
    ) -> Result<(), String> {
        let is_one =
            self.levers.gated && Block::of(gate).is_ok() && Block::of(gate) == Block::of(up);
        let (Weights::Blocks([a, b], c), Weights::Blocks([d, e], f)) = (gate.weights, up.weights)
        else {
            return self.gated_apart(output, of, [gate, up]);
        };
        if !is_one {
            return self.gated_apart(output, of, [gate, up]);
        }
        let block = Block::of(gate)?;
        let [c, f] = [c, f].map(|zeros| self.zeros(zeros, block));
        let halves = self.halves([b, e]);
        let [b, e] = halves.as_ref().map_or([b, e], |[b, e]| [b, e]);
        let weight =
            |tensor: Option<&Tensor>| tensor.map_or_else(String::new, |tensor| self.weight(tensor));
        let names = [Some(a), Some(b), c, Some(d), Some(e), f].map(weight);
        let inputs: Vec<&str> = [of].into_iter().chain(names.iter().map(String::as_str)).collect();
        let attributes = block.attributes(self.levers.int8);
        self.op(OURS, "GatedProduct", &inputs, output, &attributes);
        Ok(())
    }

    /// Scales in 16 bits, where they are wanted and exact enough.
    fn halves<const COUNT: usize>(&mut self, scales: [&Tensor; COUNT]) -> Option<[Tensor; COUNT]> {
        if self.levers.scales != Stored::F16 {
            return None;
        }
        let halves = self.scales.in_halves(scales)?;
        scales.into_iter().for_each(|scales| self.note(scales));
        Some(halves)
    }

    /// The zero points of a matrix, unless all are in the middle, where the operators expect them.
    fn zeros<'t>(&mut self, zeros: Option<&'t Tensor>, block: Block) -> Option<&'t Tensor> {
        let zeros = zeros?;
        let numbers = self.source.numbers(zeros);
        let are_needed = numbers.is_none_or(|numbers| !block.are_middle(numbers.bytes()));
        if !are_needed {
            self.note(zeros);
        }
        are_needed.then_some(zeros)
    }

    /// Notes that the numbers of a tensor made a difference.
    fn note(&mut self, tensor: &Tensor) {
        if let Some((location, ..)) = tensor.place().filter(|_| tensor.is_external()) {
            self.read.insert(location.to_owned());
        }
    }

    fn gated_apart(
        &mut self,
        output: &str,
        of: &str,
        [gate, up]: [&Product<'_>; 2],
    ) -> Result<(), String> {
        let name = |what: &str| format!("{output}.{what}");
        self.product(&name("gate"), of, gate)?;
        self.product(&name("up"), of, up)?;
        self.gelu(&name("gate"), &name("bent"));
        self.op("", "Mul", &[&name("bent"), &name("up")], output, &[]);
        Ok(())
    }

    /// Writes a GELU in its tangent form.
    pub(super) fn gelu(&mut self, of: &str, output: &str) {
        let tanh = [Attribute::word("approximate", "tanh")];
        self.op("", "Gelu", &[of], output, &tanh);
    }

    /// A matrix in 32-bit floats, columns of the result last; engines do what this asks for once, when
    /// they load it.
    fn matrix(&mut self, tensor: &Tensor, turned: bool) -> String {
        let mut name = self.weight(tensor);
        if tensor.data_type != element::F32 {
            let wide = format!("{name}.f32");
            if self.known.insert(wide.clone()) {
                let to = [Attribute::int("to", i64::from(element::F32))];
                self.op("", "Cast", &[&name], &wide, &to);
            }
            name = wide;
        }
        if turned {
            let other = format!("{name}.turned");
            if self.known.insert(other.clone()) {
                let order = [Attribute::ints("perm", vec![1, 0])];
                self.op("", "Transpose", &[&name], &other, &order);
            }
            name = other;
        }
        name
    }

    /// A published tensor, left where it is if it is large.
    pub(super) fn weight(&mut self, tensor: &Tensor) -> String {
        if self.known.insert(tensor.name.clone()) {
            let referred = self.source.referred(tensor);
            self.add(referred);
        }
        tensor.name.clone()
    }

    /// Some rows of a tensor whose bytes lie row after row.
    fn rows(
        &mut self,
        tensor: &Tensor,
        (from, to): (usize, usize),
        rows: usize,
    ) -> Result<String, String> {
        let uneven = || format!("{} cannot be cut into {rows} rows", tensor.name);
        let name = format!("{}.{from}", tensor.name);
        if !self.known.insert(name.clone()) {
            return Ok(name);
        }
        let count = tensor.count().filter(|count| count.is_multiple_of(rows));
        let per_row = count.ok_or_else(uneven)? / rows;
        let part = tensor.part(&name, from * per_row, to * per_row).ok_or_else(uneven)?;
        let referred = self.source.referred(&part);
        self.add(referred);
        Ok(name)
    }

    pub(super) fn add(&mut self, tensor: Tensor) {
        let bytes = tensor.bytes().unwrap_or(0);
        match tensor.is_external() {
            true if self.scales.hold(&tensor) => {}
            true => self.in_place += bytes,
            false => self.copied += bytes,
        }
        self.body.initializer.push(tensor);
    }

    /// A few factors in 32-bit floats.
    pub(super) fn factors(&mut self, tensor: &Tensor) -> Result<String, String> {
        if tensor.data_type == element::F32 && tensor.dims.len() == 1 {
            return Ok(self.weight(tensor));
        }
        let name = format!("{}.f32", tensor.name);
        if self.known.insert(name.clone()) {
            let values = tensor.to_floats(&self.source.folder);
            let values = values.ok_or_else(|| format!("{} holds no floats", tensor.name))?;
            self.add(Tensor::floats(&name, &[values.len()], &values));
        }
        Ok(name)
    }
}
