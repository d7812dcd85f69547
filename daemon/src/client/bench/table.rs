//! The figures of a measurement, for people.

use std::fmt::Write as _;

use super::memory::Memory;
use super::report::{Decode, Report};
use super::spread::Spread;

/// The whole report as lines.
pub(super) fn text(report: &Report) -> String {
    let mut lines = Lines(String::new());
    what(report, &mut lines);
    speed(report, &mut lines);
    rest(report, &mut lines);
    lines.0
}

/// What was measured, and on what.
fn what(report: &Report, lines: &mut Lines) {
    let machine = &report.machine;
    let (model, cores) = (&report.model, machine.cores);
    lines.add("model", &format!("{}, {}", model.folder.display(), model.variant));
    for graph in model.graphs.iter().filter(|graph| graph.role == "decoder") {
        let name = graph.file.file_name().unwrap_or_default().to_string_lossy();
        lines.add(
            "decoder",
            &format!("{name}, {}, on {} ({})", graph.dtype, model.engine, model.device),
        );
    }
    let threads = machine.threads;
    lines.add("machine", &format!("{}, {cores} cores, {threads} threads", machine.processor));
    for (kernel, path) in &machine.kernels {
        lines.add("kernel", &format!("{kernel}: {path}"));
    }
    let (one, all) = (machine.read_one_gb_per_s, machine.read_all_gb_per_s);
    lines.add("memory", &format!("read at {one:.1} GB/s by one thread, {all:.1} by {threads}"));
    let load = &report.load;
    let again = load.again_s.map(|again| format!(", again {}", spread(again, 2)));
    lines.add("load", &format!("{:.2} s{}", load.first_s, again.unwrap_or_default()));
}

fn speed(report: &Report, lines: &mut Lines) {
    lines.gap();
    for prefill in &report.prefill {
        let rate = spread(prefill.tokens_per_s, 1);
        lines.add("prefill", &format!("{:>6} tokens  {rate} tokens/s", prefill.tokens));
    }
    for decode in &report.decode {
        lines.add("decode", &made(decode));
    }
    for decode in &report.decode {
        let Some(overhead) = decode.overhead else { continue };
        let (ours, engine) = (overhead.ours_ms.median, overhead.engine_ms.median);
        let percent = 100.0 * ours / engine.max(f64::MIN_POSITIVE);
        let past = decode.past;
        let line = format!("{past:>6} before  {ours:.3} ms a token, {percent:.1} % of the engine");
        lines.add("ours", &line);
    }
}

fn made(decode: &Decode) -> String {
    let Decode { past, tokens_per_s, read_bytes, bandwidth_share, .. } = decode;
    let (rate, read) = (spread(*tokens_per_s, 2), *read_bytes as f64 / 1e9);
    let percent = bandwidth_share * 100.0;
    format!("{past:>6} before  {rate} tokens/s, {read:.3} GB each, {percent:.0} % of the bandwidth")
}

/// Waiting, media, memory, and what is missing.
fn rest(report: &Report, lines: &mut Lines) {
    lines.gap();
    if let Some(first) = &report.first_word {
        let (cold, warm) = (spread(first.cold_s, 2), spread(first.warm_s, 2));
        lines.add("first word", &format!("{cold} s behind {} new tokens", first.cold_tokens));
        let (cached, all) = (first.warm_cached_tokens, first.warm_tokens);
        let percent = first.warm_share * 100.0;
        lines.add("", &format!("{warm} s behind {all}, {cached} in the cache: {percent:.1} %"));
    }
    if let Some(restart) = &report.restart {
        let first = spread(restart.first_word_s, 2);
        let (saved, all, percent) = (restart.saved_tokens, restart.tokens, restart.share * 100.0);
        let line = format!("{first} s after a restart, {saved} of {all} saved: {percent:.1} %");
        lines.add("", &line);
    }
    if let Some(call) = &report.tool_call {
        let (called, free) = (spread(call.tokens_per_s, 2), spread(call.free_tokens_per_s, 2));
        let ratio = call.ratio;
        lines.add("tool call", &format!("{called} tokens/s, {ratio:.2} x free text ({free})"));
    }
    for medium in &report.media {
        lines.add("encode", &format!("{} s  {}", spread(medium.encode_s, 3), medium.what));
    }
    lines.add("occupies", &format!("{} loaded", occupied(report.memory.loaded)));
    for decode in &report.decode {
        lines.add("", &format!("{} behind {} tokens", occupied(decode.memory), decode.past));
    }
    lines.add("", &format!("{} MB at most, of both kinds", report.memory.peak_bytes / 1_000_000));
    for (what, why) in &report.missing {
        lines.add("no figure", &format!("{what}: {why}"));
    }
}

fn occupied(memory: Memory) -> String {
    let [anonymous, file] = [memory.anonymous_bytes, memory.file_bytes].map(|n| n / 1_000_000);
    format!("{anonymous:>5} MB anonymous {file:>5} MB of files")
}

/// The median, with the least and the largest where they differ.
fn spread(spread: Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    match min < max {
        true => format!("{median:.digits$} ({min:.digits$} to {max:.digits$})"),
        false => format!("{median:.digits$}"),
    }
}

/// Lines with a name before each.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name:<10}  {value}");
    }

    fn gap(&mut self) {
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_measurement_has_no_spread() {
        let check = |median, min, max, expected| {
            assert_eq!(spread(Spread { median, min, max }, 1), expected);
        };
        check(2.0, 2.0, 2.0, "2.0");
        check(2.0, 1.0, 3.25, "2.0 (1.0 to 3.2)");
    }
}
