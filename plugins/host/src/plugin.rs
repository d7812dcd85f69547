//! A plugin as it is loaded from its folder: manifest read, component compiled and checked against
//! the contract. Nothing of it runs here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{Component, HasSelf, Linker};

use crate::cache::Cache;
use crate::contract::{Plugin as World, PluginPre};
use crate::file;
use crate::grants::Grants;
use crate::instance::Call;
use crate::limits::Limits;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, Tool};
use crate::problem::{Problem, Reason};
use crate::schema::Schema;

/// File name of every manifest.
pub(crate) const MANIFEST: &str = "plugin.toml";
const COMPONENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
const WORLD: &str = "gemmad:plugin/plugin@0.1.0";

/// A plugin that can be called.
pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) folder: PathBuf,
    pub(crate) tools: Vec<(Tool, Schema)>,
    pub(crate) grants: Arc<Grants>,
    pub(crate) limits: Limits,
    pub(crate) guest: PluginPre<Call>,
}

/// What loading needs, once for all plugins.
pub(crate) struct Loader<'a> {
    engine: &'a Engine,
    linker: Linker<Call>,
    cache: Option<Cache>,
    ceilings: &'a Limits,
}

impl<'a> Loader<'a> {
    /// Links the capabilities.
    pub(crate) fn new(
        engine: &'a Engine,
        cache: Option<Cache>,
        ceilings: &'a Limits,
    ) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        World::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
        Ok(Self { engine, linker, cache, ceilings })
    }

    /// Loads the plugin of a folder.
    pub(crate) fn load(&self, folder: &Path) -> Result<Plugin, Problem> {
        let at = |name: &str| {
            let path = folder.join(name);
            move |reason| Problem { path, reason }
        };
        let manifest = self.manifest(folder).map_err(at(MANIFEST))?;
        let guest = self.guest(folder, &manifest.component).map_err(at(&manifest.component))?;
        Ok(Plugin {
            name: manifest.name.into(),
            version: manifest.version,
            description: manifest.description,
            folder: folder.to_owned(),
            tools: manifest.tools,
            grants: Arc::new(manifest.grants),
            limits: manifest.limits,
            guest,
        })
    }

    fn manifest(&self, folder: &Path) -> Result<Manifest, Reason> {
        let bytes = file::read(folder, MANIFEST, MANIFEST_BYTES_MAX)?;
        let text = String::from_utf8(bytes).map_err(|_| Reason::NoText)?;
        Ok(Manifest::parse(&text, self.ceilings)?)
    }

    fn guest(&self, folder: &Path, name: &str) -> Result<PluginPre<Call>, Reason> {
        let bytes = file::read(folder, name, COMPONENT_BYTES_MAX)?;
        if bytes.starts_with(b"\0asm\x01\0\0\0") {
            return Err(Reason::CoreModule);
        }
        let component =
            self.compile(&bytes).map_err(|error| Reason::Component(format!("{error:#}")))?;
        self.check_imports(&component)?;
        let mismatch = |error: wasmtime::Error| Reason::Mismatch {
            world: WORLD,
            mismatch: format!("{error:#}"),
        };
        let linked = self.linker.instantiate_pre(&component).map_err(mismatch)?;
        self.check_export(&component)?;
        PluginPre::new(linked).map_err(mismatch)
    }

    /// Checks the one export, whose type the linker would compare at the first call only.
    fn check_export(&self, component: &Component) -> Result<(), Reason> {
        let ty = component.component_type();
        let Some(export) = ty.get_export(self.engine, "call") else {
            return Err(Reason::MissingExport { world: WORLD });
        };
        let ComponentItem::ComponentFunc(call) = export.ty else { return Err(wrong_call()) };
        let results: Vec<Type> = call.results().collect();
        let [Type::Result(result)] = results.as_slice() else { return Err(wrong_call()) };
        let text = |ty: Type| matches!(ty, Type::String);
        let takes = call.params().len() == 2 && call.params().all(|(_, ty)| text(ty));
        let returns = result.ok().is_some_and(text) && result.err().is_some_and(text);
        if takes && returns { Ok(()) } else { Err(wrong_call()) }
    }

    fn compile(&self, bytes: &[u8]) -> wasmtime::Result<Component> {
        match &self.cache {
            Some(cache) => {
                let (component, origin) = cache.load(self.engine, bytes)?;
                tracing::debug!(?origin, "compiled plugin");
                Ok(component)
            }
            None => Component::from_binary(self.engine, bytes),
        }
    }

    /// Names an import that no plugin can have, before the linker says so less clearly.
    fn check_imports(&self, component: &Component) -> Result<(), Reason> {
        const ACCEPTED: [&str; 4] = ["types", "log", "clock", "mqtt"];
        let full = |name: &&str| format!("gemmad:plugin/{name}@0.1.0");
        let ty = component.component_type();
        for (import, item) in ty.imports(self.engine) {
            let known = ACCEPTED.iter().any(|name| full(name) == import);
            if !known || !matches!(item.ty, ComponentItem::ComponentInstance(_)) {
                let accepted: Vec<String> = ACCEPTED.iter().skip(1).map(full).collect();
                let (import, accepted) = (import.to_owned(), accepted.join(", "));
                return Err(Reason::Import { import, accepted });
            }
        }
        Ok(())
    }
}

fn wrong_call() -> Reason {
    let mismatch =
        "call is not func(name: string, arguments: string) -> result<string, string>".to_owned();
    Reason::Mismatch { world: WORLD, mismatch }
}
