//! The end of a claim: what is written, counted, and left to do afterwards.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::gate::{Running, Stop};
use super::run::Attempt;
use super::{Parts, Queue};
use crate::builder::{InstallOutage, Wish};
use crate::domain::{BuildId, BuildRecord, Failure, FailureKind, Outcome, ProjectId};
use crate::events::PublishReason;
use crate::metrics::observe;
use crate::release::Effort;
use crate::state::{Claim, Finish};

/// Before a build that failed through no fault of the project is tried again; doubles with each try.
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(1);

/// What is left to do once everybody knows: nobody waits for it.
#[derive(Debug)]
pub(super) struct After {
    published: Option<(BuildId, Vec<PathBuf>)>,
    wish: Option<Wish>,
}

impl After {
    pub(super) async fn finish(self, parts: &Parts, project: &ProjectId, cancel: &CancellationToken) {
        if let Some(wish) = self.wish {
            let (builder, project) = (parts.builder.clone(), project.clone());
            // It may take longer than a shutdown waits; the sandbox's door ends it then.
            tokio::spawn(async move { builder.improve(&project, wish).await });
        }
        if let Some((build, files)) = self.published {
            parts.compressor.compress(parts.data.project(project).release(build), files, Effort::Release, cancel).await;
        }
        if let Err(error) = parts.retention.apply(project).await {
            tracing::warn!(%project, %error, "old releases could not be removed");
        }
    }
}

impl Queue {
    /// Writes down how a claim ended.
    pub(super) async fn settle(&self, claim: &Claim, running: &Running, mut record: BuildRecord, attempt: anyhow::Result<Attempt<'_>>) -> After {
        let now = Timestamp::now();
        record.finished_at = Some(now);
        record.timings_ms.total = (now.as_millisecond() - claim.accepted_at).max(0).unsigned_abs() + claim.sync_ms;
        let (mut published, mut wish) = (None, None);
        let finish = match attempt {
            Ok(Attempt::Published(scanned, wished, turn)) => {
                wish = wished;
                record.outcome = Some(Outcome::Succeeded);
                published = Some((claim.build, scanned.files, turn));
                Finish::Done(record)
            }
            Ok(Attempt::Failed(failure)) => Finish::Done(failed(record, failure)),
            Ok(Attempt::Stopped) if running.stopped() == Some(Stop::Superseded) => {
                record.outcome = Some(Outcome::Superseded);
                Finish::Superseded(record)
            }
            Ok(Attempt::Stopped) => {
                record.outcome = Some(Outcome::Cancelled);
                Finish::Requeue(record)
            }
            Err(error) => self.after_error(claim, record, &error),
        };
        self.count(&finish);
        // What this build takes the place of; read before the state says so.
        let before = match &published {
            Some(_) => self.parts.store.project(claim.project.clone()).await.ok().flatten().and_then(|row| row.live_build),
            None => None,
        };
        let written = self.parts.store.finish_and_announce(claim, finish, now.as_millisecond(), Some(self.parts.announce.clone())).await;
        self.parts.notifier.wake();
        match written {
            Ok(true) if published.is_some() => self.tell_published(&claim.project, claim.build, claim.revision, PublishReason::Build, before).await,
            Ok(true) => {}
            Ok(false) => tracing::warn!(project = %claim.project, build = %claim.build, "the end of a build that was no longer ours"),
            // The lease runs out, and the revision is built again.
            Err(error) => tracing::error!(project = %claim.project, build = %claim.build, %error, "the end of a build could not be written"),
        }
        // With the turn to change what is live, which ends here.
        After { published: published.map(|(build, files, _turn)| (build, files)), wish }
    }

    /// A fault of ours or of the machine: again later, until there were too many.
    fn after_error(&self, claim: &Claim, mut record: BuildRecord, error: &anyhow::Error) -> Finish {
        let tries = claim.attempts + 1;
        tracing::error!(project = %claim.project, build = %claim.build, tries, error = %format!("{error:#}"), "a build could not be made");
        let failure = match error.downcast_ref::<InstallOutage>() {
            Some(outage) => Failure::new(FailureKind::Install, outage.to_string()),
            // What exactly is for the log: it is full of this machine's paths.
            None => Failure::new(FailureKind::Internal, "the build could not be made, through no fault of the project; the daemon's log says why"),
        };
        if tries >= self.config.max_attempts {
            return Finish::Done(failed(record, failure));
        }
        record.outcome = Some(Outcome::Cancelled);
        record.failure = Some(failure);
        let pause = RETRY_BASE.saturating_mul(1 << claim.attempts.min(16)).min(RETRY_MAX).mul_f64(rand::random_range(0.5..1.0));
        let ready_at = Timestamp::now().as_millisecond() + i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        Finish::Retry { record, ready_at }
    }

    fn count(&self, finish: &Finish) {
        let metrics = &self.parts.metrics;
        let record = finish.record();
        let outcome = record.outcome.map_or("unknown", Outcome::as_str);
        let mode = record.mode.map_or("none", crate::domain::Mode::as_str);
        metrics.builds.with_label_values(&[outcome, mode]).inc();
        let timings = &record.timings_ms;
        metrics.build_seconds.with_label_values(&["total"]).observe(Duration::from_millis(timings.total).as_secs_f64());
        if record.outcome == Some(Outcome::Succeeded) {
            metrics.build_seconds.with_label_values(&["publish"]).observe(Duration::from_millis(timings.publish).as_secs_f64());
            observe(&metrics.edit_to_live_seconds, Duration::from_millis(timings.total));
        }
        tracing::info!(
            build = %record.build_id, revision = %record.revision, outcome, mode, total_ms = timings.total, sync_ms = timings.sync,
            install_ms = timings.install, build_ms = timings.build, "build ended",
        );
    }
}

fn failed(mut record: BuildRecord, failure: Failure) -> BuildRecord {
    record.outcome = Some(failure.outcome());
    record.failure = Some(failure);
    record
}
