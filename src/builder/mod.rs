//! From one revision's sources to an output that may be published.
//!
//! 1. snapshot: `work/` holds exactly the synced sources (after a sync that was cut short: synced anew first)
//! 2. find the app: Vite in some folder, or files to be served as they are
//! 3. dependencies: the layer of the project's dependency set, installed where it is new
//! 4. run the generators that the project names, then its own Vite, in the sandbox; an import that only another layout of the same
//!    dependencies offers leads back to 3, once for each layout, and is remembered for the set
//! 5. scan the output, set its source maps aside, put the preview client into its pages
//!
//! Invariant: a project that does not build is data ([`Built::Failed`]); an `Err` is a fault of ours or of
//! the machine, and only that is tried again.

mod generate;
mod install;
mod job;
mod lines;
mod log;
mod messages;
mod watch;
mod worker;
mod workspace;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::disk::{blocking, remove_tree};
use crate::domain::app_root::{self, App};
use crate::domain::build::LayerUse;
use crate::domain::{BuildId, BuildRecord, DataDir, Failure, FailureKind, Manifest, Mode, ProjectDir, ProjectId, SourcePath};
use crate::events::Events;
use crate::locks::ProjectLocks;
use crate::metrics::Metrics;
use crate::release::{Injection, OutputLimits, ScanError, Scanned, scan, set_maps_aside};
use crate::sandbox::{Door, Tool};
use crate::state::Store;
use crate::sync::{SyncFiles, SyncScope, Syncer};
use generate::Generated;
pub use install::Outage as InstallOutage;
pub use install::{Checked, Damage, check_store};
use install::{Installer, Layer, LayerResult};
use job::{Job, Limits, MB, Run};
pub use log::{BuildLog, LogWriter, read_log};
use messages::FailureClaim;
use worker::Worker;
pub use worker::write_runtime;

/// Names of `package.json` files that are looked at when an app is searched for.
const PACKAGE_JSON: &str = "package.json";

/// What became of a build.
#[derive(Debug)]
pub enum Built {
    /// Scanned and ready in the release's folder aside.
    Output(Scanned),
    /// The project does not build.
    Failed(Failure),
    /// Stopped on request; nothing of it runs any more.
    Cancelled,
}

/// One build to be made.
#[derive(Debug)]
pub struct BuildRequest<'a> {
    /// Whose.
    pub project: &'a ProjectId,
    /// Forget what earlier builds left.
    pub clean: bool,
    /// Its log.
    pub log: &'a Arc<BuildLog>,
    /// Stops it.
    pub cancel: &'a CancellationToken,
}

/// The programs that builds need, as found at start.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Node.js.
    pub node: Result<Tool, String>,
    /// pnpm, 12 or newer.
    pub pnpm: Result<Tool, String>,
}

impl Tools {
    /// Looks them up.
    pub async fn find(door: &Door, config: &config::Build) -> Self {
        let node = door.find_tool(&config.node, "--version").await;
        let pnpm = door.find_tool(&config.pnpm, "--version").await.and_then(install::check_pnpm);
        Self { node, pnpm }
    }
}

/// What the builder works with.
#[derive(Debug)]
pub struct Parts {
    /// Where everything lies.
    pub data: Arc<DataDir>,
    /// Children.
    pub door: Arc<Door>,
    /// Memory of dependency sets.
    pub store: Store,
    /// Sources.
    pub syncer: Arc<Syncer>,
    /// Who may touch them.
    pub locks: Arc<ProjectLocks>,
    /// Live logs.
    pub events: Arc<Events>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Programs.
    pub tools: Tools,
    /// What every page gets.
    pub injection: Injection,
    /// Source maps are published with what they map.
    pub public_maps: bool,
}

/// Makes builds.
#[derive(Debug)]
pub struct Builder {
    data: Arc<DataDir>,
    syncer: Arc<Syncer>,
    locks: Arc<ProjectLocks>,
    metrics: Arc<Metrics>,
    events: Arc<Events>,
    log_writer: LogWriter,
    log_bytes: u64,
    store: Store,
    installer: Installer,
    worker: Worker,
    output: OutputLimits,
    injection: Injection,
    public_maps: bool,
    /// Projects whose builds write into their sources. Forgotten with the project and at a restart: each then finds out once more.
    writers: Mutex<HashSet<ProjectId>>,
}

