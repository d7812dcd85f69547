//! The mixture of experts of a layer: the router in standard operators, the experts in one of ours.

use super::{OURS, Writer};
use crate::graph::edit::Attribute;
use crate::graph::tensor::{Tensor, element};
use crate::optimize::levers::Int8;
use crate::optimize::reading::{Mixture, Stored};
use crate::optimize::roles::{Experts, Router};

/// Sizes of a block of levels that the kernels take.
const BLOCKS: std::ops::RangeInclusive<usize> = 16..=256;

/// Sizes of a mixture.
#[derive(Clone, Copy)]
struct Sizes {
    experts: usize,
    hidden: usize,
    inner: usize,
}

impl Writer<'_> {
    /// Writes what the experts add to the gated product `dense` of a layer; the name of the sum.
    pub(super) fn experts(
        &mut self,
        at: usize,
        experts: &Experts<'_>,
        stream: &str,
        dense: &str,
    ) -> Result<String, String> {
        let name = |what: &str| format!("gemmad/{at}/{what}");
        let sizes = self.sizes(&experts.mixture)?;
        let input = self.norm(&name("asked"), stream, &experts.input_norm)?;
        let scores = self.router(at, &experts.router, stream, sizes)?;
        self.mixture(&name("answered"), &experts.mixture, [input, scores], sizes)?;
        let mixed = self.norm(&name("mixed"), &name("answered"), &experts.norm)?;
        let dense = self.norm(&name("dense"), dense, &experts.beside)?;
        self.op("", "Add", &[&dense, &mixed], &name("both"), &[]);
        Ok(name("both"))
    }

    /// Writes the operator that does the work.
    fn mixture(
        &mut self,
        output: &str,
        mixture: &Mixture<'_>,
        [input, scores]: [String; 2],
        sizes: Sizes,
    ) -> Result<(), String> {
        let scores = match mixture.is_softmax {
            true => {
                let likely = format!("{scores}.likely");
                self.op("", "Softmax", &[&scores], &likely, &[Attribute::int("axis", -1)]);
                likely
            }
            false => scores,
        };
        let factors = match mixture.factors {
            Some(factors) if factors.count() != Some(sizes.experts) => {
                return Err(format!("{} has no number for each expert", factors.name));
            }
            Some(factors) => self.factors(factors)?,
            None => String::new(),
        };
        let mut inputs = vec![input, scores, factors];
        for Stored { data, scales, zeros } in [&mixture.first, &mixture.second] {
            for tensor in [Some(*data), *scales, *zeros] {
                inputs.push(tensor.map_or_else(String::new, |tensor| self.weight(tensor)));
            }
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let attributes = self.experts_attributes(mixture, sizes)?;
        self.op(OURS, "Experts", &inputs, output, &attributes);
        Ok(())
    }

    /// Writes the scores of all experts.
    fn router(
        &mut self,
        at: usize,
        router: &Router<'_>,
        stream: &str,
        sizes: Sizes,
    ) -> Result<String, String> {
        let name = |what: &str| format!("gemmad/{at}/{what}");
        if router.product.columns != sizes.experts {
            let (scores, experts) = (router.product.columns, sizes.experts);
            return Err(format!("its router has {scores} scores for {experts} experts"));
        }
        let mut factors = vec![router.factor; sizes.hidden];
        for tensor in router.norm.weight.iter().chain(&router.factors) {
            let values = tensor.to_floats(&self.source.folder);
            let values =
                values.filter(|values| matches!(values.len(), 1) || values.len() == sizes.hidden);
            let values =
                values.ok_or_else(|| format!("{} is no factors of a norm", tensor.name))?;
            let each = values.iter().cycle();
            factors.iter_mut().zip(each).for_each(|(factor, value)| *factor *= value);
        }
        let weight = name("router_factors");
        self.add(Tensor::floats(&weight, &[sizes.hidden], &factors));
        self.plain_norm(&name("routed"), stream, &weight, router.norm.epsilon);
        self.product(&name("scores"), &name("routed"), &router.product)?;
        Ok(name("scores"))
    }

    /// The sizes of a mixture, held against those of its weights.
    fn sizes(&self, mixture: &Mixture<'_>) -> Result<Sizes, String> {
        let Mixture { first, second, bits, is_turned, .. } = mixture;
        let named = |tensor: &Tensor, reason: &str| format!("{} {reason}", tensor.name);
        let shape = |tensor: &Tensor| match tensor.shape().unwrap_or_default()[..] {
            [experts, rows, columns] if tensor.count().is_some_and(|count| count > 0) => {
                Ok([experts, rows, columns])
            }
            _ => Err(named(tensor, "is not one matrix for each expert")),
        };
        let hidden = self.config.hidden;
        let [experts, rows, columns] = shape(first.data)?;
        let inner = if *is_turned { columns } else { rows } / 2;
        let sizes = Sizes { experts, hidden, inner };
        let expected = [[2 * inner, hidden], [hidden, inner]];
        for ((stored, [outputs, inputs]), bits) in
            [first, second].into_iter().zip(expected).zip(bits)
        {
            let found = shape(stored.data)?;
            let (wanted, kinds): (_, &[i32]) = match (bits, is_turned) {
                (0, true) => ([experts, inputs, outputs], &[element::F32, element::F16]),
                (0, false) => ([experts, outputs, inputs], &[element::F32, element::F16]),
                (4, _) => ([experts, outputs, inputs / 2], &[element::U8]),
                (8, _) => ([experts, outputs, inputs], &[element::U8]),
                _ => return Err(named(stored.data, &format!("has {bits} bits, not 4 or 8"))),
            };
            if found != wanted || !kinds.contains(&stored.data.data_type) {
                return Err(named(stored.data, &format!("is {found:?}, not {wanted:?}")));
            }
            if *bits != 0 {
                self.check_scales(stored, mixture, [experts, outputs, inputs], *bits)?;
            }
        }
        match first.data.data_type == second.data.data_type
            && scale_type(first) == scale_type(second)
        {
            true => Ok(sizes),
            false => Err(named(first.data, "has other elements than the second product")),
        }
    }

    fn check_scales(
        &self,
        stored: &Stored<'_>,
        mixture: &Mixture<'_>,
        [experts, outputs, inputs]: [usize; 3],
        bits: i64,
    ) -> Result<(), String> {
        let named = |reason: &str| format!("{} {reason}", stored.data.name);
        let bits = usize::try_from(bits).unwrap_or(0);
        let block = usize::try_from(mixture.block).unwrap_or(0);
        let (blocks, zeros) = match block {
            0 if inputs.is_multiple_of(*BLOCKS.start()) => {
                (1, experts * (outputs * bits).div_ceil(8))
            }
            _ if block.is_power_of_two()
                && BLOCKS.contains(&block)
                && inputs.is_multiple_of(block) =>
            {
                let blocks = inputs / block;
                (blocks, experts * outputs * (blocks * bits).div_ceil(8))
            }
            _ => return Err(named(&format!("has blocks of {block} in rows of {inputs}"))),
        };
        let scales = stored.scales.ok_or_else(|| named("has no scales"))?;
        let is_float = matches!(scales.data_type, element::F32 | element::F16);
        if scales.count() != Some(experts * outputs * blocks) || !is_float {
            return Err(named("has scales that do not fit its blocks"));
        }
        let packed = (element::U8, Some(zeros));
        match stored.zeros.is_some_and(|zeros| (zeros.data_type, zeros.count()) != packed) {
            true => Err(named("has zero points that are not packed like its weights")),
            false => Ok(()),
        }
    }

    fn experts_attributes(
        &self,
        mixture: &Mixture<'_>,
        sizes: Sizes,
    ) -> Result<Vec<Attribute>, String> {
        if mixture.chosen == 0 || mixture.chosen > sizes.experts {
            let (chosen, experts) = (mixture.chosen, sizes.experts);
            return Err(format!("it chooses {chosen} of {experts} experts"));
        }
        let accuracy = match self.levers.int8 {
            Int8::Published => mixture.accuracy,
            Int8::On => super::weights::EIGHT_BITS,
            Int8::Off => 0,
        };
        let switch = |name: &str, on: bool| Attribute::int(name, i64::from(on));
        let mut attributes = vec![
            Attribute::size("experts", sizes.experts),
            Attribute::size("k", mixture.chosen),
            Attribute::size("hidden", sizes.hidden),
            Attribute::size("inner", sizes.inner),
            switch("adds_up", mixture.adds_up),
            switch("interleaved", mixture.is_interleaved),
            switch("turned", mixture.is_turned),
            switch("swish", mixture.swish.is_some()),
            Attribute::int("bits", mixture.bits[0]),
            Attribute::int("second_bits", mixture.bits[1]),
            Attribute::int("block_size", mixture.block),
            Attribute::int("accuracy_level", accuracy),
        ];
        if let Some([alpha, beta, limit]) = mixture.swish {
            attributes.push(Attribute::float("alpha", alpha));
            attributes.push(Attribute::float("beta", beta));
            attributes.push(Attribute::float("limit", limit));
        }
        Ok(attributes)
    }
}

fn scale_type(stored: &Stored<'_>) -> Option<i32> {
    stored.scales.map(|scales| scales.data_type)
}
