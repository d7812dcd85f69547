//! Pad by lengths that are open, and by less than nothing, which cuts. tract itself wants numbers, and
//! takes negative ones for large.

use tract_onnx::model::ParsingContext;
use tract_onnx::model::optional_inputs;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Slice, TypedConcat};
use tract_onnx::tract_hir::internal::*;

use super::operator::Built;
use super::registry::original;

/// Reads a node.
///
/// # Errors
/// What tract says of the node.
pub(super) fn pad(context: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let (operator, closures) = original(context, node)?;
    let mode = node.get_attr_opt::<&str>("mode")?;
    let inner = operator.as_op().downcast_ref::<Box<dyn Expansion>>().cloned();
    let (None | Some("constant"), Some(inner)) = (mode, inner) else {
        return Ok((operator, closures));
    };
    let mut places = optional_inputs(node).skip(2);
    let (value, axes) = (places.next().flatten(), places.next().flatten());
    Ok((expand(Padding { inner, value, axes }), closures))
}

/// Padding with a constant.
#[derive(Clone, Debug)]
struct Padding {
    inner: Box<dyn Expansion>,
    value: Option<usize>,
    axes: Option<usize>,
}

impl Padding {
    /// The axes that are padded.
    fn axes(
        &self,
        model: &TypedModel,
        inputs: &[OutletId],
        rank: usize,
    ) -> TractResult<Vec<usize>> {
        let Some(place) = self.axes else { return Ok((0..rank).collect()) };
        let axes = model.outlet_fact(inputs[place])?.konst.clone();
        let axes = super::elements::integers(&*axes.context("Pad along axes that vary")?)?;
        let axis = |&axis: &i64| {
            let axis = if axis < 0 { axis + rank as i64 } else { axis };
            let axis = usize::try_from(axis).ok().filter(|&axis| axis < rank);
            axis.context("Pad along an axis beyond the last")
        };
        axes.iter().map(axis).collect()
    }

    /// The element that is put in.
    fn filling(&self, model: &TypedModel, inputs: &[OutletId]) -> TractResult<Tensor> {
        let fact = model.outlet_fact(inputs[0])?;
        let (kind, rank) = (fact.datum_type, fact.rank());
        let value = match self.value {
            Some(place) => {
                let value = model.outlet_fact(inputs[place])?.konst.clone();
                let value = value.context("Pad with a value that varies")?;
                value.cast_to_dt(kind)?.into_owned()
            }
            None => tensor0(0_i64).cast_to_dt(kind)?.into_owned(),
        };
        value.into_shape(&vec![1; rank])
    }
}

impl Expansion for Padding {
    fn name(&self) -> StaticName {
        "Pad".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.inner.rules(s, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let pads = model.outlet_fact(inputs[1])?.konst.clone();
        let pads = pads.context("Pad by lengths that are not known from the inputs' shapes")?;
        let pads = pads.cast_to::<TDim>()?.into_owned();
        let pads = pads.try_as_plain_ram()?.as_slice::<TDim>()?.to_vec();
        let rank = model.outlet_fact(inputs[0])?.rank();
        let axes = self.axes(model, inputs, rank)?;
        ensure!(
            pads.len() == 2 * axes.len(),
            "Pad of {} axes by {} lengths",
            axes.len(),
            pads.len()
        );
        let filling = self.filling(model, inputs)?;
        let filling = model.add_const(format!("{prefix}.filling"), filling)?;
        let mut wire = inputs[0];
        for (at, &axis) in axes.iter().enumerate() {
            let (before, after) = (&pads[at], &pads[at + axes.len()]);
            wire = cut(&format!("{prefix}.cut-{axis}"), model, wire, axis, before, after)?;
            for (part, length) in [("before", before), ("after", after)] {
                let name = format!("{prefix}.{part}-{axis}");
                wire = grown(&name, model, [wire, filling], axis, length, part == "before")?;
            }
        }
        Ok(tvec![wire])
    }
}

/// Cuts off what is padded by less than nothing.
fn cut(
    name: &str,
    model: &mut TypedModel,
    wire: OutletId,
    axis: usize,
    before: &TDim,
    after: &TDim,
) -> TractResult<OutletId> {
    let less = |length: &TDim| length.to_i64().map_or(0, |length| -length.min(0)).to_dim();
    let (start, end) = (less(before), model.outlet_fact(wire)?.shape[axis].clone() - less(after));
    if start == 0.to_dim() && end == model.outlet_fact(wire)?.shape[axis] {
        return Ok(wire);
    }
    Ok(model.wire_node(name, Slice::new(axis, start, end), &[wire])?[0])
}

/// Puts so many copies of the filling before or after.
fn grown(
    name: &str,
    model: &mut TypedModel,
    [wire, filling]: [OutletId; 2],
    axis: usize,
    length: &TDim,
    is_before: bool,
) -> TractResult<OutletId> {
    if matches!(length.to_i64(), Ok(length) if length <= 0) {
        return Ok(wire);
    }
    let mut shape = model.outlet_fact(wire)?.shape.to_tvec();
    shape[axis] = length.clone();
    let block = MultiBroadcastTo::new(ShapeFact::from_dims(shape));
    let block = model.wire_node(format!("{name}.filling"), block, &[filling])?[0];
    let parts = if is_before { [block, wire] } else { [wire, block] };
    Ok(model.wire_node(name, TypedConcat::new(axis), &parts)?[0])
}
