//! From one revision's sources to an output that may be published.
//!
//! 1. a place to build in, from the pool  2. snapshot: `work/` there holds exactly the synced sources (after a sync that was cut
//!    short: synced anew first)  3. find the app: Vite in some folder, or files to be served as they are
//! 4. dependencies, generators, the project's own Vite in the sandbox (`vite.rs`)
//! 5. look through the output and copy it, set its source maps aside, put the preview client into its pages; the worker stands still
//!    meanwhile, and waits for the next build
//!
//! Invariant: a project that does not build is data ([`Built::Failed`]); an `Err` is a fault of ours or of
//! the machine, and only that is tried again.

mod editions;
mod generate;
mod install;
mod job;
mod lines;
mod log;
mod messages;
mod place;
mod pool;
mod session;
mod vite;
mod watch;
mod worker;
mod workspace;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::disk::{blocking, remove_tree};
use crate::domain::app_root::{self, App};
use crate::domain::{BuildId, BuildRecord, DataDir, Failure, FailureKind, Manifest, Mode, ProjectDir, ProjectId, Revision, SourcePath};
use crate::events::Events;
use crate::locks::ProjectLocks;
use crate::metrics::Metrics;
use crate::release::{Injection, OutputLimits, ScanError, Scanned, collect, live_build, set_maps_aside};
use crate::sandbox::{Door, Tool};
use crate::state::Store;
use crate::sync::{SyncFiles, SyncScope, Syncer};
use editions::Editions;
pub use editions::Wish;
use install::Installer;
pub use install::Outage as InstallOutage;
pub use install::{Checked, Damage, check_store};
use job::{Done, Limits, MB, Run};
pub use log::{BuildLog, LogWriter, read_log};
use place::Place;
use pool::Pool;
use worker::Worker;
pub use worker::write_runtime;

/// Names of `package.json` files that are looked at when an app is searched for.
const PACKAGE_JSON: &str = "package.json";

/// What became of a build.
#[derive(Debug)]
pub enum Built {
    /// Looked through and ready in the release's folder aside; and what a layer should have for the next build.
    Output(Scanned, Option<Wish>),
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
    /// Nobody waits for it and nobody sees it: the sources are as they are here, or it is not worth it.
    pub ahead: bool,
    /// Set once the build is under way in a worker that knows the project: stopping it would make the next one slower, not sooner.
    pub soon_done: &'a AtomicBool,
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
    worker: Arc<Worker>,
    pool: Arc<Pool>,
    editions: Editions,
    output: OutputLimits,
    injection: Injection,
    public_maps: bool,
    learnt: Mutex<HashMap<ProjectId, Learnt>>,
    /// Builds that are made ahead for projects, see [`Builder::improve`].
    rehearsals: Mutex<HashMap<ProjectId, CancellationToken>>,
}

/// What builds of a project have taught. Forgotten with the project and at a restart: then it is found out once more.
#[derive(Debug, Default)]
struct Learnt {
    /// Its builds write into their sources.
    writes: bool,
    /// Why the layer cannot serve it, and which editions of the layer there were then.
    plain: Option<(Vec<PathBuf>, String)>,
}

