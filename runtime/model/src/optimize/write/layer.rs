//! One layer of the fast graph.

use super::{CONTRIB, HANDLE, OURS, ROWS, Writer};
use crate::graph::edit::{Attribute, Node};
use crate::optimize::reading::Norm;
use crate::optimize::roles::{Attention, Extra, Layer};

impl Writer<'_> {
    /// Writes a layer on the stream; what it makes of it. From a late one on, the stream has only the
    /// rows whose logits are wanted.
    pub(super) fn layer(
        &mut self,
        at: usize,
        layer: &Layer<'_>,
        stream: &str,
        input: Option<&str>,
        is_late: bool,
    ) -> Result<String, String> {
        let name = |what: &str| format!("gemmad/{at}/{what}");
        let normed = self.norm(&name("normed"), stream, &layer.input_norm)?;
        let seen = self.attention(at, &layer.attention, &normed, is_late)?;
        let stream = if is_late { self.last_rows(stream) } else { stream.to_owned() };
        let (product, norm) = &layer.output;
        self.product(&name("output"), &seen, product)?;
        let added = self.norm(&name("attended"), &name("output"), norm)?;
        let (normed, stream) = self.skip(at, &stream, &added, &layer.feed_norm)?;
        self.gated(&name("gated"), &normed, &layer.gate_up)?;
        let (product, norm) = &layer.down;
        self.product(&name("down"), &name("gated"), product)?;
        let fed = match &layer.experts {
            Some(experts) => self.experts(at, experts, &stream, &name("down"))?,
            None => name("down"),
        };
        let added = self.norm(&name("fed"), &fed, norm)?;
        let mut result = name("stream");
        self.op("", "Add", &[&stream, &added], &result, &[]);
        if let (Some(extra), Some(input)) = (&layer.extra, input) {
            result = self.extra(at, extra, &result, input)?;
        }
        if layer.scalar == 1.0 {
            return Ok(result);
        }
        self.numbers(&name("scalar"), &[layer.scalar]);
        self.op("", "Mul", &[&result, &name("scalar")], &name("end"), &[]);
        Ok(name("end"))
    }

    /// Writes the part of a layer with its per-layer inputs.
    fn extra(
        &mut self,
        at: usize,
        extra: &Extra<'_>,
        stream: &str,
        input: &str,
    ) -> Result<String, String> {
        let name = |what: &str| format!("gemmad/{at}/{what}");
        self.product(&name("gate"), stream, &extra.gate)?;
        self.gelu(&name("gate"), &name("bent"));
        self.op("", "Mul", &[&name("bent"), input], &name("chosen"), &[]);
        let (product, norm) = &extra.projection;
        self.product(&name("back"), &name("chosen"), product)?;
        let added = self.norm(&name("extra"), &name("back"), norm)?;
        self.op("", "Add", &[stream, &added], &name("whole"), &[]);
        Ok(name("whole"))
    }

    /// Writes queries, keys, values and attention; the name of what is seen.
    fn attention(
        &mut self,
        at: usize,
        attention: &Attention<'_>,
        normed: &str,
        is_late: bool,
    ) -> Result<String, String> {
        let name = |what: &str| format!("gemmad/{at}/{what}");
        let (mut key, mut value, mut key_norm) = (String::new(), String::new(), String::new());
        if let Some(own) = &attention.own {
            key = name("key");
            self.product(&key, normed, &own.key)?;
            value.clone_from(&key);
            if !std::ptr::eq(own.key.node, own.value.node) {
                value = name("value");
                self.product(&value, normed, &own.value)?;
            }
            key_norm = self.head_norm(attention, &own.key_norm)?;
        }
        let normed = if is_late { self.last_rows(normed) } else { normed.to_owned() };
        let (query, seen) = (name("query"), name("seen"));
        self.product(&query, &normed, &attention.query)?;
        let query_norm = self.head_norm(attention, &attention.query_norm)?;
        let inputs = [&query, &key, &value, &query_norm, &key_norm, HANDLE, ROWS];
        let attributes = self.attention_attributes(attention)?;
        self.op(OURS, "Attention", &inputs, &seen, &attributes);
        Ok(seen)
    }

    fn attention_attributes(&self, attention: &Attention<'_>) -> Result<Vec<Attribute>, String> {
        let kv = self.ports.kv.get(attention.kv).ok_or("its keys are not known")?;
        let (window, images_see) = self.sight(kv.kind);
        let rotary = self.config.rotary(kv.kind);
        Ok(vec![
            Attribute::size("layer", attention.kv),
            Attribute::size("heads", attention.heads),
            Attribute::size("kv_heads", kv.shape.heads),
            Attribute::size("width", kv.shape.width),
            Attribute::size("window", window),
            Attribute::float("theta", rotary.theta),
            Attribute::size("rotated", rotary.pairs(kv.shape.width)),
            Attribute::float("epsilon", attention.query_norm.epsilon),
            Attribute::size("images_see", usize::from(images_see)),
        ])
    }

    /// The factors of a norm inside of attention, which has one epsilon for all.
    fn head_norm(&mut self, attention: &Attention<'_>, norm: &Norm<'_>) -> Result<String, String> {
        if norm.epsilon != attention.query_norm.epsilon {
            return Err("its norms of queries and keys have different epsilons".into());
        }
        let weight = norm.weight.ok_or("a norm of its heads has no factors")?;
        self.factors(weight)
    }

    /// Writes a norm; its name.
    pub(super) fn norm(
        &mut self,
        output: &str,
        of: &str,
        norm: &Norm<'_>,
    ) -> Result<String, String> {
        let weight = norm.weight.ok_or_else(|| format!("the norm of {of} has no factors"))?;
        let weight = self.factors(weight)?;
        self.plain_norm(output, of, &weight, norm.epsilon);
        Ok(output.into())
    }

    /// Writes a norm with factors that are there.
    pub(super) fn plain_norm(&mut self, output: &str, of: &str, weight: &str, epsilon: f32) {
        let attributes = [
            Attribute::int("axis", -1),
            Attribute::float("epsilon", epsilon),
            Attribute::int("stash_type", 1),
        ];
        // An operator of ONNX Runtime that lies in the standard domain.
        self.op("", "SimplifiedLayerNormalization", &[of, weight], output, &attributes);
    }

    /// Writes a sum and its norm; their names, the norm first.
    fn skip(
        &mut self,
        at: usize,
        stream: &str,
        added: &str,
        norm: &Norm<'_>,
    ) -> Result<(String, String), String> {
        let weight = norm.weight.ok_or("a norm of the stream has no factors")?;
        let weight = self.factors(weight)?;
        let (normed, sum) = (format!("gemmad/{at}/feed"), format!("gemmad/{at}/sum"));
        let epsilon = [Attribute::float("epsilon", norm.epsilon)];
        let inputs = [stream, added, &weight];
        let mut node =
            Node::standard("SkipSimplifiedLayerNormalization", &inputs, &normed, &epsilon);
        node.domain = CONTRIB.into();
        node.output = vec![normed.clone(), String::new(), String::new(), sum.clone()];
        self.body.node.push(node);
        Ok((normed, sum))
    }
}
