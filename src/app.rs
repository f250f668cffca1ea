//! Everything that requests need, wired once. Every field is required: what is there at start is there for good.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::auth::Authenticator;
use crate::builder::{self, Builder, Tools};
use crate::config::{Config, Environment};
use crate::disk::remove_tree;
use crate::domain::DataDir;
use crate::events::Events;
use crate::locks::ProjectLocks;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::preview::report::Throttle;
use crate::preview::{LiveReleases, PreviewClient, Urls, headers};
use crate::queue::{self, Intake, Queue, Reports, StatusBoard};
use crate::release::{Compressor, Injection, Retention, close_passage, open_passage, put_back, remove_leftovers};
use crate::sandbox::{Door, end_orphans};
use crate::source::Source;
use crate::state::{ProjectFilter, ProjectRow, StateError, Store};
use crate::sync::Syncer;

/// What the folder of a layer begins with until it is whole.
const HALF_LAYER_PREFIX: &str = ".tmp-";
/// Projects that are read at once while all are looked at.
const PAGE: u32 = 1000;

/// The daemon's handles.
#[derive(Debug)]
#[expect(missing_docs, reason = "each type says what it is for")]
pub struct App {
    pub config: Config,
    pub data: Arc<DataDir>,
    pub store: Store,
    pub source: Arc<Source>,
    pub door: Arc<Door>,
    pub tools: Tools,
    pub events: Arc<Events>,
    pub metrics: Arc<Metrics>,
    pub urls: Arc<Urls>,
    pub live: Arc<LiveReleases>,
    pub board: Arc<StatusBoard>,
    pub queue: Arc<Queue>,
    pub intake: Intake,
    pub reports: Reports,
    pub client: PreviewClient,
    pub throttle: Throttle,
    /// The turn to read source maps.
    pub mapping: Semaphore,
    pub notifier: Arc<Notifier>,
    pub auth: Authenticator,
    /// The policy that every preview is served with: who may show it in a frame.
    pub frame_ancestors: String,
    /// Where work goes on when the caller of a request has gone: HTTP threads drop what they run then.
    pub runtime: Handle,
    /// Locked as long as the daemon lives: two daemons on one data directory would undo each other's work.
    _lock: File,
}

impl App {
    /// Opens the data directory, the state and the source, and takes up what a crash left. `config.server.data_dir`
    /// is absolute; `env` is where the source looks for credentials; `port` is the bound one.
    pub async fn open(config: Config, env: &Environment, port: u16) -> anyhow::Result<Arc<Self>> {
        let data = Arc::new(DataDir::new(config.server.data_dir.clone()));
        let lock = prepare(&data, config.preview.private)?;
        let root = data.root().to_owned();
        match tokio::task::spawn_blocking(move || end_orphans(&root)).await? {
            0 => {}
            ended => tracing::warn!(ended, "processes that an earlier run left are ended"),
        }
        let metrics = Arc::new(Metrics::new()?);
        let store = Store::open(&data.state())?;
        let source = Arc::new(Source::open(&config, &|name| env.get(name), metrics.clone())?);
        builder::write_runtime(&data)?;
        let door = Arc::new(Door::open(&config.build, data.sandbox_etc()).await?);
        let tools = Tools::find(&door, &config.build).await;
        let events = Arc::new(Events::default());
        let locks = Arc::new(ProjectLocks::default());
        let urls = Arc::new(Urls::new(&config.server.public_url, &config.server.preview_domain, port));
        let live = Arc::new(LiveReleases::new(store.clone()));
        let board = Arc::new(StatusBoard::new(store.clone(), data.clone(), urls.clone(), door.mode(), events.clone()));
        let notifier = Notifier::new(store.clone(), metrics.clone(), &config)?;
        let announce = board.announce(&config.notify.urls);
        let syncer = Arc::new(Syncer::new(source.clone(), config.sync.clone(), metrics.clone()));
        let frame_origins = urls.frame_origins(&config.server.embed_origins);
        let client = PreviewClient::new(&frame_origins);
        let injection = Injection { client: config.preview.inject.then(|| client.address()), scripts: config.preview.scripts.clone() };
        let builder = Builder::start(
            builder::Parts {
                data: data.clone(),
                door: door.clone(),
                store: store.clone(),
                syncer: syncer.clone(),
                locks: locks.clone(),
                events: events.clone(),
                metrics: metrics.clone(),
                tools: tools.clone(),
                injection,
                public_maps: config.preview.source_maps,
            },
            &config.build,
            config.pool.clone(),
        )?;
        let parts = queue::Parts {
            store: store.clone(),
            builder: Arc::new(builder),
            data: data.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            retention: Retention::new(store.clone(), data.clone(), config.preview.keep_releases),
            compressor: Compressor::default(),
            live: live.clone(),
            board: board.clone(),
            announce: announce.clone(),
            notifier: notifier.clone(),
        };
        let queue = Queue::new(parts, config.queue.clone(), config.build_concurrency());
        let intake = Intake {
            store: store.clone(),
            syncer,
            locks,
            queue: queue.clone(),
            board: board.clone(),
            events: events.clone(),
            data: data.clone(),
            max_pending: config.queue.max_pending,
        };
        let reports = Reports::new(store.clone(), board.clone(), events.clone(), metrics.clone(), announce, notifier.clone());
        take_up(&store, &data).await?;
        let auth = Authenticator::open(&config.auth, &data)?;
        Ok(Arc::new(Self {
            frame_ancestors: headers::frame_ancestors(&frame_origins),
            config,
            data,
            store,
            source,
            door,
            tools,
            events,
            metrics,
            urls,
            live,
            board,
            queue,
            intake,
            reports,
            client,
            throttle: Throttle::default(),
            mapping: Semaphore::new(1),
            notifier,
            auth,
            runtime: Handle::current(),
            _lock: lock,
        }))
    }
}

