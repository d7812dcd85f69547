//! Makes a published model fast: beside its decoder a graph of few operators is written, on the same
//! weights, and held against the published one before it is used.

mod candidate;
mod check;
mod error;
mod levers;
mod notes;
mod reading;
mod roles;
mod scales;
mod source;
mod write;

use std::path::{Path, PathBuf};

use prost::Message as _;

pub use error::OptimizeError;
pub use levers::{Int8, KNOWN_LEVERS, Kv, Levers, Stored};
pub use notes::Checked;
pub(crate) use notes::{KvNote, Notes};

use crate::engine::EngineKind;
use crate::folder::{Dtypes, Folder};
use crate::gemma::config::Config;
use crate::gemma::fast;
use crate::gemma::ports::DecoderPorts;
use crate::gemma::variant::Family;
use crate::graph::Graph;
use crate::graph::edit::Node;
use candidate::Candidate;
use check::Arithmetic;
use notes::{MadeNote, SourceNote};
use source::Source;

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
    /// Bytes of scales that are in a file of their own beside it.
    pub scales: u64,
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
    let refused = |reason: String| OptimizeError::graph(&source.path, reason);
    let roles = roles::find(&source, &ports, &found.names.logits, &config).map_err(refused)?;
    let mut levers = options.levers;
    levers.kv = write::kept(levers.kv, &ports);
    levers.scales = match (levers.scales, config.variant.family) {
        (Stored::Auto, Family::A4B26B) => Stored::Published,
        (Stored::Auto, _) => Stored::F16,
        (Stored::Published | Stored::F16, _) => levers.scales,
    };
    let mut notes = notes(&source, &ports, &config, levers);
    if let Some(there) = there(&source.path, &notes).filter(|_| !options.force) {
        return Ok(there.report(&source, true));
    }
    let mut candidate = Candidate::open(&source.path)?;
    let mut whole;
    (whole, notes.made) =
        write::write(&source, &roles, &ports, &config, levers, &candidate.scales)?;
    whole.metadata_props = vec![notes.entry()?];
    candidate.write(&whole.encode_to_vec())?;
    let arithmetic = Arithmetic::of(&graph, &source, &ports, notes.made.scales.is_some());
    let checked = check::compare(folder, &config, options, arithmetic.tolerance(levers))?;
    notes.checked = Some(checked);
    whole.metadata_props = vec![notes.entry()?];
    let scales = notes.made.scales.as_ref().map(|scales| scales.file.as_str());
    let written = candidate.scales.file_name().and_then(|name| name.to_str());
    if let Some(body) = &mut whole.graph {
        body.relocate(|name| scales.filter(|_| Some(name) == written));
    }
    let bytes = whole.encode_to_vec();
    candidate.write(&bytes)?;
    candidate.keep(&source.path, scales)?;
    let bytes = bytes.len() as u64;
    Ok(There { bytes, made: notes.made, levers, checked }.report(&source, false))
}

/// A fast graph that lies beside its decoder.
struct There {
    bytes: u64,
    made: MadeNote,
    levers: Levers,
    checked: Checked,
}

impl There {
    fn report(self, source: &Source, was_there: bool) -> Report {
        let Self { bytes, made, levers, checked } = self;
        Report {
            source: source.path.clone(),
            file: fast_path(&source.path),
            bytes,
            in_place: made.in_place,
            copied: made.copied,
            scales: made.scales.map_or(0, |scales| scales.bytes),
            operators: [source.nodes.len(), made.operators],
            levers,
            checked,
            was_there,
        }
    }
}

/// Largest difference of a logit that the arithmetic of a folder's published decoder explains.
///
/// # Errors
/// When the folder holds no decoder.
pub(crate) fn published_tolerance(
    folder: &Path,
    dtype: Option<&str>,
    config: &Config,
) -> Result<f32, OptimizeError> {
    Ok(arithmetic(&find(folder, dtype, config)?, config, false)?.tolerance(Levers::default()))
}

