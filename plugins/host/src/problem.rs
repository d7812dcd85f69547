//! What kept a plugin, a tool or the cache from being used. The host works without it and tells.

use std::fmt;
use std::path::PathBuf;

use crate::file::FileError;
use crate::manifest::ManifestError;

/// Something that was left out, and why.
#[derive(Debug)]
pub struct Problem {
    /// The file or folder that is at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: Reason,
}

/// Why something was left out.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// A folder of plugins cannot be listed.
    #[error("cannot be listed: {0}")]
    Folder(std::io::Error),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The manifest is not text.
    #[error("is not UTF-8 text")]
    NoText,
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A core module where a component is needed.
    #[error("is a core module; accepted: a component, as gemma-plugin-component makes it")]
    CoreModule,
    /// Not a component, or a damaged one.
    #[error("is no valid component: {0}")]
    Component(String),
    /// The component does not export what the host calls.
    #[error("exports no function call; accepted: the world {world}")]
    MissingExport {
        /// The world of the contract.
        world: &'static str,
    },
    /// The component asks for something that no plugin can have.
    #[error("imports {import}; accepted: {accepted}")]
    Import {
        /// What it asks for.
        import: String,
        /// What there is.
        accepted: String,
    },
    /// The component has the right names with the wrong types.
    #[error("does not fit the world {world}: {mismatch}")]
    Mismatch {
        /// The world of the contract.
        world: &'static str,
        /// The first difference.
        mismatch: String,
    },
    /// A plugin of the same name comes first.
    #[error("declares the plugin {name}, as {first} does; that one is used")]
    SamePlugin {
        /// Name of both.
        name: String,
        /// Manifest of the one that is used.
        first: String,
    },
    /// A tool of the same name comes first.
    #[error("declares the tool {tool}, as plugin {first} does; that one is used")]
    SameTool {
        /// Name of both.
        tool: String,
        /// Plugin whose tool is used.
        first: String,
    },
    /// The cache of compiled code cannot be used.
    #[error("is not used as cache: {0}")]
    Cache(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if let Reason::Manifest(error) = &self.reason {
            return write!(formatter, "{path}:{}: {error}", error.line);
        }
        write!(formatter, "{path} {}", self.reason)
    }
}