impl Builder {
    /// Wires a builder. Inside of the runtime that will run its workers.
    pub fn start(parts: Parts, config: &config::Build, pool: config::Pool) -> io::Result<Self> {
        let output = OutputLimits { files: config.output_files.into(), bytes: u64::from(config.output_mb) * MB };
        let limits = Limits { time: Duration::from_secs(config.timeout_s.into()), memory_mb: config.memory_mb, output };
        let installer =
            Installer::new(parts.door.clone(), parts.data.clone(), parts.store.clone(), &parts.tools, config).map_err(io::Error::other)?;
        let worker = Arc::new(Worker::new(parts.door.clone(), parts.data.clone(), parts.tools.node, limits));
        let pool = Pool::start(worker.clone(), parts.data.clone(), parts.metrics.clone(), pool, parts.door);
        let editions = Editions::new(worker.clone(), parts.data.clone(), parts.store.clone(), output);
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
            pool,
            editions,
            output,
            injection,
            public_maps,
            learnt: Mutex::default(),
            rehearsals: Mutex::default(),
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
        self.stop_rehearsal(request.project);
        let mut place = self.pool.take(request.project).await?;
        let made = self.make(&request, record, &mut place).await;
        let built = match made {
            Ok(Run::Done(done)) => self.collect(&request, record, &place, done).await,
            Ok(Run::Cancelled) => Ok(Built::Cancelled),
            Ok(Run::Failed { failure, .. }) => Ok(Built::Failed(failure)),
            Ok(Run::Refused(path)) => Ok(Built::Failed(Failure::new(FailureKind::Config, format!("the build may not write {path}")))),
            Ok(Run::Useless) => Err(anyhow::anyhow!("no worker could build this")),
            Err(error) => Err(error),
        };
        self.pool.give_back(request.project, place);
        if !matches!(built, Ok(Built::Output(..))) {
            let aside = self.data.project(request.project).release_aside(record.build_id);
            if let Err(error) = blocking(move || remove_tree(&aside)).await {
                // The next start tries again; how the build went is more important.
                tracing::warn!(project = %request.project, build = %record.build_id, %error, "a failed build's output could not be removed");
            }
        }
        built
    }

    /// What nobody waits for: the layer's next edition, as a build wished, and a worker that has built the project with it, so that the
    /// next edit finds both.
    pub async fn improve(self: &Arc<Self>, project: &ProjectId, wish: Wish) {
        match self.editions.make(&wish).await {
            Ok(true) => self.rehearse(project).await,
            Ok(false) => {}
            Err(error) => tracing::warn!(%project, error = format!("{error:#}"), "the layer's next edition could not be made"),
        }
    }

    /// Builds once for nobody to see: whoever edits next finds a worker that knows the project.
    async fn rehearse(&self, project: &ProjectId) {
        let cancel = CancellationToken::new();
        self.rehearsals().insert(project.clone(), cancel.clone());
        let mut record = BuildRecord::begun(BuildId::from_parts(0, rand::random()), Revision(0), Timestamp::now());
        let log = match BuildLog::silent(project.clone(), self.log_writer.clone(), self.log_bytes) {
            Ok(log) => Arc::new(log),
            Err(error) => return tracing::warn!(%error, "nothing can be built ahead"),
        };
        let request = BuildRequest { project, clean: false, log: &log, cancel: &cancel, ahead: true, soon_done: &AtomicBool::new(false) };
        let Ok(mut place) = self.pool.take(project).await else { return };
        let run = self.make(&request, &mut record, &mut place).await;
        tracing::debug!(%project, mode = ?record.mode, took = ?record.timings_ms.build, built = matches!(run, Ok(Run::Done(_))), "built ahead");
        if cancel.is_cancelled() {
            // A build has begun meanwhile, in a place of its own.
            place.dismiss().await;
        }
        self.pool.give_back(project, place);
        if !cancel.is_cancelled() {
            self.rehearsals().remove(project);
        }
    }

    fn stop_rehearsal(&self, project: &ProjectId) {
        if let Some(rehearsal) = self.rehearsals().remove(project) {
            rehearsal.cancel();
        }
    }

