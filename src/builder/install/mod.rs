//! Dependencies: from a project's manifests and lockfile to a layer that every project of the same set shares.
//!
//! 1. read the dependency set: filtered manifests, workspace, lockfile  2. its key names the layer; there already: done
//! 3. write our own files into a fresh directory  4. pnpm, one at a time, with the flags of `pnpm`
//! 5. rename the directory to `layers/{id}`
//!
//! A lockfile that does not hold (old format, versions that are gone) is let go step by step: as it is, its versions as
//! wishes, none. What a set turned out to need (its layout) is remembered in the state.
//!
//! Invariant: no file of a project reaches pnpm as it is, no code of a project or package runs, and a layer that
//! exists is complete: nothing is ever written into it again.

mod failure;
mod formats;
mod layer;
mod lockfile;
mod manifest;
mod overrides;
mod package_json;
mod pins;
mod pnpm;
mod pnpm_lock;
mod proxy;
mod reach;
mod run;
mod set;
mod settings;
mod spec;
mod store_check;
mod store_lock;
mod workspace;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{BuildLog, Tools};
use crate::builder::job::MB;
use crate::config::{self, ConfigError, Secret};
use crate::domain::{DataDir, Failure, Manifest};
use crate::sandbox::{Door, Tool};
use crate::state::{LearntLayout, StateError, Store};
pub use failure::Outage;
pub(super) use layer::{Layer, LayerResult};
use reach::Reach;
pub(super) use set::DependencySet;
pub(super) use settings::Layout;
pub use store_check::{Checked, Damage, check_store};

/// Oldest pnpm whose flags and settings are the ones that were checked.
const PNPM_MAJOR_MIN: u32 = 12;

/// Installs layers.
#[derive(Debug, Clone)]
pub(super) struct Installer {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    door: Arc<Door>,
    data: Arc<DataDir>,
    store: Store,
    pnpm: Result<Tool, String>,
    /// Node's version: binaries that packages choose at install depend on it.
    node: String,
    node_program: Option<PathBuf>,
    registry: String,
    token: Option<Secret>,
    reach: Arc<Reach>,
    time_limit: Duration,
    /// What one install may fetch, and what it may unpack.
    bytes_limit: u64,
    /// Concurrent installs into one store have raced, so there is one at a time.
    turn: Arc<Mutex<()>>,
}

impl Installer {
    pub(super) fn new(door: Arc<Door>, data: Arc<DataDir>, store: Store, tools: &Tools, config: &config::Build) -> Result<Self, ConfigError> {
        let parts = Parts {
            door,
            data,
            store,
            pnpm: tools.pnpm.clone(),
            node: tools.node.as_ref().map(|tool| tool.version.clone()).unwrap_or_default(),
            node_program: tools.node.as_ref().ok().map(|tool| tool.path.clone()),
            registry: config.registry.clone(),
            token: config.registry_token()?,
            reach: Arc::new(Reach::new(config, Matcher::from_env())),
            bytes_limit: u64::from(config.install_mb) * MB,
            time_limit: Duration::from_secs(config.install_timeout_s.into()),
            turn: Arc::default(),
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Step 1: what decides the dependencies of the app in folder `app`. A manifest that cannot be used is the project's failure.
    pub(super) async fn read_set(&self, work: &Path, files: &Manifest, app: &str, log: &BuildLog) -> anyhow::Result<Result<DependencySet, Failure>> {
        let (work, app) = (work.to_owned(), app.to_owned());
        let manifests: Vec<String> =
            files.files.keys().filter(|path| set::is_package_json(path.as_str())).map(|path| path.as_str().to_owned()).collect();
        let set = tokio::task::spawn_blocking(move || set::read(&work, &manifests, &app)).await??;
        if let Ok(set) = &set {
            set.notes.iter().for_each(|note| log.info(note));
        }
        Ok(set)
    }

    /// The layout that the set is known to need.
    pub(super) async fn known_layout(&self, set: &DependencySet) -> Result<Layout, StateError> {
        let learnt = self.parts.store.learnt_layout(self.parts.set_key(set)).await?;
        Ok(learnt.and_then(|learnt| Layout::from_name(&learnt.layout)).unwrap_or(Layout::Global))
    }

    /// Remembers the layout that the set turned out to need.
    pub(super) async fn learn(&self, set: &DependencySet, layout: Layout, reason: &str) -> Result<(), StateError> {
        let learnt = LearntLayout { layout: layout.as_str().to_owned(), reason: reason.to_owned() };
        self.parts.store.learn_layout(self.parts.set_key(set), learnt, jiff::Timestamp::now().as_millisecond()).await
    }

    /// Steps 2 to 5. An install that began goes on when the build that asked for it is stopped: the next one will want
    /// it. One that waits for its turn is dropped.
    pub(super) async fn layer(
        &self,
        set: &DependencySet,
        layout: Layout,
        log: &Arc<BuildLog>,
        cancel: &CancellationToken,
    ) -> anyhow::Result<LayerResult> {
        let Some(wanted) = self.parts.plan(set, layout) else { return Ok(LayerResult::Ready(Layer::none())) };
        if let Some(layer) = layer::existing(&wanted).await? {
            return Ok(LayerResult::Ready(layer));
        }
        let turn = tokio::select! {
            turn = self.parts.turn.clone().lock_owned() => turn,
            () = cancel.cancelled() => return Ok(LayerResult::Cancelled),
        };
        let (parts, log) = (self.parts.clone(), log.clone());
        let install = tokio::spawn(async move { parts.install(wanted, turn, &log).await });
        tokio::select! {
            done = install => done?,
            () = cancel.cancelled() => Ok(LayerResult::Cancelled),
        }
    }
}

impl Parts {
    fn identity(&self) -> [(&'static str, &str); 4] {
        let pnpm = self.pnpm.as_ref().map_or("", |tool| tool.version.as_str());
        [("pnpm", pnpm), ("node", &self.node), ("platform", std::env::consts::ARCH), ("registry", &self.registry)]
    }

    /// Names the set whatever its layout: what is learnt of it is kept under this.
    fn set_key(&self, set: &DependencySet) -> String {
        pnpm::set_key(&set.files, &self.identity().into_iter().collect())
    }

    fn settings_text(&self, set: &DependencySet, layout: Layout) -> String {
        let (store, cache) = (self.data.shared_store(), self.cache_dir());
        settings::emit(&settings::Settings { layout, store_dir: &store, cache_dir: &cache, registry: &self.registry }, &set.workspace, &set.members)
    }

    fn cache_dir(&self) -> PathBuf {
        self.data.shared_store().join("metadata")
    }
}

/// Refuses a pnpm that the installer was not made for.
pub(super) fn check_pnpm(tool: Tool) -> Result<Tool, String> {
    let major = tool.version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
    if major >= PNPM_MAJOR_MIN {
        return Ok(tool);
    }
    Err(format!(
        "{} is version {}, builds need {PNPM_MAJOR_MIN} or newer (npm install -g pnpm@{})",
        tool.path.display(),
        tool.version,
        pnpm::VERIFIED
    ))
}

#[cfg(test)]
mod proptests;
