//! All plugins together: which tools there are, whose they are, and the one way to call them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use gemma_types::{Cost, Outcome, ToolCall, ToolResult, ToolSpec};
use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument;
use wasmtime::{Config, Engine};

use crate::arguments;
use crate::cache::Cache;
use crate::call::{self, Means};
use crate::instance::{Call, Used};
use crate::limits::{CALLS_AT_ONCE, Limits};
use crate::manifest::{Risk, Tool};
use crate::mqtt::Publication;
use crate::plugin::{Loader, MANIFEST, Plugin};
use crate::problem::{Problem, Reason};
use crate::schema::Schema;

/// Where plugins are, and what no plugin may exceed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folders of plugin folders. Where two plugins or tools share a name, the first wins, in the
    /// order of these folders and then of the names in them.
    pub folders: Vec<PathBuf>,
    /// Folder for compiled code; made where it does not exist. None compiles at every start.
    pub cache: Option<PathBuf>,
    /// Ceilings of every plugin's limits, and the limits of a plugin that declares none.
    pub limits: Limits,
}

/// Why there is no host at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The WebAssembly engine does not run on this machine.
    #[error("the WebAssembly engine cannot start: {0:#}")]
    Engine(wasmtime::Error),
}

/// A plugin, for those who list and inspect them.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginInfo {
    /// Name, `[a-z0-9-]{1,64}`.
    pub name: String,
    /// Version, as its author counts.
    pub version: String,
    /// What it is for, in one sentence.
    pub description: String,
    /// Its tools that can be called.
    pub tools: Vec<Tool>,
    /// Each grant in words, such as `mqtt home/+/light/set`.
    pub grants: Vec<String>,
    /// Limits of each call.
    pub limits: Limits,
    /// Its folder.
    pub path: PathBuf,
}

/// The plugins that can be called.
pub struct Host {
    engine: Engine,
    plugins: Vec<Plugin>,
    infos: Vec<PluginInfo>,
    problems: Vec<Problem>,
    publications: mpsc::Sender<Publication>,
    turns: Semaphore,
}

