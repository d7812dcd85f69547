//! A model's folder, measured: no daemon, no bus, no broker, no configuration.

use std::path::Path;

use gemmad_tests::daemon::{Said, bare_command};
use gemmad_tests::workspace::{demo_model, onnxruntime};
use serde_json::Value;

/// Measures the demo model once, with this put behind the command.
async fn bench(arguments: &[&str]) -> anyhow::Result<Said> {
    let library = onnxruntime()?.display().to_string();
    let folder = demo_model()?.display().to_string();
    let all = [&["bench", folder.as_str(), "--rounds", "1"], arguments].concat();
    bare_command(&all, &[("GEMMAD_ONNXRUNTIME", &library)]).await
}

fn report(path: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// The number at a place, which must be above zero.
fn positive(report: &Value, place: &str) -> f64 {
    let number = report.pointer(place).and_then(Value::as_f64).unwrap_or_default();
    assert!(number > 0.0, "{place} in {report}");
    number
}

#[tokio::test]
async fn bench_measures_speed_waiting_media_and_memory() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("report.json");
    let path = file.display().to_string();
    let said = bench(&["--prompt", "128", "--past", "0,128", "--json", &path]).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    for line in ["prefill", "decode", "first word", "encode", "occupies"] {
        assert!(said.out.lines().any(|found| found.starts_with(line)), "{line}: {}", said.out);
    }
    let report = report(&file)?;
    assert_eq!(report["prefill"][0]["tokens"], 128);
    assert_eq!(report["decode"][1]["past"], 128);
    for place in [
        "/machine/read_all_gb_per_s",
        "/prefill/0/tokens_per_s/median",
        "/decode/0/tokens_per_s/median",
        "/decode/1/tokens_per_s/median",
        "/decode/1/bandwidth_share",
        "/decode/1/overhead/engine_ms/median",
        "/decode/1/memory/anonymous_bytes",
        "/media/0/encode_s/median",
        "/media/1/encode_s/median",
        "/load/first_s",
        "/load/again_s/median",
    ] {
        positive(&report, place);
    }
    let read = ["/decode/0/read_bytes", "/decode/1/read_bytes"].map(|at| positive(&report, at));
    assert!(read[0] < read[1], "the keys and values of 128 tokens are read, too");
    let cached = positive(&report, "/first_word/warm_cached_tokens");
    let whole = positive(&report, "/first_word/warm_tokens");
    assert!(cached > 0.9 * whole, "{cached} of {whole} tokens were in the cache");
    let cold = positive(&report, "/first_word/cold_tokens");
    assert!((1_500.0..2_500.0).contains(&cold), "{cold} tokens were new");
    Ok(())
}

#[tokio::test]
async fn bench_says_what_it_cannot_measure() -> anyhow::Result<()> {
    let said = bench(&["--prompt", "16", "--past", "8192", "--speed-only"]).await?;
    assert_eq!(said.code, 0, "{}", said.error);
    let missing = "8192 tokens: they do not fit into the context";
    assert!(said.out.contains(missing), "{}", said.out);
    assert!(!said.out.contains("decode  "), "{}", said.out);
    Ok(())
}

#[tokio::test]
async fn bench_refuses_a_fast_graph_that_is_not_there() -> anyhow::Result<()> {
    let said = bench(&["--graph", "fast"]).await?;
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.error.contains("gemmad model optimize"), "{}", said.error);
    Ok(())
}
