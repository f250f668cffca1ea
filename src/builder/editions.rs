//! Editions of layers: the packages that projects import, bundled once for browsers and served to all projects of a dependency set.
//!
//! 1. a build says which modules of packages it would have taken from the layer  2. all that were ever asked for, in one run of the bundler
//! 3. looked through like any output  4. renamed to `layers/{edition}`  5. noted as the newest  6. compressed, at the highest level
//!
//! Invariant: an edition is complete and immutable once its directory has its name, and no code of a project has run where it was made:
//! its name stands for everything that went into it. Builds go on without it meanwhile.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::PACKAGE_JSON;
use super::install::Layer;
use super::worker::{SCRIPTS, Worker};
use crate::disk::{blocking, remove_tree};
use crate::domain::{ContentHash, DataDir};
use crate::release::{Compressor, Effort, OutputLimits, ScanError, open_passage, scan};
use crate::state::{EditionRow, Store};

/// Modules that one edition is asked for at most.
const FILES_MAX: usize = 2_000;
/// Variants of settings that one layer has editions for at most.
const VARIANTS_MAX: usize = 8;
/// Hex digits of the hash that names an edition.
const ID_CHARS: usize = 32;
/// What workers read of an edition.
const EDITION_FILE: &str = "edition.json";
/// What an edition is made of is at most so much, bytes.
const EDITION_FILE_MAX: u64 = 16 * 1024 * 1024;

/// What a build would have taken from its layer.
#[derive(Debug, Clone)]
pub struct Wish {
    pub(super) layer: Layer,
    /// The app's folder in the project.
    pub(super) app: String,
    /// What its configuration means for packages: claimed by the build, opaque here, and a part of the edition's name.
    pub(super) variant: String,
    /// Absolute paths; claimed by the build.
    pub(super) files: Vec<String>,
}

/// Makes editions, one at a time.
#[derive(Debug)]
pub(super) struct Editions {
    worker: Arc<Worker>,
    data: Arc<DataDir>,
    store: Store,
    output: OutputLimits,
    turn: Mutex<()>,
    compressor: Compressor,
}

impl Editions {
    pub(super) fn new(worker: Arc<Worker>, data: Arc<DataDir>, store: Store, output: OutputLimits) -> Self {
        Self { worker, data, store, output, turn: Mutex::default(), compressor: Compressor::default() }
    }

    /// The editions of a layer that are there, newest first, and why others are not.
    pub(super) async fn of(&self, layer: &Layer) -> anyhow::Result<(Vec<PathBuf>, Vec<EditionRow>)> {
        let rows = self.store.editions(layer.id()).await?;
        let made: Vec<PathBuf> = rows.iter().filter(|row| row.failure.is_none()).map(|row| self.data.layers().join(&row.id)).collect();
        let there = blocking(move || Ok(made.into_iter().filter(|dir| dir.join(EDITION_FILE).is_file()).collect())).await?;
        Ok((there, rows))
    }

    /// Makes the edition that `wish` needs, unless it is there. Whether there is a new one.
    pub(super) async fn make(&self, wish: &Wish) -> anyhow::Result<bool> {
        let _turn = self.turn.lock().await;
        let (there, rows) = self.of(&wish.layer).await?;
        let before = rows.iter().find(|row| row.variant == wish.variant);
        let kept = before.filter(|row| row.failure.is_some() || there.iter().any(|dir| dir.ends_with(&row.id)));
        let mut files: BTreeSet<String> = self.acceptable(&wish.files).await?;
        files.extend(kept.iter().flat_map(|row| row.files.iter().cloned()));
        let files: Vec<String> = files.into_iter().collect();
        if files.is_empty() || files.len() > FILES_MAX || kept.is_some_and(|row| row.files == files) {
            return Ok(false);
        }
        if before.is_none() && rows.len() >= VARIANTS_MAX {
            tracing::info!(layer = wish.layer.id(), "no further edition: projects configure packages in too many ways");
            return Ok(false);
        }
        let id = name(&wish.layer.id(), &wish.variant, &files);
        let begun = std::time::Instant::now();
        let failure = self.bundle(wish, &files, &id).await?.err();
        let took_ms = begun.elapsed().as_millis();
        match &failure {
            None => tracing::info!(layer = wish.layer.id(), edition = id, modules = files.len(), took_ms, "an edition is made"),
            Some(why) => tracing::warn!(layer = wish.layer.id(), why, took_ms, "an edition could not be made"),
        }
        let made = failure.is_none();
        // One that is there serves on; that more was asked for is remembered all the same.
        let id = if made { id } else { kept.map_or(id, |row| row.id.clone()) };
        let failure = failure.filter(|_| kept.is_none_or(|row| row.failure.is_some()));
        let row = EditionRow { variant: wish.variant.clone(), id: id.clone(), files, failure };
        self.store.put_edition(wish.layer.id(), row, jiff::Timestamp::now().as_millisecond()).await?;
        Ok(made)
    }