impl Builder {
    /// Wires a builder.
    pub fn new(parts: Parts, config: &config::Build) -> io::Result<Self> {
        let output = OutputLimits { files: config.output_files.into(), bytes: u64::from(config.output_mb) * MB };
        let limits = Limits { time: Duration::from_secs(config.timeout_s.into()), memory_mb: config.memory_mb, output };
        let installer =
            Installer::new(parts.door.clone(), parts.data.clone(), parts.store.clone(), &parts.tools, config).map_err(io::Error::other)?;
        let worker = Worker::new(parts.door, parts.data.clone(), parts.tools.node, limits);
        let (injection, public_maps) = (parts.injection, parts.public_maps);
        Ok(Self {
            data: parts.data,
            syncer: parts.syncer,
            locks: parts.locks,
            metrics: parts.metrics,
            events: parts.events,
            log_writer: LogWriter::start()?,
            log_bytes: u64::from(config.log_kb) * 1024,
            store: parts.store,
            installer,
            worker,
            output,
            injection,
            public_maps,
            writers: Mutex::default(),
        })
    }

    /// Begins the log of a build.
    pub async fn open_log(&self, project: &ProjectId, record: &BuildRecord) -> io::Result<BuildLog> {
        let (project, dir, build, limit) = (project.clone(), self.data.project(project), record.build_id, self.log_bytes);
        let (events, writer) = (self.events.clone(), self.log_writer.clone());
        blocking(move || BuildLog::create(project, &dir, build, limit, events, writer)).await
    }

    /// Builds the project's sources as they are now into the release's folder aside, filling in `record`.
    pub async fn build(&self, request: BuildRequest<'_>, record: &mut BuildRecord) -> anyhow::Result<Built> {
        let dir = self.data.project(request.project);
        let manifest = tokio::select! {
            manifest = self.snapshot(&request, &dir) => manifest?,
            // A deletion holds the project's lock while it waits for the build's end.
            () = request.cancel.cancelled() => return Ok(Built::Cancelled),
        };
        let out = dir.release_aside(record.build_id);
        let given = self.store.environment(request.project.clone()).await?;
        let app = match find_app(&dir, &manifest, given.root).await? {
            Ok(app) => app,
            Err(failure) => return Ok(Built::Failed(failure)),
        };
        let made = match app {
            App::Static(folder) => {
                record.mode = Some(Mode::Static);
                request.log.info("no Vite in this project: its files are served as they are");
                let (work, out) = (dir.work().join(folder), out.clone());
                blocking(move || copy_tree(&work, &out)).await?;
                Run::Done { spa: false, warnings: Vec::new() }
            }
            App::Vite(folder) => {
                record.mode = Some(Mode::Plain);
                self.build_with_vite(&request, record, &dir, &manifest, folder, given.vars).await?
            }
        };
        let built = match made {
            Run::Cancelled => Built::Cancelled,
            Run::Failed { failure, .. } => Built::Failed(failure),
            Run::Refused(path) => Built::Failed(Failure::new(FailureKind::Config, format!("the build may not write {path}"))),
            Run::Done { spa, warnings } => {
                record.spa = spa;
                record.warnings = warnings;
                self.scan(&request, record.build_id, &out).await?
            }
        };
        if !matches!(built, Built::Output(_))
            && let Err(error) = blocking(move || remove_tree(&out)).await
        {
            // The next start tries again; how the build went is more important.
            tracing::warn!(project = %request.project, build = %record.build_id, %error, "a failed build's output could not be removed");
        }
        Ok(built)
    }

    /// Step 1.
    async fn snapshot(&self, request: &BuildRequest<'_>, dir: &ProjectDir) -> anyhow::Result<Manifest> {
        let _guard = self.locks.lock(request.project).await;
        let files = SyncFiles::new(dir.clone());
        for last_try in [false, true] {
            if let Some(manifest) = files.read().await? {
                let (into, of) = (dir.clone(), manifest.clone());
                let clean = request.clean;
                let refreshed = blocking(move || {
                    if clean {
                        remove_tree(&into.work())?;
                    }
                    workspace::refresh(&into, &of)
                });
                match refreshed.await {
                    Ok(()) => return Ok(manifest),
                    Err(e) if e.kind() == io::ErrorKind::NotFound && !last_try => {}
                    Err(e) => return Err(e.into()),
                }
            }
            anyhow::ensure!(!last_try, "the sources could not be completed");
            request.log.warn("the sources here are not complete; they are taken over anew");
            self.syncer.sync(request.project, dir, SyncScope::Anew).await?;
        }
        anyhow::bail!("the sources could not be completed")
    }

