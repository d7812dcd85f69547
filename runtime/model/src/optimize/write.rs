//! Writes the fast graph of a decoder: few operators, the products and attention among them ours, on
//! weights that stay where they are.

mod copy;
mod experts;
mod layer;
mod weights;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::OptimizeError;
use super::levers::{Kv, Levers};
use super::notes::MadeNote;
use super::roles::{PerLayer, Roles, Tokens};
use super::scales::Scales;
use super::source::Source;
use crate::gemma::config::{Config, LayerKind};
use crate::gemma::ports::DecoderPorts;
use crate::graph::Element;
use crate::graph::edit::{Attribute, Node};
use crate::graph::tensor::{Tensor, element};
use crate::graph::whole::{Body, OperatorSet, Side, Whole};
use weights::Block;
pub(super) use weights::EIGHT_BITS;

/// The first version of the standard operators that has all that are written here.
const OPSET: i64 = 21;

/// Version of ONNX files that all engines here read.
const IR_VERSION: i64 = 10;

/// Domain of our operators.
const OURS: &str = "gemmad";

/// Domain of ONNX Runtime's own operators.
const CONTRIB: &str = "com.microsoft";

/// Names of the fast graph's inputs, and of values that all layers read.
const EMBEDS: &str = "inputs_embeds";
const IDS: &str = "input_ids";
const PER_LAYER: &str = "per_layer_inputs";
const HANDLE: &str = "handle";
const FIRST: &str = "first";
const KEEP: &str = "keep";
const LOGITS: &str = "logits";
const STATES: &str = "states";
const ROWS: &str = "gemmad/rows";
const COUNT: &str = "gemmad/count";
const BEGIN: &str = "gemmad/begin";
const END: &str = "gemmad/end";
const ROW_AXIS: &str = "gemmad/row_axis";

/// Writes one fast graph.
struct Writer<'s> {
    source: &'s Source,
    ports: &'s DecoderPorts,
    config: &'s Config,
    levers: Levers,
    body: Body,
    known: HashSet<String>,
    in_place: u64,
    copied: u64,
    scales: Scales<'s>,
    /// Published files that were read for more than their places.
    read: BTreeSet<String>,
}

/// Writes the fast graph of a decoder, without notes, and what it needs of scales to `scales`; with it,
/// what became of the weights.
///
/// # Errors
/// When weights are stored in a way that our operators do not take, or a file cannot be read or
/// written.
pub(super) fn write<'s>(
    source: &'s Source,
    roles: &Roles<'_>,
    ports: &'s DecoderPorts,
    config: &'s Config,
    levers: Levers,
    scales: &Path,
) -> Result<(Whole, MadeNote), OptimizeError> {
    let refused = |reason: String| OptimizeError::graph(&source.path, reason);
    let body = Body::named(OURS);
    let mut writer = Writer {
        source,
        ports,
        config,
        levers,
        body,
        known: HashSet::new(),
        in_place: 0,
        copied: 0,
        scales: Scales::new(source, scales),
        read: BTreeSet::new(),
    };
    writer.decoder(roles).map_err(refused)?;
    let set = |domain: &str, version| OperatorSet { domain: domain.into(), version };
    let opset_import = vec![set("", source.opset.max(OPSET)), set(CONTRIB, 1), set(OURS, 1)];
    let Writer { body, in_place, copied, scales, read, .. } = writer;
    let scales = scales.end()?;
    let whole = Whole {
        ir_version: IR_VERSION,
        producer_name: OURS.into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(body),
        opset_import,
        metadata_props: Vec::new(),
    };
    let operators = whole.graph.as_ref().map_or(0, |body| body.node.len());
    let scales = scales.map(|made| made.note(&source.path));
    let read = read.into_iter().map(|file| source.sampled(file)).collect::<Result<_, _>>()?;
    Ok((whole, MadeNote { operators, in_place, copied, scales, read }))
}

