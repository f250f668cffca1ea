//! Drives builds: claims what waits, makes it, publishes it, settles it.
//!
//! The queue itself is the state: the projects whose wanted revision is ahead of their finished one. This loop
//! only acts on it, so a burst of syncs is one build of the newest, and a crash leaves the work where it was.
//!
//! Invariant: every claim is settled exactly once, whatever happens to its build.

mod gate;
mod intake;
mod settle;
mod status;

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::{BuildRequest, Builder, Built};
use crate::config;
use crate::domain::{BuildId, BuildRecord, DataDir, ProjectId, Revision};
use crate::events::Events;
use crate::metrics::{Metrics, observe};
use crate::preview::LiveReleases;
use crate::release::{Compressor, Retention, publish};
use crate::state::{Claim, StateError, Store};
use gate::{Running, Stop, should_supersede};
pub use intake::{Intake, IntakeError, SyncAnswer, SyncRequest, scope_of};
pub use status::StatusBoard;

/// How long a claim is ours without renewal.
const LEASE: Duration = Duration::from_mins(1);
/// How often a running build renews its claim.
const RENEW_EVERY: Duration = Duration::from_secs(15);
/// After a failed claim, and at the longest between two looks at the queue: wake-ups are hints.
const POLL_MAX: Duration = Duration::from_secs(30);
const CLAIM_RETRY: Duration = Duration::from_secs(1);
/// After their time at shutdown is over, builds get this long to be stopped and settled.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// What the queue works with.
#[derive(Debug)]
pub struct Parts {
    /// Claims.
    pub store: Store,
    /// Makes builds.
    pub builder: Builder,
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
}

/// The queue's loop and the builds that run.
#[derive(Debug)]
pub struct Queue {
    parts: Parts,
    config: config::Queue,
    wake: Notify,
    running: DashMap<ProjectId, Arc<Running>>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    draining: CancellationToken,
}

impl Queue {
    /// A queue that runs at most `concurrency` builds at once.
    pub fn new(parts: Parts, config: config::Queue, concurrency: usize) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(concurrency));
        let draining = CancellationToken::new();
        Arc::new(Self { parts, config, wake: Notify::new(), running: DashMap::new(), slots, tasks: TaskTracker::new(), draining })
    }

    /// Starts the loop; it ends with [`Queue::drain`].
    pub fn start(self: &Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(self.clone().drive())
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

    /// Forgets what is remembered of a project that was deleted.
    pub fn forget(&self, project: &ProjectId) {
        self.parts.live.forget(project);
    }

    /// Whether no new build begins.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Ends the loop: running builds get `grace` to finish, then they are stopped and wait for the next start.
    pub async fn drain(&self, grace: Duration) {
        self.draining.cancel();
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
        while let Some(slot) = self.slot().await {
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
            tokio::select! {
                () = self.draining.cancelled() => return,
                () = woken => {}
                () = sleep(pause) => {}
            }
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

    /// One claim, from its first log line to its settlement.
    async fn run(self: Arc<Self>, claim: Claim, slot: OwnedSemaphorePermit) {
        let running = Arc::new(Running::new(claim.build, claim.revision, claim.superseded));
        self.running.insert(claim.project.clone(), running.clone());
        // A deletion removes the row, then looks for a running build. Looking the other way round here, one of
        // the two sees the other, and nothing is built for a project that is gone.
        if matches!(self.parts.store.renew(&claim, Timestamp::now().as_millisecond() + lease_ms()).await, Ok(false)) {
            self.running.remove(&claim.project);
            running.ended.cancel();
            return;
        }
        self.parts.metrics.builds_running.inc();
        let lease = tokio::spawn(keep_lease(self.parts.store.clone(), claim.clone()));
        self.tell(&claim.project).await;

        let begun = Timestamp::now();
        let mut record = BuildRecord::begun(claim.build, claim.revision, begun);
        record.timings_ms.sync = claim.sync_ms;
        record.timings_ms.queued = (begun.as_millisecond() - claim.accepted_at).max(0).unsigned_abs();
        observe(&self.parts.metrics.queue_wait_seconds, Duration::from_millis(record.timings_ms.queued));
        let attempt = self.attempt(&claim, &running, &mut record).await;
        let after = self.settle(&claim, &running, record, attempt).await;

        lease.abort();
        self.running.remove(&claim.project);
        self.parts.metrics.builds_running.dec();
        self.tell(&claim.project).await;
        running.ended.cancel();
        drop(slot);
        // The row may wait again: superseded, requeued, or accepted meanwhile.
        self.wake.notify_one();
        after.finish(&self.parts, &claim.project, &self.draining).await;
    }

    /// Builds and, unless it was stopped, publishes.
    async fn attempt(&self, claim: &Claim, running: &Running, record: &mut BuildRecord) -> anyhow::Result<Attempt> {
        let log = Arc::new(self.parts.builder.open_log(&claim.project, record).await?);
        log.info(format!("build {} of revision {}", claim.build, claim.revision));
        let request = BuildRequest { project: &claim.project, clean: claim.clean, log: &log, cancel: &running.cancel };
        let built = self.parts.builder.build(request, record).await;
        let attempt = match built {
            Ok(Built::Output(scanned)) if running.begin_publish() => {
                let begun = std::time::Instant::now();
                let (dir, build) = (self.parts.data.project(&claim.project), claim.build);
                tokio::task::spawn_blocking(move || publish(&dir, build)).await??;
                self.parts.live.set(&claim.project, claim.build, record.spa);
                record.timings_ms.publish = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                log.info(format!("live: {} files, {} bytes", scanned.files.len(), scanned.bytes));
                Ok(Attempt::Published(scanned))
            }
            Ok(Built::Output(_) | Built::Cancelled) => {
                log.warn("stopped before its end: a newer revision, a deletion, or the end of the daemon");
                Ok(Attempt::Stopped)
            }
            Ok(Built::Failed(failure)) => {
                log.error(failure.to_string());
                if let Some(frame) = &failure.frame {
                    log.error(frame);
                }
                Ok(Attempt::Failed(failure))
            }
            Err(error) => {
                log.error(format!("the build could not be made: {error:#}"));
                Err(error)
            }
        };
        log.close().await;
        attempt
    }

    /// Tells the status file first, then whoever listens: who hears of a change finds it in the file.
    async fn tell(&self, project: &ProjectId) {
        self.parts.board.write(project).await;
        self.parts.events.status_changed(project);
    }
}

/// How a build went.
#[derive(Debug)]
enum Attempt {
    Published(crate::release::Scanned),
    Failed(crate::domain::Failure),
    Stopped,
}

fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

async fn keep_lease(store: Store, claim: Claim) {
    let mut ticks = interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.renew(&claim, Timestamp::now().as_millisecond() + lease_ms()).await {
            Ok(true) => {}
            // A project that was deleted has no row to renew.
            Ok(false) => return,
            Err(error) => tracing::warn!(project = %claim.project, %error, "a claim could not be renewed"),
        }
    }
}
