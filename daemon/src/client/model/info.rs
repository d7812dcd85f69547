//! What a model's folder holds, how much memory it takes, and whether this machine has that much.

mod fit; // what fits, and why
mod memory; // memory of this machine

use std::fmt::Write as _;
use std::io::Write as _;

use gemma_runtime::{GraphInfo, Inspection, KvInfo};
use serde_json::{Value, json};

use crate::cli::model::Info;
use crate::client::harmless;
use fit::Fit;
use memory::Memory;

/// Contexts that are shown, as far as the model goes.
const CONTEXTS: [usize; 6] = [4_096, 8_192, 32_768, 65_536, 131_072, 262_144];

/// Looks and prints.
pub(super) fn run(info: &Info) -> anyhow::Result<()> {
    let model = Inspection::of(&info.folder, info.dtype.as_deref())?;
    let memory = Memory::of_this_machine();
    let fits = Fit::of_each(&contexts(&model), &model, memory);
    let mut out = std::io::stdout();
    match info.output.json {
        true => writeln!(out, "{}", as_json(&model, &fits))?,
        false => out.write_all(harmless(&as_text(&model, &fits, memory)).as_bytes())?,
    }
    Ok(())
}

/// The contexts that are shown: common ones, and the longest.
fn contexts(model: &Inspection) -> Vec<usize> {
    let longest = model.context_tokens;
    let shorter = CONTEXTS.into_iter().filter(|tokens| *tokens < longest);
    shorter.chain([longest]).collect()
}

fn as_json(model: &Inspection, fits: &[Fit]) -> Value {
    let graph = |graph: &GraphInfo| {
        json!({
            "role": graph.role,
            "dtype": graph.dtype,
            "bytes": graph.bytes,
            "file": graph.file,
        })
    };
    let KvInfo { local_bytes, global_bytes, window_tokens, .. } = model.kv;
    json!({
        "variant": model.variant.to_string(),
        "layout": model.layout.to_string(),
        "context_tokens": model.context_tokens,
        "layers": model.layers,
        "vocabulary": model.vocabulary,
        "graphs": model.graphs.iter().map(graph).collect::<Value>(),
        "bytes": model.bytes(),
        "kv": {
            "bytes_per_token": local_bytes + global_bytes,
            "local_bytes_per_token": local_bytes,
            "global_bytes_per_token": global_bytes,
            "local_layers": model.local_layers,
            "global_layers": model.global_layers,
            "window_tokens": window_tokens,
        },
        "fits": fits.iter().map(Fit::as_json).collect::<Value>(),
    })
}

fn as_text(model: &Inspection, fits: &[Fit], memory: Option<Memory>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    let KvInfo { local_bytes, global_bytes, window_tokens, .. } = model.kv;
    line("variant", &model.variant.to_string());
    line("layout", &model.layout.to_string());
    line("context", &format!("{} tokens", model.context_tokens));
    line("layers", &format!("{}, with {} tokens to choose from", model.layers, model.vocabulary));
    for graph in &model.graphs {
        let name = graph.file.file_name().unwrap_or_default().to_string_lossy();
        line(graph.role, &format!("{:<6} {:>10}  {name}", graph.dtype, size(graph.bytes)));
    }
    line("all graphs", &format!("{:<6} {:>10}", "", size(model.bytes())));
    line(
        "cache",
        &format!(
            "{} for a token: {} in {} global layers, {} in {} that see {window_tokens} tokens",
            size((global_bytes + local_bytes) as u64),
            size(global_bytes as u64),
            model.global_layers,
            size(local_bytes as u64),
            model.local_layers,
        ),
    );
    text.push_str(&fit::table(fits, memory));
    text
}

/// A number of bytes as people read it, in powers of 1024.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = Some(next);
    }
    let digits = usize::from(bytes >= 1024);
    format!("{value:.digits$} {}", unit.unwrap_or(&""))
}

#[cfg(test)]
mod tests {
    use gemma_runtime::{Family, FolderLayout, Variant};

    use super::*;

    /// The published E2B in q4f16: its sizes, and keys and values in 16 bits.
    pub(super) fn published() -> Inspection {
        let graph = |role, bytes| GraphInfo {
            role,
            dtype: "q4f16",
            bytes,
            step_bytes: bytes,
            file: format!("onnx/{role}.onnx").into(),
        };
        Inspection {
            variant: Variant { family: Family::E2B, layers: 35, hidden: 1536 },
            layout: FolderLayout::Merged,
            context_tokens: 131_072,
            layers: 35,
            vocabulary: 262_144,
            graphs: vec![
                graph("embedding", 1_590_695_413),
                graph("decoder", 1_520_374_223),
                graph("vision", 99_378_564),
                graph("audio", 171_518_558),
            ],
            local_layers: 12,
            global_layers: 3,
            kv: KvInfo {
                local_bytes: 12_288,
                global_bytes: 6_144,
                window_tokens: 512,
                keeps_window: false,
            },
        }
    }

    #[test]
    fn a_published_model_is_shown_with_its_reasons() {
        let memory = Memory { total: 8 << 30, available: 4 << 30 };
        let model = published();
        let fits = Fit::of_each(&contexts(&model), &model, Some(memory));
        let text = as_text(&model, &fits, Some(memory));
        for part in [
            "variant     E2B\n",
            "embedding   q4f16     1.5 GiB  embedding.onnx\n",
            "cache       18.0 KiB for a token: 6.0 KiB in 3 global layers, 12.0 KiB in 12 that see 512",
            "memory      4.0 GiB free of 8.0 GiB\n",
            "    4096    72.0 MiB      30.0 MiB     3.6 GiB  fits\n",
            "  131072     2.2 GiB     774.0 MiB     5.8 GiB  does not fit",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert_eq!(as_json(&model, &fits)["kv"]["bytes_per_token"], 18_432);
    }

    #[test]
    fn sizes_are_read_by_people() {
        let check = |bytes: u64, expected: &str| assert_eq!(size(bytes), expected);
        check(0, "0 B");
        check(1_023, "1023 B");
        check(18_432, "18.0 KiB");
        check(1_590_695_413, "1.5 GiB");
        check(u64::MAX, "16777216.0 TiB");
    }

    #[test]
    fn the_longest_context_is_always_shown() {
        let mut model = published();
        assert_eq!(contexts(&model), [4_096, 8_192, 32_768, 65_536, 131_072]);
        model.context_tokens = 1_000;
        assert_eq!(contexts(&model), [1_000]);
    }
}
