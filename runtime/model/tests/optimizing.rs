//! The fast graph of every size, layout and precision: written from the published decoder on the same
//! weights, held against it on both engines, and never left behind half done.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "support/demo.rs"]
mod demo;
#[allow(dead_code, reason = "the conformity table uses all of it")]
#[path = "conformity/fixture.rs"]
mod fixture;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fixture::{Fixture, Layout};
use gemma_runtime::{
    EngineKind, Fast, Levers, Model, OptimizeOptions, Options, Report, optimize, remove_fast,
};

fn options(dtype: Option<&str>) -> OptimizeOptions {
    OptimizeOptions {
        library: Some(demo::library()),
        threads: 1,
        dtype: dtype.map(str::to_owned),
        ..OptimizeOptions::default()
    }
}

fn options_of(fixture: &Fixture) -> OptimizeOptions {
    options((fixture.layout == Layout::A).then_some(fixture.dtype))
}

/// Every layout and precision of a size, once.
fn fixtures(variant: &'static str) -> Vec<Fixture> {
    let mut seen = BTreeSet::new();
    let all = fixture::of_variant(variant).into_iter();
    all.filter(|fixture| seen.insert((fixture.layout.name(), fixture.dtype))).collect()
}

fn fixture(layout: Layout, dtype: &str) -> Fixture {
    let all = fixtures("e2b").into_iter();
    all.into_iter().find(|one| one.layout == layout && one.dtype == dtype).unwrap()
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { [path].into() }).collect()
}

/// Why a folder cannot be made fast; nothing may be left behind.
fn refusal(folder: &Path, options: &OptimizeOptions) -> String {
    let before = files(folder);
    let error = optimize(folder, options).unwrap_err().to_string();
    assert_eq!(files(folder), before, "{error}");
    assert!(!error.contains('\n'), "more than one line: {error}");
    error
}

/// Makes every layout and precision of a size fast, on both engines.
fn check(variant: &'static str) {
    for fixture in fixtures(variant) {
        let folder = fixture.assemble();
        let name = format!("{variant} {} {}", fixture.layout.name(), fixture.dtype);
        for engine in [EngineKind::Ort, EngineKind::Tract] {
            for scales in ["published", "auto"] {
                let mut options = OptimizeOptions { engine, force: true, ..options_of(&fixture) };
                options.levers.set(&format!("scales={scales}")).unwrap();
                let name = format!("{name} on {engine}, scales {scales}");
                let report = optimize(folder.path(), &options);
                let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
                check_report(&name, &fixture, &report);
            }
        }
    }
}

fn check_report(name: &str, fixture: &Fixture, report: &Report) {
    let checked = report.checked;
    let bytes = |path: &Path| fs::metadata(path).unwrap().len();
    assert_eq!(bytes(&report.file), report.bytes, "{name}");
    // Weights stay where they are; only names, small factors and shapes are written.
    assert!(report.copied < 32 << 10, "{name}: {report:?}");
    assert!(report.in_place > 2 * report.copied, "{name}: {report:?}");
    assert!(report.bytes < bytes(&report.source) * 3 / 2, "{name}: {report:?}");
    let [published, fast] = report.operators;
    assert!(fast < published, "{name}: {report:?}");
    if matches!(fixture.dtype, "fp32" | "q4") && report.scales == 0 {
        assert!(checked.difference < 1e-3, "{name}: {checked:?}");
        assert_eq!(checked.same, checked.tokens, "{name}: {checked:?}");
    }
    assert!(checked.tokens >= 48, "{name}: {checked:?}");
}

#[test]
fn every_e2b_is_made_fast() {
    check("e2b");
}

#[test]
fn every_e4b_is_made_fast() {
    check("e4b");
}

#[test]
fn every_12b_is_made_fast() {
    check("12b");
}

#[test]
fn every_31b_is_made_fast() {
    check("31b");
}

#[test]
fn every_26b_is_made_fast() {
    check("26b");
}

#[test]
fn every_lever_can_be_switched_by_itself() {
    let fixture = fixture(Layout::A, "q4");
    let folder = fixture.assemble();
    let mut operators = BTreeSet::new();
    for lever in ["share_rows", "late_query", "ring", "gated", "split_projection"] {
        let mut options = options_of(&fixture);
        options.levers.set(&format!("{lever}=off")).unwrap();
        let report = optimize(folder.path(), &options).unwrap();
        assert!(!report.was_there, "{lever}");
        check_report(lever, &fixture, &report);
        operators.insert(report.operators[1]);
    }
    assert!(operators.len() >= 4, "{operators:?}");
    for lever in ["kv=f16", "int8=on"] {
        let mut options = options_of(&fixture);
        options.levers.set(lever).unwrap();
        let checked = optimize(folder.path(), &options).unwrap().checked;
        assert!(checked.difference > 0.0 && checked.difference < checked.tolerance, "{checked:?}");
    }
}

