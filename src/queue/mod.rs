//! Drives builds: claims what waits, makes it, publishes it, settles it.
//!
//! The queue itself is the state: the projects whose wanted revision is ahead of their finished one. This loop
//! only acts on it, so a burst of syncs is one build of the newest, and a crash leaves the work where it was.
//!
//! Invariant: every claim is settled exactly once, whatever happens to its build.

mod diagnostics;
mod gate;
mod heartbeat;
mod intake;
mod reports;
mod rollback;
mod run;
mod settle;
mod status;

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::Builder;
use crate::config;
use crate::disk::blocking;
use crate::domain::{BuildId, DataDir, ProjectId, Revision};
use crate::events::{Event, Events, PublishReason, Published};
use crate::locks::ProjectLocks;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::preview::LiveReleases;
use crate::release::{Compressor, Retention, compare};
use crate::state::{Announce, Claim, StateError, Store};
pub use diagnostics::{Code as DiagnosticCode, Diagnostic, Diagnostics};
use gate::{Running, Stop, should_supersede};
use heartbeat::Heartbeat;
pub use intake::{Intake, IntakeError, SyncAnswer, SyncRequest, scope_of};
pub use reports::Reports;
pub use rollback::RollbackError;
use run::lease_ms;
pub use status::StatusBoard;

/// After a failed claim, and at the longest between two looks at the queue: wake-ups are hints.
const POLL_MAX: Duration = Duration::from_secs(30);
const CLAIM_RETRY: Duration = Duration::from_secs(1);
/// After their time at shutdown is over, builds get this long to be stopped and settled.
pub const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// What the queue works with.
#[derive(Debug)]
pub struct Parts {
    /// Claims.
    pub store: Store,
    /// Makes builds.
    pub builder: Arc<Builder>,
    /// Where releases lie.
    pub data: Arc<DataDir>,
    /// Who hears of it.
    pub events: Arc<Events>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Lets old releases go.
    pub retention: Retention,
    /// Makes compressed copies.
    pub compressor: Compressor,
    /// What previews serve.
    pub live: Arc<LiveReleases>,
    /// Status files.
    pub board: Arc<StatusBoard>,
    /// Who is told by webhook.
    pub announce: Announce,
    /// Delivers that.
    pub notifier: Arc<Notifier>,
}

/// The queue's loop and the builds that run.
#[derive(Debug)]
pub struct Queue {
    parts: Parts,
    config: config::Queue,
    wake: Notify,
    running: DashMap<ProjectId, Arc<Running>>,
    slots: Arc<Semaphore>,
    /// Whose turn it is to change what of a project is live, on disk and in the state.
    swaps: ProjectLocks,
    tasks: TaskTracker,
    draining: CancellationToken,
    heartbeat: Heartbeat,
}

