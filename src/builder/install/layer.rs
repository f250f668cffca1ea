//! Layers on disk: planning, installing, finding them again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::failure::{self, Cause, Outage};
use super::lockfile::{FRESH, Lock};
use super::pnpm::{self, Mode};
use super::run::Installed;
use super::settings::Layout;
use super::store_check::starters;
use super::store_lock::StoreLock;
use super::{DependencySet, Parts};
use crate::builder::BuildLog;
use crate::builder::workspace::{VITE_TEMP, entries_of};
use crate::disk::{blocking, remove_tree};
use crate::domain::{Failure, FailureKind};

/// Hex digits of a set's hash that name its layer.
const LAYER_ID_CHARS: usize = 32;
/// What a try without the registry may take at most: it only links what is there.
const OFFLINE_LIMIT: Duration = Duration::from_mins(1);
/// Install scripts that are named in the log at most.
const UNBUILT_MAX: usize = 20;
/// Says what the layer is, and that it is complete.
pub(super) const LAYER_FILE: &str = "layer.json";
const PNPM_LOCK: &str = "pnpm-lock.yaml";
const NPM_LOCK: &str = "package-lock.json";
const SETTINGS_FILE: &str = "pnpm-workspace.yaml";
const NODE_MODULES: &str = "node_modules";
const PACKAGE_JSON: &str = "package.json";

/// Installed dependencies.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// `layers/{id}`.
    pub(crate) dir: PathBuf,
    /// The folder of the project that it is for.
    pub(crate) root: String,
    /// Folders, relative to the root, that have a `node_modules`; empty where there are no dependencies at all.
    pub(crate) importers: Vec<String>,
    /// It was there already.
    pub(crate) hit: bool,
    /// The lockfile that its versions came from, or `fresh`.
    pub(crate) lockfile: String,
    /// How it is laid out.
    pub(crate) layout: Layout,
}

impl Layer {
    /// In place of a layer for a project without a `package.json`.
    pub(super) fn none() -> Self {
        Self { dir: PathBuf::new(), root: String::new(), importers: Vec::new(), hit: true, lockfile: FRESH.into(), layout: Layout::Global }
    }

