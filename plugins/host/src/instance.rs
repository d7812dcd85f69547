//! What one call owns: its store, its grants, and the meters of its limits. It is made for the
//! call and dropped with it, so that no two calls share anything.

use std::sync::Arc;

use gemma_types::Cost;
use tokio::sync::mpsc;
use wasmtime::{Engine, ResourceLimiter, Store};

use crate::contract::gemmad::plugin::types;
use crate::grants::Grants;
use crate::limits::{INSTANCES_MAX, Limits, MEMORIES_MAX, Reached, TABLES_MAX};
use crate::mqtt::Publication;

/// Fuel between two points where a guest lets other tasks run; well under a millisecond.
const YIELD_FUEL: u64 = 100_000;
/// Bytes that one host call may hand over beyond the largest limit; more of them is a trap, fewer
/// an error that the guest can read.
const HANDOVER_BYTES: u64 = 65_536;

/// Everything that the capabilities know about the call they serve.
pub(crate) struct Call {
    pub(crate) plugin: Arc<str>,
    pub(crate) tool: String,
    pub(crate) grants: Arc<Grants>,
    pub(crate) limits: Limits,
    pub(crate) publications: mpsc::Sender<Publication>,
    pub(crate) used: Used,
    /// The first request that was not granted.
    pub(crate) refusal: Option<String>,
    /// The topic of the message whose receipt is outstanding.
    pub(crate) awaiting_receipt: Option<String>,
    /// The limit that stopped the call.
    pub(crate) stopped: Option<Reached>,
}

/// What a call has used of its limits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    host_calls: u64,
    pub(crate) publications: u64,
    pub(crate) log_lines: u64,
    memory_bytes: u64,
    memory_bytes_peak: u64,
    table_elements: u64,
}

impl Call {
    /// Every host function begins here: it counts, and it lets other tasks and the deadline run.
    pub(crate) async fn enter(&mut self) -> wasmtime::Result<()> {
        tokio::task::yield_now().await;
        if self.used.host_calls >= self.limits.host_calls {
            return Err(self.stop("host_calls", self.limits.host_calls).into());
        }
        self.used.host_calls += 1;
        Ok(())
    }

    /// The error of a request that the manifest does not grant.
    pub(crate) fn refuse(&mut self, text: String) -> types::Error {
        tracing::warn!(plugin = %self.plugin, tool = %self.tool, refusal = %text, "refused");
        self.refusal.get_or_insert_with(|| text.clone());
        types::Error::NotGranted(text)
    }

    fn stop(&mut self, key: &'static str, limit: u64) -> Reached {
        *self.stopped.get_or_insert(Reached { key, limit })
    }

    /// The use of a resource after it grew, or the limit that it would pass.
    fn grow(used: u64, current: usize, desired: usize, limit: u64) -> Option<u64> {
        let grown = u64::try_from(desired.saturating_sub(current)).ok()?;
        used.checked_add(grown).filter(|used| *used <= limit)
    }
}

/// The errors of the contract are plain data.
impl types::Host for Call {}

impl ResourceLimiter for Call {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = self.limits.memory_bytes;
        let Some(used) = Self::grow(self.used.memory_bytes, current, desired, limit) else {
            return Err(self.stop("memory_bytes", limit).into());
        };
        self.used.memory_bytes = used;
        self.used.memory_bytes_peak = self.used.memory_bytes_peak.max(used);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = self.limits.table_elements;
        let Some(used) = Self::grow(self.used.table_elements, current, desired, limit) else {
            return Err(self.stop("table_elements", limit).into());
        };
        self.used.table_elements = used;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

/// A store for one call, with its fuel filled and its limits in force.
pub(crate) fn store(engine: &Engine, call: Call) -> wasmtime::Result<Store<Call>> {
    let limits = call.limits;
    let largest = limits.result_bytes.max(limits.publication_bytes).max(limits.log_line_bytes);
    let mut store = Store::new(engine, call);
    store.limiter(|call| call);
    store.set_fuel(limits.fuel)?;
    store.fuel_async_yield_interval(Some(YIELD_FUEL))?;
    store.set_hostcall_fuel(
        usize::try_from(largest.saturating_add(HANDOVER_BYTES)).unwrap_or(usize::MAX),
    );
    Ok(store)
}

/// What the call has cost so far, but for its time.
pub(crate) fn cost(store: &Store<Call>) -> Cost {
    let call = store.data();
    Cost {
        fuel: call.limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
        memory_bytes: call.used.memory_bytes_peak,
        ..Cost::default()
    }
}