/// How keys and values are kept, where the switch leaves it to the published graph.
pub(super) fn kept(kv: Kv, ports: &DecoderPorts) -> Kv {
    let halves = ports.kv.iter().all(|kv| kv.key.element == Element::F16);
    match kv {
        Kv::Published if halves => Kv::F16,
        Kv::Published => Kv::F32,
        Kv::F32 | Kv::F16 => kv,
    }
}

impl Writer<'_> {
    fn decoder(&mut self, roles: &Roles<'_>) -> Result<(), String> {
        let mut stream = self.start(roles)?;
        self.declare(roles)?;
        self.integers(END, &[i64::MAX]);
        self.integers(ROW_AXIS, &[1]);
        let span = [Attribute::int("start", 1), Attribute::int("end", 2)];
        self.op("", "Shape", &[&stream], COUNT, &span);
        self.op("", "Concat", &[FIRST, COUNT], ROWS, &[Attribute::int("axis", 0)]);
        self.op("", "Sub", &[COUNT, KEEP], BEGIN, &[]);
        let owners = roles.layers.iter().rposition(|layer| layer.attention.own.is_some());
        let last_owner = owners.unwrap_or(0);
        // The first layer of which only some rows are wanted, but for its keys and values.
        let few_from = match (self.levers.share_rows, self.levers.late_query) {
            (false, _) => roles.layers.len(),
            (true, false) => last_owner + 1,
            (true, true) => last_owner,
        };
        let inputs = self.per_layer(roles, &stream, few_from)?;
        for (at, layer) in roles.layers.iter().enumerate() {
            let input = inputs.get(at).map(String::as_str);
            let is_late = at == few_from && at == last_owner;
            if at == few_from && !is_late {
                stream = self.last_rows(&stream);
            }
            let in_layer = |reason: String| format!("layer {at}: {reason}");
            stream = self.layer(at, layer, &stream, input, is_late).map_err(in_layer)?;
        }
        if few_from == roles.layers.len() {
            stream = self.last_rows(&stream);
        }
        let normed = self.norm(STATES, &stream, &roles.norm)?;
        let Some(bound) = roles.softcap else {
            return self.product(LOGITS, &normed, &roles.head);
        };
        self.product("gemmad/scores", &normed, &roles.head)?;
        self.numbers("gemmad/bound", &[bound]);
        self.op("", "Div", &["gemmad/scores", "gemmad/bound"], "gemmad/bent", &[]);
        self.op("", "Tanh", &["gemmad/bent"], "gemmad/tangent", &[]);
        self.op("", "Mul", &["gemmad/tangent", "gemmad/bound"], LOGITS, &[]);
        Ok(())
    }

    /// The stream before the first layer: an input, or made of token ids.
    fn start(&mut self, roles: &Roles<'_>) -> Result<String, String> {
        let embeds = self.ports.embeds.as_ref();
        if embeds.is_some_and(|port| port.name == roles.start) {
            return Ok(EMBEDS.into());
        }
        self.copied(roles.start, "gemmad/embeds")
    }

    /// Inputs and outputs.
    fn declare(&mut self, roles: &Roles<'_>) -> Result<(), String> {
        let rows = [Side::Fixed(1), Side::Open("rows")];
        let beside = |side: Side| [rows[0], rows[1], side];
        if self.ports.embeds.is_some() {
            self.body.take(EMBEDS, element::F32, &beside(Side::Fixed(self.config.hidden)));
        } else {
            self.body.take(IDS, element::I64, &rows);
        }
        let is_given = match &roles.per_layer {
            None => false,
            Some(PerLayer::Given) => true,
            Some(PerLayer::Projected { tokens, .. }) => matches!(tokens, Tokens::Given),
        };
        if is_given {
            let (layers, width) = (self.config.layers, self.config.per_layer_width);
            let rank = self.ports.per_layer.as_ref().map(|port| port.dims.len());
            let sides = match rank {
                Some(4) => vec![rows[0], rows[1], Side::Fixed(layers), Side::Fixed(width)],
                _ => beside(Side::Fixed(layers * width)).to_vec(),
            };
            self.body.take(PER_LAYER, element::F32, &sides);
        }
        for name in [HANDLE, FIRST, KEEP] {
            self.body.take(name, element::I64, &[Side::Fixed(1)]);
        }
        let logits = [rows[0], Side::Open("kept"), Side::Fixed(self.config.vocabulary)];
        self.body.give(LOGITS, element::F32, &logits);
        let states = [rows[0], Side::Open("kept"), Side::Fixed(self.config.hidden)];
        self.body.give(STATES, element::F32, &states);
        match roles.head.columns {
            columns if columns == self.config.vocabulary => Ok(()),
            columns => Err(format!("its logits have {columns} columns, unlike its vocabulary")),
        }
    }

    /// The per-layer inputs of each layer, `[1, rows, width]`; behind `few_from` only of the rows whose
    /// logits are wanted.
    fn per_layer(
        &mut self,
        roles: &Roles<'_>,
        stream: &str,
        few_from: usize,
    ) -> Result<Vec<String>, String> {
        let Some(per_layer) = &roles.per_layer else { return Ok(Vec::new()) };
        let layers = self.config.layers;
        let parts = [(0, few_from, false), (few_from, layers, true)];
        let parts: Vec<_> = parts.into_iter().filter(|(from, to, _)| from < to).collect();
        let splits = self.levers.split_projection
            && matches!(per_layer, PerLayer::Projected { product, .. } if Block::of(product).is_ok());
        let mut names = Vec::new();
        if parts.len() == 1 || splits {
            for (from, to, is_few) in parts {
                let part = self.projected(per_layer, stream, (from, to), is_few)?;
                names.extend(self.split(&part, to - from, &format!("gemmad/input.{from}")));
            }
            return Ok(names);
        }
        let all = self.projected(per_layer, stream, (0, layers), false)?;
        let width = self.config.per_layer_width;
        let sizes = [few_from * width, (layers - few_from) * width];
        let outputs = ["gemmad/inputs.all", "gemmad/inputs.few"];
        self.cut(&all, &sizes, &outputs);
        let few = self.last_rows(outputs[1]);
        names.extend(self.split(outputs[0], few_from, "gemmad/input.0"));
        names.extend(self.split(&few, layers - few_from, &format!("gemmad/input.{few_from}")));
        Ok(names)
    }

    /// The per-layer inputs of some layers side by side, `[1, rows, layers * width]`.
    fn projected(
        &mut self,
        per_layer: &PerLayer<'_>,
        stream: &str,
        (from, to): (usize, usize),
        is_few: bool,
    ) -> Result<String, String> {
        let (layers, width) = (self.config.layers, self.config.per_layer_width);
        let is_part = to - from < layers;
        let name = |what: &str| format!("gemmad/{what}.{from}");
        let given = |writer: &mut Self, tokens: String| {
            let rows = if is_few { writer.last_rows(&tokens) } else { tokens };
            if !is_part {
                return rows;
            }
            let bounds = [name("tokens_from"), name("tokens_to"), name("tokens_axis")];
            // Layers lie in the third dimension, by themselves or side by side with their width.
            let by = if writer.ports.per_layer.as_ref().is_some_and(|port| port.dims.len() == 4) {
                1
            } else {
                width
            };
            let limits = [from * by, to * by, 2];
            for (bound, limit) in bounds.iter().zip(limits) {
                writer.integers(bound, &[i64::try_from(limit).unwrap_or(i64::MAX)]);
            }
            let cut = name("tokens");
            let inputs = [rows.as_str(), &bounds[0], &bounds[1], &bounds[2]];
            writer.op("", "Slice", &inputs, &cut, &[]);
            cut
        };
        let flat = [0, 0, (to - from) * width];
        let (product, (factor, norm), tokens, scale) = match per_layer {
            PerLayer::Given => {
                let given = given(self, PER_LAYER.into());
                return Ok(self.reshaped(&given, &flat, &name("flat")));
            }
            PerLayer::Projected { product, norm, tokens, scale } => (product, norm, tokens, scale),
        };
        let rows = if is_few { self.last_rows(stream) } else { stream.into() };
        let raw = name("projected");
        self.product_rows(&raw, &rows, product, (from * width, to * width))?;
        let stacked = self.reshaped(&raw, &[0, 0, to - from, width], &name("stacked"));
        // A norm of what is multiplied by a number is one with another epsilon.
        let mut norm = *norm;
        norm.epsilon /= factor * factor;
        let normed = self.norm(&name("normed"), &stacked, &norm)?;
        let tokens = match tokens {
            Tokens::Given => PER_LAYER.to_owned(),
            Tokens::Computed(value) => self.copied(value, "gemmad/tokens")?,
        };
        let tokens = given(self, tokens);
        let tokens = self.reshaped(&tokens, &[0, 0, to - from, width], &name("token_rows"));
        let (sum, scaled) = (name("sum"), name("scaled"));
        self.op("", "Add", &[&normed, &tokens], &sum, &[]);
        self.numbers("gemmad/input_scale", &[*scale]);
        self.op("", "Mul", &[&sum, "gemmad/input_scale"], &scaled, &[]);
        Ok(self.reshaped(&scaled, &flat, &name("flat")))
    }

    /// Cuts what belongs to several layers into what belongs to each.
    fn split(&mut self, name: &str, layers: usize, prefix: &str) -> Vec<String> {
        let names: Vec<String> = (0..layers).map(|at| format!("{prefix}.{at}")).collect();
        if layers == 1 {
            return vec![name.into()];
        }
        let outputs: Vec<&str> = names.iter().map(String::as_str).collect();
        self.cut(name, &vec![self.config.per_layer_width; layers], &outputs);
        names
    }

    fn cut(&mut self, name: &str, sizes: &[usize], outputs: &[&str]) {
        let list: Vec<i64> = sizes.iter().map(|&size| i64::try_from(size).unwrap_or(0)).collect();
        let lengths = format!("{name}.sizes");
        self.integers(&lengths, &list);
        let axis = [Attribute::int("axis", 2)];
        let mut node = Node::standard("Split", &[name, &lengths], outputs[0], &axis);
        node.output = outputs.iter().map(|&output| output.into()).collect();
        self.body.node.push(node);
    }

    /// The rows whose logits are wanted.
    fn last_rows(&mut self, name: &str) -> String {
        let few = format!("{name}.few");
        if self.known.insert(few.clone()) {
            self.op("", "Slice", &[name, BEGIN, END, ROW_AXIS], &few, &[]);
        }
        few
    }

    fn reshaped(&mut self, name: &str, shape: &[usize], output: &str) -> String {
        let list: Vec<i64> = shape.iter().map(|&size| i64::try_from(size).unwrap_or(0)).collect();
        let wanted = format!("{output}.shape");
        self.integers(&wanted, &list);
        self.op("", "Reshape", &[name, &wanted], output, &[]);
        output.into()
    }

    /// Adds an operator.
    fn op(
        &mut self,
        domain: &str,
        op_type: &str,
        input: &[&str],
        output: &str,
        attributes: &[Attribute],
    ) {
        let mut node = Node::standard(op_type, input, output, attributes);
        node.domain = domain.into();
        self.body.node.push(node);
    }

    fn integers(&mut self, name: &str, values: &[i64]) {
        if self.known.insert(name.into()) {
            self.body.initializer.push(Tensor::integers(name, values));
        }
    }

    fn numbers(&mut self, name: &str, values: &[f32]) {
        if self.known.insert(name.into()) {
            self.body.initializer.push(Tensor::floats(name, &[values.len()], values));
        }
    }

    /// Which window a layer sees, and whether pictures are seen whole in it.
    fn sight(&self, kind: LayerKind) -> (usize, bool) {
        match kind {
            LayerKind::Sliding => (self.config.window_tokens, self.config.images_see_all),
            LayerKind::Global => (0, false),
        }
    }
}
