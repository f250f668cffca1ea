//! Takes requests in: syncs a project, accepts its new revision, and lets callers wait for it.
//!
//! 1. refuse while draining, when too many projects wait, or while the source is left alone  2. the project's lock
//! 3. sync from the source  4. accept: durable before the answer  5. wake the queue
//!
//! Invariant: sync and accept happen under one lock, so revisions follow the order of the sources.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Queue, StatusBoard};
use crate::disk::{blocking, remove_tree};
use crate::domain::status::Status;
use crate::domain::{DataDir, Priority, ProjectId, Revision, SourcePath};
use crate::events::Events;
use crate::locks::ProjectLocks;
use crate::release::hide;
use crate::state::{Accept, Accepted, Environment, StateError, Store};
use crate::sync::{SyncError, SyncReport, SyncScope, Syncer};

/// What a caller wants synced and built.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// What to look at.
    pub scope: SyncScope,
    /// Whether somebody waits.
    pub priority: Priority,
    /// Build even where nothing changed.
    pub force: bool,
    /// Forget the project's caches in that build.
    pub clean: bool,
}

/// What became of a [`SyncRequest`].
#[derive(Debug)]
pub struct SyncAnswer {
    /// The newest accepted revision.
    pub revision: Revision,
    /// Whether this request made it.
    pub building: bool,
    /// Whether its build has ended.
    pub finished: bool,
    /// Paths whose content is new.
    pub changes: Vec<SourcePath>,
    /// Paths that are gone.
    pub deleted: Vec<SourcePath>,
    /// Names in the source that cannot be synced, and why.
    pub rejected: Vec<(String, String)>,
}

impl SyncAnswer {
    fn unchanged(revision: Revision, finished: bool, report: SyncReport) -> Self {
        Self { revision, building: false, finished, changes: Vec::new(), deleted: Vec::new(), rejected: report.rejected }
    }
}

/// Why a request was not accepted; nothing of it was kept but what the next sync would fetch again.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum IntakeError {
    #[error("the daemon is shutting down")]
    Draining,
    #[error("{pending} projects wait for a build, the limit queue.max_pending")]
    QueueFull { pending: u32 },
    #[error("no project of this name is known, and the source has no files for it")]
    UnknownProject,
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error(transparent)]
    State(#[from] StateError),
}

/// The way in.
#[derive(Debug)]
pub struct Intake {
    /// Where revisions are accepted.
    pub store: Store,
    /// Where sources come from.
    pub syncer: Arc<Syncer>,
    /// One sync of a project at a time.
    pub locks: Arc<ProjectLocks>,
    /// Who builds.
    pub queue: Arc<Queue>,
    /// How projects stand.
    pub board: Arc<StatusBoard>,
    /// Word of changes.
    pub events: Arc<Events>,
    /// Where projects lie.
    pub data: Arc<DataDir>,
    /// `queue.max_pending`.
    pub max_pending: u32,
}

impl Intake {
    /// Syncs a project and accepts the revision that comes of it.
    pub async fn sync(&self, project: &ProjectId, request: SyncRequest) -> Result<SyncAnswer, IntakeError> {
        if self.queue.is_draining() {
            return Err(IntakeError::Draining);
        }
        self.check_room(project).await?;
        // Before the lock: whoever holds it may be about to find out the long way that the source is gone.
        self.syncer.check_source().await?;
        let _guard = self.locks.lock(project).await;
        let dir = self.data.project(project);
        let report = self.syncer.sync(project, &dir, request.scope.clone()).await?;
        if let Some((name, why)) = report.rejected.first() {
            tracing::warn!(%project, files = report.rejected_count, name, why, "files in the source that cannot be synced; the first");
        }
        let row = self.store.project(project.clone()).await?;
        if report.files == 0 && row.as_ref().is_none_or(|row| row.wanted == Revision(0)) {
            return self.nothing_yet(project, &request, report).await;
        }
        let lost = row.and_then(|row| row.live_build).is_some_and(|build| !dir.release(build).exists());
        let accept = Accept { force: request.force || lost, ..self.accept(project, &request, &report) };
        let revision = match self.store.accept(accept).await? {
            Accepted::QueueFull { pending } => return Err(IntakeError::QueueFull { pending }),
            // Sources that were damaged here may have been fetched anew, but against what was accepted nothing changed.
            Accepted::Unchanged { revision, pending } => return Ok(SyncAnswer::unchanged(revision, !pending, report)),
            Accepted::Building(revision) => revision,
        };
        self.queue.accepted(project, revision);
        self.board.tell(project).await;
        let (changes, deleted, rejected) = (report.changes, report.deleted, report.rejected);
        Ok(SyncAnswer { revision, building: true, finished: false, changes, deleted, rejected })
    }

