//! The plans of a graph: one for all lengths where tract can leave them open, else one for each length
//! of the medium that comes up, of which the last used are kept.

use tract_onnx::prelude::*;

use super::Tract;
use super::load::{Length, Plan, Sizes, Source};
use crate::engine::{Dim, GraphSpec};

/// Plans of a graph.
pub(super) struct Plans {
    inputs: Vec<String>,
    recent: bool,
    kind: Kind,
}

enum Kind {
    Open(Plan),
    Measured(Measured),
}

/// Plans for single lengths.
struct Measured {
    source: Source,
    /// Lengths are filled up to a multiple of this.
    block: usize,
    /// The last used comes last.
    plans: Vec<(usize, Plan)>,
}

/// Plans for single lengths that are kept; each has weights of its own.
const KEPT_MAX: usize = 2;

/// Multiples of which a plan may leave the length open: encoders of sound attend to blocks of
/// forty-eight frames.
const MULTIPLES: [usize; 2] = [1, 48];

/// Sound of a single length is filled up to a multiple of this, which the mask hides, so that few
/// plans serve: 480 frames are 4.8 seconds.
const SOUND_BLOCK: usize = 480;

/// The length with which an encoder of pictures is tried: it pools nine patches into one.
const PICTURE_TRIAL: usize = 144;

impl Plans {
    /// Compiles a graph.
    ///
    /// # Errors
    /// When tract runs it for no length.
    pub(super) fn load(spec: &GraphSpec<'_>, engine: &Tract) -> TractResult<Self> {
        let source = Source::new(spec, engine);
        let multiples = if source.has(Dim::Media) { &MULTIPLES[..] } else { &MULTIPLES[..1] };
        let recents = if source.may_forget() { &[true, false][..] } else { &[false][..] };
        for &factor in multiples {
            for &recent in recents {
                let sizes = Sizes { length: Length::Multiple(factor), recent };
                match super::guarded(|| source.plan(sizes)) {
                    Ok((plan, inputs)) => {
                        return Ok(Self { inputs, recent, kind: Kind::Open(plan) });
                    }
                    Err(reason) if source.has(Dim::Media) || recent => {
                        tracing::debug!(role = spec.role, ?sizes, "no plan: {reason}");
                    }
                    Err(reason) => return Err(TractError::msg(reason)),
                }
            }
        }
        let (block, trial) = match source.has_mask() {
            true => (SOUND_BLOCK, SOUND_BLOCK),
            false => (1, PICTURE_TRIAL),
        };
        let (plan, inputs) = source.plan(exactly(trial))?;
        let measured = Measured { source, block, plans: vec![(trial, plan)] };
        Ok(Self { inputs, recent: false, kind: Kind::Measured(measured) })
    }

    /// Names of the inputs, in the order in which [`Self::run`] takes them.
    pub(super) fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Whether sliding layers may have a shorter past than the others.
    pub(super) fn takes_recent(&self) -> bool {
        self.recent
    }

    /// Runs the plan for these inputs.
    ///
    /// # Errors
    /// When an operator fails, or there is no plan for their length.
    pub(super) fn run(&mut self, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plan = match &mut self.kind {
            Kind::Open(plan) => plan,
            Kind::Measured(measured) => {
                let length = measured.fill(&self.inputs, &mut inputs)?;
                measured.plan(length)?
            }
        };
        plan.run(inputs)
    }
}

fn exactly(length: usize) -> Sizes {
    Sizes { length: Length::Exactly(length), recent: false }
}

impl Measured {
    /// Fills the inputs up with zeros to the length of a plan, which is given.
    fn fill(&self, names: &[String], inputs: &mut [TValue]) -> TractResult<usize> {
        let mut filled = None;
        for (name, input) in names.iter().zip(inputs) {
            let Some(axis) = self.source.media_place(name) else { continue };
            let mut shape: TVec<usize> = input.shape().into();
            let length = shape[axis].max(1).next_multiple_of(self.block);
            filled = Some(length);
            if shape[axis] == length {
                continue;
            }
            shape[axis] = length - shape[axis];
            let zeros = Tensor::zero_dt(input.datum_type(), &shape)?;
            *input = Tensor::stack_tensors(axis, &[&**input, &zeros])?.into();
        }
        filled.ok_or_else(|| TractError::msg("no input has a length"))
    }

    /// The plan for a length.
    fn plan(&mut self, length: usize) -> TractResult<&Plan> {
        match self.plans.iter().position(|(of, _)| *of == length) {
            Some(place) => {
                let plan = self.plans.remove(place);
                self.plans.push(plan);
            }
            None => {
                if self.plans.len() >= KEPT_MAX {
                    self.plans.remove(0);
                }
                let (plan, _) = self.source.plan(exactly(length))?;
                self.plans.push((length, plan));
            }
        }
        let last = self.plans.last().map(|(_, plan)| plan);
        last.ok_or_else(|| TractError::msg("no plan is kept"))
    }
}
