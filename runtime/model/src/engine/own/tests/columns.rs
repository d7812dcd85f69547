//! Products with bytes whose outputs lie side by side, against the same products written out.

use super::*;
use crate::engine::own::COLUMN_PRODUCT;

const N: usize = 7;
const K: usize = 20;

/// How scales and zero points come: one for all, or one for each column.
#[derive(Clone, Copy)]
struct Form {
    is_signed: bool,
    scales: usize,
    zeros: Option<usize>,
    /// Whether activations are rounded; then they are such that nothing is lost.
    rounds: bool,
}

fn value(byte: u8, is_signed: bool) -> f32 {
    if is_signed { f32::from(byte.cast_signed()) } else { f32::from(byte) }
}

fn check(form: Form) {
    let mut noise = Noise(3);
    let (mut x, data) = (noise.row(3 * K), noise.bytes(K * N));
    if form.rounds {
        x = noise.bytes(3 * K).iter().map(|byte| f32::from(*byte) - 100.0).collect();
        (x[0], x[1]) = (-100.0, 155.0);
    }
    let scales: Vec<f32> = (0..form.scales).map(|at| (1 + at) as f32 / 256.0).collect();
    let zeros = form.zeros.map(|length| noise.bytes(length));
    let of = |at: usize, length: usize| if length == 1 { 0 } else { at };
    let weight = |k: usize, n: usize| {
        let zero =
            zeros.as_ref().map_or(0.0, |zeros| value(zeros[of(n, zeros.len())], form.is_signed));
        (value(data[k * N + n], form.is_signed) - zero) * scales[of(n, form.scales)]
    };
    let one =
        |x: &[f32], n: usize| -> f32 { x.iter().enumerate().map(|(k, x)| x * weight(k, n)).sum() };
    let expected: Vec<f32> = x.chunks(K).flat_map(|x| (0..N).map(move |n| one(x, n))).collect();
    let element = if form.is_signed { element::I8 } else { element::U8 };
    let mut constants = vec![
        constant("w.data", element, &[K, N], data.clone()),
        floats("w.scales", &[form.scales], &scales),
    ];
    if let Some(zeros) = &zeros {
        constants.push(constant("w.zeros", element, &[zeros.len()], zeros.clone()));
    }
    let zeros = if zeros.is_some() { "w.zeros" } else { "" };
    let accuracy = Attribute::int("accuracy_level", if form.rounds { 4 } else { 0 });
    let attributes = [Attribute::size("N", N), Attribute::size("K", K), accuracy];
    let node = node(COLUMN_PRODUCT, &["x", "w.data", "w.scales", zeros], &attributes);
    let single = Single::write(node, N, &constants, vec![rows("x", K, x.clone())], true);
    for (engine, found) in single.run_on_both() {
        check_close(engine, &found.unwrap(), &expected);
    }
}

#[test]
fn columns_are_multiplied_as_they_lie() {
    check(Form { is_signed: false, scales: 1, zeros: Some(1), rounds: false });
    check(Form { is_signed: true, scales: N, zeros: Some(N), rounds: true });
    check(Form { is_signed: true, scales: 1, zeros: None, rounds: false });
}

#[test]
fn columns_of_another_size_are_refused_with_the_reason() {
    let constants = [
        constant("w.data", element::U8, &[K - 1, N], vec![0; (K - 1) * N]),
        floats("w.scales", &[1], &[1.0]),
    ];
    let attributes = [Attribute::size("N", N), Attribute::size("K", K)];
    let node = node(COLUMN_PRODUCT, &["x", "w.data", "w.scales"], &attributes);
    let single = Single::write(node, N, &constants, vec![rows("x", K, vec![0.0; K])], true);
    for (engine, found) in single.run_on_both() {
        let error = found.unwrap_err();
        assert!(error.contains("has 133 elements where 20 x 7"), "{engine}: {error}");
    }
}
