//! Making a model fast: writes the fast graph of its decoder, and says what came of it.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, bail};
use gemma_runtime::{Checked, Device, Levers, OptimizeOptions, Report};
use serde_json::{Value, json};

use super::info::size;
use crate::cli::model::Optimize;
use crate::client::{aside, harmless};

/// Writes, compares and prints; or removes.
pub(super) fn run(wanted: &Optimize) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if wanted.remove {
        let removed = gemma_runtime::remove_fast(&wanted.folder, wanted.graphs.dtype.as_deref())?;
        let said = match (&removed, wanted.output.json) {
            (_, true) => json!({ "removed": removed }).to_string(),
            (Some(path), false) => format!("removed {}", path.display()),
            (None, false) => "there is no fast graph".into(),
        };
        writeln!(out, "{}", harmless(&said))?;
        return Ok(());
    }
    if wanted.graphs.device == Device::Cuda {
        bail!("the fast graph computes on the processor only; leave out --device cuda");
    }
    let options = OptimizeOptions {
        engine: wanted.engine,
        library: wanted.graphs.library.clone(),
        threads: wanted.graphs.threads,
        dtype: wanted.graphs.dtype.clone(),
        levers: levers(&wanted.lever)?,
        force: wanted.force,
    };
    aside("comparing the fast graph with the published one takes as long as some answers");
    let report = gemma_runtime::optimize(&wanted.folder, &options)?;
    match wanted.output.json {
        true => writeln!(out, "{}", as_json(&report))?,
        false => out.write_all(harmless(&as_text(&report)).as_bytes())?,
    }
    Ok(())
}

fn levers(set: &[String]) -> anyhow::Result<Levers> {
    let mut levers = Levers::default();
    for lever in set {
        levers.set(lever).map_err(anyhow::Error::msg).context("option --lever")?;
    }
    Ok(levers)
}

fn as_json(report: &Report) -> Value {
    let Checked { difference, tolerance, tokens, same } = report.checked;
    let [published, fast] = report.operators;
    json!({
        "source": report.source,
        "file": report.file,
        "bytes": report.bytes,
        "bytes_in_place": report.in_place,
        "bytes_copied": report.copied,
        "bytes_of_scales": report.scales,
        "operators": { "published": published, "fast": fast },
        "levers": report.levers,
        "checked": {
            "difference": difference,
            "tolerance": tolerance,
            "tokens": tokens,
            "same": same,
        },
        "was_there": report.was_there,
    })
}

fn as_text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11} {value}");
    };
    let Checked { difference, tolerance, tokens, same } = report.checked;
    let [published, fast] = report.operators;
    line("published", &format!("{}, {published} operators", report.source.display()));
    let verb = if report.was_there { ", there already" } else { "" };
    let bytes = size(report.bytes);
    line("fast graph", &format!("{}, {fast} operators, {bytes}{verb}", report.file.display()));
    let (stay, copied) = (size(report.in_place), size(report.copied));
    let scales = match report.scales {
        0 => String::new(),
        bytes => format!(", {} of scales beside it", size(bytes)),
    };
    line("weights", &format!("{stay} stay where they are, {copied} copied{scales}"));
    line("levers", &report.levers.to_string());
    line("logits", &format!("{difference:.1e} largest difference, {tolerance} allowed"));
    line("greedy", &format!("{same} of {tokens} tokens the same"));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn report() -> Report {
        Report {
            source: "m/onnx/decoder_model_merged_q4.onnx".into(),
            file: "m/onnx/decoder_model_merged_q4.fast.onnx".into(),
            bytes: 87_774,
            in_place: 1_280_000_000,
            copied: 15_616,
            scales: 118_000_000,
            operators: [1_300, 700],
            levers: Levers::default(),
            checked: Checked { difference: 1.5e-4, tolerance: 0.01, tokens: 48, same: 47 },
            was_there: false,
        }
    }

    #[test]
    fn a_report_tells_what_stayed_and_how_it_compares() {
        let text = as_text(&report());
        for part in [
            "published   m/onnx/decoder_model_merged_q4.onnx, 1300 operators\n",
            "fast graph  m/onnx/decoder_model_merged_q4.fast.onnx, 700 operators, 85.7 KiB\n",
            "weights     1.2 GiB stay where they are, 15.2 KiB copied, 112.5 MiB of scales beside it\n",
            "levers      share_rows=on late_query=on ring=on",
            "logits      1.5e-4 largest difference, 0.01 allowed\n",
            "greedy      47 of 48 tokens the same\n",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let again = as_text(&Report { was_there: true, ..report() });
        assert!(again.contains("85.7 KiB, there already\n"), "{again}");
        assert_eq!(as_json(&report())["levers"]["kv"], "published");
    }

    #[test]
    fn an_unknown_lever_is_refused_with_those_there_are() {
        let error = format!("{:#}", levers(&["speed=on".into()]).unwrap_err());
        assert!(error.starts_with("option --lever: \"speed=on\" is none of share_rows"), "{error}");
        assert!(levers(&["gated=off".into(), "kv=f16".into()]).is_ok_and(|levers| !levers.gated));
    }
}