impl Host {
    /// Loads every plugin of the folders; what is broken is left out and told by
    /// [`problems`](Self::problems). Compiles what is not in the cache, which takes seconds on a
    /// small board: call it from a thread that may block.
    ///
    /// # Errors
    ///
    /// WebAssembly does not run on this machine.
    pub fn open(options: &Options, publications: mpsc::Sender<Publication>) -> Result<Self, Error> {
        let mut problems = Vec::new();
        let engine = engine().map_err(Error::Engine)?;
        let cache = options.cache.as_deref().and_then(|folder| open_cache(folder, &mut problems));
        let loader = Loader::new(&engine, cache, &options.limits).map_err(Error::Engine)?;
        let mut plugins = Vec::new();
        for folder in &options.folders {
            for folder in list(folder, &mut problems) {
                match loader.load(&folder) {
                    Ok(plugin) => admit(plugin, &mut plugins, &mut problems),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        let infos = plugins.iter().map(info).collect();
        let turns = Semaphore::new(CALLS_AT_ONCE);
        Ok(Self { engine, plugins, infos, problems, publications, turns })
    }

    /// All tools, as the model is told them, in the order of the plugins.
    pub fn tools(&self) -> Vec<ToolSpec> {
        self.all().map(|(_, tool, _)| tool.spec.clone()).collect()
    }

    /// The plugins that can be called.
    pub fn plugins(&self) -> &[PluginInfo] {
        &self.infos
    }

    /// What was left out, and why.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How much a person must have agreed before the tool runs; none where there is no such tool.
    ///
    /// The host does not ask: whoever calls does.
    pub fn risk(&self, tool: &str) -> Option<Risk> {
        self.find(tool).map(|(_, tool, _)| tool.risk)
    }

    /// Runs a tool in a fresh instance. Refusals and failures are outcomes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the guest; a message that it had handed over may still be sent.
    pub async fn call(&self, call: &ToolCall) -> ToolResult {
        let span = tracing::info_span!("tool_call", tool = %call.name);
        let started = Instant::now();
        let (outcome, cost) = match self.check(call) {
            Ok((plugin, arguments)) => self.run(plugin, call, &arguments).instrument(span).await,
            Err(refusal) => {
                let cost = Cost { wall: started.elapsed(), ..Cost::default() };
                (Outcome::Refused(refusal), cost)
            }
        };
        ToolResult { name: call.name.clone(), outcome, cost }
    }

    async fn run(&self, plugin: &Plugin, call: &ToolCall, arguments: &str) -> (Outcome, Cost) {
        let means = Means { engine: &self.engine, guest: &plugin.guest, turns: &self.turns };
        let state = Call {
            plugin: Arc::clone(&plugin.name),
            tool: call.name.clone(),
            grants: Arc::clone(&plugin.grants),
            limits: plugin.limits,
            publications: self.publications.clone(),
            used: Used::default(),
            refusal: None,
            awaiting_receipt: None,
            stopped: None,
        };
        call::run(means, state, arguments).await
    }

    /// The plugin of the tool and its arguments as JSON, or why the tool is not run.
    fn check(&self, call: &ToolCall) -> Result<(&Plugin, String), String> {
        let Some((plugin, _, schema)) = self.find(&call.name) else {
            return Err(self.no_such_tool(&call.name));
        };
        schema.check(&call.arguments).map_err(|text| format!("wrong arguments: {text}"))?;
        let arguments = arguments::to_json(&call.arguments);
        let limit = plugin.limits.arguments_bytes;
        if u64::try_from(arguments.len()).unwrap_or(u64::MAX) > limit {
            return Err(format!("the arguments are too long: limit arguments_bytes = {limit}"));
        }
        Ok((plugin, arguments))
    }

    fn no_such_tool(&self, name: &str) -> String {
        let name: String = name.chars().take(64).collect();
        let tools: Vec<&str> = self.all().map(|(_, tool, _)| tool.spec.name.as_str()).collect();
        match tools.is_empty() {
            true => format!("there is no tool {name}; there are no tools at all"),
            false => format!("there is no tool {name}; there are: {}", tools.join(", ")),
        }
    }

    fn all(&self) -> impl Iterator<Item = (&Plugin, &Tool, &Schema)> {
        self.plugins.iter().flat_map(|plugin| {
            plugin.tools.iter().map(move |(tool, schema)| (plugin, tool, schema))
        })
    }

    fn find(&self, name: &str) -> Option<(&Plugin, &Tool, &Schema)> {
        self.all().find(|(_, tool, _)| tool.spec.name == name)
    }
}

/// The engine: work is counted in fuel, and one plugin is one module with plain memories.
fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.consume_fuel(true);
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    Engine::new(&config)
}

fn open_cache(folder: &Path, problems: &mut Vec<Problem>) -> Option<Cache> {
    Cache::open(folder)
        .map_err(|error| {
            let reason = Reason::Cache(error.to_string());
            problems.push(Problem { path: folder.to_owned(), reason });
        })
        .ok()
}

/// Plugin folders inside a folder, by name. Files and hidden folders are none.
fn list(folder: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let listed: io::Result<Vec<PathBuf>> =
        fs::read_dir(folder).and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect());
    let mut folders = match listed {
        Ok(paths) => paths,
        Err(error) => {
            problems.push(Problem { path: folder.to_owned(), reason: Reason::Folder(error) });
            return Vec::new();
        }
    };
    let hidden = |path: &PathBuf| {
        path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    folders.retain(|path| path.is_dir() && !hidden(path));
    folders.sort_unstable();
    folders
}

/// Takes a plugin in, but for what an earlier one already has.
fn admit(mut plugin: Plugin, plugins: &mut Vec<Plugin>, problems: &mut Vec<Problem>) {
    let path = plugin.folder.join(MANIFEST);
    if let Some(first) = plugins.iter().find(|first| first.name == plugin.name) {
        let first = first.folder.join(MANIFEST).display().to_string();
        let name = plugin.name.to_string();
        problems.push(Problem { path, reason: Reason::SamePlugin { name, first } });
        return;
    }
    plugin.tools.retain(|(tool, _)| {
        let has = |first: &&Plugin| first.tools.iter().any(|(t, _)| t.spec.name == tool.spec.name);
        let Some(first) = plugins.iter().find(has) else { return true };
        let reason =
            Reason::SameTool { tool: tool.spec.name.clone(), first: first.name.to_string() };
        problems.push(Problem { path: path.clone(), reason });
        false
    });
    plugins.push(plugin);
}

fn info(plugin: &Plugin) -> PluginInfo {
    PluginInfo {
        name: plugin.name.to_string(),
        version: plugin.version.clone(),
        description: plugin.description.clone(),
        tools: plugin.tools.iter().map(|(tool, _)| tool.clone()).collect(),
        grants: plugin.grants.in_words(),
        limits: plugin.limits,
        path: plugin.folder.clone(),
    }
}