    /// Sets what a project's builds are given besides its sources; where that changes anything, it is built. The newest revision, and
    /// whether it is of this change.
    pub async fn set_environment(&self, project: &ProjectId, new: Environment) -> Result<(Revision, bool), IntakeError> {
        if self.queue.is_draining() {
            return Err(IntakeError::Draining);
        }
        let _guard = self.locks.lock(project).await;
        let now = Timestamp::now().as_millisecond();
        match self.store.set_environment(project.clone(), new, now, self.max_pending).await? {
            Accepted::QueueFull { pending } => Err(IntakeError::QueueFull { pending }),
            Accepted::Unchanged { revision, .. } => Ok((revision, false)),
            Accepted::Building(revision) => {
                self.queue.accepted(project, revision);
                self.board.tell(project).await;
                Ok((revision, true))
            }
        }
    }

    /// Before anything is fetched: is there room for one more?
    async fn check_room(&self, project: &ProjectId) -> Result<(), IntakeError> {
        let counts = self.store.pending().await?;
        let pending = counts.interactive + counts.background;
        if pending < self.max_pending {
            return Ok(());
        }
        let waits = self.store.project(project.clone()).await?.is_some_and(|row| row.wanted > row.finished);
        if waits { Ok(()) } else { Err(IntakeError::QueueFull { pending }) }
    }

    /// A project that is new and has no files: known from now on, with nothing to build.
    async fn nothing_yet(&self, project: &ProjectId, request: &SyncRequest, report: SyncReport) -> Result<SyncAnswer, IntakeError> {
        if request.force {
            return Err(IntakeError::UnknownProject);
        }
        self.store.register(project.clone(), Timestamp::now().as_millisecond()).await?;
        Ok(SyncAnswer::unchanged(Revision(0), true, report))
    }

    fn accept(&self, project: &ProjectId, request: &SyncRequest, report: &SyncReport) -> Accept {
        Accept {
            project: project.clone(),
            tree: report.tree,
            force: request.force,
            clean: request.clean,
            priority: request.priority,
            sync_ms: u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
            now: Timestamp::now().as_millisecond(),
            max_pending: self.max_pending,
        }
    }

    /// Waits until `revision` is live or its build has failed, at most `patience`; the status then, `None` where time was over first.
    pub async fn wait(&self, project: &ProjectId, revision: Revision, patience: Duration) -> Result<Option<Status>, StateError> {
        let deadline = Instant::now() + patience;
        // Listening before looking: a change in between is heard.
        let mut changes = self.events.statuses();
        loop {
            let Some(row) = self.store.project(project.clone()).await? else { return Ok(None) };
            if row.finished >= revision {
                return self.board.status(project).await;
            }
            if !changes.next_of(project, deadline).await {
                return Ok(None);
            }
        }
    }

    /// Forgets a project and everything of it on this machine. Whether it was known.
    pub async fn delete(&self, project: &ProjectId) -> Result<bool, IntakeError> {
        let _guard = self.locks.lock(project).await;
        // Before the state forgets it: a crash in between must not leave nginx with a preview that nobody knows of.
        let dir = self.data.project(project);
        let hidden = dir.clone();
        blocking(move || hide(&hidden)).await.map_err(SyncError::Disk)?;
        let known = self.store.delete_project(project.clone()).await?;
        self.queue.stop_for_deletion(project).await;
        self.queue.forget(project).await;
        // Its last build may have shown it once more.
        blocking(move || hide(&dir).and(remove_tree(dir.root()))).await.map_err(SyncError::Disk)?;
        self.events.status_changed(project);
        self.events.end(project);
        Ok(known)
    }
}

/// The paths of a request as a scope: none at all means everything.
pub fn scope_of(paths: Option<BTreeSet<SourcePath>>) -> SyncScope {
    paths.map_or(SyncScope::Everything, SyncScope::Changed)
}