    /// Steps 3 and 4.
    async fn build_with_vite(
        &self,
        request: &BuildRequest<'_>,
        record: &mut BuildRecord,
        dir: &ProjectDir,
        manifest: &Manifest,
        folder: String,
        env: BTreeMap<String, String>,
    ) -> anyhow::Result<Run> {
        if let Some(why) = self.worker.missing() {
            return Ok(Run::Failed { failure: Failure::new(FailureKind::Internal, why), claim: None });
        }
        let set = match self.installer.read_set(dir, manifest, &folder, request.log).await? {
            Ok(set) => set,
            Err(failure) => return Ok(Run::Failed { failure, claim: None }),
        };
        let mut job = Job {
            build: record.build_id,
            work: dir.work(),
            app: folder,
            out: dir.release_aside(record.build_id),
            vite_temp: Vec::new(),
            env,
            writable: self.worker.needs_copies() || self.is_writer(request.project),
            public_maps: self.public_maps,
        };
        let mut layout = self.installer.known_layout(&set).await?;
        let mut generated = false;
        loop {
            let begun = Instant::now();
            let result = self.installer.layer(&set, layout, request.log, request.cancel).await;
            if !matches!(&result, Ok(LayerResult::Ready(layer)) if layer.hit) {
                record.timings_ms.install += millis(begun.elapsed());
            }
            let layer = match result? {
                LayerResult::Ready(layer) => layer,
                LayerResult::Failed(failure) => return Ok(Run::Failed { failure, claim: None }),
                LayerResult::Cancelled => return Ok(Run::Cancelled),
            };
            self.note_layer(record, &layer, begun.elapsed());
            job.vite_temp = self.prepare(&job, &layer).await?;
            let begun = Instant::now();
            if !generated {
                let ended = generate::run(&self.worker, &job, request.log, request.cancel).await;
                record.timings_ms.build += millis(begun.elapsed());
                match ended? {
                    Generated::Nothing => {}
                    Generated::Done => job.vite_temp = self.prepare(&job, &layer).await?,
                    Generated::Ended(run) => return Ok(run),
                }
                generated = true;
            }
            let begun = Instant::now();
            let run = self.run_worker(&job, request).await?;
            let elapsed = begun.elapsed();
            record.timings_ms.build += millis(elapsed);
            self.metrics.build_seconds.with_label_values(&["build"]).observe(elapsed.as_secs_f64());
            if let Run::Refused(path) = &run {
                request.log.info(format!("the build writes into its sources ({path}): it begins anew with copies of them"));
                self.writers.lock().unwrap_or_else(PoisonError::into_inner).insert(request.project.clone());
                job.writable = true;
                continue;
            }
            let Run::Failed { claim: Some(claim), .. } = &run else { return Ok(run) };
            match other_layout(&layer, claim) {
                Some((next, reason)) => {
                    request.log.warn(format!("{reason}: trying again with the {} layout", next.as_str()));
                    self.installer.learn(&set, next, &reason).await?;
                    layout = next;
                }
                None => return Ok(run),
            }
        }
    }

