//! One claim, from its first log line to its settlement.
//!
//! 1. ours alone: an older build of the project that lost its lease is stopped first; a deleted project has no claim
//! 2. build  3. publish, unless it was stopped or the claim is no longer ours  4. settle  5. tell
//! 6. what nobody waits for: compressed copies, retention
//!
//! From the check in 3 to the end of 4 it is this build's turn to change what is live: a rollback waits.
//!
//! Invariant: at most one build of a project works at a time, and what it publishes is what its claim says.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::task::AbortOnDropHandle;

use super::Queue;
use super::gate::{Running, Stop};
use crate::builder::{BuildRequest, Built, Wish};
use crate::domain::{BuildRecord, Failure, ProjectId};
use crate::locks::ProjectGuard;
use crate::metrics::observe;
use crate::release::{Scanned, publish};
use crate::state::{Claim, Store};

/// How long a claim is ours without renewal.
const LEASE: Duration = Duration::from_mins(1);
/// How often a running build renews its claim.
const RENEW_EVERY: Duration = Duration::from_secs(15);

/// How a build went.
#[derive(Debug)]
pub(super) enum Attempt<'a> {
    /// With the turn to change what is live: until the state says the same as `dist`.
    Published(Scanned, Option<Wish>, ProjectGuard<'a>),
    Failed(Failure),
    Stopped,
}

impl Queue {
    /// Does all of it.
    pub(super) async fn run(self: Arc<Self>, claim: Claim, slot: OwnedSemaphorePermit) {
        let running = Arc::new(Running::new(claim.build, claim.revision, claim.superseded));
        if let Some(lost) = self.running.insert(claim.project.clone(), running.clone()) {
            // Its lease ran out under it. Two builds of one project would share a work directory.
            lost.stop(Stop::Lost);
            lost.ended.cancelled().await;
        }
        // A deletion removes the row, then looks for a running build. Looking the other way round here, one of
        // the two sees the other, and nothing is built for a project that is gone.
        if matches!(self.parts.store.is_ours(&claim).await, Ok(false)) {
            self.forget_running(&claim.project, &running);
            return;
        }
        self.parts.metrics.builds_running.inc();
        let lease = AbortOnDropHandle::new(tokio::spawn(keep_lease(self.parts.store.clone(), claim.clone(), running.clone())));

        let begun = Timestamp::now();
        let mut record = BuildRecord::begun(claim.build, claim.revision, begun);
        record.timings_ms.sync = claim.sync_ms;
        record.timings_ms.queued = (begun.as_millisecond() - claim.accepted_at).max(0).unsigned_abs();
        observe(&self.parts.metrics.queue_wait_seconds, Duration::from_millis(record.timings_ms.queued));
        // A bug must not leave a project building for ever.
        let attempt = AssertUnwindSafe(self.attempt(&claim, &running, &mut record)).catch_unwind();
        // That it builds is told while it builds, and before its end is.
        let (attempt, ()) = tokio::join!(attempt, self.tell(&claim.project));
        let attempt = attempt.unwrap_or_else(|_| Err(anyhow::anyhow!("the build met a bug of the daemon; its log says more")));
        let after = self.settle(&claim, &running, record, attempt).await;

        // Also where it never came to its first line: followers wait for the end.
        self.parts.events.close_log(claim.build);
        drop(lease);
        self.forget_running(&claim.project, &running);
        self.parts.metrics.builds_running.dec();
        self.tell(&claim.project).await;
        drop(slot);
        // The row may wait again: superseded, requeued, or accepted meanwhile.
        self.wake.notify_one();
        after.finish(&self.parts, &claim.project, &self.draining).await;
    }

    /// Nothing of a build is left: whoever waits for that goes on.
    fn forget_running(&self, project: &ProjectId, running: &Arc<Running>) {
        self.running.remove_if(project, |_, entry| Arc::ptr_eq(entry, running));
        running.ended.cancel();
    }

    /// The turn to make the build visible, unless its claim is no longer ours or it was stopped.
    async fn turn_to_publish(&self, claim: &Claim, running: &Running) -> Option<ProjectGuard<'_>> {
        let turn = self.swaps.lock(&claim.project).await;
        match self.parts.store.is_ours(claim).await {
            Ok(true) => {}
            Ok(false) => drop(running.stop(Stop::Lost)),
            Err(error) => {
                tracing::error!(project = %claim.project, %error, "a claim could not be checked: its build is not published");
                return None;
            }
        }
        running.begin_publish().then_some(turn)
    }

    /// Builds and, unless it was stopped, publishes.
    async fn attempt<'a>(&'a self, claim: &Claim, running: &Running, record: &mut BuildRecord) -> anyhow::Result<Attempt<'a>> {
        let log = Arc::new(self.parts.builder.open_log(&claim.project, record).await?);
        log.info(format!("build {} of revision {}", claim.build, claim.revision));
        let request = BuildRequest {
            project: &claim.project,
            clean: claim.clean,
            log: &log,
            cancel: &running.cancel,
            ahead: false,
            soon_done: &running.soon_done,
        };
        let built = self.parts.builder.build(request, record).await;
        let attempt = match built {
            Ok(Built::Output(scanned, wish)) if let Some(turn) = self.turn_to_publish(claim, running).await => {
                let begun = std::time::Instant::now();
                let (dir, build) = (self.parts.data.project(&claim.project), claim.build);
                tokio::task::spawn_blocking(move || publish(&dir, build)).await??;
                self.parts.live.set(&claim.project, claim.build, record.spa);
                record.timings_ms.publish = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                log.info(format!("live: {} files, {} bytes", scanned.files.len(), scanned.bytes));
                Ok(Attempt::Published(scanned, wish, turn))
            }
            Ok(Built::Output(..) | Built::Cancelled) => {
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
                log.error("the build could not be made, through no fault of the project; the daemon's log says why");
                Err(error)
            }
        };
        log.close().await;
        attempt
    }
}

pub(super) fn lease_ms() -> i64 {
    i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)
}

/// Renews a claim that was made just now.
async fn keep_lease(store: Store, claim: Claim, running: Arc<Running>) {
    let mut ticks = interval_at(Instant::now() + RENEW_EVERY, RENEW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.renew(&claim, Timestamp::now().as_millisecond() + lease_ms()).await {
            Ok(true) => {}
            // Another has the claim, or the project was deleted: the build is nobody's.
            Ok(false) => {
                running.stop(Stop::Lost);
                return;
            }
            Err(error) => tracing::warn!(project = %claim.project, %error, "a claim could not be renewed"),
        }
    }
}