    /// The paths that may be packages: what a build claims is not looked at anywhere else.
    async fn acceptable(&self, claimed: &[String]) -> std::io::Result<BTreeSet<String>> {
        let roots = [self.data.layers(), self.data.shared_store()];
        let claimed = claimed.to_owned();
        blocking(move || {
            let roots: Vec<PathBuf> = roots.iter().filter_map(|root| root.canonicalize().ok()).collect();
            let plain = |path: &Path| path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            let is_package = |path: &Path| plain(path) && roots.iter().any(|root| path.starts_with(root)) && path.is_file();
            Ok(claimed.into_iter().filter(|path| is_package(Path::new(path))).collect())
        })
        .await
    }

    /// Steps 2 to 4, and 6. Why there is none, if so.
    async fn bundle(&self, wish: &Wish, files: &[String], id: &str) -> anyhow::Result<Result<(), String>> {
        let dir = self.data.layers().join(id);
        if dir.join(EDITION_FILE).is_file() {
            return Ok(Ok(()));
        }
        let aside = self.data.layers().join(format!(".tmp-{id}-{:08x}", rand::random::<u32>()));
        let made = self.bundle_aside(wish, files, &aside, &dir).await;
        let left = aside.clone();
        if let Err(error) = blocking(move || remove_tree(&left)).await {
            tracing::warn!(dir = %aside.display(), %error, "what the bundler left could not be removed");
        }
        let modules = match made? {
            Ok(modules) => modules,
            Err(why) => return Ok(Err(why)),
        };
        let (compressor, public) = (self.compressor.clone(), self.data.layer_public(id));
        // Nobody waits for it: modules are served as they are until then.
        tokio::spawn(async move { compressor.compress(public, modules, Effort::Highest, &CancellationToken::new()).await });
        Ok(Ok(()))
    }

    async fn bundle_aside(&self, wish: &Wish, files: &[String], aside: &Path, dir: &Path) -> anyhow::Result<Result<Vec<PathBuf>, String>> {
        let (out, cache) = (aside.join("out"), aside.join("cache"));
        let folders = [out.clone(), cache.clone()];
        blocking(move || folders.iter().try_for_each(std::fs::create_dir_all)).await?;
        let root = wish.layer.importer_of(&wish.app);
        let Ok(variant) = serde_json::from_str::<Value>(&wish.variant) else { return Ok(Err("the build told nothing readable".into())) };
        let manifest: Value = serde_json::from_slice(&tokio::fs::read(root.join(PACKAGE_JSON)).await?)?;
        // What has not been through a plugin that nobody knows is not taken for what it would make of it.
        let unwatched = variant["plugins"].as_array().is_none_or(Vec::is_empty);
        let dependencies = manifest["dependencies"].as_object().filter(|_| unwatched);
        let named: Vec<&String> = dependencies.into_iter().flat_map(|named| named.keys()).collect();
        let cache = self.worker.bundler_cache(&cache);
        let job = json!({ "root": root, "out_dir": out, "cache_dir": cache, "files": files, "extras": named, "variant": variant });
        let said = match self.worker.bundle(&job.to_string(), &root, aside).await? {
            Ok(said) => serde_json::from_str::<Value>(&said).unwrap_or_default(),
            Err(why) => return Ok(Err(why)),
        };
        if said["type"] != "edition" {
            return Ok(Err(said["message"].as_str().unwrap_or("the bundler said nothing readable").to_owned()));
        }
        let (limits, dir) = (self.output, dir.to_owned());
        let done = tokio::task::spawn_blocking(move || {
            let told = std::fs::symlink_metadata(out.join(EDITION_FILE))?;
            if !told.is_file() || told.len() > EDITION_FILE_MAX {
                return Ok(Err("the bundler told too much".to_owned()));
            }
            let scanned = match scan(&out.join("public"), limits) {
                Ok(scanned) => scanned,
                Err(ScanError::Rejected(failure)) => return Ok(Err(failure.message)),
                Err(ScanError::Io(e)) => return Err(e),
            };
            open_passage(&out)?;
            remove_tree(&dir)?;
            std::fs::rename(&out, &dir)?;
            Ok(Ok(scanned.files))
        });
        Ok(done.await??)
    }
}

/// Stands for everything that goes into an edition.
fn name(layer: &str, variant: &str, files: &[String]) -> String {
    let mut hasher = Sha256::new();
    let scripts = SCRIPTS.iter().filter(|(name, _)| name.starts_with("bundler") || *name == "worker-vite.mjs").map(|(_, text)| *text);
    for part in [layer, variant].into_iter().chain(files.iter().map(String::as_str)).chain(scripts) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    ContentHash::from_bytes(hasher.finalize().into()).to_string()[..ID_CHARS].to_owned()
}