    /// Forgets what was learnt of a project that was deleted.
    pub fn forget(&self, project: &ProjectId) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).remove(project);
    }

    fn is_writer(&self, project: &ProjectId) -> bool {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).contains(project)
    }

    /// Where the build may write into the sources it gets copies, and only plain files of what it leaves stay: this daemon walks `work/`.
    async fn run_worker(&self, job: &Job, request: &BuildRequest<'_>) -> anyhow::Result<Run> {
        if !job.writable {
            return self.worker.run(job, request.log, request.cancel).await;
        }
        let work = job.work.clone();
        blocking(move || workspace::own_copies(&work)).await?;
        let run = self.worker.run(job, request.log, request.cancel).await;
        let work = job.work.clone();
        blocking(move || workspace::keep_plain(&work).or_else(|_| remove_tree(&work))).await?;
        run
    }

    fn note_layer(&self, record: &mut BuildRecord, layer: &Layer, elapsed: Duration) {
        record.layer = if layer.hit && record.layer != LayerUse::Miss { LayerUse::Hit } else { LayerUse::Miss };
        record.lockfile = Some(layer.lockfile.clone());
        self.metrics.layer.with_label_values(&[if layer.hit { "hit" } else { "miss" }]).inc();
        if !layer.hit {
            self.metrics.build_seconds.with_label_values(&["install"]).observe(elapsed.as_secs_f64());
        }
    }

    /// An empty output folder, and the layer's dependencies in place.
    async fn prepare(&self, job: &Job, layer: &Layer) -> io::Result<Vec<PathBuf>> {
        let (out, work, app) = (job.out.clone(), job.work.clone(), job.app.clone());
        let layer = layer.clone();
        blocking(move || {
            remove_tree(&out)?;
            std::fs::create_dir_all(&out)?;
            workspace::link_dependencies(&work, &layer, &app)
        })
        .await
    }

    /// Step 5.
    async fn scan(&self, request: &BuildRequest<'_>, build: BuildId, out: &Path) -> anyhow::Result<Built> {
        let (out, limits, injection, project) = (out.to_owned(), self.output, self.injection.clone(), request.project.clone());
        let maps = (!self.public_maps).then(|| self.data.project(&project).maps(build));
        let work = move || {
            let mut scanned = scan(&out, limits)?;
            if let Some(maps) = maps {
                set_maps_aside(&out, &mut scanned.files, &maps)?;
            }
            scanned.bytes += injection.apply(&out, &scanned.files, &project, build)?;
            Ok(scanned)
        };
        match spawn_blocking(work).await? {
            Ok(scanned) if scanned.files.is_empty() => Ok(Built::Failed(Failure::new(FailureKind::Output, "the build wrote no files"))),
            Ok(scanned) => Ok(Built::Output(scanned)),
            Err(ScanError::Rejected(failure)) => Ok(Built::Failed(failure)),
            Err(ScanError::Io(e)) => Err(e.into()),
        }
    }
}

/// Whether another layout of the same dependencies would offer what could not be resolved.
fn other_layout(layer: &Layer, claim: &FailureClaim) -> Option<(install::Layout, String)> {
    let (package, by_project) = claim.unresolved_package()?;
    if !layer.contains(package) {
        return None;
    }
    let next = layer.layout.next(by_project)?;
    let who = if by_project { "the project" } else { "one of its dependencies" };
    Some((next, format!("{who} imports {package}, which it does not declare")))
}

/// Step 2.
async fn find_app(dir: &ProjectDir, manifest: &Manifest, root: Option<String>) -> anyhow::Result<Result<App, Failure>> {
    let (work, paths) = (dir.work(), manifest.files.keys().cloned().collect::<Vec<_>>());
    let named = root.clone();
    let found = blocking(move || {
        let mut dependents = BTreeSet::new();
        for path in paths.iter().map(SourcePath::as_str).filter(|path| is_package_json(path)) {
            let text = std::fs::read_to_string(work.join(path)).unwrap_or_default();
            if names_vite(&text) {
                dependents.insert(path.strip_suffix(PACKAGE_JSON).unwrap_or_default().trim_end_matches('/').to_owned());
            }
        }
        let files = paths.iter().map(SourcePath::as_str).collect();
        Ok(match named {
            Some(root) => app_root::at(&root, &files, &dependents),
            None => app_root::find(&files, &dependents),
        })
    });
    Ok(found.await?.ok_or_else(|| {
        if let Some(root) = root {
            let message = format!(
                "the app is said to be in {root:?} (PUT /env), where there is no vite.config, no package.json that depends on Vite, and no index.html"
            );
            return Failure::new(FailureKind::Config, message);
        }
        let message = if manifest.files.is_empty() {
            "the project has no files"
        } else {
            "nothing to preview here: no vite.config, no package.json that depends on Vite, and no index.html"
        };
        Failure::new(FailureKind::Config, message)
    }))
}

fn is_package_json(path: &str) -> bool {
    path.rsplit('/').next() == Some(PACKAGE_JSON)
}

/// Whether a `package.json` names Vite; what is wrong with one is told when it is installed.
fn names_vite(text: &str) -> bool {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(text.trim_start_matches('\u{feff}')) else {
        return text.contains("\"vite\"");
    };
    ["dependencies", "devDependencies"].iter().any(|group| json[*group]["vite"].is_string())
}

fn copy_tree(from: &Path, into: &Path) -> io::Result<()> {
    remove_tree(into)?;
    std::fs::create_dir_all(into)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        // Hidden files (`.env`) are never served, so they have no place in a release.
        if entry.file_name().to_string_lossy().starts_with('.') && entry.file_name() != ".well-known" {
            continue;
        }
        let (source, target) = (entry.path(), into.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_file() {
            std::fs::copy(source, target)?;
        }
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod proptests;