/// Makes the directories, and takes the lock. Private previews are closed to nginx, so that a site file from before they were
/// private hands every request to us.
fn prepare(data: &DataDir, private: bool) -> anyhow::Result<File> {
    for dir in [data.projects(), data.labels(), data.shared_store(), data.layers(), data.workers(), data.runtime()] {
        std::fs::create_dir_all(&dir).map_err(|e| anyhow::anyhow!("cannot make {}: {e}", dir.display()))?;
    }
    let passages = [(data.projects(), !private), (data.labels(), !private), (data.layers(), true)];
    for (dir, open) in passages {
        let done = if open { open_passage(&dir) } else { close_passage(&dir) };
        done.map_err(|e| anyhow::anyhow!("cannot set who may pass through {}: {e}", dir.display()))?;
    }
    let lock = File::create(data.lock())?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| anyhow::anyhow!("another previewd uses the data directory {}", data.root().display()))?;
    Ok(lock)
}

/// Finds the work that a crash left, and removes its halves. What cannot be removed is logged: it takes space, and no
/// more than that, so it is no reason not to start.
async fn take_up(store: &Store, data: &Arc<DataDir>) -> anyhow::Result<()> {
    let interrupted = store.take_up_after_crash(jiff::Timestamp::now()).await?;
    if !interrupted.is_empty() {
        tracing::warn!(builds = interrupted.len(), "builds that an earlier run did not finish are taken up again");
    }
    let (cleaned, data) = (data.clone(), data.clone());
    let clean = move || {
        for project in &interrupted {
            if let Err(error) = remove_leftovers(&data.project(project)) {
                tracing::warn!(%project, %error, "what an interrupted build left could not be removed");
            }
        }
        if let Err(error) = remove_half_layers(&data) {
            tracing::warn!(%error, "what an interrupted install left could not be removed");
        }
        if let Err(error) = remove_children(&data.workers(), |_| true) {
            tracing::warn!(%error, "where an earlier run made its builds could not be emptied");
        }
    };
    tokio::task::spawn_blocking(clean).await?;
    Ok(put_back_all(store, &cleaned).await?)
}

/// Points `dist` of every project to its live build: a crash may have come after the one and before the other.
async fn put_back_all(store: &Store, data: &Arc<DataDir>) -> Result<(), StateError> {
    let mut filter = ProjectFilter { limit: PAGE, ..ProjectFilter::default() };
    loop {
        let rows = store.projects(filter.clone()).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        filter.after = Some(last.id.clone());
        let data = data.clone();
        let _ = tokio::task::spawn_blocking(move || rows.iter().for_each(|row| put_back_one(row, &data))).await;
    }
}

fn put_back_one(row: &ProjectRow, data: &DataDir) {
    match put_back(&data.project(&row.id), row.live_build) {
        Ok(false) => {}
        Ok(true) => tracing::warn!(project = %row.id, "dist is put back to the live release"),
        Err(error) => tracing::warn!(project = %row.id, %error, "dist could not be put back to the live release"),
    }
}

/// Removes layers whose installation was cut short: the project that wanted one may want another by now.
fn remove_half_layers(data: &DataDir) -> io::Result<()> {
    remove_children(&data.layers(), |name| name.starts_with(HALF_LAYER_PREFIX))
}

fn remove_children(folder: &Path, which: impl Fn(&str) -> bool) -> io::Result<()> {
    let mut result = Ok(());
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if which(&entry.file_name().to_string_lossy()) {
            // One that cannot be removed does not keep the others.
            result = remove_tree(&entry.path()).and(result);
        }
    }
    result
}