    fn rehearsals(&self) -> MutexGuard<'_, HashMap<ProjectId, CancellationToken>> {
        self.rehearsals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steps 2 to 4: afterwards the output lies in the place, and nothing there moves.
    async fn make(&self, request: &BuildRequest<'_>, record: &mut BuildRecord, place: &mut Place) -> anyhow::Result<Run> {
        let dir = self.data.project(request.project);
        let manifest = tokio::select! {
            manifest = self.snapshot(request, &dir, place) => manifest?,
            // A deletion holds the project's lock while it waits for the build's end.
            () = request.cancel.cancelled() => return Ok(Run::Cancelled),
        };
        let given = self.store.environment(request.project.clone()).await?;
        let app = match find_app(&place.slot.work(), &manifest, given.root).await? {
            Ok(app) => app,
            Err(failure) => return Ok(Run::Failed { failure, claim: None }),
        };
        match app {
            App::Static(folder) => {
                record.mode = Some(Mode::Static);
                request.log.info("no Vite in this project: its files are served as they are");
                let (work, out) = (place.slot.work().join(folder), place.slot.out());
                blocking(move || copy_tree(&work, &out)).await?;
                Ok(Run::Done(Box::default()))
            }
            App::Vite(folder) => {
                record.mode = Some(Mode::Plain);
                self.build_with_vite(request, record, place, &manifest, folder, given.vars).await
            }
        }
    }

    /// Step 2.
    async fn snapshot(&self, request: &BuildRequest<'_>, dir: &ProjectDir, place: &mut Place) -> anyhow::Result<Manifest> {
        let _guard = self.locks.lock(request.project).await;
        let files = SyncFiles::new(dir.clone());
        if request.clean {
            place.dismiss().await;
            *place = Place::create(&self.data).await?;
        }
        for last_try in [false, true] {
            if let Some(manifest) = files.read().await? {
                place.turn_to(&manifest);
                let (from, work, of) = (dir.clone(), place.slot.work(), manifest.clone());
                match blocking(move || workspace::refresh(&from, &work, &of)).await {
                    Ok(()) => return Ok(manifest),
                    Err(e) if e.kind() == io::ErrorKind::NotFound && !last_try => {}
                    Err(e) => return Err(e.into()),
                }
            }
            anyhow::ensure!(!last_try && !request.ahead, "the sources could not be completed");
            request.log.warn("the sources here are not complete; they are taken over anew");
            self.syncer.sync(request.project, dir, SyncScope::Anew).await?;
        }
        anyhow::bail!("the sources could not be completed")
    }

    /// Step 5.
    async fn collect(&self, request: &BuildRequest<'_>, record: &mut BuildRecord, place: &Place, done: Box<Done>) -> anyhow::Result<Built> {
        let (dir, project, build) = (self.data.project(request.project), request.project.clone(), record.build_id);
        let (out, limits, aside, injection) = (place.slot.out(), self.output, dir.release_aside(build), self.injection.clone());
        let maps = (!self.public_maps).then(|| dir.maps(build));
        record.spa = done.spa;
        record.warnings = done.warnings;
        let collected = spawn_blocking(move || {
            let before = live_build(&dir).map(|build| dir.release(build));
            let mut scanned = collect(&out, &aside, before.as_deref(), limits)?;
            if let Some(maps) = maps {
                set_maps_aside(&aside, &mut scanned.files, &maps)?;
            }
            scanned.bytes += injection.apply(&aside, &scanned.files, &project, build)?;
            Ok(scanned)
        });
        match collected.await? {
            Ok(scanned) if scanned.files.is_empty() => Ok(Built::Failed(Failure::new(FailureKind::Output, "the build wrote no files"))),
            Ok(scanned) => Ok(Built::Output(scanned, done.wish)),
            Err(ScanError::Rejected(failure)) => Ok(Built::Failed(failure)),
            Err(ScanError::Io(e)) => Err(e.into()),
        }
    }

    /// Forgets what was learnt of a project that was deleted, and ends what waits for its next build.
    pub async fn forget(&self, project: &ProjectId) {
        self.stop_rehearsal(project);
        self.learnt().remove(project);
        self.pool.forget(project).await;
    }

    fn learnt(&self) -> MutexGuard<'_, HashMap<ProjectId, Learnt>> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn find_app(work: &Path, manifest: &Manifest, root: Option<String>) -> anyhow::Result<Result<App, Failure>> {
    let (work, paths) = (work.to_owned(), manifest.files.keys().cloned().collect::<Vec<_>>());
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

#[cfg(test)]
mod proptests;
