//! How fast a model's folder is on this machine, and what it takes: measured through the same calls
//! that the daemon makes, on prompts of random words.

mod bandwidth; // what this machine's memory gives
mod first_word; // a question behind a long instruction
mod machine; // what it was measured on
mod media; // encoders
mod memory; // what the process occupies
mod report; // the figures, as JSON
mod runs; // prompts and replies
mod spread; // several measurements of one thing
mod table; // the figures, for people
mod tool_call; // a reply that calls a tool, beside free text

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use gemma_runtime::{Guesses, Model, Options};
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;

use super::{FAILED, harmless};
use crate::cli::bench::Bench;
use first_word::Instruction;
use memory::Memory;
use report::{Decode, Load, Overhead, Prefill, Report};
use runs::{Made, Runs};
use spread::Spread;

/// How often each thing is measured.
const ROUNDS: u16 = 3;
/// Contexts beyond this are processed once, and measured from there as often as the others, unless
/// processing them is to be measured, too.
const LONG_TOKENS: usize = 1_024;
/// Room for a conversation behind a long instruction.
const CONTEXT_TOKENS: usize = 4_096;
/// With `--quick` nothing beyond this is measured.
const QUICK_TOKENS: usize = 2_048;
/// Tokens that are made for each measurement, and room in the context for them.
const REPLY_TOKENS: usize = 24;
/// Room for the replies whose tokens are measured, and for the tokens around a prompt.
const ROOM_TOKENS: usize = 256;

/// Measures, prints and writes; says on standard error why it failed.
///
/// # Errors
/// None but for a broken standard error: a failure of the command is its exit code.
pub fn run(bench: &Bench) -> anyhow::Result<ExitCode> {
    match measure(bench) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            writeln!(std::io::stderr(), "gemmad: {error:#}")?;
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn measure(bench: &Bench) -> anyhow::Result<()> {
    let progress = progress();
    let report = Measuring::begin(bench, progress.clone())?.finish()?;
    progress.finish_and_clear();
    if let Some(path) = &bench.json {
        write_json(path, &report)?;
    }
    std::io::stdout().write_all(harmless(&table::text(&report)).as_bytes())?;
    Ok(())
}

fn write_json(path: &Path, report: &Report) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// A measurement in the making.
struct Measuring<'a> {
    bench: &'a Bench,
    rounds: u16,
    prompts: Vec<usize>,
    pasts: Vec<usize>,
    options: Options,
    /// Where the instruction is saved that a model is asked behind after it was loaded anew.
    prefixes: TempDir,
    /// The instruction that is saved there.
    saved: Option<Instruction>,
    progress: ProgressBar,
    report: Report,
}

impl<'a> Measuring<'a> {
    /// Looks at the machine, before the model occupies it.
    fn begin(bench: &'a Bench, progress: ProgressBar) -> anyhow::Result<Self> {
        progress.set_message("reading memory");
        let machine = machine::look(bench.graphs.threads);
        let most = if bench.quick { QUICK_TOKENS } else { usize::MAX };
        let up_to = |tokens: &[usize]| {
            let mut kept: Vec<usize> = tokens.iter().copied().filter(|&n| n <= most).collect();
            kept.sort_unstable();
            kept.dedup();
            kept
        };
        let (mut prompts, pasts) = (up_to(&bench.prompt), up_to(&bench.past));
        prompts.retain(|&tokens| tokens > 0);
        let longest = prompts.iter().chain(&pasts).copied().max().unwrap_or(0);
        // Prefixes are saved where nobody else may read them.
        let private = Permissions::from_mode(0o700);
        let prefixes = tempfile::Builder::new().permissions(private).tempdir();
        let prefixes = prefixes.context("no folder for what is saved")?;
        let options = Options {
            engine: bench.engine,
            device: bench.graphs.device,
            library: bench.graphs.library.clone(),
            threads: bench.graphs.threads,
            dtype: bench.graphs.dtype.clone(),
            fast: bench.graph,
            // Every token by itself: what guesses save depends on the text.
            guesses: Guesses::Never,
            context_tokens: longest.max(CONTEXT_TOKENS).saturating_add(ROOM_TOKENS),
            ..Options::default()
        };
        let rounds = bench.rounds.unwrap_or(if bench.quick { 1 } else { ROUNDS });
        let report = Report::new(machine, rounds);
        let saved = None;
        Ok(Self { bench, rounds, prompts, pasts, options, prefixes, saved, progress, report })
    }

