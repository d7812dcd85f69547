//! Temporary.

use std::time::Instant;

use super::model::Attribute::Int;
use super::model::Model;
use super::{Numbers, load, ort, run};
use crate::engine::tract::Tract;
use crate::engine::{Engine, Tensor};

fn time<E: Engine>(engine: &E, model: &Model, n: usize) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    model.save(&path);
    let mut graph = load(engine, &path, &model.inputs, &[]).unwrap();
    run(engine, &mut graph, &model.inputs).unwrap();
    let mut best = f64::MAX;
    for _ in 0..n {
        let start = Instant::now();
        run(engine, &mut graph, &model.inputs).unwrap();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

#[test]
fn speed() {
    if std::env::var_os("TRACT_SPEED").is_none() {
        return;
    }
    let (n, k) = (4096, 2048);
    for (bits, half) in [(4, false), (4, true), (8, false)] {
        for m in [1, 2, 4, 16, 256] {
            let mut numbers = Numbers(3);
            let model = Model::new()
                .floats("a", &[1, m, k], &numbers.floats(m * k), half)
                .bytes("b", &[n, k / 32, 32 * bits / 8], numbers.bytes(n * k * bits / 8))
                .weights("s", &[n * k / 32], &numbers.floats(n * k / 32), half)
                .bytes("z", &[n * k / 32 * bits / 8], numbers.bytes(n * k / 32 * bits / 8))
                .node(
                    "com.microsoft::MatMulNBits",
                    &["a", "b", "s", "z"],
                    &["y"],
                    &[
                        ("K", Int(k as i64)),
                        ("N", Int(n as i64)),
                        ("bits", Int(bits as i64)),
                        ("block_size", Int(32)),
                        ("accuracy_level", Int(4)),
                    ],
                )
                .output("y", half);
            let runs = if m > 16 { 3 } else { 20 };
            let (tract, ort) = (time(&Tract::open(1), &model, runs), time(&ort(), &model, runs));
            let rate = |t: f64| (m * n * k) as f64 / t / 1e9;
            println!(
                "## bits {bits} half {half} m {m}: tract {:.3} ms {:.2} G/s | ort {:.3} ms {:.2} G/s",
                tract * 1e3,
                rate(tract),
                ort * 1e3,
                rate(ort)
            );
        }
    }
    let _: Option<Tensor> = None;
}