impl Queue {
    /// A queue that runs at most `concurrency` builds at once.
    pub fn new(parts: Parts, config: config::Queue, concurrency: usize) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(concurrency));
        let draining = CancellationToken::new();
        let (running, swaps, tasks) = (DashMap::new(), ProjectLocks::default(), TaskTracker::new());
        let (wake, heartbeat) = (Notify::new(), Heartbeat::default());
        Arc::new(Self { parts, config, wake, running, slots, swaps, tasks, draining, heartbeat })
    }

    /// Starts the loop; it ends with [`Queue::drain`].
    pub fn start(self: &Arc<Self>) -> Driver {
        Driver(tokio::spawn(self.clone().drive()))
    }

    /// Says that something may wait now, and cuts short what the new revision makes pointless.
    pub fn accepted(&self, project: &ProjectId, newest: Revision) {
        let running = self.running.get(project).map(|running| running.clone());
        if let Some(running) = running.filter(|r| should_supersede(r, newest, self.config.max_superseded))
            && running.stop(Stop::Superseded)
        {
            tracing::info!(project = %project, build = %running.build, revision = %running.revision, %newest, "superseded");
        }
        self.wake.notify_one();
    }

    /// Stops the build of a project that is deleted, and waits until nothing of it is left.
    pub async fn stop_for_deletion(&self, project: &ProjectId) {
        let running = self.running.get(project).map(|running| running.clone());
        if let Some(running) = running {
            running.stop(Stop::Deleted);
            running.ended.cancelled().await;
        }
    }

    /// Forgets what is remembered of a project that was deleted, once nobody makes a release of it live any more.
    pub async fn forget(&self, project: &ProjectId) {
        let _turn = self.swaps.lock(project).await;
        self.parts.live.forget(project);
        self.parts.builder.forget(project).await;
    }

    /// Whether no new build begins.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// How long the loop has not turned: short, unless it is stuck or has ended.
    pub fn silent_for(&self) -> Duration {
        self.heartbeat.age()
    }

    /// Ends the loop: running builds get `grace` to finish, then they are stopped and wait for the next start.
    pub async fn drain(&self, driver: Driver, grace: Duration) {
        self.draining.cancel();
        // A claim under way still becomes a task: only afterwards are all of them known.
        let _ = driver.0.await;
        self.tasks.close();
        if timeout(grace, self.tasks.wait()).await.is_ok() {
            return;
        }
        for running in &self.running {
            running.stop(Stop::Shutdown);
        }
        if timeout(STOP_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::error!("builds could not be stopped in time; they are taken up at the next start");
        }
    }

    async fn drive(self: Arc<Self>) {
        while let Some(slot) = self.heartbeat.beating(self.slot()).await {
            // Registered before the look at the queue, so that no wake-up in between is lost.
            let woken = self.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let pause = match self.claim().await {
                Ok(Some(claim)) => {
                    self.tasks.spawn(self.clone().run(claim, slot));
                    continue;
                }
                Ok(None) => self.until_next_ready().await,
                Err(error) => {
                    tracing::error!(%error, "the queue cannot be read");
                    CLAIM_RETRY
                }
            };
            drop(slot);
            let until = async {
                tokio::select! {
                    () = self.draining.cancelled() => {}
                    () = woken => {}
                    () = sleep(pause) => {}
                }
            };
            self.heartbeat.beating(until).await;
        }
    }

    /// A free place for a build; `None` once the queue drains.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.draining.cancelled() => None,
            slot = self.slots.clone().acquire_owned() => slot.ok(),
        }
    }

    async fn claim(&self) -> Result<Option<Claim>, StateError> {
        let now = Timestamp::now().as_millisecond();
        let build = BuildId::from_parts(now.unsigned_abs(), rand::random());
        let token = format!("{:032x}", rand::random::<u128>());
        let patience = i64::from(self.config.background_wait_s) * 1000;
        self.parts.store.claim(build, token, now, lease_ms(), patience).await
    }

    async fn until_next_ready(&self) -> Duration {
        let now = Timestamp::now().as_millisecond();
        match self.parts.store.next_ready(now).await {
            Ok(Some(at)) => Duration::from_millis((at - now).max(1).unsigned_abs()).min(POLL_MAX),
            _ => POLL_MAX,
        }
    }

    /// What differs between the release that was live and the one that is now, for whoever has a page of it open.
    async fn tell_published(&self, project: &ProjectId, build_id: BuildId, revision: Revision, reason: PublishReason, before: Option<BuildId>) {
        if !self.parts.events.is_followed(project) {
            return;
        }
        let dir = self.parts.data.project(project);
        let compared = match before.filter(|before| *before != build_id) {
            Some(before) => blocking(move || compare(&dir.release(before), &dir.release(build_id))).await,
            None => Ok(None),
        };
        // A release that retention took away cannot be compared with.
        let swaps = compared.unwrap_or_default();
        let (styles_only, styles) = (swaps.is_some(), swaps.unwrap_or_default());
        let published = Published { build_id, revision, reason, previous_build_id: before, styles_only, styles };
        self.parts.events.publish(project, &Event::Published(published));
    }

    async fn tell(&self, project: &ProjectId) {
        self.parts.board.tell(project).await;
    }
}

/// The queue's loop, running.
#[derive(Debug)]
pub struct Driver(JoinHandle<()>);