    fn finish(mut self) -> anyhow::Result<Report> {
        memory::forget_peak();
        let (mut model, first_s) = self.load()?;
        self.report.describe(model.info(), &self.options);
        self.report.memory.loaded = Memory::now();
        let room = model.info().context_tokens.saturating_sub(ROOM_TOKENS);
        for list in [&mut self.prompts, &mut self.pasts] {
            let fitting = list.partition_point(|&tokens| tokens <= room);
            for tokens in list.drain(fitting..) {
                self.report.miss(&format!("{tokens} tokens"), "they do not fit into the context");
            }
        }
        self.short(&mut model)?;
        self.long(&mut model)?;
        if !self.bench.speed_only {
            self.around(&mut model)?;
        }
        self.report.memory.peak_bytes = memory::peak_bytes();
        drop(model);
        self.report.load = Load { first_s, again_s: None };
        if !self.bench.speed_only {
            self.again()?;
        }
        self.report.machine.read_again();
        self.report.share_bandwidth();
        Ok(self.report)
    }

    fn load(&self) -> anyhow::Result<(Model, f64)> {
        self.progress.set_message("loading");
        let prefix_folder = Some(self.prefixes.path().to_owned());
        let options = Options { prefix_folder, ..self.options.clone() };
        let started = Instant::now();
        let model = Model::open(&self.bench.folder, &options)?;
        Ok((model, started.elapsed().as_secs_f64()))
    }

