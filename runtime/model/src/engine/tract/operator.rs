//! One of our operators inside tract: what it gives for what it takes, and which of its outputs a
//! graph names. Operators are opaque to tract's optimiser, which keeps them exact and simple.

use tract_onnx::model::optional_inputs;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::internal::*;

/// What one of our operators computes.
pub(super) trait Operator: Clone + std::fmt::Debug + Eq + Send + Sync + 'static {
    /// Its name, as graphs write it.
    const NAME: &'static str;

    /// Element type and shape of every output, named by the graph or not.
    ///
    /// # Errors
    /// When the inputs do not fit together: then the graph is refused when it is loaded.
    fn facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>>;

    /// Every output, in the order of [`Self::facts`].
    ///
    /// # Errors
    /// When the inputs hold what the operator has no answer for.
    fn compute(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>>;
}

/// What the registry of operators wants of a node: its meaning, and names from outer graphs.
pub(super) type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// Gives tract an operator in the form in which a node uses it.
///
/// # Errors
/// When the node names more outputs than `outputs`.
pub(super) fn built<O: Operator>(node: &NodeProto, operator: O, outputs: usize) -> Built {
    let named: TVec<usize> =
        (0..node.output.len()).filter(|&place| !node.output[place].is_empty()).collect();
    if let Some(place) = named.iter().find(|&&place| place >= outputs) {
        bail!("{} gives {outputs} outputs here, not {}", O::NAME, place + 1);
    }
    Ok((expand(Own { operator, named }), Vec::new()))
}

/// One of our operators with one output, for a graph that is already typed.
pub(super) fn typed<O: Operator>(operator: O) -> Box<dyn TypedOp> {
    Box::new(Own { operator, named: tvec![0] })
}

/// Where each of the first `N` inputs of a node lies among those that are given.
pub(super) fn places<const N: usize>(node: &NodeProto) -> [Option<usize>; N] {
    let mut places = [None; N];
    for (place, given) in places.iter_mut().zip(optional_inputs(node)) {
        *place = given;
    }
    places
}

/// The place of an input that must be given.
///
/// # Errors
/// When it is not.
pub(super) fn needed(place: Option<usize>, node: &NodeProto, name: &str) -> TractResult<usize> {
    place.with_context(|| format!("{} without {name}", node.op_type))
}

/// An attribute that is a fraction, in a form that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Real(u32);

impl Real {
    /// The value.
    pub(super) fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl From<f32> for Real {
    fn from(value: f32) -> Self {
        Self(value.to_bits())
    }
}

/// An operator with the outputs that a graph names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own<O> {
    operator: O,
    named: TVec<usize>,
}

impl<O: Operator> Own<O> {
    fn named<T: Clone>(&self, all: &[T]) -> TractResult<TVec<T>> {
        let one = |&place: &usize| {
            all.get(place).cloned().with_context(|| format!("{} lacks output {place}", O::NAME))
        };
        self.named.iter().map(one).collect()
    }
}

impl<O: Operator> Expansion for Own<O> {
    fn name(&self) -> StaticName {
        O::NAME.into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.named.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, self.named.len())?;
        s.given_all(inputs.iter().map(|input| &input.datum_type), move |s, types| {
            s.given_all(inputs.iter().map(|input| &input.shape), move |s, shapes| {
                let facts = types.iter().zip(&shapes).map(|(kind, shape)| kind.fact(shape));
                let facts: Vec<TypedFact> = facts.collect();
                let facts: Vec<&TypedFact> = facts.iter().collect();
                let facts = self.named(&self.operator.facts(&facts)?)?;
                for (output, fact) in outputs.iter().zip(facts) {
                    s.equals(&output.datum_type, fact.datum_type)?;
                    s.equals(&output.shape, fact.shape.to_tvec())?;
                }
                Ok(())
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let mut wires = TVec::new();
        for (place, &input) in inputs.iter().enumerate() {
            // tract computes with sizes as symbols; our operators want numbers.
            let is_size = model.outlet_fact(input)?.datum_type == TDim::datum_type();
            let wire = match is_size {
                true => model.wire_node(
                    format!("{prefix}.number-{place}"),
                    cast(i64::datum_type()),
                    &[input],
                )?[0],
                false => input,
            };
            wires.push(wire);
        }
        model.wire_node(prefix, self.clone(), &wires)
    }
}

impl<O: Operator> Op for Own<O> {
    fn name(&self) -> StaticName {
        O::NAME.into()
    }

    op_as_typed_op!();
}

impl<O: Operator> EvalOp for Own<O> {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.named(&self.operator.compute(&inputs)?)
    }
}

impl<O: Operator> TypedOp for Own<O> {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.named(&self.operator.facts(inputs)?)
    }
}
