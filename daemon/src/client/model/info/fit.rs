//! What fits into the memory of this machine, and why.

use std::fmt::Write as _;

use gemma_runtime::{Inspection, KvInfo};
use serde_json::{Value, json};

use super::memory::Memory;
use super::size;

/// What the program, the engine's buffers and a block of the prompt take beside weights and cache.
const WORKING_BYTES: u64 = 400 << 20;

/// One length of context, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// Tokens of the context.
    tokens: usize,
    /// Keys and values, where every layer keeps all.
    cache: u64,
    /// Keys and values, where sliding layers keep their window.
    cache_in_windows: u64,
    /// Everything, with the embeddings left on disk.
    least: u64,
    /// Everything, the embeddings in memory.
    most: u64,
    verdict: Verdict,
}

/// Whether it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    /// If the embeddings, of which a token needs a few kilobytes, stay on disk.
    FitsWithEmbeddingsOnDisk,
    /// So many bytes are missing.
    DoesNot(u64),
    /// The kernel does not say how much memory there is.
    Unknown,
}

impl Fit {
    /// Judges each length of context.
    pub(super) fn of_each(
        contexts: &[usize],
        model: &Inspection,
        memory: Option<Memory>,
    ) -> Vec<Self> {
        contexts.iter().map(|tokens| Self::of(*tokens, model, memory)).collect()
    }

    fn of(tokens: usize, model: &Inspection, memory: Option<Memory>) -> Self {
        let embeddings = model.graphs.iter().filter(|graph| graph.role == "embedding");
        let embeddings: u64 = embeddings.map(|graph| graph.bytes).sum();
        let cache = model.kv.bytes(tokens) as u64;
        let most = model.bytes().saturating_add(cache).saturating_add(WORKING_BYTES);
        let least = most.saturating_sub(embeddings);
        let verdict = match memory {
            None => Verdict::Unknown,
            Some(Memory { available, .. }) if most <= available => Verdict::Fits,
            Some(Memory { available, .. }) if least <= available => {
                Verdict::FitsWithEmbeddingsOnDisk
            }
            Some(Memory { available, .. }) => Verdict::DoesNot(least - available),
        };
        let windows = KvInfo { keeps_window: true, ..model.kv };
        let cache_in_windows = windows.bytes(tokens) as u64;
        Self { tokens, cache, cache_in_windows, least, most, verdict }
    }

    pub(super) fn as_json(&self) -> Value {
        let (fits, missing) = match self.verdict {
            Verdict::Fits | Verdict::FitsWithEmbeddingsOnDisk => (json!(true), 0),
            Verdict::DoesNot(missing) => (json!(false), missing),
            Verdict::Unknown => (Value::Null, 0),
        };
        json!({
            "context_tokens": self.tokens,
            "kv_bytes": self.cache,
            "kv_bytes_in_windows": self.cache_in_windows,
            "memory_bytes": self.most,
            "memory_bytes_with_embeddings_on_disk": self.least,
            "fits": fits,
            "missing_bytes": missing,
            "why": self.why(),
        })
    }

    fn why(&self) -> String {
        match self.verdict {
            Verdict::Fits => "fits".to_owned(),
            Verdict::FitsWithEmbeddingsOnDisk => {
                format!("fits while the embeddings stay on disk: {}", size(self.least))
            }
            Verdict::DoesNot(missing) => format!(
                "does not fit, {} are missing: take fewer bits (--dtype) or less context",
                size(missing)
            ),
            Verdict::Unknown => "the kernel does not say how much memory is free".to_owned(),
        }
    }
}

/// A line for each length of context, and what was compared.
pub(super) fn table(fits: &[Fit], memory: Option<Memory>) -> String {
    let mut text = String::new();
    if let Some(Memory { total, available }) = memory {
        let (available, total) = (size(available), size(total));
        let _ = writeln!(text, "{:<11} {available} free of {total}", "memory");
    }
    let _ = writeln!(
        text,
        "\n{:>8} {:>11} {:>13} {:>11}  on this machine",
        "context", "cache", "windows only", "in all"
    );
    for fit in fits {
        let _ = writeln!(
            text,
            "{:>8} {:>11} {:>13} {:>11}  {}",
            fit.tokens,
            size(fit.cache),
            size(fit.cache_in_windows),
            size(fit.most),
            fit.why()
        );
    }
    let working = size(WORKING_BYTES);
    let _ = writeln!(text, "\nin all: the graphs, the cache, and {working} to work with");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::model::info::tests::published;

    fn check(tokens: usize, available: u64, expected: Verdict) {
        let memory = Memory { total: 1 << 40, available };
        let fit = Fit::of(tokens, &published(), Some(memory));
        assert_eq!(fit.verdict, expected, "{fit:?}");
    }

    #[test]
    fn memory_is_compared_with_graphs_and_cache() {
        let graphs = published().bytes();
        let all = graphs + (72 << 20) + WORKING_BYTES;
        let embeddings = 1_590_695_413;
        check(4_096, all, Verdict::Fits);
        check(4_096, all - 1, Verdict::FitsWithEmbeddingsOnDisk);
        check(4_096, all - embeddings, Verdict::FitsWithEmbeddingsOnDisk);
        check(4_096, all - embeddings - 7, Verdict::DoesNot(7));
        assert_eq!(Fit::of(1, &published(), None).verdict, Verdict::Unknown);
    }

    #[test]
    fn what_does_not_fit_says_what_would_help() {
        let fit = Fit::of(131_072, &published(), Some(Memory { total: 9, available: 9 }));
        assert!(fit.why().contains("--dtype"), "{}", fit.why());
        assert_eq!(fit.as_json()["fits"], json!(false));
        assert_eq!(fit.as_json()["kv_bytes_in_windows"], 774 << 20);
    }
}