    /// Loads as often as everything is measured, with the files in the page cache, and asks each time
    /// what was saved before.
    fn again(&mut self) -> anyhow::Result<()> {
        let (mut load_s, mut asked) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let (mut model, seconds) = self.load()?;
            load_s.push(seconds);
            if let Some(instruction) = &self.saved {
                asked.push(instruction.after_restart(&mut model)?);
            }
        }
        self.report.load.again_s = Spread::of(load_s);
        let first = self.report.first_word;
        self.report.restart = first.and_then(|first| first_word::restart(&asked, first.cold_s));
        Ok(())
    }

    /// Prompts that are processed anew in each round.
    fn short(&mut self, model: &mut Model) -> anyhow::Result<()> {
        let mut lengths: Vec<usize> = self.prompts.iter().chain(&self.pasts).copied().collect();
        lengths.retain(|&tokens| tokens <= LONG_TOKENS || self.prompts.contains(&tokens));
        lengths.sort_unstable();
        lengths.dedup();
        let mut runs = Runs::new(model)?;
        let mut found: Vec<Samples> = lengths.iter().map(|_| Samples::default()).collect();
        runs.warm_up()?;
        for round in 0..self.rounds {
            for (&tokens, found) in lengths.iter().zip(&mut found) {
                self.say(round, &format!("{tokens} tokens"));
                let prompt = runs.prompt(tokens.max(1), u64::from(round));
                let wanted = if self.pasts.contains(&tokens) { REPLY_TOKENS } else { 0 };
                found.take(runs.run(&prompt, wanted)?);
            }
        }
        for (tokens, found) in lengths.into_iter().zip(found) {
            if self.prompts.contains(&tokens) {
                self.keep_prefill(tokens, &found);
            }
            if self.pasts.contains(&tokens) {
                self.keep_decode(tokens, found);
            }
        }
        Ok(())
    }

    /// Contexts that are processed once.
    fn long(&mut self, model: &mut Model) -> anyhow::Result<()> {
        let already = |tokens: &usize| *tokens <= LONG_TOKENS || self.prompts.contains(tokens);
        let pasts: Vec<usize> = self.pasts.iter().copied().filter(|past| !already(past)).collect();
        for past in pasts {
            let mut runs = Runs::new(model)?;
            self.progress.set_message(format!("{past} tokens, once"));
            let prompt = runs.prompt(past, 0);
            let mut found = Samples::default();
            found.take(runs.run(&prompt, 0)?);
            self.keep_prefill(past, &found);
            let mut found = Samples::default();
            for round in 0..self.rounds {
                self.say(round, &format!("{past} tokens before"));
                found.take(runs.run(&prompt, REPLY_TOKENS)?);
            }
            self.keep_decode(past, found);
        }
        Ok(())
    }

    /// The first word, tool calls, and media.
    fn around(&mut self, model: &mut Model) -> anyhow::Result<()> {
        self.progress.set_message("first word");
        match Instruction::fitting(model)? {
            Ok(instruction) => self.first_word(model, instruction)?,
            Err(reason) => self.report.miss("first word", &reason),
        }
        self.progress.set_message("tool call");
        match tool_call::measure(model, self.rounds)? {
            Ok(found) => self.report.tool_call = Some(found),
            Err(reason) => self.report.miss("tool call", &reason),
        }
        for kind in [media::Kind::Picture, media::Kind::Sound] {
            self.progress.set_message(kind.name());
            match media::measure(model, kind, self.rounds)? {
                Ok(found) => self.report.media.push(found),
                Err(reason) => self.report.miss(kind.name(), &reason),
            }
        }
        Ok(())
    }

    /// The first word behind an instruction, which is then saved.
    fn first_word(&mut self, model: &mut Model, instruction: Instruction) -> anyhow::Result<()> {
        match instruction.measure(model, self.rounds)? {
            Ok(found) => self.report.first_word = Some(found),
            Err(reason) => self.report.miss("first word", &reason),
        }
        match instruction.save(model)? {
            Ok(()) => self.saved = Some(instruction),
            Err(reason) => self.report.miss("first word after a restart", &reason),
        }
        Ok(())
    }

    fn say(&self, round: u16, what: &str) {
        self.progress.set_message(format!("round {} of {}: {what}", round + 1, self.rounds));
        self.progress.tick();
    }

    fn keep_prefill(&mut self, tokens: usize, found: &Samples) {
        if let Some(tokens_per_s) = Spread::of(found.prefill.clone()) {
            self.report.prefill.push(Prefill { tokens, tokens_per_s });
        }
    }

    fn keep_decode(&mut self, past: usize, found: Samples) {
        let Some(tokens_per_s) = Spread::of(found.decode) else {
            self.report.miss(&format!("decode behind {past}"), "the model says nothing there");
            return;
        };
        let read_bytes = self.report.read_bytes(past);
        let overhead = Spread::of(found.ours_ms).zip(Spread::of(found.engine_ms));
        let overhead = overhead.map(|(ours_ms, engine_ms)| Overhead { ours_ms, engine_ms });
        let (bandwidth_share, memory) = (0.0, found.memory);
        self.report.decode.push(Decode {
            past,
            tokens_per_s,
            read_bytes,
            bandwidth_share,
            overhead,
            memory,
        });
    }
}

/// What was measured at one length.
#[derive(Default)]
struct Samples {
    /// Tokens of the prompt a second.
    prefill: Vec<f64>,
    /// Tokens of the reply a second.
    decode: Vec<f64>,
    ours_ms: Vec<f64>,
    engine_ms: Vec<f64>,
    memory: Memory,
}

impl Samples {
    fn take(&mut self, made: Made) {
        self.prefill.extend(made.prefill_rate());
        self.decode.extend(made.decode_rate());
        self.ours_ms.extend(made.ours_ms());
        self.engine_ms.extend(made.engine_ms());
        self.memory = self.memory.most(made.memory);
    }
}
