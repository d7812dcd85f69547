//! Makes a published model fast: beside its decoder a graph of few operators is written, on the same
//! weights, and held against the published one before it is used.

mod candidate;
mod check;
mod error;
mod levers;
mod notes;
mod reading;
mod roles;
mod source;
mod write;

use std::path::{Path, PathBuf};

use prost::Message as _;

pub use error::OptimizeError;
pub use levers::{Int8, Kv, Levers};
pub use notes::Checked;
pub(crate) use notes::{KvNote, Notes, VERSION};

use crate::engine::EngineKind;
use crate::folder::{Dtypes, Folder};
use crate::gemma::config::Config;
use crate::gemma::fast;
use crate::gemma::ports::DecoderPorts;
use crate::gemma::variant::Family;
use crate::graph::{Element, Graph};
use candidate::Candidate;
use check::Arithmetic;
use notes::SourceNote;
use source::Source;
use write::Written;

/// What is to be made fast, and how.
#[derive(Clone, Debug, Default)]
pub struct OptimizeOptions {
    /// What runs both graphs when they are compared.
    pub engine: EngineKind,
    /// The ONNX Runtime library, as in [`Options::library`](crate::Options::library).
    pub library: Option<PathBuf>,
    /// Threads of the engine; 0 for one per core.
    pub threads: usize,
    /// Precision of the decoder, as in [`Options::dtype`](crate::Options::dtype).
    pub dtype: Option<String>,
    /// The switches.
    pub levers: Levers,
    /// Whether a fast graph that fits already is written and compared again.
    pub force: bool,
}

/// What was written, or was there.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The published decoder.
    pub source: PathBuf,
    /// The fast graph.
    pub file: PathBuf,
    /// Bytes of the fast graph's file.
    pub bytes: u64,
    /// Bytes of weights that stay where they are.
    pub in_place: u64,
    /// Bytes of weights that are in the fast graph's file.
    pub copied: u64,
    /// Operators of the published graph, and of the fast one.
    pub operators: [usize; 2],
    /// The switches, none of them left to the published graph.
    pub levers: Levers,
    /// How the two graphs compare.
    pub checked: Checked,
    /// Whether it was there already, and nothing was written.
    pub was_there: bool,
}

/// Where the fast graph of a decoder lies: beside it.
pub(crate) fn fast_path(decoder: &Path) -> PathBuf {
    decoder.with_extension("fast.onnx")
}

/// Where a fast graph lies until it has been compared with its decoder.
pub(crate) fn candidate_path(decoder: &Path) -> PathBuf {
    decoder.with_extension("candidate.onnx")
}

/// Writes the fast graph of a folder's decoder, once it is known to give the decoder's numbers.
///
/// # Errors
/// When the folder holds no decoder that can be made fast, the numbers differ, or the file cannot be
/// written. Nothing is left behind then, and a fast graph that was there before stays.
pub fn optimize(folder: &Path, options: &OptimizeOptions) -> Result<Report, OptimizeError> {
    let config = Config::open(folder)?;
    let found = find(folder, options.dtype.as_deref(), &config)?;
    let graph = Graph::read(&found.decoder.path)?;
    let ports = DecoderPorts::find(&graph, &found.names, &config)?;
    let source = Source::open(&found.decoder.path)?;
    refuse(&source, &config)?;
    let refused = |reason: String| OptimizeError::graph(&source.path, reason);
    let roles = roles::find(&source, &ports, &found.names.logits, &config).map_err(refused)?;
    let mut levers = options.levers;
    levers.kv = write::kept(levers.kv, &ports);
    let Written { mut whole, in_place, copied } =
        write::write(&source, &roles, &ports, &config, levers)?;
    let mut notes = notes(&source, &ports, &config, levers);
    let operators = [source.nodes.len(), whole.graph.as_ref().map_or(0, |body| body.node.len())];
    let mut report = Report {
        file: fast_path(&source.path),
        bytes: 0,
        in_place,
        copied,
        operators,
        levers,
        checked: Checked::default(),
        was_there: false,
        source: source.path.clone(),
    };
    if let Some((bytes, checked)) = there(&source.path, &notes).filter(|_| !options.force) {
        return Ok(Report { bytes, checked, was_there: true, ..report });
    }
    let mut candidate = Candidate::open(&source.path)?;
    whole.metadata_props = vec![notes.entry()?];
    candidate.write(&whole.encode_to_vec())?;
    let arithmetic = Arithmetic {
        halves: graph.dtype.ends_with("16"),
        int8: source.nodes.iter().any(|node| node.int("accuracy_level") == Some(4)),
        half_kv: ports.kv.iter().all(|kv| kv.key.element == Element::F16),
    };
    report.checked = check::compare(folder, &config, options, arithmetic.tolerance(levers))?;
    notes.checked = Some(report.checked);
    whole.metadata_props = vec![notes.entry()?];
    let bytes = whole.encode_to_vec();
    candidate.write(&bytes)?;
    candidate.keep(&source.path)?;
    report.bytes = bytes.len() as u64;
    Ok(report)
}

/// Removes the fast graph of a folder's decoder; where it was, if there was one.
///
/// # Errors
/// When the folder holds no decoder, or the file cannot be removed.
pub fn remove_fast(folder: &Path, dtype: Option<&str>) -> Result<Option<PathBuf>, OptimizeError> {
    let config = Config::open(folder)?;
    let path = fast_path(&find(folder, dtype, &config)?.decoder.path);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(Some(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OptimizeError::Write { path, source }),
    }
}

fn find(folder: &Path, dtype: Option<&str>, config: &Config) -> Result<Folder, OptimizeError> {
    let dtypes = dtype.map(Dtypes::parse).transpose()?.unwrap_or_default();
    let overflows = config.variant.family == Family::Unified12B;
    Ok(Folder::find(folder, dtypes, overflows)?)
}

/// Bytes of a fast graph with these notes that is there already, and how it compared.
fn there(decoder: &Path, notes: &Notes) -> Option<(u64, Checked)> {
    let path = fast_path(decoder);
    let (_, found) = fast::read(decoder, &path).ok()?;
    let checked = found.checked?;
    let is_same = Notes { checked: None, ..found } == *notes;
    is_same.then_some((std::fs::metadata(path).ok()?.len(), checked))
}

/// Names what cannot be made fast, before it is looked for.
fn refuse(source: &Source, config: &Config) -> Result<(), OptimizeError> {
    if config.variant.family == Family::A4B26B {
        let reason = "it is a mixture of experts, for which there is no fast operator yet; it runs \
                      as published";
        return Err(OptimizeError::graph(&source.path, reason));
    }
    let eight_bits = ["MatMulInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul"];
    match source.nodes.iter().any(|node| eight_bits.contains(&node.op_type.as_str())) {
        true => {
            let reason = "its products are in eight bits with one scale for a whole step, for which \
                          there is no fast operator; use q4, q4f16, fp16 or fp32";
            Err(OptimizeError::graph(&source.path, reason))
        }
        false => Ok(()),
    }
}

fn notes(source: &Source, ports: &DecoderPorts, config: &Config, levers: Levers) -> Notes {
    let kv = ports.kv.iter().map(|kv| KvNote {
        heads: kv.shape.heads,
        width: kv.shape.width,
        window: kv.kind.window(config).filter(|_| levers.ring),
    });
    let (bytes, sha256) = source.identity();
    let file = source.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let source = SourceNote { file: file.unwrap_or_default(), bytes, sha256 };
    Notes { version: VERSION, source, levers, kv: kv.collect(), checked: None }
}

#[cfg(test)]
mod tests;