#[test]
fn what_is_there_and_fits_is_not_written_again() {
    let fixture = fixture(Layout::B, "q4");
    let folder = fixture.assemble();
    let first = optimize(folder.path(), &options_of(&fixture)).unwrap();
    let again = optimize(folder.path(), &options_of(&fixture)).unwrap();
    assert_eq!(again, Report { was_there: true, ..first.clone() });
    let forced = OptimizeOptions { force: true, ..options_of(&fixture) };
    assert!(!optimize(folder.path(), &forced).unwrap().was_there);
    let removed = remove_fast(folder.path(), None).unwrap();
    assert_eq!(removed, Some(first.file));
    assert_eq!(remove_fast(folder.path(), None).unwrap(), None);
}

/// Files of scales beside the fast graph of a folder.
fn scales(report: &Report) -> Vec<PathBuf> {
    let beside = files(report.file.parent().unwrap());
    let is_scales = |path: &PathBuf| path.to_str().unwrap().contains(".fast-");
    beside.into_iter().filter(is_scales).collect()
}

#[test]
fn scales_in_16_bits_lie_beside_the_fast_graph_and_go_with_it() {
    let fixture = fixture(Layout::A, "q4");
    let folder = fixture.assemble();
    let with = |lever: &str| {
        let mut options = options_of(&fixture);
        options.levers.set(lever).unwrap();
        optimize(folder.path(), &options).unwrap()
    };
    let halves = with("scales=f16");
    let [file] = &scales(&halves)[..] else { panic!("{:?}", scales(&halves)) };
    assert_eq!(fs::metadata(file).unwrap().len(), halves.scales);
    let published = with("scales=published");
    assert_eq!((published.scales, scales(&published)), (0, Vec::new()));
    // What is read of the published files is that much less, and twice as much of scales.
    let all = |report: &Report| report.in_place + report.copied;
    assert_eq!(all(&published), all(&halves) + 2 * halves.scales, "{published:?} {halves:?}");
    assert_eq!(scales(&with("scales=f16")), std::slice::from_ref(file));
    assert!(with("scales=f16").was_there);
    remove_fast(folder.path(), Some("q4")).unwrap();
    assert!(!file.exists() && !halves.file.exists());
}

#[test]
fn scales_of_other_weights_or_cut_off_are_not_used() {
    let fixture = fixture(Layout::A, "q4");
    let folder = fixture.assemble();
    let report = optimize(folder.path(), &options_of(&fixture)).unwrap();
    opens(folder.path()).unwrap();
    let [file] = &scales(&report)[..] else { panic!("{:?}", scales(&report)) };
    let whole = fs::read(file).unwrap();
    fs::write(file, &whole[..whole.len() - 1]).unwrap();
    let error = opens(folder.path()).unwrap_err();
    assert!(error.contains(file.to_str().unwrap()) && error.contains("optimize`"), "{error}");
    fs::write(file, &whole).unwrap();
    opens(folder.path()).unwrap();
    // The same graph on other weights.
    let weights = report.source.with_extension("onnx_data");
    let mut bytes = fs::read(&weights).unwrap();
    bytes.iter_mut().take(4096).for_each(|byte| *byte ^= 1);
    fs::write(&weights, bytes).unwrap();
    let error = opens(folder.path()).unwrap_err();
    assert!(
        error.contains("it was made from another decoder_model_merged_q4.onnx_data"),
        "{error}"
    );
}