/// The same for the fast graph of a folder's decoder, or why there is none that could be used.
///
/// # Errors
/// When the folder holds no decoder.
pub(crate) fn fast_tolerance(
    folder: &Path,
    dtype: Option<&str>,
    config: &Config,
) -> Result<Result<f32, String>, OptimizeError> {
    let found = find(folder, dtype, config)?;
    let decoder = &found.decoder.path;
    let path = fast_path(decoder);
    if !path.is_file() {
        return Ok(Err("there is none".to_owned()));
    }
    match fast::read(decoder, &path) {
        Ok((_, notes)) => {
            let arithmetic = arithmetic(&found, config, notes.made.scales.is_some())?;
            Ok(Ok(arithmetic.tolerance(notes.levers)))
        }
        Err(reason) => Ok(Err(format!("{} cannot be used: {reason}", path.display()))),
    }
}

/// How the decoder of a folder computes, and whether its fast graph has scales in 16 bits.
fn arithmetic(
    found: &Folder,
    config: &Config,
    half_scales: bool,
) -> Result<Arithmetic, OptimizeError> {
    let graph = Graph::read(&found.decoder.path)?;
    let ports = DecoderPorts::find(&graph, &found.names, config)?;
    Ok(Arithmetic::of(&graph, &Source::open(&found.decoder.path)?, &ports, half_scales))
}

/// Removes the fast graph of a folder's decoder; where it was, if there was one.
///
/// # Errors
/// When the folder holds no decoder, or the file cannot be removed.
pub fn remove_fast(folder: &Path, dtype: Option<&str>) -> Result<Option<PathBuf>, OptimizeError> {
    let config = Config::open(folder)?;
    let decoder = find(folder, dtype, &config)?.decoder.path;
    let path = fast_path(&decoder);
    let mut removed = None;
    // The graph first: without it nobody looks for its scales.
    for path in [path].into_iter().chain(beside(&decoder)) {
        match std::fs::remove_file(&path) {
            Ok(()) => removed = removed.or(Some(path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(OptimizeError::Write { path, source }),
        }
    }
    Ok(removed)
}

/// What stands between the name of a decoder and the digits that tell one file of scales from another.
const SCALES: &str = "fast-";

/// Files of scales beside a decoder.
fn beside(decoder: &Path) -> Vec<PathBuf> {
    let stem = fast_path(decoder);
    let stem = stem.file_name().and_then(|name| name.to_str());
    let stem = stem.and_then(|name| name.strip_suffix("fast.onnx")).unwrap_or_default();
    let entries = decoder.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let is_scales = |name: &str| {
        let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix(SCALES));
        let digits = rest.and_then(|rest| rest.strip_suffix(".onnx_data"));
        digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(is_scales);
    paths.filter(|path| name(path) == Some(true)).collect()
}

fn find(folder: &Path, dtype: Option<&str>, config: &Config) -> Result<Folder, OptimizeError> {
    let dtypes = dtype.map(Dtypes::parse).transpose()?.unwrap_or_default();
    let overflows = config.variant.family == Family::Unified12B;
    Ok(Folder::find(folder, dtypes, overflows)?)
}

/// A fast graph with these notes that is there already and was compared.
fn there(decoder: &Path, notes: &Notes) -> Option<There> {
    let path = fast_path(decoder);
    let (_, found) = fast::read(decoder, &path).ok()?;
    let (made, checked) = (found.made.clone(), found.checked?);
    let is_same = Notes { checked: None, made: MadeNote::default(), ..found } == *notes;
    let bytes = std::fs::metadata(path).ok()?.len();
    is_same.then_some(There { bytes, made, levers: notes.levers, checked })
}

/// Whether a published operator rounds activations to eight bits.
fn rounds(node: &Node) -> bool {
    let eight_bits = ["DynamicQuantizeLinear", "DynamicQuantizeMatMul"];
    // Mixtures with blocks of bytes do so whatever they say.
    let has_bytes = node.int("expert_weight_bits") == Some(8) && node.int("block_size").is_some();
    eight_bits.contains(&node.op_type.as_str())
        || (node.op_type == "QMoE" && has_bytes)
        || node.int("accuracy_level") == Some(write::EIGHT_BITS)
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
    Notes {
        version: notes::VERSION,
        source,
        levers,
        kv: kv.collect(),
        made: MadeNote::default(),
        checked: None,
    }
}

#[cfg(test)]
mod tests;
