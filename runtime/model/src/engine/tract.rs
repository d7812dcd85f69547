//! tract as the engine: pure Rust, compiled in. One plan serves prefill and decode, because the
//! lengths of the step and of the past stay symbols; an encoder that wants its length beforehand gets
//! a plan for each length that comes up. Operators that tract lacks are ours, in the files beside.

mod attention;
mod blocks;
mod dots;
mod elements;
mod gather;
mod grouped;
mod halves;
mod held;
mod layer_norm;
mod lengths;
mod load;
mod nbits;
mod norm;
mod operator;
mod own;
mod padding;
mod product;
mod registry;
mod rewrite;
mod rotary;
mod rotation;
mod standard;
mod stride;
#[cfg(test)]
mod tests;
mod vector;

use std::borrow::Cow;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use half::f16;
use tract_onnx::prelude::multithread::Executor;
use tract_onnx::prelude::*;

use super::{Data, Engine, EngineKind, GraphSpec, Tensor as HostTensor, copy_rows, said};
use crate::error::Error;
use lengths::Plans;

const NAME: &str = "tract";

/// The engine, with the threads that share its products.
pub(crate) struct Tract {
    executor: Executor,
    threads: usize,
}

/// A graph that is ready to run.
pub(crate) struct TractGraph {
    plans: Plans,
    role: &'static str,
}

impl Tract {
    /// Starts the engine's threads; `threads` 0 takes one per core. However many there are, the
    /// results are the same.
    pub(crate) fn open(threads: usize) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let executor = match if threads == 0 { cores() } else { threads } {
            1 => Executor::SingleThread,
            // No threads are to be had: one will do.
            count => catch_unwind(|| Executor::multithread_with_name(count, NAME))
                .unwrap_or(Executor::SingleThread),
        };
        Self { executor, threads }
    }
}

impl Engine for Tract {
    const KIND: EngineKind = EngineKind::Tract;
    type Graph = TractGraph;
    type Value = TValue;

    fn load(&self, spec: &GraphSpec<'_>) -> Result<TractGraph, Error> {
        let path = spec.graph.path.display();
        let plans = guarded(|| Plans::load(spec, self));
        let plans =
            plans.map_err(|reason| Error::engine(NAME, format!("cannot load {path}"), reason))?;
        Ok(TractGraph { plans, role: spec.role })
    }

    fn enter(&self, tensor: HostTensor) -> Result<TValue, Error> {
        let HostTensor { shape, data } = tensor;
        let tensor = match &data {
            Data::F32(data) => Tensor::from_shape(&shape, data),
            Data::F16(data) => Tensor::from_shape(&shape, data),
            Data::I64(data) => Tensor::from_shape(&shape, data),
            Data::I32(data) => Tensor::from_shape(&shape, data),
            Data::Bool(data) => Tensor::from_shape(&shape, data),
        };
        let tensor = tensor.map_err(|error| Error::engine(NAME, "cannot take a tensor", error))?;
        Ok(tensor.into())
    }

    fn run(
        &self,
        graph: &mut TractGraph,
        inputs: &[(&str, &TValue)],
    ) -> Result<Vec<TValue>, Error> {
        let context = || format!("the {} graph failed", graph.role);
        let names = graph.plans.inputs().iter();
        let ordered = names.map(|name| {
            let input = inputs.iter().find(|(given, _)| given == name);
            let (_, value) = input.ok_or_else(|| {
                Error::engine(NAME, context(), format!("input {name} is missing"))
            })?;
            Ok((*value).clone())
        });
        let ordered = ordered.collect::<Result<TVec<TValue>, Error>>()?;
        let outputs = guarded(|| graph.plans.run(ordered));
        Ok(outputs.map_err(|reason| Error::engine(NAME, context(), reason))?.into_vec())
    }

    fn floats<'v>(&self, value: &'v TValue) -> Result<(Vec<usize>, Cow<'v, [f32]>), Error> {
        let data = elements::floats(value);
        let data = data.map_err(|error| Error::engine(NAME, "cannot read a tensor", error))?;
        Ok((value.shape().to_vec(), data))
    }

    fn first_rows(&self, value: &TValue, rows: usize) -> Result<TValue, Error> {
        self.some_rows(value, rows, |_| 0..rows)
    }

    fn last_rows(&self, value: &TValue, rows: usize) -> Result<TValue, Error> {
        self.some_rows(value, rows, |of| of - rows..of)
    }

    fn takes_recent(&self, graph: &TractGraph) -> bool {
        graph.plans.takes_recent()
    }
}

impl Tract {
    /// The rows of a value `[batch, heads, rows, width]` that `which` names out of all.
    fn some_rows(
        &self,
        value: &TValue,
        rows: usize,
        which: impl Fn(usize) -> Range<usize>,
    ) -> Result<TValue, Error> {
        let tensor: &Tensor = value;
        let context = "cannot shorten the cache";
        let failed = |error: TractError| Error::engine(NAME, context, error);
        let &[batch, heads, of_rows, width] = tensor.shape() else {
            let rank = tensor.rank();
            return Err(Error::engine(NAME, context, format!("rank {rank} is not 4")));
        };
        if rows > of_rows {
            return Err(Error::engine(NAME, context, format!("{rows} of {of_rows} rows")));
        }
        let which = which(of_rows);
        let plain = tensor.try_as_plain_ram().map_err(failed)?;
        let data = if tensor.datum_type() == f16::datum_type() {
            Data::F16(copy_rows(plain.as_slice::<f16>().map_err(failed)?, of_rows, width, which))
        } else {
            Data::F32(copy_rows(plain.as_slice::<f32>().map_err(failed)?, of_rows, width, which))
        };
        self.enter(HostTensor { shape: vec![batch, heads, rows, width], data })
    }
}

/// What tract gives, or in words what it refuses: it may panic on a graph that it does not expect.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => Err(format!("it panicked: {}", said(&*panic))),
    }
}