/// Whether a folder opens with its fast graph.
fn opens(folder: &Path) -> Result<(), String> {
    let options = Options { fast: Fast::Required, ..demo::options(EngineKind::Tract) };
    Model::open(folder, &options).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_fast_graph_of_another_decoder_is_not_used_but_written_again() {
    let fixture = fixture(Layout::B, "fp32");
    let folder = fixture.assemble();
    optimize(folder.path(), &options_of(&fixture)).unwrap();
    opens(folder.path()).unwrap();
    // A note at the end of the file: the same graph, other bytes.
    let decoder = folder.path().join("decoder/model.onnx");
    let mut bytes = fs::read(&decoder).unwrap();
    bytes.extend([0x32, 1, b'x']);
    fs::write(&decoder, bytes).unwrap();
    let error = opens(folder.path()).unwrap_err();
    assert!(error.contains("it was made from another model.onnx"), "{error}");
    assert!(!optimize(folder.path(), &options_of(&fixture)).unwrap().was_there);
    opens(folder.path()).unwrap();
}

#[test]
fn a_fast_graph_with_other_numbers_is_not_kept() {
    let fixture = fixture(Layout::A, "fp32");
    let folder = fixture.assemble();
    // The published graph has its turning inside; only the fast one goes by the configuration.
    let config = folder.path().join("config.json");
    let right = fs::read_to_string(&config).unwrap();
    fs::write(&config, right.replace("10000.0", "20000.0")).unwrap();
    let error = refusal(folder.path(), &options_of(&fixture));
    assert!(error.contains("gives other numbers than the published one"), "{error}");
    // What was right before stays.
    fs::write(&config, &right).unwrap();
    let report = optimize(folder.path(), &options_of(&fixture)).unwrap();
    let kept = fs::read(&report.file).unwrap();
    fs::write(&config, right.replace("10000.0", "20000.0")).unwrap();
    let forced = OptimizeOptions { force: true, ..options_of(&fixture) };
    let error = refusal(folder.path(), &forced);
    assert!(error.contains("it was not kept"), "{error}");
    assert_eq!(fs::read(&report.file).unwrap(), kept);
}

#[test]
fn damaged_folders_are_refused_in_one_line() {
    let fixture = fixture(Layout::A, "q4");
    let graph = "onnx/decoder_model_merged_q4.onnx";
    let refused = |damage: &dyn Fn(&Path), expected: &str| {
        let folder = fixture.assemble();
        damage(folder.path());
        let error = refusal(folder.path(), &options_of(&fixture));
        assert!(error.contains(expected), "{error}");
    };
    let cut = |folder: &Path, file: &str| {
        let bytes = fs::read(folder.join(file)).unwrap();
        fs::write(folder.join(file), &bytes[..bytes.len() / 2]).unwrap();
    };
    refused(&|folder| cut(folder, graph), "is not a whole ONNX file");
    refused(&|folder| cut(folder, &format!("{graph}_data")), "needs");
    refused(&|folder| fs::remove_file(folder.join(graph)).unwrap(), "lacks its decoder");
    refused(&|folder| fs::remove_file(folder.join("config.json")).unwrap(), "config.json");
    let text = |folder: &Path, from: &str, to: &str| {
        let config = fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(config.contains(from));
        fs::write(folder.join("config.json"), config.replace(from, to)).unwrap();
    };
    refused(&|folder| text(folder, "\"rope_theta\": 10000.0", "\"rope_theta\": -1"), "rope_theta");
    refused(&|folder| fs::write(folder.join(graph), "").unwrap(), "is not a whole ONNX file");
}

/// Puts what a folder holds elsewhere, as a cache of downloads does, and links in its place.
fn link_out(folder: &Path, cache: &Path, is_linked: impl Fn(&Path) -> bool) {
    for (at, file) in files(folder).into_iter().filter(|file| is_linked(file)).enumerate() {
        let blob = cache.join(format!("blob-{at}"));
        fs::copy(&file, &blob).unwrap();
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&blob, &file).unwrap();
    }
}

/// Makes a folder fast of whose files some are links out of it.
fn check_links(is_linked: &dyn Fn(&Path) -> bool, engines: &[EngineKind]) {
    let fixture = fixture(Layout::A, "q4");
    let (folder, cache) = (fixture.assemble(), tempfile::tempdir().unwrap());
    link_out(folder.path(), cache.path(), is_linked);
    for &engine in engines {
        let options = OptimizeOptions { engine, force: true, ..options_of(&fixture) };
        let report = optimize(folder.path(), &options).unwrap();
        check_report(&engine.to_string(), &fixture, &report);
        let options = Options { fast: Fast::Required, ..demo::options(engine) };
        Model::open(folder.path(), &options).unwrap();
    }
}

#[test]
fn a_folder_of_links_is_made_fast_and_opened() {
    check_links(&|_| true, &[EngineKind::Ort, EngineKind::Tract]);
    // ONNX Runtime refuses published graphs that are no links themselves but whose weights are.
    let is_data = |file: &Path| file.extension().is_some_and(|ending| ending == "onnx_data");
    check_links(&is_data, &[EngineKind::Tract]);
}

#[test]
fn the_demo_model_is_made_fast() {
    let folder = tempfile::tempdir().unwrap();
    for from in files(&demo::demo_model()) {
        let to = folder.path().join(from.strip_prefix(demo::demo_model()).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&from, to).unwrap();
    }
    let report = optimize(folder.path(), &options(None)).unwrap();
    let Levers { kv, scales, .. } = report.levers;
    assert!(report.levers == Levers { kv, scales, ..Levers::default() });
    assert!(report.checked.same * 10 >= report.checked.tokens * 9, "{report:?}");
}