    /// Names the layer.
    pub(crate) fn id(&self) -> String {
        self.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The folder of the layer where packages are looked for that the app in folder `app` of the project imports.
    pub(crate) fn importer_of(&self, app: &str) -> PathBuf {
        let below = app.strip_prefix(self.root.as_str()).unwrap_or(app).trim_start_matches('/');
        let importer = self.importers.iter().filter(|importer| is_within(below, importer)).max_by_key(|importer| importer.len());
        self.dir.join(importer.map_or("", String::as_str))
    }

    /// Whether a package of this name was installed, at whatever depth.
    pub(crate) fn contains(&self, package: &str) -> bool {
        // Every layout links each package of the set at the top.
        self.dir.join(NODE_MODULES).join(package).exists()
    }
}

/// Whether the folder `inner` is `outer` or lies in it; both relative to the same.
fn is_within(inner: &str, outer: &str) -> bool {
    outer.is_empty() || inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

/// What came of asking for a layer.
#[derive(Debug)]
pub(crate) enum LayerResult {
    Ready(Layer),
    Failed(Failure),
    Cancelled,
}

/// A layer as it should be.
#[derive(Debug)]
pub(super) struct Wanted {
    layer: Layer,
    aside: PathBuf,
    files: BTreeMap<String, String>,
    lock: Lock,
}

#[derive(Debug, Serialize, Deserialize)]
struct LayerFile {
    lockfile: String,
    layout: String,
    node: String,
    pnpm: String,
    /// Digests of what pnpm itself wrote to be run.
    #[serde(default)]
    starters: BTreeMap<String, String>,
}

/// Step 2: the layer, if it was installed before and is not damaged: one that is counts as not there.
pub(super) async fn existing(wanted: &Wanted) -> anyhow::Result<Option<Layer>> {
    let text = match tokio::fs::read(wanted.layer.dir.join(LAYER_FILE)).await {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let shown = wanted.layer.dir.display();
    let file: LayerFile = match serde_json::from_slice(&text) {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(layer = %shown, %error, "a layer says nothing readable of itself: it is installed anew");
            return Ok(None);
        }
    };
    let (dir, files) = (wanted.layer.dir.clone(), wanted.files.clone());
    if let Some(link) = blocking(move || Ok(dangling(&dir, &files))).await? {
        tracing::warn!(layer = %shown, link = %link.display(), "a layer leads to packages that are gone: it is installed anew");
        return Ok(None);
    }
    // Another project may have asked first, from a lockfile of another name with the same versions; whether those held is the layer's.
    let lockfile = if file.lockfile == FRESH { file.lockfile } else { wanted.layer.lockfile.clone() };
    Ok(Some(Layer { lockfile, hit: true, ..wanted.layer.clone() }))
}

/// A direct dependency of the manifests in `files` whose link in the layer leads nowhere. Blocking.
fn dangling(layer: &Path, files: &BTreeMap<String, String>) -> Option<PathBuf> {
    for (path, text) in files {
        let Some(importer) = path.strip_suffix(PACKAGE_JSON) else { continue };
        let manifest: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let groups = ["dependencies", "devDependencies"].into_iter().filter_map(|group| manifest[group].as_object());
        let mut links = groups.flat_map(serde_json::Map::keys).map(|name| layer.join(importer).join(NODE_MODULES).join(name));
        if let Some(link) = links.find(|link| link.is_symlink() && !link.exists()) {
            return Some(link);
        }
    }
    None
}

impl Parts {
    /// What the layer of a set is; `None` where nothing is to be installed.
    pub(super) fn plan(&self, set: &DependencySet, layout: Layout) -> Option<Wanted> {
        let importers = set.importers();
        if importers.is_empty() {
            return None;
        }
        let mut files = set.files.clone();
        files.insert(SETTINGS_FILE.to_owned(), self.settings_text(set, layout));
        let mut named = files.clone();
        match &set.lock {
            Lock::Pnpm(text) => drop(named.insert(PNPM_LOCK.to_owned(), text.clone())),
            Lock::Import(pins) => drop(named.insert(NPM_LOCK.to_owned(), pins.to_package_lock())),
            Lock::Fresh => {}
        }
        let id = pnpm::set_key(&named, &self.identity().into_iter().collect())[..LAYER_ID_CHARS].to_owned();
        let layers = self.data.layers();
        let layer = Layer { dir: layers.join(&id), root: set.root.clone(), importers, hit: false, lockfile: set.lock_source.to_owned(), layout };
        Some(Wanted { layer, aside: layers.join(format!(".tmp-{id}-{:08x}", rand::random::<u32>())), files, lock: set.lock.clone() })
    }

    /// Steps 3 to 5, when it is our turn.
    pub(super) async fn install(&self, wanted: Wanted, _turn: OwnedMutexGuard<()>, log: &BuildLog) -> anyhow::Result<LayerResult> {
        // Whoever had the turn before may have installed the same.
        if let Some(layer) = existing(&wanted).await? {
            return Ok(LayerResult::Ready(layer));
        }
        let store = StoreLock::take(&self.data.shared_store(), self.time_limit).await?;
        let result = self.install_aside(&wanted, log).await;
        drop(store);
        let aside = wanted.aside.clone();
        if let Err(error) = blocking(move || remove_tree(&aside)).await {
            tracing::warn!(layer = %wanted.aside.display(), %error, "what an install left could not be removed");
        }
        result
    }

    /// Leaves the layer in place, or what it came to in the folder aside.
    async fn install_aside(&self, wanted: &Wanted, log: &BuildLog) -> anyhow::Result<LayerResult> {
        let begun = Instant::now();
        let deadline = begun + self.time_limit;
        let mut last: Option<failure::Failure> = None;
        for (lock, source) in fallbacks(&wanted.lock, &wanted.layer.lockfile) {
            if let Some(failure) = &last {
                log.warn(format!("{}; trying again with {}", failure.message, describe(&lock)));
            }
            log.info(format!("installing dependencies ({})", describe(&lock)));
            self.write_files(wanted, &lock).await?;
            match self.run(wanted, &lock, deadline, log).await? {
                Installed::Yes => {
                    let layer = Layer { lockfile: source, ..wanted.layer.clone() };
                    self.complete(wanted, &layer, log).await?;
                    log.info(format!("dependencies installed in {:.1} s", begun.elapsed().as_secs_f64()));
                    return Ok(LayerResult::Ready(layer));
                }
                Installed::TooLarge(message) => return Ok(LayerResult::Failed(Failure::new(FailureKind::Install, message))),
                Installed::TookTooLong => return Err(Outage(self.too_long()).into()),
                Installed::No(failure) => match failure.cause {
                    Cause::Project | Cause::Lockfile | Cause::Integrity => last = Some(failure),
                    Cause::Registry => return Err(Outage(failure.message).into()),
                    Cause::DiskFull | Cause::Machine => anyhow::bail!("installing dependencies: {}", failure.message),
                },
            }
        }
        let message = last.map_or_else(|| "nothing was installed".to_owned(), |failure| failure.message);
        Ok(LayerResult::Failed(Failure::new(FailureKind::Install, message)))
    }

    pub(super) fn too_long(&self) -> String {
        format!("installing took longer than {} s, the limit build.install_timeout_s", self.time_limit.as_secs())
    }

    /// Step 3: our files and nothing else.
    async fn write_files(&self, wanted: &Wanted, lock: &Lock) -> io::Result<()> {
        let (aside, mut files) = (wanted.aside.clone(), wanted.files.clone());
        match lock {
            Lock::Pnpm(text) => drop(files.insert(PNPM_LOCK.to_owned(), text.clone())),
            Lock::Import(pins) => drop(files.insert(NPM_LOCK.to_owned(), pins.to_package_lock())),
            Lock::Fresh => {}
        }
        blocking(move || {
            remove_tree(&aside)?;
            for (path, text) in files {
                let path = aside.join(path);
                fs::create_dir_all(path.parent().unwrap_or(&aside))?;
                fs::write(path, text)?;
            }
            Ok(())
        })
        .await
    }

    /// Step 4.
    async fn run(&self, wanted: &Wanted, lock: &Lock, deadline: Instant, log: &BuildLog) -> anyhow::Result<Installed> {
        let mut mode = Mode::Resolve;
        if matches!(lock, Lock::Import(_)) {
            match self.pnpm(&wanted.aside, pnpm::import_args(&self.registry), deadline, log).await? {
                Installed::Yes => {}
                other => return Ok(other),
            }
            tokio::fs::remove_file(wanted.aside.join(NPM_LOCK)).await?;
            mode = Mode::Frozen;
        }
        let installed = self.pnpm(&wanted.aside, pnpm::install_args(mode, &self.registry), deadline, log).await?;
        let why = match &installed {
            Installed::No(failure) if failure.cause == Cause::Registry => failure.message.clone(),
            Installed::TookTooLong => self.too_long(),
            _ => return Ok(installed),
        };
        log.warn(format!("{why}; trying with what is in the store"));
        let deadline = Instant::now() + OFFLINE_LIMIT.min(self.time_limit);
        match self.pnpm(&wanted.aside, pnpm::install_args(Mode::Offline, &self.registry), deadline, log).await? {
            Installed::Yes => Ok(Installed::Yes),
            // The first reason is the real one.
            _ => Ok(installed),
        }
    }

    /// Step 5.
    async fn complete(&self, wanted: &Wanted, layer: &Layer, log: &BuildLog) -> anyhow::Result<()> {
        let (aside, layer) = (wanted.aside.clone(), layer.clone());
        let version = |tool: &Result<crate::sandbox::Tool, String>| tool.as_ref().map(|tool| tool.version.clone()).unwrap_or_default();
        let mut file = LayerFile {
            starters: BTreeMap::new(),
            lockfile: layer.lockfile.clone(),
            layout: layer.layout.as_str().to_owned(),
            node: self.node.clone(),
            pnpm: version(&self.pnpm),
        };
        let unbuilt = blocking(move || {
            for importer in &layer.importers {
                // Where the sandbox mounts a folder for Vite's bundled configuration.
                fs::create_dir_all(aside.join(importer).join(NODE_MODULES).join(VITE_TEMP))?;
            }
            let unbuilt = with_install_scripts(&aside.join(NODE_MODULES))?;
            let below = format!("{}/", aside.display());
            let starters = starters(&aside)?.into_iter();
            file.starters = starters.map(|(path, digest)| (path.strip_prefix(&below).map_or(path.clone(), str::to_owned), digest)).collect();
            fs::write(aside.join(LAYER_FILE), serde_json::to_vec(&file)?)?;
            remove_tree(&layer.dir)?;
            fs::rename(&aside, &layer.dir)?;
            Ok(unbuilt)
        })
        .await?;
        if !unbuilt.is_empty() {
            let names = unbuilt[..unbuilt.len().min(UNBUILT_MAX)].join(", ");
            log.info(format!("{} packages have install scripts, which are never run: {names}", unbuilt.len()));
        }
        Ok(())
    }
}

/// The packages of a `node_modules` that want to run something when they are installed.
fn with_install_scripts(node_modules: &Path) -> io::Result<Vec<String>> {
    let packages = entries_of(node_modules, Path::new(""))?;
    let wants =
        |package: &PathBuf| fs::read_to_string(node_modules.join(package).join("package.json")).is_ok_and(|text| pnpm::has_install_script(&text));
    Ok(packages.into_iter().filter(wants).map(|package| package.to_string_lossy().into_owned()).collect())
}

/// The lock as it is, then its versions as wishes, then none; with the name that a layer of each gets.
fn fallbacks(lock: &Lock, source: &str) -> Vec<(Lock, String)> {
    let own = (lock.clone(), source.to_owned());
    let fresh = (Lock::Fresh, FRESH.to_owned());
    match lock {
        Lock::Pnpm(text) => {
            let pins = serde_json::from_str(text).map(|value| super::formats::pnpm(&value));
            let wishes = pins.into_iter().map(|pins| (Lock::Import(pins), source.to_owned()));
            std::iter::once(own).chain(wishes).chain([fresh]).collect()
        }
        Lock::Import(_) => vec![own, fresh],
        Lock::Fresh => vec![own],
    }
}

fn describe(lock: &Lock) -> &'static str {
    match lock {
        Lock::Pnpm(_) => "as the lockfile says",
        Lock::Import(_) => "the lockfile's versions where they fit",
        Lock::Fresh => "the newest matching versions",
    }
}
